"""What of a character moves, as data and as lines for the user."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codetalker_cli.errors import counted, printable
from codetalker_cli.export.character import Character
from codetalker_cli.export.character_bones import HEAD, JAW, LEFT_EYE, RIGHT_EYE
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import Drive

_SHOWN_BY = {JAW: "jawOpen", LEFT_EYE: "eyeLook", RIGHT_EYE: "eyeLook"}
"""What the names of the units that a bone shows begin with."""
ANIMATION = "speech"
"""The name of the animation; a number follows if the file has one of this name."""
_NAMED, _FEW = 8, 3
"""The most names in a list, and the most that are listed for a mesh that moves."""


@dataclass(frozen=True)
class MeshReport:
    """What of a mesh moves.

    Attributes:
        mesh: The name of its node.
        driven: The morph targets that are driven.
        still: The other ones.
    """

    mesh: str
    driven: tuple[str, ...]
    still: tuple[str, ...]


@dataclass(frozen=True)
class AvatarReport:
    """What of a character moves.

    Attributes:
        naming: The recognized naming of the morph targets, e.g. ``ARKit``.
        matched: The morph targets, expressions or bones that each unit, viseme or vowel drives.
        unmatched: The units that nothing shows, and ``gaze`` or ``head rotation`` without bones.
        unused: The morph targets or expressions that nothing drives.
        bones: The names of the bones that turn, as ``jaw``, ``head``, ``leftEye``, ``rightEye``.
        animation: The name of the animation in the file.
        changes: What else differs from the character's file: one sentence each.
        meshes: What of each mesh with morph targets moves; empty for a .vrma.
        idle_bones: The bones with known names that are not turned, because they move no mesh.
        notes: How the strength applies, if not to single morph targets: one sentence each.
        warnings: What prevents the character from moving as it should: one sentence each.
        opens_mouth: Whether something opens the mouth.
        redundant: Those of ``unused`` that would move what others move already.
    """

    naming: str
    matched: dict[str, list[str]]
    unmatched: list[str]
    unused: list[str]
    bones: dict[str, str]
    animation: str
    changes: tuple[str, ...] = ()
    meshes: tuple[MeshReport, ...] = ()
    idle_bones: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    opens_mouth: bool = True
    redundant: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data that JSON can store."""
        return {
            "naming": self.naming,
            "matched": self.matched,
            "unmatched": self.unmatched,
            "unused": self.unused,
            "bones": self.bones,
            "animation": self.animation,
            "changes": list(self.changes),
            "meshes": [
                {"mesh": one.mesh, "driven": list(one.driven), "still": list(one.still)}
                for one in self.meshes
            ],
            "idle_bones": list(self.idle_bones),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "opens_mouth": self.opens_mouth,
            "redundant": list(self.redundant),
            "lines": list(self.lines()),
        }

    def lines(self) -> Iterator[str]:
        """Yield what the user should know, the most important first: one line each."""
        naming = f" ({self.naming})" if self.naming else ""
        bones = [f"{name} ({part})" for part, name in self.bones.items()]
        moving = [one for one in self.meshes if one.driven]
        if moving:
            alike: dict[str, list[str]] = {}
            for one in moving:
                alike.setdefault(_driven(one), []).append(one.mesh)
            shown = [f"{_joined(meshes)} by {names}" for names, meshes in alike.items()]
            total = counted(len(moving), "moving mesh", "moving meshes")
            yield f"{total}{naming}: {'; '.join(shown)}"
        elif not self.meshes and self.matched:
            names = dict.fromkeys(name for names in self.matched.values() for name in names)
            own = [name for name in names if name not in self.bones.values()]
            if own:
                yield f"{counted(len(own), 'driven expression')}{naming}: {_joined(own)}"
        if bones:
            yield f"{counted(len(bones), 'turning bone')}: {_joined(bones)}"
        if not self.opens_mouth:
            yield self._shut()
        yield from (printable(warning) for warning in self.warnings)
        still = [
            f"{one.mesh} ({_joined(one.still, _FEW)})" for one in self.meshes if not one.driven
        ]
        if still:
            yield (
                f"{counted(len(still), 'mesh stays', 'meshes stay')} still, because no name of "
                f"{'its' if len(still) == 1 else 'their'} morph targets is known: {_joined(still)}"
            )
        for name in self.idle_bones:
            yield f"the bone {printable(name)} is not turned, because it moves no vertex"
        if self.unmatched:
            yield f"no morph target or bone shows {_joined(self.unmatched)}"
        if not self.meshes and self.unused:
            yield f"not driven: {_joined(self.unused)}"
        for still_names, meshes in _same_rest(moving).items():
            where = _joined(meshes, _FEW)
            double = [name for name in still_names if name in self.redundant]
            others = [name for name in still_names if name not in self.redundant]
            if double:
                yield (
                    f"not driven in {where}, because other morph targets show the same: "
                    f"{_joined(double)}"
                )
            if others:
                yield f"not driven in {where}: {_joined(others)}"
        if self.animation != ANIMATION:
            yield (
                f"the animation is called {self.animation}, because the character has one called "
                f"{ANIMATION}"
            )
        yield from self.notes
        yield from self.changes

    def _shut(self) -> str:
        """Return why the mouth does not open, and what to do."""
        if not self.meshes:
            return (
                "the mouth does not open: the avatar has no expressions for the vowels or the jaw; "
                "give an `out` that ends with .glb to move its morph targets"
            )
        return (
            "the mouth does not open: no morph target has a known name for that, and there is no "
            "jaw bone; name one of them in `avatar_map`, e.g. Mouth_Open: jawOpen"
        )


