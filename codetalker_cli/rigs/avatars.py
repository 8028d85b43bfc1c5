"""Convert rig curves to the curves of a character's own morph targets and bones."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from codetalker_cli.errors import InputError, printable
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_limits import keep_closed, limit, strengthen
from codetalker_cli.rigs.avatar_names import (
    VOWELS,
    MouthNaming,
    Recognized,
    Source,
    Units,
    mouth_namings,
    moves_mouth,
    name_key,
    recognize,
)
from codetalker_cli.rigs.mouth_fit import OPENERS, fit_poses, openness, unit_poses
from codetalker_cli.rigs.posing import PITCH_OF_GAZE, YAW_OF_GAZE, motion_of
from codetalker_cli.rigs.solve import solve
from codetalker_cli.rigs.units import bundled_rig, bundled_units
from codetalker_cli.rigs.visemes import REST

JAW_RADIANS = 0.42
"""The rotation of the bundled head's lower teeth for jawOpen 1, in radians; linear to 2 %."""
ESSENTIAL = (
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
)  # fmt: skip
"""The units with which a character shows the mouth of a motion unchanged. If one is missing, the
others are fitted to the motion."""
MOVES = 0.01
"""The weight from which a unit counts as moving."""
_VISEME_PREFIX = "viseme_"


@dataclass(frozen=True)
class Drive:
    """What moves a character: curves of its morph targets, and rotations of its jaw, head and eyes.

    Attributes:
        morphs: The (T,) float32 weights of each morph target that is driven, by its name in the
            file.
        jaw: (T,) float32 opening of the jaw in radians, or None if morph targets open it: jawOpen,
            visemes or vowels.
        head: (T, 3) rotation of the head in radians as ``RigCurves.head``, or None.
        eyes: (T, 2) float32 direction of the gaze to the subject's left and up in radians, or None
            if morph targets turn the eyes, or if the gaze is still.
        matched: The morph targets that each unit, viseme or vowel drives.
        unmatched: The names of the moving units of ARKit that nothing shows.
        unused: The morph targets that nothing drives.
        naming: The recognized namings, e.g. ``ARKit``; empty if there are none.
    """

    morphs: dict[str, np.ndarray]
    jaw: np.ndarray | None
    head: np.ndarray | None
    eyes: np.ndarray | None
    matched: dict[str, tuple[str, ...]]
    unmatched: tuple[str, ...]
    unused: tuple[str, ...]
    naming: str


def drive(
    curves: RigCurves,
    names: Sequence[str],
    overrides: Mapping[str, Mapping[str, float]] | None = None,
    strength: Mapping[str, float] | None = None,
    expressions: Mapping[str, Mapping[str, float]] | None = None,
) -> Drive:
    """Return what moves a character like rig curves.

    The lips of the character are shut where those of the bundled head are shut with the curves.

    Args:
        curves: The weights of ARKit's 52 units, or of the 58 units of the bundled head.
        names: The names of all morph targets of the character.
        overrides: For some morph targets, the units, visemes or vowels that drive them, with
            factors. They replace what the names mean.
        strength: A factor for each group of units that should move more or less.
        expressions: The expressions of a VRM file: the morph targets that each one moves, with
            their weights at 1.

    Raises:
        InputError: A group, a morph target, a unit or a factor is unknown or invalid.
    """
    _check_overrides(overrides or {}, names)
    unique = list(dict.fromkeys(names))
    face = _Face(curves, strength or {})
    recognized = recognize(_sources(unique, expressions or {}))
    tracks = _Tracks(unique, curves.n_frames)
    jaw = _add_mouth(tracks, face, recognized)
    for source, units in recognized.units:
        if not any(map(moves_mouth, units)):
            tracks.add(source, face.sum(units), units)
    if _override(tracks, face, overrides or {}):
        jaw = None
    matched, driven = tracks.matched, tracks.driven
    looks = any(unit.startswith("eyeLook") for unit in matched)
    return Drive(
        morphs=tracks.morphs(),
        jaw=jaw,
        head=curves.head,
        eyes=None if looks else face.gaze(),
        matched=matched,
        unmatched=tuple(
            unit
            for unit in face.moving(has_poses=recognized.mouth is not None)
            if unit not in matched and not (unit == "jawOpen" and jaw is not None)
        ),
        unused=tuple(name for name in unique if name not in driven),
        naming=", ".join(recognized.namings),
    )


