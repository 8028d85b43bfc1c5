"""The lag between motion and audio.

The mouth usually opens when the speech is loud, so the lips' motion correlates with the loudness.
"""

from dataclasses import dataclass

import numpy as np

CLEAR_PEAK = 0.25
"""The minimum correlation of a lag; that of speech and its own motion is 0.4 to 0.6."""
_RANGE_DB = 40.0
"""A frame that is quieter than the loudest frame by more than this counts as silence."""
_SILENCE_DB = -80.0
"""A recording that never exceeds this level, relative to full scale, counts as silence."""


@dataclass(frozen=True)
class Lag:
    """The lag with the highest correlation between motion and loudness.

    Attributes:
        frames: The lag of the motion behind the audio in frames; negative if the motion is early.
        peak: The correlation at this lag.
        without: The correlation at lag 0.
        n_frames: The length of the two curves.
    """

    frames: int
    peak: float
    without: float
    n_frames: int

    @property
    def is_clear(self) -> bool:
        """Whether the correlation is too high for unrelated curves of this length."""
        return self.peak > max(CLEAR_PEAK, 4 / max(self.n_frames, 1) ** 0.5)


def loudness_curve(level: np.ndarray) -> np.ndarray:
    """Map levels in dB to (T,) loudness from 0 (silence) to 1 (the loudest frame)."""
    loudest = max(float(level.max(initial=_SILENCE_DB)), _SILENCE_DB + _RANGE_DB)
    return np.clip((level - loudest) / _RANGE_DB + 1, 0, 1)


def correlation(motion: np.ndarray, loudness: np.ndarray, n_lags: int) -> np.ndarray:
    """Return the (2 n_lags + 1,) correlation at lags from -n_lags to n_lags frames.

    The correlation is not corrected for the smaller overlap at large lags. It is 0 if a curve is
    constant or not finite.
    """
    n = min(len(motion), len(loudness))
    a, b = (np.asarray(x[:n], np.float64) for x in (motion, loudness))
    result = np.zeros(2 * n_lags + 1)
    if n < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return result
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    if scale <= 1e-12 * n:
        return result
    whole = np.correlate(a, b, "full") / scale  # lag 0 is at index n - 1
    reach = min(n_lags, n - 1)
    result[n_lags - reach : n_lags + reach + 1] = whole[n - 1 - reach : n + reach]
    return result


def best_lag(curve: np.ndarray, n_frames: int) -> Lag:
    """Return the lag at the maximum of a correlation; ``n_frames`` is the length of its curves."""
    middle, best = len(curve) // 2, int(curve.argmax())
    return Lag(best - middle, float(curve[best]), float(curve[middle]), n_frames)


def loudness(samples: np.ndarray, rate: int, fps: float, n_frames: int) -> np.ndarray:
    """Return the (T,) RMS level within one frame before and after each frame, in dBFS."""
    centers = np.arange(n_frames) / fps * rate
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = np.clip(np.rint(centers - rate / fps), 0, len(samples)).astype(int)
    stop = np.clip(np.rint(centers + rate / fps), 0, len(samples)).astype(int)
    mean = (power[stop] - power[start]) / np.maximum(stop - start, 1)
    return 10 * np.log10(np.maximum(mean, 1e-10))
