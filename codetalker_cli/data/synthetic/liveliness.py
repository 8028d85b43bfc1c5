"""Blinks, brows and gaze: what keeps the upper face of a synthetic talking head alive.

Brows follow the speech (sentence onsets, long and loud words), so a model can learn them from
sound. Blinks and gaze are random, but prefer the places where people blink: pauses and shifts of
gaze.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codetalker_cli.data.synthetic.speech.phones import SILENCE, VOWELS, Phone
from codetalker_cli.data.synthetic.visemes import SpeakingStyle

BLINK_CLOSING_SECONDS = 0.075
BLINK_OPENING_SECONDS = 0.145
DOUBLE_BLINK_SHARE = 0.08
IDLE_UNITS = ("eyeBlink", "eyeLook")
"""How the names of the units begin that move without speech: blinks and gaze."""
PAUSE_SECONDS = 0.25
"""A silence of at least this length ends a phrase."""


def enliven(
    phones: Sequence[Phone],
    n_frames: int,
    fps: float,
    unit_names: Sequence[str],
    style: SpeakingStyle,
    rng: np.random.Generator,
    loudness_db: np.ndarray | None = None,
) -> np.ndarray:
    """(T, U) float64 weights of the upper face's units; zero for all others.

    Args:
        phones: without gaps, silences included.
        n_frames: T.
        fps: frames per second; frame k is at k / fps seconds.
        unit_names: the rig's units.
        style: gives blink rate, brow and gaze activity.
        rng: draws blinks and gaze.
        loudness_db: (n,) level at each frame against the speech's median, in dB, or None.
    """
    times = np.arange(n_frames) / fps
    index = {name: i for i, name in enumerate(unit_names)}
    weights = np.zeros((n_frames, len(unit_names)))
    shifts = _gaze_shifts(n_frames / fps, rng)
    blinks = _blink_times(phones, n_frames / fps, shifts, style.blink_rate_hz, rng)
    lids = _blinks(times, np.round(np.array(blinks) * fps) / fps, rng)
    gaze = _gaze(times, shifts, style.gaze_activity, rng)
    brows = brow_curve(phones, times, loudness_db) * style.brow_activity
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        weights[:, index[f"eyeBlink{side}"]] = lids
        tilt = 1.0 + sign * style.brow_asymmetry
        weights[:, index[f"browOuterUp{side}"]] = np.clip(0.55 * tilt * brows, 0.0, 0.5)
        # +x is the subject's left: the left eye turns out, the right eye in
        turn = sign * gaze[:, 0]
        weights[:, index[f"eyeLookOut{side}"]] = np.maximum(turn, 0.0)
        weights[:, index[f"eyeLookIn{side}"]] = np.maximum(-turn, 0.0)
        weights[:, index[f"eyeLookUp{side}"]] = np.maximum(gaze[:, 1], 0.0)
        # closing lids take the eyes a little down
        weights[:, index[f"eyeLookDown{side}"]] = np.maximum(-gaze[:, 1], 0.0) + 0.1 * lids
        weights[:, index[f"eyeWide{side}"]] = 0.12 * brows * (1.0 - lids)
    weights[:, index["browInnerUp"]] = np.clip(0.8 * brows, 0.0, 0.6)
    return weights


def idle_weights(
    n_frames: int, fps: float, subject: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Blinks and gaze of a face whose speech says nothing of them.

    Args:
        n_frames: T.
        fps: frames per second.
        subject: gives blink rate and gaze activity.
        rng: draws them.

    Returns:
        Unit name → (T,) weights in [0, 1], for eyeBlink* and eyeLook*.
    """
    style = SpeakingStyle.for_subject(subject)
    looks = ("eyeLookOut", "eyeLookIn", "eyeLookUp", "eyeLookDown", "eyeBlink", "eyeWide")
    sided = [f"{unit}{side}" for unit in (*looks, "browOuterUp") for side in ("Left", "Right")]
    names = [*sided, "browInnerUp"]
    quiet = [Phone(SILENCE, 0.0, n_frames / fps)]
    weights = enliven(quiet, n_frames, fps, names, style, rng)
    return {n: weights[:, i] for i, n in enumerate(names) if n.startswith(IDLE_UNITS)}


