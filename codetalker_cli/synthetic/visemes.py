"""What each phone asks of the face, and how speakers differ: the tables behind the mouth curves.

Owns the table from ARPABET phones to viseme poses, the articulator channels with their dominances,
and the `SpeakingStyle` of the twelve bundled subjects. The curves themselves are computed in
`codetalker_cli.synthetic.articulation`; the viseme poses (unit weights) belong to the rig.

The channels move independently, as articulators do: the jaw is heavy and follows vowels, the
opening of the lips is light, rounding looks far ahead, the tongue is local. A phone that does not
care about a channel has a low dominance there and takes its neighbors' position (Löfqvist's
gestural dominance; Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993).
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from codetalker_cli.synthetic.speech.phones import SILENCE

Channel = Literal["jaw", "open", "round", "spread", "tongue"]
CHANNELS: tuple[Channel, ...] = ("jaw", "open", "round", "spread", "tongue")


@dataclass(frozen=True)
class VisemePhase:
    """A steady part of a phone: the poses it blends, and for how large a share of the phone.

    Attributes:
        poses: viseme name → weight.
        share: part of the phone's duration, 0 to 1.
        units: what is added to the weights of single face units.
    """

    poses: dict[str, float]
    share: float = 1.0
    units: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Articulation:
    """What one phone does.

    Attributes:
        phases: one, or two for a diphthong.
        dominance: strength per channel; the blend at any time is the dominance-weighted mean.
        contact: the viseme that must be reached in full for some frames ("PP" lips shut, "FF" lower
            lip on the upper teeth), or None.
        contact_share: part of the phone, from its start, in which the contact is held; the rest is
            burst and aspiration.
        open_vowel: whether the middle must be clearly open.
    """

    phases: tuple[VisemePhase, ...]
    dominance: dict[Channel, float]
    contact: str | None = None
    contact_share: float = 1.0
    open_vowel: bool = False


# Seconds that a phone's influence reaches before its start and after its end.
ATTACK_SECONDS: dict[Channel, float] = {
    "jaw": 0.055, "open": 0.045, "round": 0.150, "spread": 0.060, "tongue": 0.040,
}  # fmt: skip
RELEASE_SECONDS: dict[Channel, float] = {
    "jaw": 0.060, "open": 0.050, "round": 0.070, "spread": 0.055, "tongue": 0.035,
}  # fmt: skip

_CHANNEL_OF_UNIT: dict[str, Channel] = {
    "jawOpen": "jaw", "jawForward": "jaw", "jawLeft": "jaw", "jawRight": "jaw",
    "mouthFunnel": "round", "mouthPucker": "round", "lipRound": "round",
    "mouthStretch": "spread", "mouthSmile": "spread", "mouthDimple": "spread",
    "tongueTipUp": "tongue", "tongueTipOut": "tongue", "tongueBackUp": "tongue",
    "tongueOut": "tongue",
}  # fmt: skip


def channel_of(unit: str) -> Channel:
    """The articulator channel of a face unit ("mouthStretchLeft" → "spread"); lips by default."""
    both_sides = re.sub(r"(Left|Right)$", "", unit)
    return _CHANNEL_OF_UNIT.get(unit, _CHANNEL_OF_UNIT.get(both_sides, "open"))


def _levels(*levels: float) -> dict[Channel, float]:
    """Dominances in the order of `CHANNELS`: jaw, open, round, spread, tongue."""
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

# w is a narrower u: the lips come near each other without touching
_TIGHT_ROUND = VisemePhase(
    {"U": 1.1}, units={"jawOpen": -0.05, "mouthFunnel": -0.08, "mouthClose": 0.02}
)

PHONES: dict[str, Articulation] = {
    # vowels
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
    # consonants with a contact of the lips
    "P": _bilabial(0.75), "B": _bilabial(0.85), "M": _bilabial(1.0),
    "F": _labiodental(0.9), "V": _labiodental(0.9),
    # the rest: dominance of jaw, opening, rounding, spread, tongue
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
