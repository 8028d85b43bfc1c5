"""Numbered raw frames → evenly spaced frames beside their speech.

The rule of holes: missing frames are filled in a straight line where the hole lasts no longer than
``fill_seconds``; a longer hole ends one part and starts the next. Every part takes its own
stretch of the speech along, so that frame k of a part is at k / fps seconds of its sound.

    numbers   4 5 6 8 9 · · · · · 15 16 …      (60 a second; 7 and 10 to 14 are missing)
    part 1    4   6   8                        (30 a second: every second; 7 was filled)
    part 2                        15   17 …
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-6
"""Frames; a wanted moment this near to a raw frame is that frame."""


@dataclass(frozen=True)
class ClipPart:
    """A stretch of a raw clip without long holes.

    Attributes:
        first: Number of its first raw frame.
        last: Number of its last.
        filled: Numbers that are missing within and are filled.
    """

    first: int
    last: int
    filled: tuple[int, ...]

    def n_frames(self, fps_in: float, fps_out: float) -> int:
        """How many frames it has at another rate."""
        return math.floor((self.last - self.first) * fps_out / fps_in + _ROUNDING) + 1


@dataclass(frozen=True)
class Samples:
    """Where evenly spaced frames come from: two raw frames and the share of the second.

    Attributes:
        before: (k,) positions in ``numbers``.
        after: (k,) positions; equal to ``before`` where the share is 0.
        share: (k,) float64 in [0, 1).
    """

    before: np.ndarray
    after: np.ndarray
    share: np.ndarray


def split_at_holes(numbers: np.ndarray, fps: float, fill_seconds: float) -> list[ClipPart]:
    """Cut (n,) ascending frame numbers at their long holes."""
    if len(numbers) == 0:
        return []
    gaps = np.diff(numbers)
    n_missing = gaps - 1
    cuts = np.flatnonzero(n_missing > fill_seconds * fps + _ROUNDING) + 1
    parts = []
    for run in np.split(numbers, cuts):
        first, last = int(run[0]), int(run[-1])
        filled: tuple[int, ...] = ()
        if last - first + 1 != len(run):
            missing = np.setdiff1d(np.arange(first, last + 1), run, assume_unique=True)
            filled = tuple(int(number) for number in missing)
        parts.append(ClipPart(first, last, filled))
    return parts


def sample_blocks(
    numbers: np.ndarray, part: ClipPart, fps_in: float, fps_out: float, size: int
) -> Iterator[Samples]:
    """The frames of a part at the wanted rate, ``size`` at a time.

    A whole ratio of the rates takes every n-th frame untouched, as the reference does; any other
    blends the two neighbors in time.
    """
    n = part.n_frames(fps_in, fps_out)
    for start in range(0, n, size):
        times = part.first + np.arange(start, min(start + size, n)) * (fps_in / fps_out)
        nearest = np.rint(times)
        times = np.where(np.abs(times - nearest) < _ROUNDING, nearest, times)
        times = np.minimum(times, part.last)  # which rounding may pass by a hair
        after = np.searchsorted(numbers, times)
        exact = numbers[after] == times
        before = np.where(exact, after, after - 1)
        span = np.where(exact, 1, numbers[after] - numbers[before])
        share = np.where(exact, 0.0, (times - numbers[before]) / span)
        yield Samples(before, after, share)


def speech_start(numbers: np.ndarray, base: int, fps: float, seconds: float) -> int:
    """Number of the frame that the speech of a clip starts with.

    The speech starts with frame ``base`` of the data set (0 or 1). A clip whose own first number
    is larger either lacks its first frames, or is numbered from elsewhere: the length of its
    speech tells which.
    """
    first, last = int(numbers[0]), int(numbers[-1])
    base = min(base, first)
    from_first = abs(seconds * fps - (last - first + 1))
    from_base = abs(seconds * fps - (last - base + 1))
    return base if from_base < from_first else first
