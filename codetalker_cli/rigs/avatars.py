"""Convert rig curves to the curves of a character's own morph targets and bones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_face import JAW_RADIANS, Face
from codetalker_cli.rigs.avatar_map import (
    Overrides,
    check_overrides,
    left_of,
    mapped_curves,
    meaning_of,
    opens_with_poses,
    opens_with_units,
    used,
)
from codetalker_cli.rigs.avatar_meaning import Recognized, Source, moves_mouth, recognize
from codetalker_cli.rigs.avatar_names import MouthNaming, Units
from codetalker_cli.rigs.visemes import REST

ESSENTIAL = (
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
)  # fmt: skip
"""The units with which a character shows the mouth of a motion unchanged. If one is missing, the
others are fitted to the motion."""
_JAW = "jaw"


@dataclass(frozen=True)
class MeshDrive:
    """What moves a mesh of a character.

    Attributes:
        morphs: The (T,) float32 weights of each morph target that is driven, by its name.
        opens: Whether a morph target opens the mouth.
        looks: Whether a morph target turns the eyes.
        has_poses: Whether visemes or vowels move the mouth.
    """

    morphs: dict[str, np.ndarray]
    opens: bool = False
    looks: bool = False
    has_poses: bool = False


@dataclass(frozen=True)
class Drive:
    """What moves a character: curves of its morph targets, and rotations of its jaw, head and eyes.

    Attributes:
        morphs: The (T,) float32 weights of each morph target that is driven, by its name in the
            file. If meshes have different curves for a name, those of the first one.
        jaw: (T,) float32 opening of the jaw in radians, or None if morph targets open it: jawOpen,
            visemes or vowels.
        head: (T, 3) rotation of the head in radians as ``RigCurves.head``, or None.
        eyes: (T, 2) float32 direction of the gaze to the subject's left and up in radians, or None
            if morph targets turn the eyes, or if the gaze is still.
        matched: The morph targets that each unit, viseme or vowel drives.
        unmatched: The names of the moving units of ARKit that nothing shows.
        unused: The morph targets that nothing drives.
        naming: The recognized namings, e.g. ``ARKit``; empty if there are none.
        meshes: What moves each mesh; empty: ``morphs`` in all of them.
        spare_jaw: The opening of the jaw, for a bone that moves only meshes whose morph targets do
            not open the mouth; None: there is none.
        spare_eyes: The same for bones of the eyes.
        redundant: Those of ``unused`` whose names are known, but would move what others move.
    """

    morphs: dict[str, np.ndarray]
    jaw: np.ndarray | None
    head: np.ndarray | None
    eyes: np.ndarray | None
    matched: dict[str, tuple[str, ...]]
    unmatched: tuple[str, ...]
    unused: tuple[str, ...]
    naming: str
    meshes: tuple[MeshDrive, ...] = ()
    spare_jaw: np.ndarray | None = None
    spare_eyes: np.ndarray | None = None
    redundant: tuple[str, ...] = ()

    def mesh(self, number: int) -> MeshDrive:
        """Return what moves a mesh."""
        return self.meshes[number] if self.meshes else MeshDrive(self.morphs)


def drive(
    curves: RigCurves,
    names: Sequence[str],
    overrides: Overrides | None = None,
    strength: Mapping[str, float] | None = None,
    expressions: Mapping[str, Mapping[str, float]] | None = None,
) -> Drive:
    """Return what moves a character of one mesh like rig curves; see ``drive_meshes``."""
    return drive_meshes(curves, [names], overrides, strength, expressions)


def drive_meshes(
    curves: RigCurves,
    meshes: Sequence[Sequence[str]],
    overrides: Overrides | None = None,
    strength: Mapping[str, float] | None = None,
    expressions: Mapping[str, Mapping[str, float]] | None = None,
) -> Drive:
    """Return what moves a character like rig curves.

    Each mesh is moved by the morph targets that it has. The lips of the character are shut where
    those of the bundled head are shut with the curves.

    Args:
        curves: The weights of ARKit's 52 units, or of the 58 units of the bundled head.
        meshes: The names of the morph targets of each mesh.
        overrides: For some morph targets, the units, visemes or vowels that drive them, with
            factors. In the meshes that have such a morph target, these units, visemes and vowels
            drive nothing else.
        strength: A factor for each group of units that should move more or less.
        expressions: The expressions of a VRM file: the morph targets that each one moves, with
            their weights at 1.

    Raises:
        InputError: A group, a morph target, a unit or a factor is unknown or invalid.
    """
    names = list(dict.fromkeys(name for mesh in meshes for name in mesh))
    check_overrides(overrides or {}, names)
    face = Face(curves, strength or {})
    parts = _parts(meshes, overrides or {}, expressions or {}, curves.n_frames)
    jaw = _add_mouth(parts, face)
    for part in parts:
        for source, units in part.found.units:
            if not any(map(moves_mouth, units)) and (left := part.left(units)):
                part.tracks.add(source, face.sum(left), left)
    mapped = mapped_curves(face, overrides or {})
    for part in parts:
        for name, weights in mapped.items():
            if name in part.names:
                meanings = [meaning_of(given) for given in (overrides or {})[name]]
                part.tracks.replace(name, weights, meanings)
    return _result(curves, overrides or {}, parts, face, jaw, names)


def _result(
    curves: RigCurves,
    overrides: Overrides,
    parts: "Sequence[_Part]",
    face: Face,
    jaw: np.ndarray | None,
    names: Sequence[str],
) -> Drive:
    matched: dict[str, list[str]] = {}
    morphs: dict[str, np.ndarray] = {}
    for part in parts:
        for meaning, targets in part.tracks.matched.items():
            known = matched.setdefault(meaning, [])
            known += [name for name in targets if name not in known]
        morphs = part.tracks.morphs() | morphs
    meshes = tuple(part.result() for part in parts)
    looks = any(mesh.looks for mesh in meshes)
    gaze = face.gaze()
    driven = {name for targets in matched.values() for name in targets}
    has_poses = any(part.has_poses for part in parts)
    unused = tuple(name for name in names if name not in driven)
    return Drive(
        morphs=morphs,
        jaw=jaw,
        head=curves.head,
        eyes=None if looks else gaze,
        matched={meaning: tuple(targets) for meaning, targets in matched.items()},
        unmatched=tuple(
            unit
            for unit in face.moving(has_poses)
            if unit not in matched and not (unit == "jawOpen" and jaw is not None)
        ),
        unused=unused,
        naming=", ".join(dict.fromkeys(n for part in parts for n in part.found.namings)),
        meshes=meshes,
        spare_jaw=face.jaw() if jaw is None else None,
        spare_eyes=gaze if looks else None,
        redundant=_known(name for name in unused if name not in overrides),
    )


def _known(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that would be recognized without others."""
    sources = [Source(name, {name: 1.0}) for name in names]
    (found,) = recognize([sources])
    known = [source.name for same in found.poses.values() for source in same]
    known += [source.name for source, _ in found.units]
    return tuple(source.name for source in sources if source.name in known)


