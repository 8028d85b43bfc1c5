"""The names that programs give the morph targets of characters: tables, without the matching."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.units import bundled_rig

VOWELS = {"aa": "aa", "ih": "I", "ou": "U", "ee": "E", "oh": "O", "closed": "PP"}
"""The viseme of the bundled head that shows each vowel, and a shut mouth."""
_TONGUE_VISEMES = ("TH", "DD", "kk", "CH", "SS", "nn", "RR")
"""The visemes that the tongue distinguishes. The opening of the lips in them, unlike that in vowels
and in PP and FF, is arbitrary: it is about twice as large on some characters as on others."""
_DIRECTIONS = ("jaw", "mouth", "eyeLookIn", "eyeLookOut")  # these have no name without a side
Units = dict[str, float]

# Names of units -----------------------------------------------------------------------------------


def _sided(table: Mapping[str, str]) -> dict[str, Units]:
    """Return the names with both sides: ``{"Brow_Drop_": "browDown"}`` → ``Brow_Drop_Left`` …"""
    return {
        name + side: {unit + (side if unit + side in ARKIT_UNITS else ""): 1.0}
        for name, unit in table.items()
        for side in ("Left", "Right")
    }


def _both(unit: str) -> Units:
    return {f"{unit}Left": 0.5, f"{unit}Right": 0.5}


def _arkit_without_sides() -> dict[str, Units]:
    """Return names of shapes that move both sides, or one side of a unit that has none."""
    table: dict[str, Units] = {}
    for unit in ARKIT_UNITS:
        stem = unit.removesuffix("Left")
        if stem != unit and stem not in _DIRECTIONS:
            table[stem] = _both(stem)
        elif not unit.endswith(("Left", "Right")):
            table |= {unit + side: {unit: 1.0} for side in ("Left", "Right")}
    return table


_UNIFIED = (
    {"lipFunnel": {"mouthFunnel": 1.0}, "lipPucker": {"mouthPucker": 1.0}}
    | {"mouthClosed": {"mouthClose": 1.0}, "mouthRaiserLower": {"mouthShrugLower": 1.0}}
    | {"mouthRaiserUpper": {"mouthShrugUpper": 1.0}, "lipSuckLower": {"mouthRollLower": 1.0}}
    | {"lipSuckUpper": {"mouthRollUpper": 1.0}, "lipFunnelLower": {"mouthFunnel": 1.0}}
    | {"lipFunnelUpper": {"mouthFunnel": 1.0}, "eyeClosed": _both("eyeBlink")}
    | _sided({"eyeClosed": "eyeBlink"})
)
_REALLUSION_UNITS = (
    _sided(
        {
            "Brow_Drop": "browDown", "Brow_Raise_Outer": "browOuterUp",
            "Cheek_Raise": "cheekSquint", "Brow_Raise_Inner": "browInnerUp",
            "Mouth_Down_Lower": "mouthLowerDown",
            "Mouth_Up_Upper": "mouthUpperUp", "Mouth_Funnel_Up": "mouthFunnel",
            "Mouth_Funnel_Down": "mouthFunnel", "Mouth_Pucker_Up": "mouthPucker",
            "Mouth_Pucker_Down": "mouthPucker", "Mouth_Roll_In_Lower": "mouthRollLower",
            "Mouth_Roll_In_Upper": "mouthRollUpper",
        }
    )
    | {
        "Mouth_Roll_In_Lower": {"mouthRollLower": 1.0},
        "Mouth_Roll_In_Upper": {"mouthRollUpper": 1.0},
        "Eye_L_Look_L": {"eyeLookOutLeft": 1.0}, "Eye_L_Look_R": {"eyeLookInLeft": 1.0},
        "Eye_R_Look_L": {"eyeLookInRight": 1.0}, "Eye_R_Look_R": {"eyeLookOutRight": 1.0},
    }
)  # fmt: skip
_LOOK_EXPRESSIONS: dict[str, Units] = {
    "lookUp": _both("eyeLookUp"),
    "lookDown": _both("eyeLookDown"),
    "lookLeft": {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5},
    "lookRight": {"eyeLookInLeft": 0.5, "eyeLookOutRight": 0.5},
}
_BROWS_UP = {"browInnerUp": 0.5, "browOuterUpLeft": 0.25, "browOuterUpRight": 0.25}
_LEFT, _RIGHT = {"eyeBlinkLeft": 1.0}, {"eyeBlinkRight": 1.0}

# What each name of a unit stands for, by naming. Of the names for the same unit, those of the first
# table count. The names of the table "VRM" are those of expressions.
UNIT_TABLES: tuple[tuple[str, dict[str, Units]], ...] = (
    ("ARKit", {unit: {unit: 1.0} for unit in ARKIT_UNITS}),
    ("ARKit", _arkit_without_sides()),
    ("Unified Expressions", _UNIFIED),
    ("Reallusion", _REALLUSION_UNITS),
    ("VRM", {"blinkLeft": _LEFT, "blinkRight": _RIGHT} | _LOOK_EXPRESSIONS),
    ("VRM", {"blink": _both("eyeBlink")}),
    ("VRoid", {"Fcl_EYE_Close_L": _LEFT, "Fcl_EYE_Close_R": _RIGHT}),
    (
        "VRoid",
        {
            "Fcl_EYE_Close": _both("eyeBlink"), "Fcl_EYE_Spread": _both("eyeWide"),
            "Fcl_BRW_Surprised": _BROWS_UP, "Fcl_BRW_Angry": _both("browDown"),
        },
    ),
    # In MMD, the first wink is a smile with the left eye, and the second one only closes it.
    (
        "MMD",
        {
            "ウィンク2": _LEFT, "ウィンク2左": _LEFT, "ウィンク2右": _RIGHT, "ウインク2": _LEFT,
            "ウインク2右": _RIGHT, "wink2": _LEFT, "wink2 left": _LEFT, "wink2 right": _RIGHT,
        },
    ),
    (
        "MMD",
        {
            "ウィンク": _LEFT, "ウィンク左": _LEFT, "ウィンク右": _RIGHT, "ウインク": _LEFT,
            "ウインク右": _RIGHT, "wink": _LEFT, "wink left": _LEFT, "wink right": _RIGHT,
        },
    ),
    ("MMD", {"まばたき": _both("eyeBlink")}),
    ("MMD", {"困る": {"browInnerUp": 1.0}, "怒り": _both("browDown"), "上": _both("browOuterUp")}),
    ("MMD", {"下": _both("browDown")}),
    ("MMD", {"真面目": _both("browDown")}),
    (
        "common names",
        {
            "blinkLeft": _LEFT, "blinkRight": _RIGHT, "eyeCloseLeft": _LEFT,
            "eyeCloseRight": _RIGHT,
        },
    ),
    (
        "common names",
        {
            "blink": _both("eyeBlink"), "eyesClosed": _both("eyeBlink"),
            "eyesClose": _both("eyeBlink"), "eyesLookUp": _both("eyeLookUp"),
            "eyesLookDown": _both("eyeLookDown"), "mouthOpen": {"jawOpen": 1.0},
        },
    ),
)  # fmt: skip

# Names of mouth poses -----------------------------------------------------------------------------


@dataclass(frozen=True)
class MouthNaming:
    """The names of mouth poses, of which a mouth shows a mixture.

    Attributes:
        name: The name of the naming.
        spellings: The pose that each name stands for.
        poses: The weights of the bundled head's units in each pose.
        exclusive: Whether the weights of the poses add up to at most 1.
        uncertain: The poses that differ from character to character.
        least: The fewest poses by which the naming is recognized.
    """

    name: str
    spellings: Mapping[str, str]
    poses: Mapping[str, Units] = field(repr=False)
    exclusive: bool = True
    uncertain: tuple[str, ...] = ()
    least: int = 1


@lru_cache(maxsize=1)
def mouth_namings() -> tuple[MouthNaming, ...]:
    """Return the namings of mouth poses; of equally detailed ones, the first one counts."""
    rig = bundled_rig()
    visemes = {
        name: {rig.unit_names[k]: float(row[k]) for k in row.nonzero()[0]}
        for name, row in rig.visemes.items()
    }
    vowels = {vowel: visemes[viseme] for vowel, viseme in VOWELS.items()}
    oculus = {name: name for name in visemes} | {"ih": "I", "oh": "O", "ou": "U"}
    presets = {name: name for name in VOWELS} | dict(zip("aiueo", tuple(VOWELS), strict=False))
    five = tuple(VOWELS)[:5]

    def letters(pattern: str) -> dict[str, str]:
        return {pattern.format(c): v for c, v in zip("AIUEO", five, strict=True)}

    japanese = dict(zip(("あ", "い", "う", "え", "お", "ん"), VOWELS, strict=True))
    katakana = dict(zip("アイウエオ", five, strict=True))
    translated = {"Ah": "aa", "Ch": "ih", "U": "ou", "E": "ee", "Oh": "oh"}
    return (
        MouthNaming("Oculus visemes", oculus, visemes, uncertain=_TONGUE_VISEMES),
        MouthNaming("VRM", presets, vowels),
        MouthNaming("VRoid", letters("Fcl_MTH_{}"), vowels),
        MouthNaming("MMD", japanese | katakana, vowels),
        MouthNaming("MMD", translated, vowels),
        MouthNaming("vowels", letters("{}") | {name: name for name in five}, vowels),
        MouthNaming(
            "Reallusion visemes",
            {name: name for name in _REALLUSION},
            _REALLUSION,
            exclusive=False,
            least=3,
        ),
    )


_REALLUSION: dict[str, Units] = {
    "Open": {"jawOpen": 0.5, "mouthLowerDown": 0.2},
    "Explosive": {"mouthPress": 0.4, "mouthRollUpper": 0.15, "mouthRollLower": 0.15},
    "Dental_Lip": {"mouthUpperUp": 0.3, "mouthRollLower": 0.4},
    "Tight_O": {"mouthPucker": 0.8, "mouthFunnel": 0.4},
    "Tight": {"mouthPucker": 0.3, "mouthPress": 0.2},
    "Wide": {"mouthStretch": 0.6, "mouthSmile": 0.3},
    "Affricate": {"mouthFunnel": 0.6, "mouthUpperUp": 0.2, "mouthLowerDown": 0.3},
    "Lip_Open": {"mouthUpperUp": 0.4, "mouthLowerDown": 0.6},
}
"""Typical poses of Character Creator's mouth shapes, which are mixed freely."""
