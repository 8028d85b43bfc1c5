"""The names that programs give the morph targets of a character, and what they mean.

Upper and lower case, the separators between words, and the place and spelling of the side make no
difference: ``Eye_Blink_L``, ``eyeBlinkLeft`` and ``left_eye_blink`` are the same. A prefix such as
``Face.M_`` is ignored if several names have it. The naming of the mouth is chosen once for a
character, because a second one would move it twice. The eyes and brows are matched one by one.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.mouth_fit import OPENERS
from codetalker_cli.rigs.units import bundled_rig

VOWELS = {"aa": "aa", "ih": "I", "ou": "U", "ee": "E", "oh": "O", "closed": "PP"}
"""The viseme of the bundled head that shows each vowel, and a shut mouth."""
_TONGUE_VISEMES = ("TH", "DD", "kk", "CH", "SS", "nn", "RR")
"""The visemes that the tongue distinguishes. The opening of the lips in them, unlike that in vowels
and in PP and FF, is arbitrary: it is about twice as large on some characters as on others."""
_MIN_LETTERS = 4
"""The fewest of a naming's names that single letters must match: ``Shape_A`` may be anything."""
_MIN_PREFIXED = 3
"""The fewest names that have a prefix, unless most recognized names have it."""
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
_DIRECTIONS = ("jaw", "mouth", "eyeLookIn", "eyeLookOut")  # these have no name without a side
_OPENS = 0.1
"""The weight of a unit that parts the lips from which a pose is open."""
_PARTS = re.compile(r"teeth|tongue|head|face|body|lash|beard|mesh|blendshape", re.IGNORECASE)
"""The parts of a character in prefixes that are accepted if only one name has them."""
_NOT_PREFIXES = re.compile(r"corrective|backup|unused|(^|[\W_])(fix|old|copy)", re.IGNORECASE)
_SPEECH = re.compile(r"viseme|vrc|vowel|mouth|mth|lip")
"""The prefixes after which fewer single letters are enough."""
_NUMBER = re.compile(r"[._]\d{3}$")  # Blender adds .001 to a name that exists already
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W_a-zA-Z\d]+")
_STARTS = re.compile(r"(?<=[\W_])(?=[^\W_])|(?<=[a-z\d])(?=[A-Z])")

