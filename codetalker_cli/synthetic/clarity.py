"""Make the mouth of unit weights readable: lip contacts, and openings in vowels.

The lips of p, b, m (and f, v) are pinned to whole frames: they reach the full contact pose for at
least two frames. Pinning comes last, because the lips only meet beyond 93 % of the way from an open
vowel to the contact pose, so any later filtering would leave them apart.

Rules use this (``codetalker_cli.synthetic.articulation``), and so can filmed motion: trackers do
not see the lip on the teeth, and filmed people do not close their lips in every p.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.synthetic.contacts import CONTACTS, LipContacts
from codetalker_cli.synthetic.fitted import fitted_articulation
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone
from codetalker_cli.synthetic.visemes import PHONES, channel_of

JAW_SPEED = 5.0
"""The maximum change of jawOpen per second, about 0.17 m/s at the bundled head's incisors."""
CLEAR_MM, OPEN_MM = 2.0, 8.5
"""The smallest opening of the lips in phones without a contact and in the middle of open vowels."""
CLEAR_RAMP_SECONDS, OPEN_FLAT = 0.05, 1.5
"""The time in which these openings begin and end, and how flat they are in the middle."""
CLEARING_UNITS = {"jawOpen": 0.5, "mouthLowerDown": 0.5}
"""The units that make them, and their shares."""
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


def make_readable(
    weights: np.ndarray,
    phones: Sequence[Phone],
    fps: float,
    rig: FaceRig,
    style: SpeakingStyle,
    contacts: Sequence[str] = CONTACTS,
    *,
    openings: bool = True,
) -> np.ndarray:
    """Return (T, U) weights whose lips can be read.

    In every phone the lips are at least ``CLEAR_MM`` apart, and in the middle of an open vowel at
    least ``OPEN_MM``. In contacts they touch.

    Args:
        weights: (T, U) weights of the units of the rig; frame k is at k / fps seconds.
        phones: The contiguous phones of the clip.
        fps: The frame rate in hertz.
        rig: The rig.
        style: The speaking style, whose amplitude scales the openings.
        contacts: The kinds of contacts to make: "PP" (p, b, m), "FF" (f, v).
        openings: Whether to make the openings too.
    """
    channel = np.array([channel_of(name) for name in rig.unit_names])
    jaw, frames = list(rig.unit_names).index("jawOpen"), np.arange(len(weights)) / fps
    if openings:
        weights = weights + _missing_openings(weights, phones, frames, rig, style)
        weights[:, jaw] = limit_speed(weights[:, jaw], JAW_SPEED / fps)
    found = LipContacts(phones, len(weights), fps)
    for contact in ("FF", "PP"):
        if contact in contacts:
            weights = _pin_contact(weights, found.amount(contact), contact, rig, channel)
    return weights


def limit_speed(curve: np.ndarray, step: float) -> np.ndarray:
    """Return the largest curve below `curve` that changes by at most `step` per sample.

    y[i] is the minimum over j of curve[j] + step·|i - j|. Minima are unchanged, and peaks that are
    too steep to reach are lowered.
    """
    ramp = step * np.arange(len(curve))
    forward = np.minimum.accumulate(curve - ramp) + ramp
    return (np.minimum.accumulate((forward - ramp[::-1])[::-1]) + ramp)[::-1]


def both_sides(unit: str) -> str:
    """Return the name of a unit without Left or Right."""
    return unit.removesuffix("Left").removesuffix("Right")


def _missing_openings(
    weights: np.ndarray,
    phones: Sequence[Phone],
    frames: np.ndarray,
    rig: FaceRig,
    style: SpeakingStyle,
) -> np.ndarray:
    """Return what to add to the (T, U) weights so that the lips are open enough.

    The talker that the rules were fitted to often opens less, which looks like a contact or like no
    vowel.
    """
    units = [both_sides(name) for name in rig.unit_names]
    sides = np.array([units.count(unit) for unit in units])
    opening = np.array([fitted_articulation().opening_mm.get(unit, 0.0) for unit in units]) / sides
    wanted = np.zeros(len(frames))
    for phone in phones:
        if phone.label == SILENCE:
            continue
        start, end = phone.start_seconds, phone.end_seconds
        inside = np.minimum(frames - start, end - frames)
        wanted = np.maximum(wanted, CLEAR_MM * np.clip(1.0 + inside / CLEAR_RAMP_SECONDS, 0.0, 1.0))
        if PHONES[phone.label].open_vowel:
            half = (end - start) / 2 + CLEAR_RAMP_SECONDS
            shape = np.clip(1.0 - np.abs(frames - (start + end) / 2) / half, 0.0, 1.0)
            height = OPEN_MM * style.amplitude**0.5 * np.minimum(1.0, OPEN_FLAT * shape)
            wanted = np.maximum(wanted, height)
    missing = np.maximum(wanted - weights @ opening, 0.0)
    added = np.zeros_like(weights)
    for unit, share in CLEARING_UNITS.items():
        columns = np.flatnonzero([name == unit for name in units])
        added[:, columns] = (share * missing / opening[columns].sum())[:, None]
    return added


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
