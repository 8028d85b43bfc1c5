"""Check clips: NaN, changed bytes, missing motion, jumps, length, frame rate and duplicates."""

from collections.abc import Iterable

import numpy as np

from codetalker_cli.datasets.inspect.clips import ClipMotion
from codetalker_cli.datasets.inspect.findings import Findings, join_names
from codetalker_cli.datasets.inspect.speech import ClipSpeech
from codetalker_cli.datasets.inspect.statistics import ClipStatistics
from codetalker_cli.datasets.manifest import PREPARE_AGAIN, ClipEntry
from codetalker_cli.errors import counted, verb
from codetalker_cli.workspace import MANIFEST

_LENGTH_SECONDS = 0.2
"""A larger difference between the lengths of audio and motion is not just a rounding error."""
_RATE, _RATE_CLIPS, _RATE_FRAMES = 0.03, 4, 2
"""The minimum relative difference in length, number of clips, and difference in frames for
reporting a wrong frame rate."""
_STILL = 1e-5
"""Smaller steps (root mean square, as a fraction of the face's size) count as no motion."""
_REPEATED = 0.25
"""The largest acceptable fraction of frames that are identical to the previous frame."""
# In normal speech, the ratio stays below 2.
_JUMP, _HARD_JUMP = 3.5, 7.0
"""The steps that are reported as a note and as a problem, in multiples of a typical large step."""
# The largest leap of a single vertex varies slightly more than the step of the whole face.
_LEAP = 1.25
"""Leaps are divided by this factor before they are compared with steps."""


def check_motion(entry: ClipEntry, motion: ClipMotion, size: float, findings: Findings) -> None:
    """Report NaN, changed bytes and missing motion.

    Args:
        entry: The row of the clip table.
        motion: The measured motion of the clip.
        size: The diagonal of the face.
        findings: Receives the findings.
    """
    if motion.bad is not None:
        frame, vertex = motion.bad
        findings.problem(
            "nan",
            entry.name,
            f"{motion.n_bad} of {counted(motion.n_frames, 'frame')} "
            f"{verb(motion.n_bad, 'contains', 'contain')} NaN, infinite or huge numbers "
            f"(first: frame {frame}, vertex {vertex}); repair or remove the raw clip",
        )
    # A wrong length is reported when the header is read.
    complete = entry.n_frames < 0 or entry.n_frames == motion.n_frames
    if entry.sha256 and complete and motion.digest != entry.sha256:
        findings.problem(
            "hash",
            entry.name,
            "the vertices do not match their hash in the clip table, so they were changed or "
            f"damaged; {PREPARE_AGAIN}",
        )
    steps = motion.steps[np.isfinite(motion.steps)]
    if entry.is_silent:
        return  # without speech, the face may be motionless
    if not motion.n_bad and steps.max(initial=0.0) <= _STILL * size:
        findings.problem(
            "motionless",
            entry.name,
            f"nothing moves in its {counted(motion.n_frames, 'frame')}; remove the raw clip",
        )
    elif (share := float(np.sum(steps == 0) / max(len(steps), 1))) > _REPEATED:
        findings.note(
            "repeated",
            entry.name,
            f"{100 * share:.0f} % of its frames are identical to the previous frame, as if it had "
            "been captured at a lower frame rate; check the frame rate of the raw data",
        )


def check_length(
    entry: ClipEntry, n_frames: int, fps: float, audio: ClipSpeech | None, findings: Findings
) -> None:
    """Report a difference between the lengths of audio and motion."""
    if audio is None or fps <= 0:
        return
    excess = audio.seconds - n_frames / fps
    if abs(excess) * fps <= 1 + 1e-6:
        return
    add = findings.problem if abs(excess) > _LENGTH_SECONDS else findings.note
    add(
        "length",
        entry.name,
        f"the audio lasts {audio.seconds:.2f} s and the motion {n_frames / fps:.2f} s, a "
        f"difference of {excess:+.2f} s ({excess * fps:+.1f} frames); check the frame rate "
        f"({fps:g}), and whether the audio or the motion is cut short",
    )


def check_rate(clips: list[ClipStatistics], fps: float, findings: Findings) -> None:
    """Report audio that is longer or shorter than the motion by the same factor in all clips."""
    pairs = [
        (clip.audio.seconds * fps, len(clip.energy)) for clip in clips if clip.audio is not None
    ]
    if fps <= 0 or len(pairs) < _RATE_CLIPS:
        return
    factors = np.array([audio_frames / motion_frames for audio_frames, motion_frames in pairs])
    factor = float(np.median(factors))
    # A difference of one or two frames can come from trimming or encoding the audio.
    difference = float(
        np.median([abs(audio_frames - motion_frames) for audio_frames, motion_frames in pairs])
    )
    is_same = np.median(np.abs(factors - factor)) < _RATE / 3
    if abs(factor - 1) > _RATE and is_same and difference > _RATE_FRAMES:
        findings.problem(
            "rate",
            MANIFEST,
            f"the audio lasts {factor:.3g} times as long as the motion in all clips, so the frame "
            f"rate may be {fps / factor:.4g}, not {fps:g}; check the frame rate of the raw data",
        )


def check_jumps(clips: list[ClipStatistics], fps: float, findings: Findings) -> None:
    """Report frames that differ far more from the previous frame than usual in the data set."""
    usual_step = _usual_size([clip.steps for clip in clips])
    usual_leap = _usual_size([clip.leaps for clip in clips])
    if not usual_step:
        return
    for clip in clips:
        step = clip.steps / max(_usual_size([clip.steps]), usual_step)
        leap = clip.leaps / max(_usual_size([clip.leaps]), usual_leap) / _LEAP
        ratios = np.nan_to_num(np.maximum(step, leap), nan=0, posinf=0)  # check_motion reports NaN
        large = np.flatnonzero(ratios > _JUMP)
        if not len(large):
            continue
        worst = int(ratios.argmax())
        frame, what = worst + 1, "jumps away from the previous frame (a cut, or missing frames)"
        for first in (worst, worst - 1):
            if {first, first + 1} <= set(large):
                frame, what = first + 1, "differs strongly from both of its neighbors"
                break
        when = f" ({frame / fps:.2f} s)" if fps > 0 else ""
        suffix = f", one of {len(large)} jumps in this clip" if len(large) > 1 else ""
        add = findings.problem if ratios[worst] > _HARD_JUMP else findings.note
        add(
            "jump",
            clip.name,
            f"frame {frame}{when} {what}: the step is {ratios[worst]:.1f} times the size of a "
            f"typical large step{suffix}; check the raw frames",
        )


def _usual_size(steps: list[np.ndarray]) -> float:
    """Return the 95th percentile of each clip's steps, as a median over the clips (or 0)."""
    each = [x[np.isfinite(x) & (x > 0)] for x in steps]
    large = [float(np.quantile(x, 0.95)) for x in each if len(x)]
    return float(np.median(large)) if large else 0.0


def check_twins(clips: Iterable[list[str]], what: str, findings: Findings) -> None:
    """Report clips with identical content.

    Args:
        clips: The names of the clips with each content.
        what: ``motion`` or ``speech``.
        findings: Receives the findings.
    """
    for names in clips:
        if len(names) < 2:
            continue
        others = join_names(names[1:])
        if what == "motion":
            findings.problem(
                "twins", names[0], f"has the same motion as {others}; keep one of them"
            )
        else:
            findings.note("twins", names[0], f"has the same speech as {others}")
