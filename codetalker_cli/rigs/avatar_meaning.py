"""Recognize the names of a character's morph targets.

Upper and lower case, the separators between words, and the place and spelling of the side make no
difference: ``Eye_Blink_L``, ``eyeBlinkLeft`` and ``left_eye_blink`` are the same. A prefix such as
``Face.M_`` is ignored if several names have it, and so is a suffix such as ``_Mesh`` or a number.
The names of all meshes are matched together. The naming of the mouth is chosen once for each mesh,
because a second one would move it twice. The eyes and brows are matched one by one.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from codetalker_cli.rigs.avatar_names import UNIT_TABLES, MouthNaming, Units, mouth_namings
from codetalker_cli.rigs.mouth_fit import OPENERS

_MIN_LETTERS = 4
"""The fewest of a naming's names that single letters must match: ``Shape_A`` may be anything."""
_MIN_PREFIXED = 3
"""The fewest names that have a prefix, unless most recognized names have it."""
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
_OPENS = 0.1
"""The weight of a unit that parts the lips from which a pose is open."""
_PARTS = re.compile(r"teeth|tongue|head|face|body|lash|beard|mesh|blendshape", re.IGNORECASE)
"""The parts of a character in prefixes that are accepted if only one name has them."""
_NOT_PREFIXES = re.compile(r"corrective|backup|unused|(^|[\W_])(fix|old|copy)", re.IGNORECASE)
_ONLY_BROWS, _BROWS = ("上", "下"), re.compile(r"眉|まゆ|brow")
"""Names of brows ("up" and "down"), and the only prefixes that they may have."""
_SPEECH = re.compile(r"viseme|vrc|vowel|mouth|mth|lip")
"""The prefixes after which fewer single letters are enough."""
_NUMBER = re.compile(r"[._]\d{3}$")  # Blender adds .001 to a name that exists already
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W_a-zA-Z\d]+")
_LAST_WORD = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+|\d+)$")
_STARTS = re.compile(r"(?<=[\W_])(?=[^\W_])|(?<=[a-z\d])(?=[A-Z])")

