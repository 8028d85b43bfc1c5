"""Cut long recordings into segments, and compute the weights of their cross-fades.

Each segment is decoded with some speech before and after it, so that the model has warmed up when
the segment starts. Each cut is placed at the quietest point in the second half of the longest
possible segment, in a pause if there is one. The segments on both sides of a cut cross-fade.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.easing import smoothstep
from codetalker_cli.settings import DecodeSettings

# The loudness at a cut is the maximum over this many seconds on both sides, so that a short gap
# within a word does not count as a pause.
_PAUSE_SECONDS = 0.15
# The speech after a segment matters less than the speech before it, so half of the warm-up is
# enough there.
_TAIL_SHARE = 0.5


@dataclass(frozen=True)
class Segment:
    """A range of frames of a recording that is decoded separately.

    Attributes:
        start, stop: The range that is decoded, including warm-up and cross-fade.
        first, end: The range between the cuts.
        fade: The number of frames on each side of a cut in which two segments cross-fade.
    """

    start: int
    stop: int
    first: int
    end: int
    fade: int

    @property
    def n_frames(self) -> int:
        """The number of decoded frames."""
        return self.stop - self.start

    def weights(self) -> np.ndarray:
        """Return (n_frames,) float32 weights, which sum to 1 over all segments at each frame."""
        at = np.arange(self.start, self.stop) + 0.5
        rise = fall = np.ones(self.n_frames)
        if self.start < self.first:
            rise = _step((at - self.first) / max(self.fade, 0.5))
        if self.stop > self.end:
            fall = 1.0 - _step((at - self.end) / max(self.fade, 0.5))
        return (rise * fall).astype(np.float32)


def _step(x: np.ndarray) -> np.ndarray:
    """Return a smooth curve that rises from 0 at −1 to 1 at 1."""
    return smoothstep((x + 1) / 2)


def plan_segments(
    samples: np.ndarray, n_frames: int, fps: float, settings: DecodeSettings
) -> list[Segment]:
    """Cut a recording into segments; up to ``settings.whole_frames`` it is a single segment.

    Args:
        samples: (n,) samples at 16 kHz.
        n_frames: The number of motion frames of the recording.
        fps: The frame rate of the motion.
        settings: The lengths of segments, warm-up and cross-fade.
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
    """Return the (n_frames,) maximum RMS level within ``_PAUSE_SECONDS`` of each frame."""
    starts = np.minimum((np.arange(n_frames) * SAMPLE_RATE / fps).astype(int), len(samples) - 1)
    sums = np.add.reduceat(np.square(samples, dtype=np.float32), starts, dtype=np.float64)
    level = np.sqrt(sums / np.maximum(np.diff(starts, append=len(samples)), 1))
    reach = max(1, round(_PAUSE_SECONDS * fps))
    padded = np.pad(level, reach, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)


def _cuts(loudness: np.ndarray, longest: int) -> list[int]:
    """Return the cuts, i.e. the first frame of each segment after the first one.

    Segments have from ``longest`` / 2 to ``longest`` frames; the last one can be shorter.
    """
    cuts: list[int] = []
    at, n_frames = 0, len(loudness)
    while n_frames - at > longest:
        low, high = at + (longest + 1) // 2, min(at + longest, n_frames - longest // 4)
        choice = loudness[low : high + 1]
        at = high - int(np.argmin(choice[::-1]))  # the last minimum, for fewer segments
        cuts.append(at)
    return cuts
