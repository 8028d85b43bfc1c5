"""Convert the times of recorded frames to uniform frames.

Recorders drop frames, and count the frames of a timecode ``HH:MM:SS:FF.fff`` at different rates:
the app Live Link Face counts ``FF`` to 60 at any frame rate, other programs count it to the frame
rate of the take.
"""

import re
from dataclasses import dataclass

import numpy as np

RATES = (23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0)
"""Common frame rates. An estimate that is close to one of them means this one."""
APP_BASE = 60
"""The number to which Live Link Face counts the frames of a second."""
_SNAP = 1.5e-3
"""The relative distance from a common frame rate that counts as an error of the estimate."""
_BASES = (24, 25, 30, 48, 50, 60, 100, 120, 240)
_UNREAL_FRAMES = 30
_DAY_SECONDS = 24 * 3600
_ON_GRID_FRAMES = 0.45
"""Rows that are closer to their frame than this belong to it; otherwise they are interpolated."""
_TIMECODE = re.compile(r"(\d{1,2}):([0-5]?\d):([0-5]?\d)[:;](\d{1,3}(?:\.\d{1,9})?)", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{0,25})?(?:e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)


def parse(text: str) -> tuple[float, float]:
    """Return the whole seconds and the frames of a timecode; the frames are NaN if it is a number.

    Raises:
        ValueError: The text is neither ``HH:MM:SS:FF.fff`` nor a number of seconds.
    """
    text = text.strip()
    if match := _TIMECODE.fullmatch(text):
        hours, minutes, seconds = (int(match[k]) for k in (1, 2, 3))
        return float(3600 * hours + 60 * minutes + seconds), float(match[4])
    if _SECONDS.fullmatch(text):
        return float(text), np.nan
    raise ValueError("expected HH:MM:SS:FF.fff or seconds")


def write(times: np.ndarray) -> list[str]:
    """Return times in seconds as timecodes ``HH:MM:SS:FF.fff``, where FF counts to 60.

    The importer of Unreal Engine assumes that FF counts to 30 if no FF is above 30. The timecodes
    of a take of up to half a second therefore start at a higher FF.
    """
    thousandths = np.round(np.asarray(times, np.float64) * APP_BASE * 1000).astype(np.int64)
    if (thousandths % (APP_BASE * 1000)).max(initial=0) <= _UNREAL_FRAMES * 1000:
        thousandths += (_UNREAL_FRAMES + 1) * 1000
    seconds, frames = np.divmod(thousandths, APP_BASE * 1000)
    minutes, seconds = np.divmod(seconds, 60)
    hours, minutes = np.divmod(minutes, 60)
    fields = zip(hours % 24, minutes, seconds, frames // 1000, frames % 1000, strict=True)
    return [f"{h:02d}:{m:02d}:{s:02d}:{f:02d}.{k:03d}" for h, m, s, f, k in fields]


def to_seconds(whole: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the times in seconds of parsed timecodes, continued over midnight.

    Args:
        whole: (N,) whole seconds.
        frames: (N,) frames within the second, or NaN.
    """
    times = whole + np.nan_to_num(frames) / _base(whole, frames)
    days = np.concatenate([[0], np.cumsum(np.diff(times) < -_DAY_SECONDS / 2)])
    return times + days * _DAY_SECONDS


def _base(whole: np.ndarray, frames: np.ndarray) -> float:
    """Return the number to which the frames of a second are counted.

    Where a second ends, the count continues with the same step if the count of a full second is
    added. A take within one second contains no such place, so the app's number is assumed.
    """
    highest = np.nanmax(frames, initial=0) if np.isfinite(frames).any() else 0
    allowed = [base for base in _BASES if base > highest] or [int(highest) + 1]
    seconds, steps = np.diff(whole), np.diff(frames)
    inside, across = steps[(seconds == 0) & (steps > 0)], steps[seconds == 1]
    across = across[np.isfinite(across)]
    if not len(across) or not len(inside):
        return float(APP_BASE if APP_BASE in allowed else allowed[0])
    estimate = float(np.median(np.median(inside) - across))
    return float(min(allowed, key=lambda base: abs(base - estimate)))


@dataclass(frozen=True)
class Timeline:
    """The uniform frames of a take.

    Attributes:
        fps: The frame rate.
        positions: (N,) the frame numbers of the rows, from 0, strictly increasing. They are whole
            numbers if every row is close to a frame.
    """

    fps: float
    positions: np.ndarray

    @property
    def n_frames(self) -> int:
        """The number of frames T."""
        return int(self.positions[-1] + 0.5) + 1


def uniform(times: np.ndarray) -> Timeline:
    """Estimate the frame rate of rows from their times, and their frame numbers.

    Args:
        times: (N,) strictly increasing times in seconds, N ≥ 2.
    """
    steps = np.diff(times)
    period = float(np.percentile(steps, 50, method="lower"))
    # The mean is exact for times that are rounded to coarse units; skipped frames are left out.
    period = float(steps[(steps > 0.4 * period) & (steps < 1.6 * period)].mean())
    numbers = np.concatenate([[0], np.cumsum(np.maximum(1, np.round(steps / period)))])
    centered = numbers - numbers.mean()
    fps = float((centered @ centered) / (centered @ (times - times.mean())))
    nearest = min(RATES, key=lambda rate: abs(rate / fps - 1))
    fps = nearest if abs(nearest / fps - 1) <= _SNAP else fps
    positions = (times - times[0]) * fps
    offset = float(np.median(positions - numbers))
    on_grid = np.abs(positions - numbers - offset).max() <= _ON_GRID_FRAMES
    return Timeline(fps, numbers if on_grid else positions)
