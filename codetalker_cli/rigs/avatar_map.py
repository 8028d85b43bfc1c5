"""A user's map: which units, visemes and vowels drive morph targets, in place of their names."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from codetalker_cli.errors import InputError, printable
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_face import Face
from codetalker_cli.rigs.avatar_meaning import is_open, moves_mouth, name_key
from codetalker_cli.rigs.avatar_names import VOWELS, MouthNaming, Units, mouth_namings
from codetalker_cli.rigs.mouth_fit import OPENERS
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.rigs.visemes import REST

Overrides = Mapping[str, Mapping[str, float]]
_VISEME_PREFIX = "viseme_"


def meaning_of(name: str) -> str:
    """Return the unit, viseme or vowel that a map names."""
    return _meanings(bundled_rig().unit_names)[name_key(name)]


def used(overrides: Overrides, names: Iterable[str]) -> set[str]:
    """Return the units, visemes and vowels that move some of the morph targets."""
    own = set(names)
    return {
        meaning_of(name)
        for target, factors in overrides.items()
        if target in own
        for name in factors
    }


def opens_with_units(meanings: Iterable[str]) -> bool:
    """Return whether some units part the lips."""
    return not set(OPENERS).isdisjoint(meanings)


def opens_with_poses(meanings: Iterable[str]) -> bool:
    """Return whether some visemes or vowels part the lips."""
    poses = {name: pose for naming in _visemes_and_vowels() for name, pose in naming.poses.items()}
    return any(name in poses and is_open(poses[name]) for name in meanings)


def left_of(units: Units, meanings: set[str], *, with_mouth: bool) -> Units:
    """Return the units that still move a morph target of a mesh with mapped ones.

    Args:
        units: The units that its name means, with factors.
        meanings: What the map moves in this mesh.
        with_mouth: Whether units may move the mouth.
    """
    return {
        unit: factor
        for unit, factor in units.items()
        if unit not in meanings and (with_mouth or not moves_mouth(unit))
    }


def mapped_curves(face: Face, overrides: Overrides) -> dict[str, np.ndarray]:
    """Return the (T,) weights of the morph targets of a map."""
    names = {meaning_of(name) for factors in overrides.values() for name in factors}
    curves = {unit: face.sum({unit: 1.0}) for unit in names if unit in ARKIT_UNITS}
    for column, unit in enumerate(bundled_rig().unit_names):
        if unit not in ARKIT_UNITS:
            curves[unit] = face.head[:, column]
    visemes, vowels = _visemes_and_vowels()
    for naming in (vowels, visemes):  # a viseme comes before a vowel with the same name
        if not names.isdisjoint(naming.poses):
            poses = {name: pose for name, pose in naming.poses.items() if pose}
            curves |= face.fit(poses, naming.exclusive, naming.uncertain)
    if REST in names:
        shown = [curves[name] for name in visemes.poses if name != REST]
        curves[REST] = np.clip(1 - np.sum(shown, axis=0), 0, 1)
    result = {}
    for target, factors in overrides.items():
        total = np.zeros(len(face.head), np.float32)
        for name, factor in factors.items():
            total += np.float32(factor) * curves[meaning_of(name)]
        result[target] = total
    return result


def _visemes_and_vowels() -> tuple[MouthNaming, MouthNaming]:
    by_name = {naming.name: naming for naming in mouth_namings()}
    return by_name["Oculus visemes"], by_name["VRM"]


def _meanings(rig_units: Iterable[str]) -> dict[str, str]:
    """Return what a map may contain, by key: units, visemes and vowels."""
    names = (*VOWELS, *bundled_rig().visemes, *rig_units)
    return {name_key(name): name for name in names} | {
        name_key(_VISEME_PREFIX + name): name for name in bundled_rig().visemes
    }


def check_overrides(overrides: Overrides, names: Sequence[str]) -> None:
    """Refuse a map that does not fit a character.

    Raises:
        InputError: A morph target, a unit or a factor is unknown or invalid.
    """
    known = _meanings(bundled_rig().unit_names)
    for target, factors in overrides.items():
        if target not in names:
            raise InputError(
                f"avatar map: the character has no morph target {printable(target)!r}"
                f"{near(target, names)}; its morph targets are {_listed(names)}"
            )
        for name, factor in factors.items():
            if name_key(name) not in known:
                raise InputError(
                    f"avatar map, {printable(target)}: {printable(name)!r} is not a unit, a "
                    f"viseme or a vowel{near(name, known.values())}; choose from ARKit's units, "
                    f"the visemes {', '.join(bundled_rig().visemes)}, and the vowels "
                    f"{', '.join(VOWELS)}"
                )
            _check_factor(factor, f"avatar map, {printable(target)}, {printable(name)}")


def _check_factor(factor: object, where: str) -> None:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not np.isfinite(factor):
        raise InputError(f"{where}: {printable(factor)} is not a number; give a factor, e.g. 1")


def near(name: str, choices: Iterable[str]) -> str:
    """Return a question with similar names for a message, or an empty string."""
    folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), folded, n=3)
    shown = ", ".join(printable(folded[choice]) for choice in close)
    return f" (did you mean {shown}?)" if close else ""


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(printable(name) for name in names[:most])
    return f"{shown} …" if len(names) > most else shown or "none"
