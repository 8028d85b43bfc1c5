"""What is wrong with one clip: NaN, changed bytes, no motion, jumps, another length than its sound;
and with several of them: the same motion twice.
"""

import numpy as np

from codetalker_cli.datasets.inspect.clips import ClipMotion
from codetalker_cli.datasets.inspect.findings import Findings, join_names
from codetalker_cli.datasets.inspect.speech import ClipSpeech
from codetalker_cli.datasets.inspect.statistics import ClipStatistics
from codetalker_cli.datasets.manifest import PREPARE_AGAIN, ClipEntry
from codetalker_cli.workspace import MANIFEST

_LENGTH_SECONDS = 0.2
"""Sound and motion that differ by more than this cannot be a matter of rounding."""
_RATE, _RATE_CLIPS, _RATE_FRAMES = 0.03, 4, 2
"""From this difference on, in so many clips, sound and motion have another rate."""
_STILL = 1e-5
"""Root mean square steps, in parts of the face's size, below which nothing moves."""
_REPEATED = 0.25
"""Part of the frames that may repeat the one before to the last bit."""
_JUMP, _HARD_JUMP = 3.5, 7.0
"""Steps so many times as large as large steps usually are stand out; speech stays below 2."""
_LEAP = 1.25
"""Leaps of single vertices are a little wilder than the steps of the whole face."""


def check_motion(entry: ClipEntry, motion: ClipMotion, size: float, findings: Findings) -> None:
    """NaN, bytes that were changed, and clips without motion.

    Args:
        entry: The clip.
        motion: Of it.
        size: Diagonal of the face.
        findings: Gets what is found.
    """
    if motion.bad is not None:
        frame, vertex = motion.bad
        findings.problem(
            "nan",
            entry.name,
            f"{motion.n_bad} of {motion.n_frames} frames hold NaN, infinite or absurd numbers "
            f"(first: frame {frame}, vertex {vertex}); mend or leave out the raw clip",
        )
    complete = entry.n_frames < 0 or entry.n_frames == motion.n_frames  # else told already
    if entry.sha256 and complete and motion.digest != entry.sha256:
        findings.problem(
            "hash",
            entry.name,
            "the vertices are not those that the clip table has a hash of: changed or damaged; "
            f"{PREPARE_AGAIN}",
        )
    steps = motion.steps[np.isfinite(motion.steps)]
    if entry.is_silent:
        return  # its face may rest
    if not motion.n_bad and steps.max(initial=0.0) <= _STILL * size:
        findings.problem(
            "motionless",
            entry.name,
            f"nothing moves in its {motion.n_frames} frames; leave out the raw clip",
        )
    elif (share := float(np.sum(steps == 0) / max(len(steps), 1))) > _REPEATED:
        findings.note(
            "repeated",
            entry.name,
            f"{100 * share:.0f} % of its frames repeat the one before exactly: stretched from a "
            "lower frame rate? give the true rate of the raw data",
        )


def check_length(
    entry: ClipEntry, n_frames: int, fps: float, audio: ClipSpeech | None, findings: Findings
) -> None:
    """Sound and motion of different length."""
    if audio is None or fps <= 0:
        return
    excess = audio.seconds - n_frames / fps
    if abs(excess) * fps <= 1 + 1e-6:
        return
    add = findings.problem if abs(excess) > _LENGTH_SECONDS else findings.note
    add(
        "length",
        entry.name,
        f"the sound lasts {audio.seconds:.2f} s, the motion {n_frames / fps:.2f} s: {excess:+.2f} "
        f"s ({excess * fps:+.1f} frames); check the frame rate ({fps:g}), and that nothing is cut "
        "off",
    )


def check_rate(clips: list[ClipStatistics], fps: float, findings: Findings) -> None:
    """Sound that is longer or shorter than the motion by the same factor in all clips."""
    pairs = [
        (clip.audio.seconds * fps, len(clip.energy)) for clip in clips if clip.audio is not None
    ]
    if fps <= 0 or len(pairs) < _RATE_CLIPS:
        return
    factors = np.array([audio_frames / motion_frames for audio_frames, motion_frames in pairs])
    factor = float(np.median(factors))
    # Within a frame or two it may be how the sound was cut or coded.
    difference = float(
        np.median([abs(audio_frames - motion_frames) for audio_frames, motion_frames in pairs])
    )
    is_same = np.median(np.abs(factors - factor)) < _RATE / 3
    if abs(factor - 1) > _RATE and is_same and difference > _RATE_FRAMES:
        findings.problem(
            "rate",
            MANIFEST,
            f"the sound lasts {factor:.3g} times as long as the motion in all clips: the frames "
            f"come at {fps / factor:.4g} a second, not {fps:g}? give the true rate of the raw data",
        )


def check_jumps(clips: list[ClipStatistics], fps: float, findings: Findings) -> None:
    """Frames that differ from the one before by far more than is usual in the data set."""
    usual_step = _usual_size([clip.steps for clip in clips])
    usual_leap = _usual_size([clip.leaps for clip in clips])
    if not usual_step:
        return
    for clip in clips:
        step = clip.steps / max(_usual_size([clip.steps]), usual_step)
        leap = clip.leaps / max(_usual_size([clip.leaps]), usual_leap) / _LEAP
        ratios = np.nan_to_num(np.maximum(step, leap), nan=0, posinf=0)  # NaN is told elsewhere
        large = np.flatnonzero(ratios > _JUMP)
        if not len(large):
            continue
        worst = int(ratios.argmax())
        frame, what = worst + 1, "jumps away from the one before (a cut, or missing frames?)"
        for first in (worst, worst - 1):
            if {first, first + 1} <= set(large):
                frame, what = first + 1, "stands out from both of its neighbors"
                break
        when = f" ({frame / fps:.2f} s)" if fps > 0 else ""
        suffix = f"; {len(large)} such steps in all" if len(large) > 1 else ""
        add = findings.problem if ratios[worst] > _HARD_JUMP else findings.note
        add(
            "jump",
            clip.name,
            f"frame {frame}{when} {what}: a step {ratios[worst]:.1f} times as large as large steps "
            f"are{suffix}; look at the raw frames",
        )


def _usual_size(steps: list[np.ndarray]) -> float:
    """What is large among usual steps; 0 where there are none."""
    each = [x[np.isfinite(x) & (x > 0)] for x in steps]
    large = [float(np.quantile(x, 0.95)) for x in each if len(x)]
    return float(np.median(large)) if large else 0.0


def check_twins(digests: dict[str, list[str]], what: str, findings: Findings) -> None:
    """Clips of the same content.

    Args:
        digests: Digest → names of the clips that have it.
        what: ``motion`` or ``speech``.
        findings: Gets what is found.
    """
    for names in digests.values():
        if len(names) < 2:
            continue
        others = join_names(names[1:])
        if what == "motion":
            findings.problem(
                "twins", names[0], f"has the same motion as {others}; keep one of them"
            )
        else:
            findings.note("twins", names[0], f"has the same speech as {others}")
