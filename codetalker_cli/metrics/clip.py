"""Compare a clip with the truth in one pass over both, and summarize many clips.

Memory use does not depend on the length of a clip.

Each metric of a clip is stored as a fraction (sum, count). A summary adds up the sums and the
counts of its clips. For metrics that are counted in frames, this is the mean over all frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from codetalker_cli.errors import DataError
from codetalker_cli.face_fit import collapsed
from codetalker_cli.metrics.definitions import (
    closures,
    distances,
    lacking,
    lip_errors,
    squared_motion,
)
from codetalker_cli.motion import Vertices
from codetalker_cli.topology import Topology

BLOCK_BYTES = 16 << 20
"""Size of the float64 vertices that are processed at a time."""

ABSURD = 1e4
"""Coordinates that exceed those of the template by this factor are damaged."""

Ratio = tuple[float, float | int]
"""A sum and the number of items in it."""


@dataclass(frozen=True)
class Measurement:
    """The measurements of one clip.

    Attributes:
        fractions: The sum and count of each metric that the topology supports, by metric name.
        lip_errors: The result of ``definitions.lip_errors``, or empty without a lip region.
        vertex_errors: The distance of each vertex, summed over the frames.
        n_frames: The number of compared frames.
    """

    fractions: dict[str, Ratio]
    lip_errors: Float64[np.ndarray, " frames"]
    vertex_errors: Float64[np.ndarray, " vertices"]
    n_frames: int


class _RunningDeviation:
    """The standard deviation over time of columns that arrive in blocks (Chan et al. 1983)."""

    def __init__(self, n: int) -> None:
        self._count = 0
        self._mean, self._squares = np.zeros(n), np.zeros(n)

    def add(self, values: Float64[np.ndarray, "frames columns"]) -> None:
        n, mean = len(values), values.mean(0)
        delta = mean - self._mean
        total = self._count + n
        self._squares += np.square(values - mean).sum(0) + delta**2 * (self._count * n / total)
        self._mean += delta * (n / total)
        self._count = total

    def mean_deviation(self) -> float:
        return float(np.sqrt(self._squares / self._count).mean())


def measure(
    predicted: Float[Vertices, "predicted_frames predicted_vertices _"],
    true: Float[Vertices, "frames vertices _"],
    template: Float[np.ndarray, "vertices 3"],
    topology: Topology,
    closed_mm: float = 1.0,
) -> Measurement:
    """Compare a prediction with the truth over the frames that both have.

    Args:
        predicted: The predicted vertices. Memory maps are read in blocks.
        true: The true vertices.
        template: The neutral face of the subject.
        topology: The topology, whose regions and unit determine which metrics are computed.
        closed_mm: The distance between the inner lips, in millimeters, below which the mouth
            counts as closed.

    Returns:
        The measurements of the clip.

    Raises:
        DataError: The number of vertices is not that of the topology, there are no frames, or
            coordinates are NaN, infinite or absurdly large.
    """
    for name, shape in (("prediction", predicted.shape), ("truth", true.shape)):
        if shape[1:] != (topology.n_vertices, 3):
            raise DataError(
                f"the {name} has {shape[1]} vertices per frame, expected {topology.n_vertices}"
            )
    if not np.isfinite(template).all():
        raise DataError("the template contains NaN or infinite coordinates")
    n_frames = min(len(predicted), len(true))
    if not n_frames:
        raise DataError("the prediction or the truth has no frames")
    sums = _MetricSums(template, topology, closed_mm)
    size = max(1, BLOCK_BYTES // (topology.n_vertices * 24))
    for start in range(0, n_frames, size):
        stop = min(start + size, n_frames)
        parts = []
        for name, vertices in (("prediction", predicted), ("truth", true)):
            part = np.asarray(vertices[start:stop])
            finite = np.isfinite(part).all((1, 2))
            if not finite.all():
                frame = start + int(np.flatnonzero(~finite)[0])
                raise DataError(f"frame {frame} of the {name} has NaN or infinite coordinates")
            if (lost := collapsed(part, template)).any():
                raise DataError(
                    f"frame {start + int(lost.argmax())} of the {name} has all vertices at one "
                    "point, as if the face was not tracked; repair or remove the clip"
                )
            _refuse_absurd(part, start, name, template)
            parts.append(part)
        sums.add(*parts)
    return sums.result()


def _refuse_absurd(
    part: Float[np.ndarray, "frames vertices 3"],
    start: int,
    name: str,
    template: Float[np.ndarray, "vertices 3"],
) -> None:
    """Refuse coordinates that no motion of this face can have, such as 1e30."""
    limit = ABSURD * float(np.abs(template).max())
    largest = np.abs(part).max((1, 2))
    if limit > 0 and largest.max() > limit:
        frame = int(largest.argmax())
        raise DataError(
            f"frame {start + frame} of the {name} has coordinates up to {largest[frame]:.3g}, but "
            f"those of the template are below {limit / ABSURD:.3g}"
        )


class _MetricSums:
    """The sums over the frames that were added so far."""

    def __init__(
        self, template: Float[np.ndarray, "vertices 3"], topology: Topology, closed_mm: float
    ) -> None:
        self._template, self._topology, self._closed_mm = template, topology, closed_mm
        self._lips = topology.regions.get("lips")
        self._upper = topology.regions.get("upper_face")
        self._has_closure = not lacking("lip_closure_recall", topology)
        self._lip_errors: list[np.ndarray] = []
        self._distance = np.zeros(topology.n_vertices)
        self._n_frames = 0
        self._closed = np.zeros(3)  # frames closed in both, in the prediction, in the truth
        n_upper = 0 if self._upper is None else len(self._upper)
        self._deviations = _RunningDeviation(n_upper), _RunningDeviation(n_upper)

    def add(
        self,
        predicted: Float[np.ndarray, "frames vertices 3"],
        true: Float[np.ndarray, "frames vertices 3"],
    ) -> None:
        self._n_frames += len(true)
        self._distance += distances(predicted, true).sum(0)
        if self._lips is not None:
            self._lip_errors.append(lip_errors(predicted, true, self._lips))
        if self._upper is not None:
            for deviation, vertices in zip(self._deviations, (predicted, true), strict=True):
                deviation.add(squared_motion(vertices, self._template, self._upper))
        if self._has_closure:
            predicted_closed, true_closed = (
                closures(self._topology, v, self._closed_mm) for v in (predicted, true)
            )
            self._closed += [
                (predicted_closed & true_closed).sum(),
                predicted_closed.sum(),
                true_closed.sum(),
            ]

    def result(self) -> Measurement:
        n_frames = self._n_frames
        n_vertices = self._topology.n_vertices
        fractions: dict[str, Ratio] = {"mve": (float(self._distance.sum()), n_frames * n_vertices)}
        errors = np.concatenate(self._lip_errors) if self._lip_errors else np.zeros(0)
        if self._lips is not None:
            fractions["lve"] = (float(errors.sum()), n_frames)
            meters = self._topology.meters_per_unit
            if meters is not None:
                fractions["lve_mm"] = (float(np.sqrt(errors).sum()) * meters * 1000.0, n_frames)
        if self._upper is not None:
            predicted_value, true_value = (
                deviation.mean_deviation() for deviation in self._deviations
            )
            fractions["fdd"] = (true_value - predicted_value, 1)
            fractions["fdd_abs"] = (abs(true_value - predicted_value), 1)
        if self._has_closure:
            both, predicted_closed, true_closed = self._closed.tolist()
            fractions["lip_closure_precision"] = (both, predicted_closed)
            fractions["lip_closure_recall"] = (both, true_closed)
        return Measurement(fractions, errors, self._distance, n_frames)


# Summaries over clips -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipScores:
    """The scores of one prediction for one clip.

    Attributes:
        clip: The clip whose truth was compared.
        subject: The subject of the clip.
        style: The speaking style of the prediction, or None.
        n_frames: The number of compared frames.
        fractions: The sum and count of each metric, by metric name.
    """

    clip: str
    subject: str
    style: str | None
    n_frames: int
    fractions: Mapping[str, Ratio]

    def value(self, name: str) -> float | None:
        """Return the value of a metric for this prediction, or None if it has none."""
        total, count = self.fractions.get(name, (0.0, 0.0))
        return total / count if count else None


@dataclass(frozen=True)
class Value:
    """A metric over several clips.

    Attributes:
        value: The total sum divided by the total count, or None if the count is 0.
        low, high: The ends of the confidence interval, or None for fewer than two clips.
        n_clips: The number of clips that have the metric.
        n_results: The number of predictions, which is larger if clips have several styles.
    """

    value: float | None
    low: float | None
    high: float | None
    n_clips: int
    n_results: int


def summarize(
    scores: Sequence[ClipScores],
    name: str,
    *,
    n_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Value:
    """Summarize a metric over clips, with a percentile bootstrap interval (Efron 1979).

    Args:
        scores: The scores of all predictions. Those without the metric are ignored.
        name: The name of the metric.
        n_samples: The number of bootstrap resamples.
        confidence: The confidence level of the interval, between 0 and 1.
        seed: The random seed. The same seed draws the same clips for every metric and model.

    Returns:
        The value, its interval, and the number of clips and predictions.
    """
    # Resample whole clips with all their styles: neither the frames nor the styles of one clip
    # are independent of each other.
    counted = [score for score in scores if name in score.fractions]
    clips: dict[str, np.ndarray] = {}
    for score in counted:
        clips.setdefault(score.clip, np.zeros(2))
        clips[score.clip] += score.fractions[name]
    sums = np.array([clips[clip] for clip in sorted(clips)]).reshape(-1, 2)
    total, count = sums.sum(0).tolist()
    value = total / count if count else None
    low = high = None
    if len(sums) > 1 and value is not None:
        n = len(sums)
        weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_samples)
        # The summation order of matmul is not fixed, so the last digits can differ by machine.
        totals, counts = weights @ sums[:, 0], weights @ sums[:, 1]
        ratios = totals[counts > 0] / counts[counts > 0]
        ends = np.array([0.5 - confidence / 2, 0.5 + confidence / 2])
        low, high = np.quantile(ratios, ends).tolist()
    return Value(value, low, high, len(sums), len(counted))
