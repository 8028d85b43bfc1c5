"""Measure the lag between motion and audio.

The mouth usually opens when the speech is loud, so the lips' motion correlates with the loudness.
A single clip of two seconds is not enough for a reliable lag. All clips together determine it to
within a frame.
"""

from collections.abc import Sequence

import numpy as np

from codetalker_cli.datasets.inspect.findings import Findings
from codetalker_cli.datasets.inspect.statistics import ClipStatistics
from codetalker_cli.datasets.lag import CLEAR_PEAK, Lag, best_lag, correlation, loudness_curve
from codetalker_cli.workspace import MANIFEST

MOST_SECONDS = 1.0
"""The largest lag that is considered."""
_LAG_SECONDS = 0.12
"""The largest acceptable lag; a mouth moves up to 0.1 s before its sound."""
_PEAK, _GAIN = CLEAR_PEAK, 0.12
"""The minimum correlation, and gain over lag 0, for reporting a lag of the whole data set."""
_CLIP_PEAK, _CLIP_GAIN, _CLIP_SECONDS = 0.35, 0.3, 4.0
"""The minimum correlation, gain and length for reporting a lag of a single clip."""
_MIN_SECONDS = 8.0
"""The minimum total length of the clips for a common lag."""


def check_sync(clips: Sequence[ClipStatistics], fps: float, findings: Findings) -> None:
    """Report a common lag, a lag that grows within the clips, and single clips with a lag."""
    usable, common, known_lag = _usable_clips(clips), common_lag(clips, fps), 0
    if common is None:
        return
    if _is_evident(common, _PEAK, _GAIN, fps):
        known_lag = common.frames
        findings.problem(
            "sync",
            MANIFEST,
            f"the motion is {_lag_phrase(common.frames, fps)} the audio in the whole data set "
            f"(correlation {common.peak:.2f} at this lag, {common.without:.2f} without it); check "
            f"fps ({fps:g}) and where audio and motion start",
        )
    else:
        _check_drift(usable, fps, findings)
    for clip in usable:
        lag = best_lag(_clip_correlation(clip, slice(None), _n_lags(fps)), len(clip.energy))
        if (
            len(clip.energy) >= _CLIP_SECONDS * fps
            and abs(lag.frames - known_lag) > _LAG_SECONDS * fps
            and _is_evident(lag, _CLIP_PEAK, _CLIP_GAIN, fps)
        ):
            findings.note(
                "sync",
                clip.name,
                f"the motion seems to be {_lag_phrase(lag.frames, fps)} the audio (correlation "
                f"{lag.peak:.2f} at this lag, {lag.without:.2f} without it); check the contact "
                "sheet",
            )


def common_lag(clips: Sequence[ClipStatistics], fps: float) -> Lag | None:
    """Return the lag of all clips together; None if they are too short for an estimate."""
    usable = _usable_clips(clips)
    lengths = [len(clip.energy) for clip in usable]
    if fps <= 0 or sum(lengths) < _MIN_SECONDS * fps:
        return None
    curves = [_clip_correlation(clip, slice(None), _n_lags(fps)) for clip in usable]
    return best_lag(np.average(curves, axis=0, weights=lengths), sum(lengths))


def _usable_clips(clips: Sequence[ClipStatistics]) -> list[ClipStatistics]:
    return [
        clip
        for clip in clips
        if clip.audio is not None and len(clip.audio.level) == len(clip.energy) and not clip.n_bad
    ]


def _n_lags(fps: float) -> int:
    return max(1, round(MOST_SECONDS * fps))


def _check_drift(clips: Sequence[ClipStatistics], fps: float, findings: Findings) -> None:
    """Report a difference in lag between the first and the last third of the clips."""
    n_lags = _n_lags(fps)
    lags = []
    for third in (0, 2):
        curves, weights = [], []
        for clip in clips:
            n = len(clip.energy)
            if n >= 3 * fps:
                curves.append(
                    _clip_correlation(clip, slice(n * third // 3, n * (third + 1) // 3), n_lags)
                )
                weights.append(n)
        if sum(weights) < 3 * _MIN_SECONDS * fps:
            return
        lags.append(best_lag(np.average(curves, axis=0, weights=weights), sum(weights) // 3))
    first, last = lags
    if min(first.peak, last.peak) < _PEAK or abs(last.frames - first.frames) < _LAG_SECONDS * fps:
        return
    findings.problem(
        "sync",
        MANIFEST,
        f"audio and motion drift apart: the motion is {_lag_phrase(first.frames, fps)} the audio "
        f"in the first third of the clips and {_lag_phrase(last.frames, fps)} it in the last "
        f"third; check fps ({fps:g})",
    )


def _clip_correlation(clip: ClipStatistics, frames: slice, n_lags: int) -> np.ndarray:
    assert clip.audio is not None
    return correlation(clip.energy[frames], loudness_curve(clip.audio.level)[frames], n_lags)


def _is_evident(lag: Lag, peak: float, gain: float, fps: float) -> bool:
    far = abs(lag.frames) > _LAG_SECONDS * fps
    return far and lag.peak >= peak and lag.peak - lag.without >= gain


def _lag_phrase(frames: int, fps: float) -> str:
    return f"{abs(frames) / fps:.2f} s {'after' if frames > 0 else 'before'}"