Units = dict[str, float]
Meaning = TypeVar("Meaning")

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
_UNIT_TABLES: tuple[tuple[str, dict[str, Units]], ...] = (
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

# Recognition --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A morph target of a character, or an expression of a VRM file.

    Attributes:
        name: The name that is recognized.
        binds: The morph targets that it moves, with their weights at 1.
        is_expression: Whether it is an expression.
    """

    name: str
    binds: Mapping[str, float]
    is_expression: bool = False


@dataclass(frozen=True)
class Recognized:
    """The meaning of a character's names.

    Attributes:
        mouth: The naming of its mouth poses, or None if units move the mouth, or nothing does.
        poses: The sources of each mouth pose.
        units: The units that other sources follow, with factors.
        namings: The names of the namings.
    """

    mouth: MouthNaming | None
    poses: dict[str, list[Source]]
    units: list[tuple[Source, Units]]
    namings: tuple[str, ...]


def moves_mouth(unit: str) -> bool:
    """Return whether a unit moves the jaw, the lips or the tongue."""
    return unit.startswith(("jaw", "mouth", "lip", "tongue"))


def recognize(sources: Sequence[Source]) -> Recognized:
    """Return the meaning of the names of a character."""
    tables = [(naming, _match(sources, table, naming == "VRM")) for naming, table in _UNIT_TABLES]
    n_stems, opens = _count_units(tables)
    best: tuple[MouthNaming, dict[str, list[Source]]] | None = None
    n_best = n_stems
    for naming in mouth_namings():
        matches = _match(sources, naming.spellings, naming.name == "VRM")
        poses: dict[str, list[Source]] = {}
        for source, pose in matches:
            poses.setdefault(pose, []).append(source)
        shown = [pose for pose in poses if naming.poses[pose]]
        opened = any(_is_open(naming.poses[pose]) for pose in shown)
        if not opened or len(shown) < naming.least:
            continue
        if len(shown) > n_best or (best is None and not opens):
            n_best = len(shown)
            best = naming, {pose: poses[pose] for pose in naming.poses if pose in poses}
    mouth, poses = best or (None, {})
    units, namings = _choose_units(tables, with_mouth=mouth is None)
    named = ([mouth.name] if mouth else []) + namings
    return Recognized(mouth, poses, units, tuple(dict.fromkeys(named)))


def _is_open(pose: Units) -> bool:
    """Return whether a pose parts the lips; in PP, the jaw is open by a little."""
    stems = {unit.removesuffix("Left").removesuffix("Right") for unit in OPENERS}
    return any(pose.get(unit, 0) >= _OPENS for unit in stems.union(OPENERS))


def _count_units(tables: Iterable[tuple[str, list[tuple[Source, Units]]]]) -> tuple[int, bool]:
    """Return how many units of the mouth are shown, both sides as one, and if any opens it."""
    units = {unit for _, found in tables for _, parts in found for unit in parts}
    mouth = {unit for unit in units if moves_mouth(unit)}
    stems = {re.sub("(Left|Right)$", "", unit) for unit in mouth}
    return len(stems), not mouth.isdisjoint(OPENERS)


def _choose_units(
    tables: Iterable[tuple[str, list[tuple[Source, Units]]]], with_mouth: bool
) -> tuple[list[tuple[Source, Units]], list[str]]:
    """Return the sources that follow units: for each unit, those of the first table that has it."""
    chosen: list[tuple[Source, Units]] = []
    namings: list[str] = []
    taken: set[str] = set()
    for naming, found in tables:
        for expressions in (True, False):
            new = [
                (source, units)
                for source, units in found
                if source.is_expression == expressions
                and taken.isdisjoint(units)
                and (with_mouth or not any(map(moves_mouth, units)))
            ]
            # An expression moves the morph targets of its parts, which may have names too.
            chosen += new
            taken |= {unit for _, units in new for unit in units}
            namings += [naming] * bool(new)
    return chosen, namings


@lru_cache(maxsize=10_000)
def name_key(name: str) -> str:
    """Return a name as it is compared: ``L_EyeBlink`` and ``eye.blink.left`` are ``eyeblinkleft``.

    A name with two sides, such as ``Eye_L_Look_R``, keeps their places.
    """
    words = [word.lower() for word in _WORDS.findall(unicodedata.normalize("NFKC", name))]
    sides = [word in _SIDES for word in words]
    spelled = [_SIDES.get(word, word) for word in words]
    if sum(sides) == 1 and len(words) > 1:
        place = sides.index(True)
        spelled.append(spelled.pop(place))
    return "".join(spelled)


def _match(
    sources: Sequence[Source], table: Mapping[str, Meaning], only_expressions: bool
) -> list[tuple[Source, Meaning]]:
    """Return the sources whose names are in a table, possibly after a common prefix."""
    keys = {name_key(spelling): meaning for spelling, meaning in table.items()}
    found = []
    for source in sources:
        if only_expressions and not source.is_expression:
            continue
        parts = _parts(source.name)
        hit = next(((prefix, key) for prefix, key in parts if key in keys), None)
        if hit:
            found.append((source, *hit))
    prefixes = Counter(prefix for _, prefix, _ in found)
    common = {
        prefix
        for prefix, n in prefixes.items()
        if not prefix or n >= _MIN_PREFIXED or 2 * n >= len(found) or _PARTS.search(prefix)
    }
    found = [entry for entry in found if entry[1] in common]
    short = {key for _, _, key in found if key.isascii() and len(key) <= 2}
    if not only_expressions and len(short) < _MIN_LETTERS:
        found = [entry for entry in found if entry[2] not in short or _SPEECH.search(entry[1])]
    return [(source, keys[key]) for source, _, key in found]


@lru_cache(maxsize=10_000)
def _parts(name: str) -> list[tuple[str, str]]:
    """Return the possible prefixes of a name with the key of the rest, the shortest one first.

    Numbers in prefixes do not count, e.g. ``A25_`` and ``A26_`` are the same prefix.
    """
    name = _NUMBER.sub("", unicodedata.normalize("NFKC", name.strip()))
    starts = [0, *(match.start() for match in _STARTS.finditer(name))]
    parts = [(re.sub(r"\d+", "0", name[:k].lower()), name_key(name[k:])) for k in starts]
    return [(prefix, key) for prefix, key in parts if key and not _NOT_PREFIXES.search(prefix)]
