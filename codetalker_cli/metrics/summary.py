"""Clips put together: a value of each metric, with a bootstrap interval over clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codetalker_cli.metrics.clip import Fraction


@dataclass(frozen=True)
class Row:
    """What one result of one clip adds to every metric.

    Attributes:
        clip: Whose truth it was compared with.
        subject: Whose face.
        style: Whose way of speaking, or None.
        n_frames: Frames compared.
        fractions: Metric name → (sum, of how many).
    """

    clip: str
    subject: str
    style: str | None
    n_frames: int
    fractions: Mapping[str, Fraction]

    def value(self, name: str) -> float | None:
        """This row's own value of a metric, or None."""
        total, count = self.fractions.get(name, (0.0, 0.0))
        return total / count if count else None


@dataclass(frozen=True)
class Value:
    """A metric over several clips.

    Attributes:
        value: Sum over sum; None where there is nothing to divide by.
        low, high: Ends of the interval; None for fewer than two clips.
        n_clips: Clips that count.
        n_results: Results: one clip may be there in several styles.
    """

    value: float | None
    low: float | None
    high: float | None
    n_clips: int
    n_results: int


def summarize(
    rows: Sequence[Row],
    name: str,
    *,
    n_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Value:
    """A metric over rows, with a percentile bootstrap interval (Efron 1979).

    What is drawn anew are clips, each with all of its styles: results of one clip depend on each
    other, and frames of one clip still more.

    Args:
        rows: Those without the metric count nothing.
        name: The metric.
        n_samples: Draws.
        confidence: Of the interval.
        seed: Of the draws; the same clips are drawn for every metric and every model.
    """
    used = [row for row in rows if name in row.fractions]
    clips: dict[str, np.ndarray] = {}
    for row in used:
        clips.setdefault(row.clip, np.zeros(2))
        clips[row.clip] += row.fractions[name]
    sums = np.array([clips[clip] for clip in sorted(clips)]).reshape(-1, 2)
    total, count = sums.sum(0).tolist()
    value = total / count if count else None
    low = high = None
    if len(sums) > 1 and value is not None:
        n = len(sums)
        weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_samples)
        # matmul's order of sums may differ between machines in the last digits only
        totals, counts = weights @ sums[:, 0], weights @ sums[:, 1]
        drawn = totals[counts > 0] / counts[counts > 0]
        ends = np.array([0.5 - confidence / 2, 0.5 + confidence / 2])
        low, high = np.quantile(drawn, ends).tolist()
    return Value(value, low, high, len(sums), len(used))
