"""Convert timed phones to face-unit weights, with co-articulation, for the synthetic talking heads.

The weights are computed in four steps:
 1. Each articulator channel (jaw, opening, rounding, spread, tongue) is computed at 240 Hz as the
    dominance-weighted mean of the phones' poses. The dominance windows have compact support, so
    the mouth is exactly at rest in silence. They reach further ahead for rounding than for any
    other channel.
 2. The jaw opening is limited where the lips must touch, and so is its velocity. Both limits reduce
    openings and never affect closures. This produces the undershoot of fast speech.
 3. The curves are sampled at the frame rate, and the lip contacts are pinned to whole frames: the
    lips of p, b, m (and f, v) reach the full contact pose for at least two frames. Pinning comes
    last because the lips only meet beyond 93 % of the way from an open vowel to the contact pose,
    so any later filtering would leave them apart.
 4. Blinks, brows and gaze are added (`codetalker_cli.synthetic.expression`).

Frame k shows the face at k / fps seconds. Weights are in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.synthetic.contacts import LipContacts
from codetalker_cli.synthetic.expression import upper_face_motion
from codetalker_cli.synthetic.speech.phones import SILENCE, VOWELS, Phone, fill_with_silence
from codetalker_cli.synthetic.visemes import (
    ATTACK_SECONDS,
    CHANNELS,
    PHONES,
    RELEASE_SECONDS,
    Articulation,
    Channel,
    VisemePhase,
    channel_of,
)

RATE_HZ = 240.0
PAD_SECONDS = 0.5
JAW_SPEED = 5.0
"""The maximum change of jawOpen per second, about 0.17 m/s at the bundled head's incisors."""
JAW_SLACK = {"PP": 0.12, "FF": 0.08}
"""The extra jaw opening that is allowed during a contact, and that the lips compensate for."""
ONSET_SECONDS = 0.12
"""The time from the start of the mouth motion to the first sound."""
OFFSET_SECONDS = 0.20
"""The time from the last sound until the mouth is at rest."""
SMOOTHING_SECONDS = {"jaw": 0.022, "open": 0.013, "round": 0.020, "spread": 0.018, "tongue": 0.010}
RETAINED_SHAPE = {
    "PP": {"mouthPucker": 0.40, "mouthStretch": 0.50, "mouthSmile": 0.40},
    "FF": {"mouthPucker": 0.08, "mouthStretch": 0.50, "mouthSmile": 0.30},
}
"""The share of the neighbors' rounding and spreading that a contact retains ("pool" has a round p).

mouthFunnel is not retained, because it turns the lips outward and opens them.
"""


