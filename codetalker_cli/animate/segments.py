"""Long recordings: where they are cut into segments, and how the segments are joined again.

A segment is decoded together with some speech of its neighbors, so that the model has warmed up
before its own frames begin. It ends in the quietest place of its second half, a pause if there is
one. Around a cut the two segments cross-fade.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.settings import DecodeSettings

_PAUSE_SECONDS = 0.15
"""On both sides of a cut; the loudest sound within it says how quiet the place is."""
_TAIL_SHARE = 0.5
"""Share of the warm-up that is also decoded after the end; later speech matters less."""


@dataclass(frozen=True)
class Segment:
    """Frames of a recording that are decoded together.

    Attributes:
        start, stop: What is decoded.
        first, end: The cuts on both sides.
        fade: Frames on each side of a cut in which two segments cross-fade.
    """

    start: int
    stop: int
    first: int
    end: int
    fade: int

    @property
    def n_frames(self) -> int:
        """How many are decoded."""
        return self.stop - self.start

    def weights(self) -> np.ndarray:
        """(n_frames,) float32 weights; with those of all other segments they sum to 1."""
        at = np.arange(self.start, self.stop) + 0.5
        rise = fall = np.ones(self.n_frames)
        if self.start < self.first:
            rise = _step((at - self.first) / max(self.fade, 0.5))
        if self.stop > self.end:
            fall = 1.0 - _step((at - self.end) / max(self.fade, 0.5))
        return (rise * fall).astype(np.float32)


def _step(x: np.ndarray) -> np.ndarray:
    """From 0 at −1 to 1 at 1, smoothly (3t² − 2t³)."""
    t = np.clip((x + 1) / 2, 0, 1)
    return t * t * (3 - 2 * t)


def plan_segments(
    samples: np.ndarray, n_frames: int, fps: float, settings: DecodeSettings
) -> list[Segment]:
    """The segments of a recording; one if it may be decoded whole.

    Args:
        samples: (n,) at 16 kHz.
        n_frames: Motion frames of the whole.
        fps: Motion frames a second.
        settings: Lengths.
    """
    if n_frames <= settings.whole_frames:
        return [Segment(0, n_frames, 0, n_frames, 0)]
    longest = max(2, round(settings.segment_seconds * fps))
    cuts = [0, *_cuts(_loudness(samples, n_frames, fps), longest), n_frames]
    fade = round(settings.crossfade_seconds * fps / 2)
    lead = fade + round(settings.warmup_seconds * fps)
    tail = fade + round(settings.warmup_seconds * fps * _TAIL_SHARE)
    return [
        Segment(max(0, first - lead), min(n_frames, end + tail), first, end, fade)
        for first, end in pairwise(cuts)
    ]


def _loudness(samples: np.ndarray, n_frames: int, fps: float) -> np.ndarray:
    """(n_frames,) loudest root mean square among the frames half a pause around each."""
    starts = np.minimum((np.arange(n_frames) * SAMPLE_RATE / fps).astype(int), len(samples) - 1)
    sums = np.add.reduceat(np.square(samples, dtype=np.float32), starts, dtype=np.float64)
    level = np.sqrt(sums / np.maximum(np.diff(starts, append=len(samples)), 1))
    reach = max(1, round(_PAUSE_SECONDS * fps))
    padded = np.pad(level, reach, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)


def _cuts(loudness: np.ndarray, longest: int) -> list[int]:
    """Frames to cut in front of: each segment is from half of ``longest`` to ``longest`` long, but
    for the last, which may be shorter.
    """
    cuts: list[int] = []
    at, n_frames = 0, len(loudness)
    while n_frames - at > longest:
        low, high = at + (longest + 1) // 2, min(at + longest, n_frames - longest // 4)
        choice = loudness[low : high + 1]
        at = high - int(np.argmin(choice[::-1]))  # of equals the last: fewer segments
        cuts.append(at)
    return cuts