# Parts --------------------------------------------------------------------------------------------


class _Tracks:
    """The curves of the morph targets of a mesh, which several expressions may share."""

    def __init__(self, names: Iterable[str], n_frames: int) -> None:
        self._names, self._n_frames = set(names), n_frames
        self._sums: dict[str, np.ndarray] = {}
        self._replaced: dict[str, np.ndarray] = {}
        self.matched: dict[str, list[str]] = {}

    def has(self, source: Source) -> bool:
        """Return whether a source moves one of the morph targets."""
        return not self._names.isdisjoint(source.binds)

    def add(self, source: Source, weights: np.ndarray, meanings: Iterable[str]) -> None:
        """Let a morph target or an expression follow weights."""
        for name, factor in source.binds.items():
            if name in self._names:
                total = self._sums.setdefault(name, np.zeros(self._n_frames, np.float32))
                total += np.float32(factor) * weights
                self._note(name, meanings)

    def replace(self, name: str, weights: np.ndarray, meanings: Sequence[str]) -> None:
        """Let a morph target follow these weights only; without meanings, nothing drives it."""
        if meanings:
            self._replaced[name] = weights
        self._note(name, meanings)

    def morphs(self) -> dict[str, np.ndarray]:
        """Return the weights of the morph targets; those that are not replaced are at most 1."""
        limited = {name: np.clip(total, 0, 1) for name, total in self._sums.items()}
        return limited | self._replaced

    def _note(self, name: str, meanings: Iterable[str]) -> None:
        for meaning in meanings:
            targets = self.matched.setdefault(meaning, [])
            if name not in targets:
                targets.append(name)


class _Part:
    """A mesh of the character.

    Attributes:
        names: The names of its morph targets.
        found: What they mean.
        mapped: The units, visemes and vowels that a map moves in the mesh.
        tracks: Its curves.
        has_poses: Whether visemes or vowels move the mouth.
        entries: The sources that units of the mouth move.
    """

    def __init__(
        self, names: Sequence[str], found: Recognized, overrides: Overrides, n_frames: int
    ) -> None:
        self.names = set(names)
        self.found = found
        self.mapped = used(overrides, names)
        self.tracks = _Tracks(self.names.difference(overrides), n_frames)
        self.has_poses = found.mouth is not None and not opens_with_units(self.mapped)
        self.entries = [(s, units) for s, units in found.units if any(map(moves_mouth, units))]
        self._with_mouth = not opens_with_poses(self.mapped)

    def left(self, units: Units) -> Units:
        """Return the units that still move a source, although the map may move them."""
        return left_of(units, self.mapped, with_mouth=self._with_mouth)

    @property
    def opens(self) -> bool:
        """Whether a morph target opens the mouth like a jaw."""
        units = {
            unit
            for source, meaning in self.entries
            if self.tracks.has(source)
            for unit in self.left(meaning)
        }
        return self.has_poses or "jawOpen" in units | self.mapped or opens_with_poses(self.mapped)

    def result(self) -> MeshDrive:
        """Return what moves the mesh."""
        looks = any(unit.startswith("eyeLook") for unit in self.tracks.matched)
        return MeshDrive(self.tracks.morphs(), self.opens, looks, self.has_poses)


