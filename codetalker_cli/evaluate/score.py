"""Measure clips and combine them per model: metric values, error curves and vertex errors."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codetalker_cli import metrics
from codetalker_cli.errors import CodeTalkerError, DataError, counted
from codetalker_cli.evaluate.comparable import check_comparable
from codetalker_cli.evaluate.pairs import Pair, select_pairs
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.failures import error_of_item
from codetalker_cli.metrics import ClipScores, Value
from codetalker_cli.metrics.clip import BLOCK_BYTES
from codetalker_cli.metrics.liveness import squared_steps
from codetalker_cli.motion import Vertices
from codetalker_cli.progress import Progress
from codetalker_cli.settings import EvaluateSettings
from codetalker_cli.topology import Topology

MODEL, ORACLE, MEAN, TEMPLATE = "model", "reconstruction", "mean motion", "template"
"""The models that are compared, see ``run``."""
# A prediction may be shorter than the truth by this many frames, because the length of the speech
# is rounded to frames.
MAX_SHORT_FRAMES = 2

ENERGIES = {"lip_energy": "lips", "face_energy": "face"}
"""Name in ``ClipScores.fractions`` → region whose motion energies are the sum and the count."""

logger = logging.getLogger(__name__)


@dataclass
class Scores:
    """The measured results of one model.

    Attributes:
        clip_scores: One entry per clip and style, and one per diversity value.
        errors: (clip, style) → (T,) squared lip errors.
        vertex_errors: (V,) distance of each vertex from the truth, summed over frames.
        n_frames: Number of frames in that sum.
        n_cut: Number of true frames that have no prediction, because predictions are too short.
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
        """Measure a prediction and add its result.

        Predictions that are longer than the truth are cut, as in the published evaluation.

        Args:
            predicted: (T, V, 3) predicted vertices.
            clip: Name of the ground-truth clip.
            style: Style of the prediction, or None.
            truth: The ground-truth clips.
            settings: The evaluation settings.
            where: Name of the prediction in error messages; empty: the clip.

        Raises:
            DataError: The prediction is too short, has the wrong vertex count, or is not finite.
        """
        true = truth.vertices(clip)
        n_missing = len(true) - len(predicted)
        if n_missing > MAX_SHORT_FRAMES:
            raise DataError(
                f"{where or clip}: the prediction has {counted(len(predicted), 'frame')}, but the "
                f"ground truth of {clip} has {len(true)}; predict the whole clip at "
                f"{_describe_rate(truth)}"
            )
        template, topology = truth.template(clip), truth.mesh.topology
        try:
            measured = metrics.measure(predicted, true, template, topology, settings.closure_mm)
        except DataError as error:
            raise DataError(f"{where or clip}: {error} (clip {clip})") from error
        energies = _motion_energies(predicted, true, topology.regions.get("lips"))
        fractions = {**measured.fractions, **energies}
        self.clip_scores.append(
            ClipScores(clip, truth.subjects[clip], style, measured.n_frames, fractions)
        )
        self.errors[clip, style] = measured.lip_errors
        zero = np.zeros_like(measured.vertex_errors)
        self.vertex_errors = (
            zero if self.vertex_errors is None else self.vertex_errors
        ) + measured.vertex_errors
        self.n_frames += measured.n_frames
        self.n_cut += max(n_missing, 0)

    def add_diversity(self, clip: str, subject: str, motions: Sequence[Vertices]) -> None:
        """Measure how much predictions of one clip in several styles differ."""
        value = metrics.diversity(motions)
        self.clip_scores.append(ClipScores(clip, subject, None, 0, {"diversity": (value, 1.0)}))

    def join(self, others: Iterable["Scores"]) -> "Scores":
        """Return these results combined with those of others, sorted by clip."""
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
        """Return the value of a metric with its confidence interval."""
        return metrics.summarize(
            self.clip_scores,
            name,
            n_samples=settings.resamples,
            confidence=settings.confidence,
            seed=settings.seed,
        )

    def results(self) -> list[ClipScores]:
        """Return the entries of one clip in one style, without those of diversity."""
        return [score for score in self.clip_scores if score.n_frames]


