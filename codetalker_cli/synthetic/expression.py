"""Animate the upper face of a synthetic talking head: blinks, brows and gaze.

The brows follow the speech (phrase onsets and long or loud vowels), so a model can learn them from
audio. Blinks and gaze are idle motion.
"""

from collections.abc import Sequence

import numpy as np

from codetalker_cli.easing import bump
from codetalker_cli.rigs.idle import idle_weights
from codetalker_cli.rigs.rhythm import PAUSE_SECONDS
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.synthetic.speech.phones import SILENCE, VOWELS, Phone


def upper_face_motion(
    phones: Sequence[Phone],
    n_frames: int,
    fps: float,
    unit_names: Sequence[str],
    style: SpeakingStyle,
    rng: np.random.Generator,
    loudness_db: np.ndarray | None = None,
) -> np.ndarray:
    """Return (T, U) float64 weights of the upper-face units; all other units are zero.

    Args:
        phones: The phones and silences, without gaps.
        n_frames: The number of frames T.
        fps: The frame rate in hertz. Frame k is at k / fps seconds.
        unit_names: The names of the rig's U units.
        style: The style that defines the blink rate and the brow and gaze activity.
        rng: The random generator for blinks and gaze.
        loudness_db: (T,) level of each frame relative to the median level, in dB, or None.
    """
    times = np.arange(n_frames) / fps
    index = {name: i for i, name in enumerate(unit_names)}
    weights = np.zeros((n_frames, len(unit_names)))
    pauses = [phone.start_seconds for phone in phones if _is_pause(phone)]
    for name, curve in idle_weights(n_frames, fps, style, rng, pauses).items():
        weights[:, index[name]] = curve
    brows = brow_curve(phones, times, loudness_db) * style.brow_activity
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        tilt = 1.0 + sign * style.brow_asymmetry
        weights[:, index[f"browOuterUp{side}"]] = np.clip(0.55 * tilt * brows, 0.0, 0.5)
        lids = weights[:, index[f"eyeBlink{side}"]]
        weights[:, index[f"eyeWide{side}"]] = 0.12 * brows * (1.0 - lids)
    weights[:, index["browInnerUp"]] = np.clip(0.8 * brows, 0.0, 0.6)
    return weights


def brow_curve(
    phones: Sequence[Phone], times: np.ndarray, loudness_db: np.ndarray | None = None
) -> np.ndarray:
    """Return the (T,) height of the brows, which rise at phrase onsets and emphasized vowels.

    A vowel is emphasized if it is longer than the other vowels of the clip. If the loudness is
    known, louder vowels count as more emphasized.
    """
    curve = np.zeros(len(times))
    vowels = [p for p in phones if p.label in VOWELS]
    if not vowels:
        return curve
    lengths = np.array([p.end_seconds - p.start_seconds for p in vowels])
    usual, spread = float(np.median(lengths)), float(np.std(lengths)) + 0.02
    after_pause = True
    for phone in phones:
        if phone.label == SILENCE:
            after_pause = after_pause or _is_pause(phone)
            continue
        if after_pause:
            curve = np.maximum(curve, 0.30 * bump(times - phone.start_seconds + 0.05, 0.16, 0.60))
            after_pause = False
        if phone.label in VOWELS:
            stress = (phone.end_seconds - phone.start_seconds - usual) / spread
            if loudness_db is not None and len(loudness_db) == len(times):
                part = loudness_db[(times >= phone.start_seconds) & (times < phone.end_seconds)]
                stress += 0.15 * float(np.mean(part)) if len(part) else 0.0
            height = 0.28 * float(np.clip((stress - 0.8) / 1.7, 0.0, 1.0))
            curve = np.maximum(curve, height * bump(times - phone.start_seconds + 0.08, 0.14, 0.40))
    return curve


def _is_pause(phone: Phone) -> bool:
    return phone.label == SILENCE and phone.end_seconds - phone.start_seconds >= PAUSE_SECONDS