class FaceRig(Protocol):
    """The part of `codetalker_cli.rigs.head.Rig` that this module uses."""

    @property
    def unit_names(self) -> Sequence[str]: ...

    @property
    def visemes(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class _TimedPhase:
    """A phase of a phone, with its start and end in seconds."""

    phase: VisemePhase
    phone: Phone
    articulation: Articulation
    start: float
    end: float
    after_silence: bool
    before_silence: bool

    @property
    def is_silent(self) -> bool:
        return self.phone.label == SILENCE


def articulate(
    phones: Sequence[Phone],
    n_frames: int,
    fps: float,
    rig: FaceRig,
    style: SpeakingStyle,
    rng: np.random.Generator,
    loudness_db: np.ndarray | None = None,
) -> np.ndarray:
    """Compute the unit weights of a face that speaks the phones.

    Args:
        phones: The phones in time order, without overlaps. Gaps count as silence.
        n_frames: The number of frames T.
        fps: The frame rate in hertz.
        rig: The rig whose units are driven.
        style: The speaking style.
        rng: The random generator for blinks and gaze. The mouth is deterministic.
        loudness_db: (T,) speech level of each frame relative to the median level, in dB, or None.

    Returns:
        (T, U) float32 in [0, 1], in the order of `rig.unit_names`.

    Raises:
        DataError: A phone has an unknown label, overlaps another one, or is out of order.
    """
    phones = padded_phones(phones, n_frames / fps)
    mouth = mouth_curves(phones, n_frames, fps, rig, style, loudness_db)
    upper = upper_face_motion(phones, n_frames, fps, rig.unit_names, style, rng, loudness_db)
    return np.clip(mouth + upper, 0.0, 1.0).astype(np.float32)


def padded_phones(phones: Sequence[Phone], seconds: float) -> list[Phone]:
    """Return contiguous phones that begin before the clip and end after it.

    Gaps become silences, and adjacent silences are merged.

    Args:
        phones: The phones in time order, without overlaps.
        seconds: The length of the clip.

    Raises:
        DataError: A phone has an unknown label, overlaps another one, or is out of order.
    """
    now = 0.0
    for phone in phones:
        start, end = phone.start_seconds, phone.end_seconds
        if phone.label not in PHONES:
            raise DataError(
                f"phone {phone.label!r} at {start:.3f} s is unknown; use any of {', '.join(PHONES)}"
            )
        if not now - 0.005 <= start <= end:
            raise DataError(
                f"phone {phone.label} at {start:.3f}-{end:.3f} s is out of order: expected it to "
                f"start at or after {now:.3f} s and to end after its start"
            )
        now = end
    spoken = fill_with_silence(phones, seconds)
    if spoken and spoken[0].label == SILENCE:
        spoken = spoken[1:]
    if spoken and spoken[-1].label == SILENCE:
        spoken = spoken[:-1]
    if not spoken:
        return [Phone(SILENCE, -PAD_SECONDS, seconds + PAD_SECONDS)]
    first, last = spoken[0].start_seconds, spoken[-1].end_seconds
    before = Phone(SILENCE, -PAD_SECONDS, first)
    return [before, *spoken, Phone(SILENCE, last, seconds + PAD_SECONDS)]


def mouth_curves(
    phones: Sequence[Phone],
    n_frames: int,
    fps: float,
    rig: FaceRig,
    style: SpeakingStyle,
    loudness_db: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (T, U) float64 mouth weights of `articulate`; `phones` must have no gaps."""
    timed_phases = _place_phases(phones)
    channel = np.array([channel_of(name) for name in rig.unit_names])
    targets = _targets(timed_phases, rig, style, channel, loudness_db, fps)
    frames = np.arange(n_frames) / fps
    contacts = LipContacts(phones, n_frames, fps)
    jaw = list(rig.unit_names).index("jawOpen")

    times = np.arange(-PAD_SECONDS, n_frames / fps + PAD_SECONDS, 1.0 / RATE_HZ)
    curves = _blend(timed_phases, targets, channel, times, style)
    for contact, slack in JAW_SLACK.items():
        ceiling = rig.visemes[contact][jaw] + slack
        for start, end in contacts.intervals(contact):
            near = (times >= start - 0.01) & (times <= end + 0.01)
            curves[near, jaw] = np.minimum(curves[near, jaw], ceiling)
    curves[:, jaw] = limit_speed(curves[:, jaw], JAW_SPEED / RATE_HZ)
    weights = np.stack([np.interp(frames, times, curve) for curve in curves.T], axis=1)
    for contact in ("FF", "PP"):
        weights = _pin_contact(weights, contacts.amount(contact), contact, rig, channel)
    return weights + _mouth_corner_bias(rig, style)


def limit_speed(curve: np.ndarray, step: float) -> np.ndarray:
    """Return the largest curve below `curve` that changes by at most `step` per sample.

    y[i] is the minimum over j of curve[j] + step·|i - j|. Minima are unchanged, and peaks that are
    too steep to reach are lowered.
    """
    ramp = step * np.arange(len(curve))
    forward = np.minimum.accumulate(curve - ramp) + ramp
    return (np.minimum.accumulate((forward - ramp[::-1])[::-1]) + ramp)[::-1]


def _place_phases(phones: Sequence[Phone]) -> list[_TimedPhase]:
    timed_phases = []
    for i, phone in enumerate(phones):
        articulation = PHONES[phone.label]
        start, n_phases = phone.start_seconds, len(articulation.phases)
        for j, phase in enumerate(articulation.phases):
            end = start + phase.share * (phone.end_seconds - phone.start_seconds)
            after = j == 0 and i > 0 and phones[i - 1].label == SILENCE
            last = j == n_phases - 1 and i + 1 < len(phones)
            before = last and phones[i + 1].label == SILENCE
            timed_phases.append(_TimedPhase(phase, phone, articulation, start, end, after, before))
            start = end
    return timed_phases


def _targets(
    timed_phases: Sequence[_TimedPhase],
    rig: FaceRig,
    style: SpeakingStyle,
    channel: np.ndarray,
    loudness_db: np.ndarray | None,
    fps: float,
) -> np.ndarray:
    """Return the (n_phases, U) target pose of each phase in this style.

    The targets of contacts contain only the jaw and the tongue, because the lips are pinned later.
    """
    factor = {
        "jaw": style.amplitude * (1.0 + 0.22 * style.jaw_lip_balance),
        "open": style.amplitude * (1.0 - 0.30 * style.jaw_lip_balance),
        "round": style.rounding,
        "spread": style.spread,
        "tongue": 1.0,
    }
    factors = np.array([factor[c] for c in channel])
    side = np.array([n.endswith("Left") * 1.0 - n.endswith("Right") for n in rig.unit_names])
    lean = 1.0 + style.asymmetry * side * np.isin(channel, ("open", "spread"))
    opening = np.isin(channel, ("jaw", "open"))
    names = list(rig.unit_names)
    targets = np.zeros((len(timed_phases), len(channel)))
    for target, timed_phase in zip(targets, timed_phases, strict=True):
        for viseme, weight in timed_phase.phase.poses.items():
            target += weight * rig.visemes[viseme]
        for unit, weight in timed_phase.phase.units.items():
            target[names.index(unit)] += weight
        np.maximum(target, 0.0, out=target)
        if timed_phase.is_silent:
            continue
        # Speakers differ most in wide openings. Small ones, such as a schwa, are nearly the same.
        jaw = float(target[channel == "jaw"].max(initial=0.0))
        power = float(np.clip(jaw / 0.45, 0.4, 1.0))
        target *= lean * np.where(opening, factors**power, factors)
        if timed_phase.articulation.contact:
            target[~np.isin(channel, ("jaw", "tongue"))] = 0.0
        if timed_phase.phone.label in VOWELS:
            target[opening] *= _vowel_effort(timed_phase.phone, loudness_db, fps)
    return targets


def _vowel_effort(phone: Phone, loudness_db: np.ndarray | None, fps: float) -> float:
    """Return a vowel's opening relative to its full pose; long and loud vowels open more."""
    least = 0.95 if phone.label == "AH" else 0.80  # the pose of AH is already that of a schwa
    start, end = phone.start_seconds, phone.end_seconds
    effort = float(np.clip(0.80 + 2.0 * (end - start - 0.05), least, 1.12))
    if loudness_db is None:
        return effort
    first = int(start * fps)
    part = loudness_db[first : max(int(end * fps), first + 1)]
    level = float(np.mean(part)) if len(part) else 0.0
    return effort * float(np.clip(1.0 + 0.018 * level, 0.88, 1.12))


def _blend(
    timed_phases: Sequence[_TimedPhase],
    targets: np.ndarray,
    channel: np.ndarray,
    times: np.ndarray,
    style: SpeakingStyle,
) -> np.ndarray:
    """Return (n, U) weights at `times`: the smoothed, dominance-weighted mean of the targets."""
    from scipy.ndimage import gaussian_filter1d

    curves = np.zeros((len(times), len(channel)))
    for name in CHANNELS:
        units = np.flatnonzero(channel == name)
        total = np.full(len(times), 1e-6)
        for timed_phase, target in zip(timed_phases, targets, strict=True):
            first, window = _dominance_window(timed_phase, name, times, style.tempo)
            total[first : first + len(window)] += window
            curves[first : first + len(window), units] += window[:, None] * target[units]
        curves[:, units] /= total[:, None]
        sigma = SMOOTHING_SECONDS[name] * style.tempo * RATE_HZ
        curves[:, units] = gaussian_filter1d(curves[:, units], sigma, axis=0, mode="nearest")
    return curves


def _dominance_window(
    timed_phase: _TimedPhase, channel: Channel, times: np.ndarray, tempo: float
) -> tuple[int, np.ndarray]:
    """Return the first sample and the values of a phase's dominance over time."""
    duration = timed_phase.end - timed_phase.start
    if timed_phase.is_silent:
        # The mouth comes to rest only in long pauses, beyond the reach of the adjacent speech.
        attack = release = -0.01
        inner_left, inner_right = min(0.16 * tempo, duration / 2), min(0.07 * tempo, duration / 2)
        strength = float(np.clip((duration - 0.04) / 0.16, 0.05, 1.0))
    else:
        attack, release = ATTACK_SECONDS[channel] * tempo, RELEASE_SECONDS[channel] * tempo
        if timed_phase.after_silence:
            attack = max(attack, ONSET_SECONDS)
        if timed_phase.before_silence:
            release = max(release, OFFSET_SECONDS * tempo)
        inner_left = inner_right = 0.3 * duration
        strength = 1.0
    strength *= timed_phase.articulation.dominance[channel]
    left, right = timed_phase.start - attack, timed_phase.end + release
    first, stop = np.searchsorted(times, (left, right))
    window_times = times[first:stop]
    rise = np.clip((window_times - left) / (inner_left + attack + 1e-9), 0.0, 1.0)
    fall = np.clip((right - window_times) / (inner_right + release + 1e-9), 0.0, 1.0)
    ramp = np.minimum(rise, fall)
    return int(first), strength * 0.5 * (1.0 - np.cos(np.pi * ramp))


def _pin_contact(
    weights: np.ndarray, amount: np.ndarray, contact: str, rig: FaceRig, channel: np.ndarray
) -> np.ndarray:
    """Blend the lips into the contact pose by `amount` (T,); the tongue and jaw are unchanged.

    Where the jaw is lower than in the contact pose, `mouthClose` raises the lower lip to the upper.
    """
    names = list(rig.unit_names)
    jaw, close = names.index("jawOpen"), names.index("mouthClose")
    lips = ~np.isin(channel, ("jaw", "tongue"))
    pose = np.repeat(rig.visemes[contact][None].astype(float), len(weights), axis=0)
    retained = np.array(
        [
            RETAINED_SHAPE[contact].get(n.removesuffix("Left").removesuffix("Right"), 0.0)
            for n in names
        ]
    )
    pose = np.maximum(pose, retained * weights)
    pose[:, close] += np.maximum(weights[:, jaw] - rig.visemes[contact][jaw], 0.0)
    share = amount[:, None]
    pinned = weights.copy()
    pinned[:, lips] = (1.0 - share) * weights[:, lips] + share * pose[:, lips]
    return pinned


def _mouth_corner_bias(rig: FaceRig, style: SpeakingStyle) -> np.ndarray:
    """Return the (U,) constant smile or frown of a speaking style."""
    unit = "mouthSmile" if style.smile >= 0 else "mouthFrown"
    bias = np.zeros(len(rig.unit_names))
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        bias[list(rig.unit_names).index(unit + side)] = abs(style.smile) * (
            1.0 + 1.5 * sign * style.asymmetry
        )
    return bias