class _Face:
    """The curves as the character shows them: strengthened, limited, and shut where they should be.

    Attributes:
        head: (T, U) weights of the units of the bundled head, which poses are fitted to.
        opened: (T,) factors of the units and poses that part the lips.
    """

    def __init__(self, curves: RigCurves, strength: Mapping[str, float]) -> None:
        rig = bundled_rig()
        given = curves.select(rig.unit_names)
        given = replace(given, weights=np.clip(np.nan_to_num(given.weights), 0, 1))
        self.opened = openness(given.weights)
        self._curves = strengthen(given, strength)
        self.head = self._curves.weights

    @cached_property
    def _plain(self) -> RigCurves:
        """The weights of ARKit's units, of which those of the mouth lack the other units."""
        return limit(self._curves.select(ARKIT_UNITS))

    @cached_property
    def _arkit(self) -> RigCurves:
        """The weights of ARKit's units."""
        return keep_closed(limit(_without_extras(self._curves)), self.opened)

    def sum(self, units: Units) -> np.ndarray:
        """Return the (T,) sum of units of ARKit with factors."""
        curves = self._arkit if any(map(moves_mouth, units)) else self._plain
        total = np.zeros(curves.n_frames, np.float32)
        for unit, factor in units.items():
            total += np.float32(factor) * curves.weights[:, curves.names.index(unit)]
        return total

    def fit(
        self, poses: Mapping[str, Units], exclusive: bool = False, uncertain: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return the (T,) weights of mouth poses; see ``fit_poses``."""
        if not poses:
            return {}
        varied = np.array([pose in uncertain for pose in poses])
        fitted = fit_poses(self.head, unit_poses(poses), self.opened, exclusive, varied)
        return dict(zip(poses, fitted.T.astype(np.float32), strict=True))

    def gaze(self) -> np.ndarray | None:
        """Return the (T, 2) gaze to the left and up in radians, the mean of both eyes, or None."""
        left = {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5}
        left |= {"eyeLookInLeft": -0.5, "eyeLookOutRight": -0.5}
        up = {"eyeLookUpLeft": 0.5, "eyeLookUpRight": 0.5}
        up |= {"eyeLookDownLeft": -0.5, "eyeLookDownRight": -0.5}
        columns = [YAW_OF_GAZE * self.sum(left), PITCH_OF_GAZE * self.sum(up)]
        angles = np.stack(columns, axis=1).astype(np.float32)
        return angles if angles.any() else None

    def moving(self, has_poses: bool) -> list[str]:
        """Return the units of ARKit that move, without those that poses or eye bones show."""
        curves = self._plain if has_poses else self._arkit
        moves = curves.weights.max(axis=0, initial=0) >= MOVES
        return [
            unit
            for unit, is_moving in zip(curves.names, moves, strict=True)
            if is_moving
            and not (has_poses and moves_mouth(unit))
            and not unit.startswith("eyeLook")
        ]


def _without_extras(curves: RigCurves) -> RigCurves:
    """Return the weights of ARKit's units, which replace the other units of the bundled head."""
    extras = [k for k, name in enumerate(curves.names) if name not in ARKIT_UNITS]
    arkit = curves.select(ARKIT_UNITS)
    if not curves.weights[:, extras].any():
        return arkit
    subject = bundled_rig().subject_names[0]
    motion = motion_of(curves, subject, rotate_head=False)
    solved = solve(motion, bundled_units(subject).arkit()).select(ARKIT_UNITS)
    mouth = np.array([moves_mouth(name) for name in ARKIT_UNITS])
    return replace(arkit, weights=np.where(mouth, solved.weights, arkit.weights))


class _Tracks:
    """The curves of the morph targets, which several expressions may share."""

    def __init__(self, names: Sequence[str], n_frames: int) -> None:
        self._names, self._n_frames = set(names), n_frames
        self._sums: dict[str, np.ndarray] = {}
        self._replaced: dict[str, np.ndarray] = {}
        self._targets: dict[str, list[str]] = {}

    @property
    def matched(self) -> dict[str, tuple[str, ...]]:
        """The morph targets that each unit, viseme or vowel drives."""
        return {meaning: tuple(targets) for meaning, targets in self._targets.items() if targets}

    @property
    def driven(self) -> set[str]:
        """The names of the morph targets that something drives."""
        return {name for targets in self.matched.values() for name in targets}

    def add(self, source: Source, weights: np.ndarray, meanings: Iterable[str]) -> None:
        """Let a morph target or an expression follow weights."""
        for name, factor in source.binds.items():
            if name in self._names:
                total = self._sums.setdefault(name, np.zeros(self._n_frames, np.float32))
                total += np.float32(factor) * weights
                self._note(name, meanings)

    def replace(self, name: str, weights: np.ndarray, meanings: Sequence[str]) -> None:
        """Let a morph target follow these weights only; without meanings, nothing drives it."""
        for targets in self._targets.values():
            if name in targets:
                targets.remove(name)
        self._sums.pop(name, None)
        if meanings:
            self._replaced[name] = weights
        self._note(name, meanings)

    def morphs(self) -> dict[str, np.ndarray]:
        """Return the weights of the morph targets; those that are not replaced are at most 1."""
        limited = {name: np.clip(total, 0, 1) for name, total in self._sums.items()}
        return limited | self._replaced

    def _note(self, name: str, meanings: Iterable[str]) -> None:
        for meaning in meanings:
            targets = self._targets.setdefault(meaning, [])
            if name not in targets:
                targets.append(name)


def _sources(names: Sequence[str], expressions: Mapping[str, Mapping[str, float]]) -> list[Source]:
    known = set(names)
    bound = [
        Source(name, binds, is_expression=True)
        for name, binds in expressions.items()
        if not known.isdisjoint(binds)
    ]
    return bound + [Source(name, {name: 1.0}) for name in names]


def _add_mouth(tracks: _Tracks, face: _Face, recognized: Recognized) -> np.ndarray | None:
    """Add the morph targets of the mouth, and return the rotation of the jaw, or None."""
    if recognized.mouth is not None:
        _add_poses(tracks, face, recognized.mouth, recognized.poses)
        return None
    entries = [(s, units) for s, units in recognized.units if any(map(moves_mouth, units))]
    shown = {unit for _, units in entries for unit in units}
    if shown.issuperset(ESSENTIAL):
        for source, units in entries:
            tracks.add(source, face.sum(units), units)
        return None
    # A jaw bone opens the mouth of a character that has morph targets for the lips only.
    opens = "jawOpen" in shown
    poses = {"jaw": {"jawOpen": 1.0}} if not opens else {}
    different: dict[tuple[str, ...], list[Source]] = {}
    for source, units in entries:
        different.setdefault(tuple(units), []).append(source)
    poses |= {"+".join(units): dict.fromkeys(units, 1.0) for units in different}
    fitted = face.fit(poses)
    for shape, sources in different.items():
        for source in sources:
            tracks.add(source, fitted["+".join(shape)], shape)
    return None if opens else fitted["jaw"] * np.float32(JAW_RADIANS)


def _add_poses(
    tracks: _Tracks, face: _Face, naming: MouthNaming, poses: Mapping[str, list[Source]]
) -> None:
    shown = {pose: naming.poses[pose] for pose in poses if naming.poses[pose]}
    fitted = face.fit(shown, naming.exclusive, naming.uncertain)
    if REST in poses:
        others = np.sum(list(fitted.values()), axis=0)
        fitted[REST] = np.clip(1 - others, 0, 1).astype(np.float32)
    for pose, sources in poses.items():
        for source in sources:
            tracks.add(source, fitted[pose], (pose,))


# Overrides ----------------------------------------------------------------------------------------


def _override(tracks: _Tracks, face: _Face, overrides: Mapping[str, Mapping[str, float]]) -> bool:
    """Let morph targets follow units, visemes and vowels; return whether one opens the mouth."""
    used = {_meaning(name) for factors in overrides.values() for name in factors}
    curves = {unit: face.sum({unit: 1.0}) for unit in used if unit in ARKIT_UNITS}
    rig = bundled_rig()
    for column, unit in enumerate(rig.unit_names):
        if unit not in ARKIT_UNITS:
            curves[unit] = face.head[:, column]
    visemes, vowels = (
        next(naming for naming in mouth_namings() if naming.name == name)
        for name in ("Oculus visemes", "VRM")
    )
    for naming in (vowels, visemes):  # a viseme comes before a vowel with the same name
        if not used.isdisjoint(naming.poses):
            poses = {name: pose for name, pose in naming.poses.items() if pose}
            curves |= face.fit(poses, naming.exclusive, naming.uncertain)
    if REST in used:
        shown = [curves[name] for name in visemes.poses if name != REST]
        curves[REST] = np.clip(1 - np.sum(shown, axis=0), 0, 1)
    for name, factors in overrides.items():
        total = np.zeros(len(face.head), np.float32)
        for meaning, factor in factors.items():
            total += np.float32(factor) * curves[_meaning(meaning)]
        tracks.replace(name, total, [_meaning(meaning) for meaning in factors])
    return not used.isdisjoint({*OPENERS, *vowels.poses, *visemes.poses})


def _meanings(rig_units: Iterable[str]) -> dict[str, str]:
    """Return what a map may contain, by key: units, visemes and vowels."""
    names = (*VOWELS, *bundled_rig().visemes, *rig_units)
    return {name_key(name): name for name in names} | {
        name_key(_VISEME_PREFIX + name): name for name in bundled_rig().visemes
    }


def _meaning(name: str) -> str:
    return _meanings(bundled_rig().unit_names)[name_key(name)]


def _check_overrides(overrides: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> None:
    known = _meanings(bundled_rig().unit_names)
    for target, factors in overrides.items():
        if target not in names:
            raise InputError(
                f"avatar map: the character has no morph target {printable(target)!r}"
                f"{_near(target, names)}; its morph targets are {_listed(names)}"
            )
        for name, factor in factors.items():
            if name_key(name) not in known:
                raise InputError(
                    f"avatar map, {printable(target)}: {printable(name)!r} is not a unit, a "
                    f"viseme or a vowel{_near(name, known.values())}; choose from ARKit's units, "
                    f"the visemes {', '.join(bundled_rig().visemes)}, and the vowels "
                    f"{', '.join(VOWELS)}"
                )
            _check_factor(factor, f"avatar map, {printable(target)}, {printable(name)}")


def _check_factor(factor: object, where: str) -> None:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not np.isfinite(factor):
        raise InputError(f"{where}: {printable(factor)} is not a number; give a factor, e.g. 1")


def _near(name: str, choices: Iterable[str]) -> str:
    folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), folded, n=3)
    shown = ", ".join(printable(folded[choice]) for choice in close)
    return f" (did you mean {shown}?)" if close else ""


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(printable(name) for name in names[:most])
    return f"{shown} …" if len(names) > most else shown or "none"
