"""Measured clips → one result a model: rows, values, error over time, error of each vertex."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codetalker_cli import metrics
from codetalker_cli.errors import CodeTalkerError, DataError
from codetalker_cli.evaluate.pairs import Pair, select_pairs
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.formats.predictions import read_vertices
from codetalker_cli.metrics import ClipScores, Value
from codetalker_cli.motion import Vertices
from codetalker_cli.progress import Progress
from codetalker_cli.settings import EvaluateSettings
from codetalker_cli.topology import Topology

MODEL, ORACLE, MEAN, TEMPLATE = "model", "reconstruction", "mean motion", "template"
"""The models that are compared; see ``run``."""
MAX_SHORT_FRAMES = 2
"""By so many frames a prediction may end before the truth: the speech's length is rounded."""

logger = logging.getLogger(__name__)


@dataclass
class Scores:
    """All that is known of one model's results.

    Attributes:
        clip_scores: A result each.
        errors: (clip, style) → (T,) squared lip errors.
        vertex_errors: (V,) sum over frames of each vertex's distance.
        n_frames: Frames in that sum.
        n_cut: Frames of the truth that predictions were too short for.
    """

    clip_scores: list[ClipScores] = field(default_factory=list)
    errors: dict[tuple[str, str | None], np.ndarray] = field(default_factory=dict)
    vertex_errors: np.ndarray | None = None
    n_frames: int = 0
    n_cut: int = 0

    def add(
        self,
        predicted: Vertices,
        clip: str,
        style: str | None,
        truth: Truth,
        settings: EvaluateSettings,
        where: str = "",
    ) -> None:
        """Measure a result; longer ones are cut to the truth, as the published evaluation does.

        Raises:
            DataError: Not finite, of another vertex count, or too short; it names the file.
        """
        true = truth.vertices(clip)
        n_missing = len(true) - len(predicted)
        if n_missing > MAX_SHORT_FRAMES:
            raise DataError(
                f"{where or clip}: has {len(predicted)} frames, the true clip {clip} has "
                f"{len(true)}; predict the whole clip at {_describe_rate(truth)}"
            )
        template, topology = truth.template(clip), truth.mesh.topology
        try:
            measured = metrics.measure(predicted, true, template, topology, settings.closure_mm)
        except DataError as error:
            raise DataError(f"{where or clip}: {error} (true clip {clip})") from error
        self.clip_scores.append(
            ClipScores(clip, truth.subjects[clip], style, measured.n_frames, measured.fractions)
        )
        self.errors[clip, style] = measured.lip_errors
        zero = np.zeros_like(measured.vertex_errors)
        self.vertex_errors = (
            zero if self.vertex_errors is None else self.vertex_errors
        ) + measured.vertex_errors
        self.n_frames += measured.n_frames
        self.n_cut += max(n_missing, 0)

    def add_diversity(self, clip: str, subject: str, motions: Sequence[Vertices]) -> None:
        """Measure how results of one clip in several styles differ."""
        value = metrics.diversity(motions)
        self.clip_scores.append(ClipScores(clip, subject, None, 0, {"diversity": (value, 1.0)}))

    def join(self, others: Iterable["Scores"]) -> "Scores":
        """These and other processes' results, in the order of clips."""
        joined = Scores()
        for part in (self, *others):
            joined.clip_scores += part.clip_scores
            joined.errors |= part.errors
            joined.n_frames += part.n_frames
            joined.n_cut += part.n_cut
            if part.vertex_errors is not None:
                zero = np.zeros_like(part.vertex_errors)
                joined.vertex_errors = (
                    zero if joined.vertex_errors is None else joined.vertex_errors
                ) + part.vertex_errors
        joined.clip_scores.sort(key=lambda score: (score.clip, score.style or "", score.n_frames))
        return joined

    def value(self, name: str, settings: EvaluateSettings) -> Value:
        """A metric with its interval."""
        return metrics.summarize(
            self.clip_scores,
            name,
            n_samples=settings.resamples,
            confidence=settings.confidence,
            seed=settings.seed,
        )

    def results(self) -> list[ClipScores]:
        """The rows that are of one clip in one style."""
        return [score for score in self.clip_scores if score.n_frames]


def _describe_rate(truth: Truth) -> str:
    return f"{truth.data.manifest.fps:g} frames a second" if truth.data else "the truth's rate"


def score_pairs(
    pairs: Sequence[Pair],
    truth: Truth,
    settings: EvaluateSettings,
    metric_names: Sequence[str] = (),
    progress: Progress | None = None,
    into: Scores | None = None,
) -> Scores:
    """Measure predictions by the rule of ``settings.style``.

    Args:
        pairs: Predictions; where a clip has several styles all of them give the diversity.
        truth: True clips.
        settings: How.
        metric_names: Metric names; none: all. Diversity alone takes the square of the
            styles in time.
        progress: Called with (clips done, clips).
        into: What the results are added to; default a new one.

    Raises:
        DataError: A prediction that cannot be measured; it names the file.
    """
    scores = Scores() if into is None else into
    by_clip: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_clip.setdefault(pair.clip, []).append(pair)
    n_vertices = truth.mesh.topology.n_vertices
    for done, (clip, clip_pairs) in enumerate(by_clip.items(), 1):
        subject = truth.subjects[clip]
        for pair in select_pairs(clip_pairs, settings.style, subject):
            scores.add(
                read_vertices(pair.path, n_vertices),
                clip,
                pair.style,
                truth,
                settings,
                str(pair.path),
            )
        if len(clip_pairs) > 1 and (not metric_names or "diversity" in metric_names):
            motions = [read_vertices(pair.path, n_vertices) for pair in clip_pairs]
            scores.add_diversity(clip, subject, motions)
        if progress is not None:
            progress(done, len(by_clip))
    return scores


def describe(value: Value, name: str, topology: Topology) -> dict[str, Any]:
    """A value for machines; ``lacking`` says why there is none."""
    reason = metrics.lacking(name, topology)
    if value.value is None and not reason:
        reason = (
            "no clip in several styles"
            if name == "diversity"
            else "the lips are never closed"
            if name.startswith("lip_closure")
            else "not measured"
        )
    return {
        "value": value.value,
        "interval": None if value.low is None else [value.low, value.high],
        "unit": metrics.unit_of(name, topology),
        "clips": value.n_clips,
        "results": value.n_results,
        **({"lacking": reason} if value.value is None else {}),
    }


def csv_rows(
    scores: Mapping[str, Scores], names: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table with one line a model, clip and style.

    Args:
        scores: Model → its results.
        names: Metrics.
    """
    columns = [name for name in names if name != "diversity"]
    header = ["model", "clip", "subject", "style", "frames", *columns]
    rows = []
    for model, model_scores in scores.items():
        for score in model_scores.results():
            values = [score.value(name) for name in columns]
            texts = ["" if value is None else f"{value:.9g}" for value in values]
            rows.append(
                [model, score.clip, score.subject, score.style or "", str(score.n_frames), *texts]
            )
    return header, rows


def record_failure(what: str, failed: list[dict[str, str]], error: CodeTalkerError) -> None:
    """Note that a clip could not be evaluated, and go on."""
    reason = str(error).removeprefix(f"{what}: ")
    logger.warning("failed: %s: %s", what, reason)
    failed.append({"clip": what, "reason": reason})
