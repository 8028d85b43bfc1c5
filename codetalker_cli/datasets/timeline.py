"""Resample numbered raw frames to evenly spaced frames, in sync with their speech.

A hole is a run of missing frames. A hole of up to ``fill_seconds`` is filled by linear
interpolation, and a longer hole splits the clip into two parts. Each part has its own section of
the speech, so that frame k of a part is at k / fps seconds in its audio.

    numbers   4 5 6 8 9 · · · · · 15 16 …      (60 fps; 7 and 10 to 14 are missing)
    part 1    4   6   8                        (30 fps: every second frame; 7 is filled)
    part 2                        15   17 …
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-6
"""A time this close to a raw frame, in frames, is treated as that frame."""


@dataclass(frozen=True)
class ClipPart:
    """A section of a raw clip without long holes.

    Attributes:
        first: The number of the first raw frame.
        last: The number of the last raw frame.
        filled: The numbers of missing frames between them, which are filled.
    """

    first: int
    last: int
    filled: tuple[int, ...]

    def n_frames(self, fps_in: float, fps_out: float) -> int:
        """Return the number of frames after resampling from ``fps_in`` to ``fps_out``."""
        return math.floor((self.last - self.first) * fps_out / fps_in + _ROUNDING) + 1


@dataclass(frozen=True)
class Samples:
    """The two raw frames that each evenly spaced frame is interpolated from.

    Attributes:
        before: (k,) positions of the first raw frames in ``numbers``.
        after: (k,) positions of the second raw frames; equal to ``before`` where the share is 0.
        share: (k,) float64 weights of the second raw frames, in [0, 1).
    """

    before: np.ndarray
    after: np.ndarray
    share: np.ndarray


def split_at_holes(numbers: np.ndarray, fps: float, fill_seconds: float) -> list[ClipPart]:
    """Split (n,) ascending frame numbers at their long holes."""
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
    """Yield the frames of a part at the rate ``fps_out``, in blocks of ``size`` frames.

    If the ratio of the rates is a whole number n, every n-th frame is used unchanged; this matches
    the official code. Otherwise the two neighboring frames are interpolated.
    """
    n = part.n_frames(fps_in, fps_out)
    for start in range(0, n, size):
        times = part.first + np.arange(start, min(start + size, n)) * (fps_in / fps_out)
        nearest = np.rint(times)
        times = np.where(np.abs(times - nearest) < _ROUNDING, nearest, times)
        times = np.minimum(times, part.last)  # rounding can exceed the last frame slightly
        after = np.searchsorted(numbers, times)
        exact = numbers[after] == times
        before = np.where(exact, after, after - 1)
        span = np.where(exact, 1, numbers[after] - numbers[before])
        share = np.where(exact, 0.0, (times - numbers[before]) / span)
        yield Samples(before, after, share)


def speech_start(numbers: np.ndarray, base: int, fps: float, seconds: float) -> int:
    """Return the number of the frame at which the speech of a clip starts.

    Usually this is ``base``, the first number in the data set (0 or 1). If a clip starts with a
    larger number, either its first frames are missing or its numbering has an offset. The
    interpretation that fits the length of the speech better is chosen.

    Args:
        numbers: (n,) ascending frame numbers of the clip.
        base: The number of the first frame of a complete clip.
        fps: The raw frame rate.
        seconds: The length of the speech.
    """
    first, last = int(numbers[0]), int(numbers[-1])
    base = min(base, first)
    from_first = abs(seconds * fps - (last - first + 1))
    from_base = abs(seconds * fps - (last - base + 1))
    return base if from_base < from_first else first