def brow_curve(
    phones: Sequence[Phone], times: np.ndarray, loudness_db: np.ndarray | None = None
) -> np.ndarray:
    """(T,) height of the brows: a rise at each phrase's onset and at each emphasised vowel.

    A vowel is emphasised that is long against the clip's vowels (and loud, where that is known).
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
            curve = np.maximum(curve, 0.30 * _bump(times, phone.start_seconds - 0.05, 0.16, 0.60))
            after_pause = False
        if phone.label in VOWELS:
            stress = (phone.end_seconds - phone.start_seconds - usual) / spread
            if loudness_db is not None and len(loudness_db) == len(times):
                part = loudness_db[(times >= phone.start_seconds) & (times < phone.end_seconds)]
                stress += 0.15 * float(np.mean(part)) if len(part) else 0.0
            height = 0.28 * float(np.clip((stress - 0.8) / 1.7, 0.0, 1.0))
            curve = np.maximum(curve, height * _bump(times, phone.start_seconds - 0.08, 0.14, 0.40))
    return curve


def _is_pause(phone: Phone) -> bool:
    return phone.label == SILENCE and phone.end_seconds - phone.start_seconds >= PAUSE_SECONDS


def _bump(times: np.ndarray, start: float, rise: float, fall: float) -> np.ndarray:
    """0 → 1 in `rise` seconds, back in `fall` seconds, smooth."""
    x = np.clip((times - start) / rise, 0.0, 1.0)
    y = np.clip((start + rise + fall - times) / fall, 0.0, 1.0)
    x = np.minimum(x, y)
    return x * x * (3.0 - 2.0 * x)


def _gaze_shifts(seconds: float, rng: np.random.Generator) -> list[float]:
    shifts, now = [], 0.0
    while (now := now + 0.35 + float(rng.gamma(2.0, 0.75))) < seconds:
        shifts.append(now)
    return shifts


def _gaze(
    times: np.ndarray, shifts: Sequence[float], activity: float, rng: np.random.Generator
) -> np.ndarray:
    """(T, 2) small horizontal (to the subject's left) and vertical look: fixations and jumps."""
    gaze = np.zeros((len(times), 2))
    here = np.zeros(2)
    for shift in shifts:
        home = rng.random() < 0.5
        there = np.zeros(2) if home else rng.normal(0.0, (0.055, 0.03), 2) * activity
        there = np.clip(there, -0.14, 0.14)
        share = np.clip((times - shift) / 0.045, 0.0, 1.0)[:, None]
        gaze += share * (there - here)
        here = there
    return gaze


def _blink_times(
    phones: Sequence[Phone],
    seconds: float,
    shifts: Sequence[float],
    rate_hz: float,
    rng: np.random.Generator,
) -> list[float]:
    """Moments of full closure. Gamma intervals around 1 / rate, drawn to pauses and gaze shifts."""
    pauses = [p.start_seconds + 0.12 for p in phones if _is_pause(p)]
    attractors = np.array([*pauses, *shifts])
    blinks: list[float] = []
    # the clip is a cut from a longer time, so the first one may come at once
    now = float(rng.uniform(0.0, 1.0 / rate_hz)) + 0.1
    while now < seconds - 0.1:
        moment = now
        if len(attractors):
            nearest = float(attractors[np.argmin(np.abs(attractors - now))])
            if abs(nearest - now) < 0.6 and rng.random() < 0.7:
                moment = nearest
        if moment > (blinks[-1] if blinks else -1.0) + 0.5 and moment > 0.1:
            blinks.append(moment)
            if rng.random() < DOUBLE_BLINK_SHARE:
                blinks.append(moment + 0.32)
        now += 0.6 + float(rng.gamma(2.0, max(1.0 / rate_hz - 0.6, 0.2) / 2.0))
    return blinks


def _blinks(times: np.ndarray, moments: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T,) lid closure: fast down, slower up; full in the frame of each moment."""
    lids = np.zeros(len(times))
    for moment in moments:
        pace = float(rng.uniform(0.85, 1.2))
        down = np.clip(1.0 - (moment - times) / (BLINK_CLOSING_SECONDS * pace), 0.0, 1.0)
        up = np.clip(1.0 - (times - moment) / (BLINK_OPENING_SECONDS * pace), 0.0, 1.0)
        x = np.minimum(down, up)
        lids = np.maximum(lids, x * x * (3.0 - 2.0 * x))
    return lids
