"""Define the viseme poses and dominances of each phone.

The table maps ARPABET phones to viseme poses and to one dominance per articulator channel.
`codetalker_cli.synthetic.articulation` computes the curves, and the rig defines the unit weights of
the viseme poses.

The channels move independently, as articulators do: the jaw is slow and follows the vowels, the lip
opening is fast, rounding is anticipated well ahead, and the tongue acts locally. A phone that does
not constrain a channel has a low dominance there and adopts the position of its neighbors
(Löfqvist's gestural dominance; Cohen and Massaro, "Modeling coarticulation in synthetic visual
speech", 1993).
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from codetalker_cli.synthetic.speech.phones import SILENCE

Channel = Literal["jaw", "open", "round", "spread", "tongue"]
CHANNELS: tuple[Channel, ...] = ("jaw", "open", "round", "spread", "tongue")


@dataclass(frozen=True)
class VisemePhase:
    """A part of a phone with a constant pose.

    Attributes:
        poses: The weight of each viseme in the pose.
        share: The share of the phone's duration, 0 to 1.
        units: The amounts added to the weights of single face units.
    """

    poses: dict[str, float]
    share: float = 1.0
    units: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Articulation:
    """The articulation of one phone.

    Attributes:
        phases: One phase, or two for a diphthong.
        dominance: The weight of the phone in the blend of each channel.
        contact: The viseme that must be fully reached for some frames: "PP" (lips shut), "FF"
            (lower lip on the upper teeth) or None.
        contact_share: The share of the phone, from its start, during which the contact is held.
            The rest is burst and aspiration.
        open_vowel: Whether the mouth must be clearly open in the middle of the phone.
    """

    phases: tuple[VisemePhase, ...]
    dominance: dict[Channel, float]
    contact: str | None = None
    contact_share: float = 1.0
    open_vowel: bool = False


_CHANNEL_OF_UNIT: dict[str, Channel] = {
    "jawOpen": "jaw", "jawForward": "jaw", "jawLeft": "jaw", "jawRight": "jaw",
    "mouthFunnel": "round", "mouthPucker": "round", "lipRound": "round",
    "mouthStretch": "spread", "mouthSmile": "spread", "mouthDimple": "spread",
    "tongueTipUp": "tongue", "tongueTipOut": "tongue", "tongueBackUp": "tongue",
    "tongueOut": "tongue",
}  # fmt: skip


def channel_of(unit: str) -> Channel:
    """Return the articulator channel of a face unit; units that are not listed belong to "open"."""
    both_sides = re.sub(r"(Left|Right)$", "", unit)
    return _CHANNEL_OF_UNIT.get(unit, _CHANNEL_OF_UNIT.get(both_sides, "open"))


def _levels(*levels: float) -> dict[Channel, float]:
    """Return the dominances by channel; the arguments are in the order of `CHANNELS`."""
    return dict(zip(CHANNELS, levels, strict=True))


def _vowel(*phases: VisemePhase, rounding: float = 0.5, is_open: bool = False) -> Articulation:
    return Articulation(phases, _levels(0.8, 0.8, rounding, 0.7, 0.3), open_vowel=is_open)


def _consonant(pose: str, *levels: float, weight: float = 1.0) -> Articulation:
    return Articulation((VisemePhase({pose: weight}),), _levels(*levels))


def _bilabial(share: float) -> Articulation:
    levels = _levels(0.35, 0.05, 0.02, 0.04, 0.05)
    return Articulation((VisemePhase({"PP": 1.0}),), levels, contact="PP", contact_share=share)


def _labiodental(share: float) -> Articulation:
    levels = _levels(0.75, 0.10, 0.05, 0.15, 0.05)
    return Articulation((VisemePhase({"FF": 1.0}),), levels, contact="FF", contact_share=share)


def _phase(share: float = 1.0, **poses: float) -> VisemePhase:
    return VisemePhase(poses, share)


_ALVEOLAR = (0.55, 0.25, 0.06, 0.15, 1.0)
_SIBILANT = (1.2, 0.40, 0.12, 0.35, 1.0)
_POSTALVEOLAR = (1.2, 0.40, 0.75, 0.50, 1.0)
_VELAR = (0.25, 0.15, 0.05, 0.08, 1.0)

# w is a narrower u, in which the lips approach each other without touching.
_TIGHT_ROUND = VisemePhase(
    {"U": 1.1}, units={"jawOpen": -0.05, "mouthFunnel": -0.08, "mouthClose": 0.02}
)

# PP at less than full weight leaves the lips apart.
_NEAR_CLOSURE = VisemePhase({"PP": 0.6, "E": 0.15})

PHONES: dict[str, Articulation] = {
    # Vowels.
    "AA": _vowel(_phase(aa=1.0), is_open=True),
    "AE": _vowel(_phase(aa=0.6, E=0.4), is_open=True),
    "AH": _vowel(_phase(aa=0.44, E=0.28), rounding=0.25, is_open=True),
    "AO": _vowel(_phase(O=0.8, aa=0.2), rounding=0.8),
    "AW": _vowel(_phase(0.6, aa=1.0), _phase(0.4, O=0.4, U=0.6), rounding=0.6, is_open=True),
    "AY": _vowel(_phase(0.6, aa=1.0), _phase(0.4, I=0.8, E=0.2), is_open=True),
    "EH": _vowel(_phase(E=1.0)),
    "ER": _vowel(_phase(RR=0.8, E=0.2), rounding=0.6),
    "EY": _vowel(_phase(0.5, E=1.0), _phase(0.5, I=0.9)),
    "IH": _vowel(_phase(I=0.65, E=0.2)),
    "IY": _vowel(_phase(I=1.0)),
    "OW": _vowel(_phase(0.55, O=1.0), _phase(0.45, U=0.9), rounding=0.9),
    "OY": _vowel(_phase(0.5, O=1.0), _phase(0.5, I=0.8), rounding=0.8),
    "UH": _vowel(_phase(U=0.55, O=0.25), rounding=0.7),
    "UW": _vowel(VisemePhase({"U": 1.0}, units={"mouthFunnel": -0.08}), rounding=1.0),
    # Vowels that English does not have: the lips of UW and OW, the jaw and tongue of IY and EH.
    "UE": _vowel(
        VisemePhase({"U": 1.0}, units={"mouthFunnel": -0.08, "jawOpen": 0.03, "tongueTipUp": 0.15}),
        rounding=1.0,
    ),
    "OE": _vowel(_phase(O=0.65, E=0.25), rounding=0.9),
    # Consonants with a lip contact.
    "P": _bilabial(0.75), "B": _bilabial(0.85), "M": _bilabial(1.0),
    "F": _labiodental(0.9), "V": _labiodental(0.9),
    # The Spanish b between vowels: lips near each other, without contact and without rounding.
    "BH": Articulation((_NEAR_CLOSURE,), _levels(0.7, 0.9, 0.1, 0.1, 0.05)),
    # Other consonants; the numbers are the dominances of jaw, opening, rounding, spread, tongue.
    "W": Articulation((_TIGHT_ROUND,), _levels(0.7, 0.7, 1.1, 0.7, 0.2)),
    "Y": _consonant("I", 0.5, 0.4, 0.15, 0.4, 0.6),
    "R": _consonant("RR", 0.45, 0.35, 0.6, 0.4, 0.9),
    "L": _consonant("DD", 0.30, 0.20, 0.06, 0.12, 1.0),
    "D": _consonant("DD", *_ALVEOLAR), "T": _consonant("DD", *_ALVEOLAR),
    "N": _consonant("nn", *_ALVEOLAR),
    "DH": _consonant("TH", 0.40, 0.30, 0.08, 0.15, 0.9, weight=0.85),
    "TH": _consonant("TH", 0.60, 0.40, 0.08, 0.20, 1.2),
    "S": _consonant("SS", *_SIBILANT), "Z": _consonant("SS", *_SIBILANT),
    "SH": _consonant("CH", *_POSTALVEOLAR), "ZH": _consonant("CH", *_POSTALVEOLAR),
    "CH": _consonant("CH", *_POSTALVEOLAR), "JH": _consonant("CH", *_POSTALVEOLAR),
    "K": _consonant("kk", *_VELAR), "G": _consonant("kk", *_VELAR),
    "NG": _consonant("kk", *_VELAR),
    "HH": _consonant("kk", 0.04, 0.04, 0.02, 0.02, 0.02),
    SILENCE: _consonant("sil", 0.8, 0.8, 0.5, 0.5, 0.5),
}  # fmt: skip