def _parts(
    meshes: Sequence[Sequence[str]],
    overrides: Overrides,
    expressions: Mapping[str, Mapping[str, float]],
    n_frames: int,
) -> list[_Part]:
    found = recognize([_sources(names, expressions) for names in meshes])
    return [
        _Part(names, meaning, overrides, n_frames)
        for names, meaning in zip(meshes, found, strict=True)
    ]


def _sources(names: Sequence[str], expressions: Mapping[str, Mapping[str, float]]) -> list[Source]:
    known = set(names)
    bound = [
        Source(name, binds, is_expression=True)
        for name, binds in expressions.items()
        if not known.isdisjoint(binds)
    ]
    return bound + [Source(name, {name: 1.0}) for name in dict.fromkeys(names)]


# Mouth --------------------------------------------------------------------------------------------


def _add_mouth(parts: Sequence[_Part], face: Face) -> np.ndarray | None:
    """Add the morph targets of the mouth, and return the rotation of the jaw, or None."""
    posed = [part for part in parts if part.has_poses]
    _add_poses(posed, face)
    simple = [part for part in parts if part.found.mouth is None]
    shown = {unit for part in simple for _, units in part.entries for unit in units}
    shown |= {unit for part in parts for unit in part.mapped}
    opens = any(part.opens for part in parts)
    n_shapes = max((len({tuple(units) for _, units in p.entries}) for p in simple), default=0)
    is_led_by_poses = max((len(part.found.poses) for part in posed), default=0) > n_shapes
    fitted: dict[str, np.ndarray] = {}
    if not shown.issuperset(ESSENTIAL) and not is_led_by_poses:
        # A jaw bone opens the mouth of a character that has morph targets for the lips only.
        shapes = _shapes(simple) if opens else {_JAW: ("jawOpen",)} | _shapes(simple)
        fitted = face.fit_units(shapes)
        _add_units(simple, face, shapes, fitted)
    else:
        _add_units(simple, face, {}, {})
    if opens:
        return None
    return fitted[_JAW] * np.float32(JAW_RADIANS) if _JAW in fitted else face.jaw()


def _shapes(parts: Sequence[_Part]) -> dict[str, tuple[str, ...]]:
    """Return the units of the shapes that are fitted together.

    They are those of the most detailed mesh, and of the others what it lacks: two shapes for the
    same units would share their movement.
    """
    shapes: dict[str, tuple[str, ...]] = {}
    covered: set[str] = set()
    ordered = sorted(parts, key=lambda part: -len({tuple(units) for _, units in part.entries}))
    for k, part in enumerate(ordered):
        new = [tuple(units) for _, units in part.entries if not k or covered.isdisjoint(units)]
        shapes |= {"+".join(units): units for units in new}
        covered |= {unit for units in new for unit in units}
    mapped = {unit for part in parts for unit in part.mapped if unit in ARKIT_UNITS}
    extra = sorted(unit for unit in mapped - covered if moves_mouth(unit))
    return shapes | {unit: (unit,) for unit in extra}


def _add_units(
    parts: Sequence[_Part],
    face: Face,
    shapes: Mapping[str, tuple[str, ...]],
    fitted: Mapping[str, np.ndarray],
) -> None:
    """Let shapes follow the fitted weights, or where they are not fitted, those of the units."""
    units_of: dict[str, np.ndarray] = {}
    for name, shown in shapes.items():
        for unit in shown:
            units_of[unit] = units_of.get(unit, np.float32(0)) + fitted[name]
    for part in parts:
        for source, units in part.entries:
            left = part.left(units)
            weights = fitted.get("+".join(units)) if left == units else None
            if weights is None and left and units_of.keys() >= left.keys():
                terms = [np.float32(factor) * units_of[unit] for unit, factor in left.items()]
                weights = np.sum(terms, axis=0)
            if left:
                part.tracks.add(source, face.sum(left) if weights is None else weights, left)


def _add_poses(parts: Sequence[_Part], face: Face) -> None:
    """Add the mouth poses. Meshes with about the same poses get the same curves."""
    together: dict[int, tuple[MouthNaming, list[_Part]]] = {}
    for part in parts:
        if part.found.mouth is not None:
            together.setdefault(id(part.found.mouth), (part.found.mouth, []))[1].append(part)
    for naming, members in together.values():
        every = {pose for part in members for pose in part.found.poses}
        shared = _fit_poses(face, naming, every)
        for part in members:
            own = part.found.poses
            fitted = shared if 2 * len(own) >= len(every) else _fit_poses(face, naming, set(own))
            for pose, sources in own.items():
                for source in sources:
                    if pose not in part.mapped:
                        part.tracks.add(source, fitted[pose], (pose,))


def _fit_poses(face: Face, naming: MouthNaming, poses: set[str]) -> dict[str, np.ndarray]:
    shown = {pose: units for pose, units in naming.poses.items() if pose in poses and units}
    fitted = face.fit(shown, naming.exclusive, naming.uncertain)
    if REST in poses:
        others = np.sum(list(fitted.values()), axis=0)
        fitted[REST] = np.clip(1 - others, 0, 1).astype(np.float32)
    return fitted