def _motion_energies(
    predicted: Vertices, true: Vertices, lips: np.ndarray | None
) -> dict[str, tuple[float, float]]:
    """Return the motion energies of the prediction and of the truth, by the names of ``ENERGIES``.

    Args:
        predicted: (T, V, 3) predicted vertices.
        true: (T, V, 3) true vertices; the longer of the two is cut.
        lips: Vertices of the lips, or None.
    """
    n_frames = min(len(predicted), len(true))
    size = max(1, BLOCK_BYTES // (true.shape[1] * 24))
    sums = {name: np.zeros(2) for name in ENERGIES if name != "lip_energy" or lips is not None}
    for start in range(0, n_frames - 1, size):
        for k, vertices in enumerate((predicted, true)):
            block = np.asarray(vertices[start : min(start + size + 1, n_frames)])
            for name, energies in sums.items():
                energies[k] += squared_steps(block[:, lips] if name == "lip_energy" else block)
    return {name: (float(made), float(expected)) for name, (made, expected) in sums.items()}


def _describe_rate(truth: Truth) -> str:
    if truth.data is None:
        return "the frame rate of the truth"
    return f"{truth.data.manifest.fps:g} frames per second"


def score_pairs(
    pairs: Sequence[Pair],
    truth: Truth,
    settings: EvaluateSettings,
    metric_names: Sequence[str] = (),
    progress: Progress | None = None,
    failed: list[dict[str, str]] | None = None,
) -> Scores:
    """Measure the predictions that are selected by the style rule ``settings.style``.

    Diversity is measured over all styles of a clip, whatever the rule.

    Args:
        pairs: The predictions.
        truth: The ground-truth clips.
        settings: The evaluation settings.
        metric_names: Names of the metrics to measure; empty: all. Leaving out ``diversity`` skips
            a slow computation (quadratic in the number of styles).
        progress: Called with the number of clips done and the total.
        failed: Receives the predictions that cannot be measured, or that ``check_comparable``
            refuses. None: nothing is compared, and the first fault is an error.

    Raises:
        DataError: A prediction cannot be measured, and ``failed`` is None.
    """
    scores = Scores()
    by_clip: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_clip.setdefault(pair.clip, []).append(pair)
    for done, (clip, clip_pairs) in enumerate(by_clip.items(), 1):
        subject = truth.subjects[clip]
        selected = select_pairs(clip_pairs, settings.style, subject)
        for pair in list(clip_pairs):
            try:
                if failed is not None:
                    check_comparable(pair, truth)
                if pair in selected:
                    _score_pair(scores, pair, truth, settings)
            except Exception as error:
                if failed is None:
                    raise
                record_failure(str(pair.path), failed, error_of_item(error))
                clip_pairs.remove(pair)
        if len(clip_pairs) > 1 and (not metric_names or "diversity" in metric_names):
            motions = [truth.prediction(clip, pair.path).vertices for pair in clip_pairs]
            scores.add_diversity(clip, subject, motions)
        if progress is not None:
            progress(done, len(by_clip))
    return scores


def _score_pair(scores: Scores, pair: Pair, truth: Truth, settings: EvaluateSettings) -> None:
    vertices = truth.prediction(pair.clip, pair.path).vertices
    scores.add(vertices, pair.clip, pair.style, truth, settings, str(pair.path))


def describe(value: Value, name: str, topology: Topology) -> dict[str, Any]:
    """Return a value as data for JSON; ``lacking`` is the reason if there is no value."""
    reason = metrics.lacking(name, topology)
    if value.value is None and not reason:
        reason = (
            "no clip was predicted in several styles"
            if name == "diversity"
            else "the lips of the prediction never close"
            if name == "lip_closure_precision"
            else "the lips of the truth never close"
            if name == "lip_closure_recall"
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
    """Return the header and rows of a table with one row per model, clip and style.

    Args:
        scores: Model → its results.
        names: Metric names.
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
    """Log that a clip could not be evaluated, and add it with the reason to ``failed``."""
    reason = str(error).removeprefix(f"{what}: ")
    logger.warning("failed: %s: %s", what, reason)
    failed.append({"clip": what, "reason": reason})
