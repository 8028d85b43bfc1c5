"""Recognize ARKit's units by the names that programs give them.

``eyeBlink_L``, ``EyeBlinkLeft`` and ``Head_blendShape.eyeBlinkLeft`` are all ``eyeBlinkLeft``.
"""

import re
from collections import Counter
from collections.abc import Sequence

from codetalker_cli.errors import DataError, printable
from codetalker_cli.rigs.arkit import ARKIT_UNITS

_KEYS = {name.lower(): name for name in ARKIT_UNITS}
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
_SIDE_LAST = re.compile(r"(.+)[-_. ](l|r|left|right)", re.IGNORECASE)
_SIDE_FIRST = re.compile(r"(l|r|left|right)[-_. ](.+)", re.IGNORECASE)
_SIDE_LETTER = re.compile(r"(.*[a-z])([LR])")
_IGNORED = re.compile(r"[\W_]")
_PREFIX_END = re.compile(r"[-_.:| ]")


def arkit_name(name: str) -> str | None:
    """Return the ARKit unit that a name without a prefix stands for, or None.

    Upper and lower case, and the separators between words, make no difference.
    """
    spellings = [name]
    if match := _SIDE_LAST.fullmatch(name) or _SIDE_LETTER.fullmatch(name):
        spellings.append(match[1] + _SIDES[match[2].lower()])
    if match := _SIDE_FIRST.fullmatch(name):
        spellings.append(match[2] + _SIDES[match[1].lower()])
    keys = [_IGNORED.sub("", spelling).lower() for spelling in spellings]
    return next((_KEYS[key] for key in keys if key in _KEYS), None)


def canonical_names(names: Sequence[str], where: str) -> list[str]:
    """Return ARKit's spelling of recognized units and the given spelling of all others.

    A prefix such as ``blendShape.`` is removed if most of the recognized names have it. A name
    such as ``corrective_jawOpen`` among names without a prefix remains as it is.

    Args:
        names: The names of the units of one mesh.
        where: The file and the mesh, for the message.

    Raises:
        DataError: Two names mean the same unit, or a name is empty.
    """
    plain = [arkit_name(name) for name in names]
    prefixed = [
        None if known else _split_prefix(name) for name, known in zip(names, plain, strict=True)
    ]
    prefixes = Counter(pair[0] for pair in prefixed if pair)
    n_recognized = sum(map(bool, plain)) + prefixes.total()
    common = {prefix for prefix, n in prefixes.items() if 2 * n > n_recognized}
    result: dict[str, str] = {}
    for name, known, pair in zip(names, plain, prefixed, strict=True):
        unit = known or (pair[1] if pair and pair[0] in common else name)
        if not unit.strip():
            raise DataError(f"{where}: a unit has an empty name; give each unit a name")
        if unit in result:
            both = (
                f"unit {printable(name)!r} is listed twice"
                if result[unit] == name
                else f"{printable(result[unit])!r} and {printable(name)!r} are both {unit}"
            )
            raise DataError(f"{where}: {both}; rename or remove one of them")
        result[unit] = name
    return list(result)


_LONGEST_PREFIX = 60


def _split_prefix(name: str) -> tuple[str, str] | None:
    """Return the shortest prefix of a name and the ARKit unit after it, or None."""
    for match in _PREFIX_END.finditer(name[:_LONGEST_PREFIX]):
        unit = arkit_name(name[match.end() :])
        if unit is not None:
            return name[: match.end()], unit
    return None