def _driven(mesh: MeshReport) -> str:
    n_all = len(mesh.driven) + len(mesh.still)
    if len(mesh.driven) <= _FEW:
        return _joined(mesh.driven)
    return f"{len(mesh.driven)} of {n_all} morph targets"


def _same_rest(meshes: Sequence[MeshReport]) -> dict[tuple[str, ...], list[str]]:
    """Return the meshes by the morph targets that stay still in them."""
    found: dict[tuple[str, ...], list[str]] = {}
    for one in meshes:
        if one.still:
            found.setdefault(one.still, []).append(one.mesh)
    return found


def _joined(names: Sequence[str], most: int = _NAMED) -> str:
    shown = ", ".join(printable(name, 120) for name in names[:most])
    more = len(names) - most
    return shown + (f" and {more} more" if more > 0 else "")


def report_of(
    character: Character,
    found: Drive,
    bones: list[str],
    name: str,
    changes: tuple[str, ...],
    strength: Mapping[str, float] | None = None,
) -> AvatarReport:
    """Return what of a character moves.

    Args:
        character: The character.
        found: What moves it.
        bones: The bones that turn.
        name: The name of the animation.
        changes: What else differs from the file.
        strength: The factors that were given.
    """
    names = character.bone_names
    matched = {key: list(targets) for key, targets in found.matched.items()}
    unmatched = list(found.unmatched)
    for bone in bones:
        start = _SHOWN_BY.get(bone)
        side = {LEFT_EYE: "Left", RIGHT_EYE: "Right"}.get(bone, "")
        for unit in ARKIT_UNITS if start else ():
            is_shown = unit.startswith(str(start)) and unit.endswith(side)
            if is_shown and unit not in found.matched:
                matched.setdefault(unit, []).append(names[bone])
                unmatched = [other for other in unmatched if other != unit]
    missing = {"jawOpen": found.jaw is not None and JAW not in bones}
    missing["gaze"] = found.eyes is not None and not {LEFT_EYE, RIGHT_EYE} & set(bones)
    missing["head rotation"] = found.head is not None and HEAD not in bones
    unmatched += [what for what, is_missing in missing.items() if is_missing]
    has_poses = any(mesh.has_poses for mesh in found.meshes)
    return AvatarReport(
        naming=found.naming,
        matched=matched,
        unmatched=list(dict.fromkeys(unmatched)),
        unused=list(found.unused),
        bones={bone: names[bone] for bone in bones},
        animation=name,
        changes=changes,
        meshes=tuple(_meshes(character, found)),
        idle_bones=character.idle_bones,
        notes=strength_notes(strength) if has_poses else (),
        warnings=character.warnings,
        opens_mouth=JAW in bones or any(mesh.opens for mesh in found.meshes) or not found.meshes,
        redundant=found.redundant,
    )


def _meshes(character: Character, found: Drive) -> Iterator[MeshReport]:
    for number, mesh in enumerate(character.meshes):
        driven = found.mesh(number).morphs
        names = tuple(dict.fromkeys(mesh.targets))
        yield MeshReport(
            character.nodes.name(mesh.node),
            tuple(name for name in names if name in driven),
            tuple(name for name in names if name not in driven),
        )


def strength_notes(strength: Mapping[str, float] | None) -> tuple[str, ...]:
    """Return how strengths apply to visemes and vowels."""
    mouth = ("jaw", "mouth", "tongue")
    given = {group: factor for group, factor in (strength or {}).items() if group in mouth}
    if not given or {given.get(group, 1.0) for group in mouth} == {1.0}:
        return ()
    return (
        "each viseme or vowel moves the jaw and the lips together, so the strength of "
        f"{' and '.join(given)} scales it by the share of that part in the movement",
    )
