"""Measured clips → one result a model: rows, values, error over time, error of each vertex."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codetalker_cli import metrics
from codetalker_cli.errors import CodeTalkerError, DataError
from codetalker_cli.evaluate.pairs import Pair, counted
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.formats.predictions import read_vertices
from codetalker_cli.metrics import ClipScores, Value
from codetalker_cli.motion import Vertices
from codetalker_cli.progress import Progress
from codetalker_cli.settings import EvaluateSettings
from codetalker_cli.topology import Topology

MODEL, ORACLE, MEAN, TEMPLATE = "model", "reconstruction", "mean motion", "template"
"""Whose results stand beside each other; see :mod:`~codetalker_cli.evaluate.run`."""
MAX_SHORT_FRAMES = 2
"""By so many frames a prediction may end before the truth: the speech's length is rounded."""

logger = logging.getLogger(__name__)


@dataclass
class Scores:
    """All that is known of one model's results.

    Attributes:
        rows: A result each.
        errors: (clip, style) → (T,) squared lip errors.
        vertex_errors: (V,) sum over frames of each vertex's distance.
        n_frames: Frames in that sum.
        n_cut: Frames of the truth that predictions were too short for.
    """

    rows: list[ClipScores] = field(default_factory=list)
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
        short = len(true) - len(predicted)
        if short > MAX_SHORT_FRAMES:
            raise DataError(
                f"{where or clip}: has {len(predicted)} frames, the true clip {clip} has "
                f"{len(true)}; predict the whole clip at {_rate(truth)}"
            )
        template, topology = truth.template(clip), truth.mesh.topology
        try:
            made = metrics.measure(predicted, true, template, topology, settings.closure_mm)
        except DataError as error:
            raise DataError(f"{where or clip}: {error} (true clip {clip})") from error
        self.rows.append(
            ClipScores(clip, truth.subjects[clip], style, made.n_frames, made.fractions)
        )
        self.errors[clip, style] = made.lip_errors
        zero = np.zeros_like(made.vertex_errors)
        self.vertex_errors = (
            zero if self.vertex_errors is None else self.vertex_errors
        ) + made.vertex_errors
        self.n_frames += made.n_frames
        self.n_cut += max(short, 0)

    def add_diversity(self, clip: str, subject: str, motions: Sequence[Vertices]) -> None:
        """Measure how results of one clip in several styles differ."""
        value = metrics.diversity(motions)
        self.rows.append(ClipScores(clip, subject, None, 0, {"diversity": (value, 1.0)}))

    def join(self, others: Iterable["Scores"]) -> "Scores":
        """These and other processes' results, in the order of clips."""
        whole = Scores()
        for part in (self, *others):
            whole.rows += part.rows
            whole.errors |= part.errors
            whole.n_frames += part.n_frames
            whole.n_cut += part.n_cut
            if part.vertex_errors is not None:
                zero = np.zeros_like(part.vertex_errors)
                whole.vertex_errors = (
                    zero if whole.vertex_errors is None else whole.vertex_errors
                ) + part.vertex_errors
        whole.rows.sort(key=lambda row: (row.clip, row.style or "", row.n_frames))
        return whole

    def value(self, name: str, settings: EvaluateSettings) -> Value:
        """A metric with its interval."""
        return metrics.summarize(
            self.rows,
            name,
            n_samples=settings.resamples,
            confidence=settings.confidence,
            seed=settings.seed,
        )

    def results(self) -> list[ClipScores]:
        """The rows that are of one clip in one style."""
        return [row for row in self.rows if row.n_frames]


def _rate(truth: Truth) -> str:
    return f"{truth.data.manifest.fps:g} frames a second" if truth.data else "the truth's rate"


def score_pairs(
    pairs: Sequence[Pair],
    truth: Truth,
    settings: EvaluateSettings,
    wanted: Sequence[str] = (),
    progress: Progress | None = None,
    into: Scores | None = None,
) -> Scores:
    """Measure predictions by the rule of ``settings.style``.

    Args:
        pairs: Predictions; where a clip has several styles all of them give the diversity.
        truth: True clips.
        settings: How.
        wanted: Metric names; none: all. Diversity alone takes the square of the styles in time.
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
    for done, (clip, own) in enumerate(by_clip.items(), 1):
        subject = truth.subjects[clip]
        for pair in counted(own, settings.style, subject):
            scores.add(
                read_vertices(pair.path, n_vertices),
                clip,
                pair.style,
                truth,
                settings,
                str(pair.path),
            )
        if len(own) > 1 and (not wanted or "diversity" in wanted):
            motions = [read_vertices(pair.path, n_vertices) for pair in own]
            scores.add_diversity(clip, subject, motions)
        if progress is not None:
            progress(done, len(by_clip))
    return scores


def describe(value: Value, name: str, topology: Topology) -> dict[str, Any]:
    """A value for machines; ``lacking`` says why there is none."""
    why = metrics.lacking(name, topology)
    if value.value is None and not why:
        why = (
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
        **({"lacking": why} if value.value is None else {}),
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
    lines = []
    for model, one in scores.items():
        for row in one.results():
            cells = [row.value(name) for name in columns]
            texts = ["" if cell is None else f"{cell:.9g}" for cell in cells]
            lines.append([model, row.clip, row.subject, row.style or "", str(row.n_frames), *texts])
    return header, lines


def guarded(what: str, failed: list[dict[str, str]], error: CodeTalkerError) -> None:
    """Note that a clip could not be evaluated, and go on."""
    reason = str(error).removeprefix(f"{what}: ")
    logger.warning("failed: %s: %s", what, reason)
    failed.append({"clip": what, "reason": reason})
