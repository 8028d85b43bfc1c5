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

from collections.abc import Mapping, Sequence

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.synthetic.clarity import (
    JAW_SPEED,
    FaceRig,
    both_sides,
    limit_speed,
    make_readable,
)
from codetalker_cli.synthetic.coarticulation import RATE_HZ, TimedPhase, blend, place_phases
from codetalker_cli.synthetic.contacts import LipContacts
from codetalker_cli.synthetic.expression import upper_face_motion
from codetalker_cli.synthetic.fitted import FittedArticulation, fitted_articulation
from codetalker_cli.synthetic.speech.phones import SILENCE, VOWELS, Phone, fill_with_silence
from codetalker_cli.synthetic.visemes import PHONES, channel_of

PAD_SECONDS = 1.0
JAW_SLACK = {"PP": 0.12, "FF": 0.08}
"""The extra jaw opening that is allowed during a contact, and that the lips compensate for."""
USUAL_VOWEL_SECONDS, USUAL_VOWEL_EFFORT = 0.08, 0.85
"""A duration of vowels, and the opening of such a vowel relative to its full pose."""
VOWEL_EFFORTS = (0.5, 1.3)
"""The range of the openings of vowels relative to their full poses."""
LEVELS_DB, LEVEL_EFFORTS = (-40.0, 12.0), (0.35, 1.5)
"""The range of the levels of speech that matter, and of the openings relative to the usual one."""


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
    numbers: FittedArticulation | None = None,
) -> np.ndarray:
    """Return the (T, U) float64 mouth weights of `articulate`; `phones` must have no gaps.

    `numbers` are those of the package by default.
    """
    numbers, timed_phases = numbers or fitted_articulation(), place_phases(phones)
    channel = np.array([channel_of(name) for name in rig.unit_names])
    targets = _targets(timed_phases, rig, style, channel, numbers)
    ready = _fill(np.zeros(len(channel)), numbers.ready.pose, rig)
    frames = np.arange(n_frames) / fps
    contacts = LipContacts(phones, n_frames, fps)
    jaw = list(rig.unit_names).index("jawOpen")

    times = np.arange(-PAD_SECONDS, n_frames / fps + PAD_SECONDS, 1.0 / RATE_HZ)
    curves = blend(timed_phases, targets, ready, channel, times, style.tempo, numbers)
    for contact, slack in JAW_SLACK.items():
        ceiling = rig.visemes[contact][jaw] + slack
        for start, end in contacts.intervals(contact):
            near = (times >= start - 0.01) & (times <= end + 0.01)
            curves[near, jaw] = np.minimum(curves[near, jaw], ceiling)
    curves[:, jaw] = limit_speed(curves[:, jaw], JAW_SPEED / RATE_HZ)
    weights = np.stack([np.interp(frames, times, curve) for curve in curves.T], axis=1)
    if loudness_db is not None:
        opening = np.isin(channel, ("jaw", "open"))
        weights[:, opening] *= _level_effort(loudness_db, numbers)[:, None]
    weights = make_readable(weights, phones, fps, rig, style)
    return weights + _mouth_corner_bias(rig, style)


def _targets(
    timed_phases: Sequence[TimedPhase],
    rig: FaceRig,
    style: SpeakingStyle,
    channel: np.ndarray,
    numbers: FittedArticulation,
) -> np.ndarray:
    """Return the (n_phases, U) target pose of each phase in this style."""
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
    targets = np.zeros((len(timed_phases), len(channel)))
    for target, timed_phase in zip(targets, timed_phases, strict=True):
        target[:] = _pose(timed_phase, rig, channel, numbers)
        if timed_phase.is_silent:
            continue
        # Speakers differ most in wide openings. Small ones, such as a schwa, are nearly the same.
        jaw = float(target[channel == "jaw"].max(initial=0.0))
        power = float(np.clip(jaw / 0.45, 0.4, 1.0))
        target *= lean * np.where(opening, factors**power, factors)
        if timed_phase.phone.label in VOWELS:
            phone = timed_phase.phone
            target[opening] *= _vowel_effort(phone.end_seconds - phone.start_seconds, numbers)
    return targets


def _pose(
    timed_phase: TimedPhase, rig: FaceRig, channel: np.ndarray, numbers: FittedArticulation
) -> np.ndarray:
    """Return the (U,) pose of a phase in the mean style."""
    pose, names = np.zeros(len(channel)), list(rig.unit_names)
    for viseme, weight in timed_phase.phase.poses.items():
        pose += weight * rig.visemes[viseme]
    for unit, weight in timed_phase.phase.units.items():
        pose[names.index(unit)] += weight
    np.maximum(pose, 0.0, out=pose)
    if timed_phase.is_silent:
        return pose
    if timed_phase.articulation.contact:  # the lips are pinned later
        pose[~np.isin(channel, ("jaw", "tongue"))] = 0.0
    fitted = numbers.poses.get(timed_phase.phone.label)
    if fitted is None:
        return pose * [numbers.scale.get(both_sides(name), 1.0) for name in names]
    in_fit = dict.fromkeys(numbers.scale, 0.0) | fitted[timed_phase.number]
    return _fill(pose, in_fit, rig)


def _fill(pose: np.ndarray, weights: Mapping[str, float], rig: FaceRig) -> np.ndarray:
    """Return the pose with new weights; a name without Left or Right sets both sides."""
    names = map(both_sides, rig.unit_names)
    return np.array([weights.get(name, old) for name, old in zip(names, pose, strict=True)])


def _vowel_effort(duration: float, numbers: FittedArticulation) -> float:
    """Return a vowel's opening relative to its full pose; long vowels open more."""
    change = numbers.vowel_per_second * (duration - USUAL_VOWEL_SECONDS)
    return float(np.clip(USUAL_VOWEL_EFFORT + change, *VOWEL_EFFORTS))


def _level_effort(loudness_db: np.ndarray, numbers: FittedArticulation) -> np.ndarray:
    """Return (T,) the opening in each frame relative to that at the usual level."""
    level = np.clip(loudness_db, *LEVELS_DB)
    return np.clip(1.0 + numbers.loudness_per_db * level, *LEVEL_EFFORTS)


def _mouth_corner_bias(rig: FaceRig, style: SpeakingStyle) -> np.ndarray:
    """Return the (U,) constant smile or frown of a speaking style."""
    unit = "mouthSmile" if style.smile >= 0 else "mouthFrown"
    bias = np.zeros(len(rig.unit_names))
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        bias[list(rig.unit_names).index(unit + side)] = abs(style.smile) * (
            1.0 + 1.5 * sign * style.asymmetry
        )
    return bias