Meaning = TypeVar("Meaning")


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
    """The meaning of the names of a mesh.

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


@dataclass(frozen=True)
class _Matches:
    """The sources whose names are known, by table of units and by naming of mouth poses."""

    units: list[tuple[str, list[tuple[Source, Units]]]]
    poses: list[tuple[MouthNaming, list[tuple[Source, str]]]]

    @classmethod
    def of(cls, sources: Sequence[Source]) -> "_Matches":
        """Match the names of some sources, which may have prefixes in common."""
        return cls(
            [(naming, _match(sources, table, naming == "VRM")) for naming, table in UNIT_TABLES],
            [
                (naming, _match(sources, naming.spellings, naming.name == "VRM"))
                for naming in mouth_namings()
            ],
        )

    def within(self, sources: Iterable[Source]) -> "_Matches":
        """Return the matches of some of the sources."""
        own = {_identity(source) for source in sources}
        return _Matches(
            [(n, [pair for pair in found if _identity(pair[0]) in own]) for n, found in self.units],
            [(n, [pair for pair in found if _identity(pair[0]) in own]) for n, found in self.poses],
        )

    @property
    def is_empty(self) -> bool:
        """Whether no name is known."""
        return not any(found for _, found in (*self.units, *self.poses))


def _identity(source: Source) -> tuple[str, bool]:
    return source.name, source.is_expression


def recognize(meshes: Sequence[Sequence[Source]]) -> list[Recognized]:
    """Return the meaning of the names of each mesh of a character.

    A mesh none of whose names is known in the company of the other meshes is matched alone: the
    prefix of its names may be its own.
    """
    together = {_identity(source): source for mesh in meshes for source in mesh}
    matches = _Matches.of(list(together.values()))
    found = []
    for mesh in meshes:
        own = matches.within(mesh)
        found.append(_choose(_Matches.of(mesh) if own.is_empty and len(meshes) > 1 else own))
    return found


def _choose(matches: _Matches) -> Recognized:
    """Return the most detailed naming of the mouth, and what units move the rest."""
    n_stems, opens = _count_units(matches.units)
    best: tuple[MouthNaming, dict[str, list[Source]]] | None = None
    n_best = n_stems
    for naming, found in matches.poses:
        poses: dict[str, list[Source]] = {}
        for source, pose in found:
            poses.setdefault(pose, []).append(source)
        shown = [pose for pose in poses if naming.poses[pose]]
        opened = any(is_open(naming.poses[pose]) for pose in shown)
        if not opened or len(shown) < naming.least:
            continue
        if len(shown) > n_best or (best is None and not opens):
            n_best = len(shown)
            best = naming, {pose: poses[pose] for pose in naming.poses if pose in poses}
    mouth, poses = best or (None, {})
    units, namings = _choose_units(matches.units, with_mouth=mouth is None)
    named = ([mouth.name] if mouth else []) + namings
    return Recognized(mouth, poses, units, tuple(dict.fromkeys(named)))


def is_open(pose: Units) -> bool:
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
    own = [source for source in sources if source.is_expression or not only_expressions]
    for source in own:
        hit = next(((prefix, key) for prefix, key in _parts(source.name) if key in keys), None)
        if hit:
            found.append((source, *hit))
    if not found:
        found = _match_before_suffixes(own, keys)
    prefixes = Counter(prefix for _, prefix, _ in found)
    common = {
        prefix
        for prefix, n in prefixes.items()
        if not prefix or n >= _MIN_PREFIXED or 2 * n >= len(found) or _PARTS.search(prefix)
    }
    shown = {key for _, prefix, key in found if prefix in common}
    families = {_first_word(prefix) for prefix, n in prefixes.items() if n >= _MIN_PREFIXED}
    found = [
        (source, prefix, key)
        for source, prefix, key in found
        if prefix in common or (key not in shown and _first_word(prefix) in families - {""})
    ]
    found = [e for e in found if e[2] not in _ONLY_BROWS or not e[1] or _BROWS.search(e[1])]
    short = {key for _, _, key in found if _is_short(key)}
    if not only_expressions and len(short) < _MIN_LETTERS:
        found = [entry for entry in found if entry[2] not in short or _SPEECH.search(entry[1])]
    return [(source, keys[key]) for source, _, key in found]


def _is_short(key: str) -> bool:
    return key.isascii() and len(key) <= 2


def _first_word(prefix: str) -> str:
    """Return the first word of a prefix, e.g. ``facs`` of both ``facs_bs_`` and ``facs_jnt_``."""
    return re.split(r"[\W_]", prefix)[0]


def _match_before_suffixes(
    sources: Sequence[Source], keys: Mapping[str, Meaning]
) -> list[tuple[Source, str, str]]:
    """Return the sources whose names are in a table before a suffix that several of them have."""
    found: dict[str, list[tuple[Source, str, str]]] = {}
    for source in sources:
        name = _NUMBER.sub("", source.name.strip())
        last = _LAST_WORD.search(name)
        start = 0 if last is None else last.start()
        suffix = re.sub(r"\d+", "0", name[start:].lower())
        if not start or suffix in _SIDES or _NOT_PREFIXES.search(suffix):
            continue
        parts = _parts(name[:start])
        hit = next(((prefix, key) for prefix, key in parts if key in keys), None)
        if hit and (not _is_short(hit[1]) or _SPEECH.search(hit[0])):
            found.setdefault(suffix, []).append((source, *hit))
    same = max(found.values(), key=len, default=[])
    return same if len({key for _, _, key in same}) >= _MIN_PREFIXED else []


@lru_cache(maxsize=10_000)
def _parts(name: str) -> list[tuple[str, str]]:
    """Return the possible prefixes of a name with the key of the rest, the shortest one first.

    Numbers in prefixes do not count, e.g. ``A25_`` and ``A26_`` are the same prefix.
    """
    name = _NUMBER.sub("", unicodedata.normalize("NFKC", name.strip()))
    starts = [0, *(match.start() for match in _STARTS.finditer(name))]
    parts = [(re.sub(r"\d+", "0", name[:k].lower()), name_key(name[k:])) for k in starts]
    return [(prefix, key) for prefix, key in parts if key and not _NOT_PREFIXES.search(prefix)]
