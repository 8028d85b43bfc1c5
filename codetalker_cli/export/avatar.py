"""Write an artist's character with one more animation, which moves its face.

Everything else in the file stays as it is: the old binary chunk is the beginning of the new one,
and the JSON only gets accessors, buffer views and an animation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.export.character import Character, listed
from codetalker_cli.export.character_bones import (
    HEAD,
    JAW,
    LEFT_EYE,
    RIGHT_EYE,
    facing,
    rest_of,
    turned,
)
from codetalker_cli.export.glb_writer import GlbWriter, Json
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import Take
from codetalker_cli.export.vrma import presets, write_vrma
from codetalker_cli.formats.arkit_names import unit_of
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_limits import strengthen
from codetalker_cli.rigs.avatars import Drive, drive
from codetalker_cli.rigs.units import is_bundled_head
from codetalker_cli.settings import ExportSettings

ANIMATION = "speech"
"""The name of the animation; a number follows if the file has one of this name."""
GLB, VRMA = ".glb", ".vrma"
MIN_CUSTOM = 26
"""A VRM avatar with expressions for as many of ARKit's units is moved by these alone."""


@dataclass(frozen=True)
class AvatarSettings:
    """How a character is driven.

    Attributes:
        node: The name or the index of a node of the character, for files with several; or None.
        overrides: The factors of units or visemes for each morph target, which replace the
            recognized ones.
        strength: Factors for groups of morph targets, e.g. ``jaw``.
        export: What exported files contain.
    """

    node: str | None = None
    overrides: Mapping[str, Mapping[str, float]] | None = None
    strength: Mapping[str, float] | None = None
    export: ExportSettings = field(default_factory=lambda: ExportSettings.model_validate({}))


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
    """

    naming: str
    matched: dict[str, list[str]]
    unmatched: list[str]
    unused: list[str]
    bones: dict[str, str]
    animation: str
    changes: tuple[str, ...] = ()

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
        }


def export_avatar(
    take: Take, character_path: Path, target: Target, settings: AvatarSettings
) -> AvatarReport:
    """Write a character with an animation of a take, or a .vrma for a VRM avatar.

    Args:
        take: The take.
        character_path: A .glb, .vrm or .gltf file.
        target: Where to write; the suffix of ``target.final`` is .glb or .vrma.
        settings: How the character is driven.

    Raises:
        InputError: The character cannot be driven, or the output would replace it or has another
            suffix.
        DataError: The character's file is damaged.
    """
    suffix = target.final.suffix.lower()
    if suffix not in (GLB, VRMA):
        raise InputError(
            f"`out` {printable(target.final.name)}: a character is written as .glb, or as .vrma "
            "for a VRM avatar; to make a video, open that file in a 3D program"
        )
    character = Character.read(character_path, settings.node)
    if target.final.exists() and target.final.samefile(character_path):
        raise InputError(
            f"`out` {printable(target.final)}: this is the file of the character, which is never "
            "replaced; give another name"
        )
    if suffix == VRMA:
        return _export_vrma(take, character, target, settings)
    found = drive(
        _curves_of(take),
        character.names,
        settings.overrides,
        settings.strength,
        character.expressions or None,
    )
    return write_avatar(character, found, take.fps, target)


def _curves_of(take: Take) -> RigCurves:
    """Return the weights of all units of the bundled head if they are known, or of ARKit's."""
    if take.native is not None:
        return take.native
    is_known = take.given_units is None and is_bundled_head(take.motion.topology)
    return take.curves if is_known else take.arkit_curves


def write_avatar(
    character: Character, found: Drive, fps: float, target: Target, name: str = ANIMATION
) -> AvatarReport:
    """Write a .glb with the content of a character's file and one more animation.

    Args:
        character: The character.
        found: What moves it.
        fps: The frame rate.
        target: Where to write.
        name: The name of the animation; a number is added if the file has one of this name.

    Raises:
        InputError: Nothing that the character has is driven, or the file would be too large.
        DataError: A curve contains NaN or infinite values, or a bone cannot be animated.
    """
    path = character.container.path
    with GlbWriter(target.path.parent, character.container) as glb:
        tracks = _Tracks(glb, _n_frames(found), fps)
        for mesh in character.meshes:
            driven = [target for target in mesh.targets if target in found.morphs]
            if driven:
                weights = np.tile(np.array(mesh.rest, np.float32), (tracks.n_frames, 1))
                for column, target_name in enumerate(mesh.targets):
                    if target_name in found.morphs:
                        weights[:, column] = found.morphs[target_name]
                tracks.add(mesh.node, "weights", weights)
        has_jaw = found.jaw is not None and JAW in character.bones
        if not tracks.channels and not has_jaw:
            raise InputError(f"{printable(path)}: {_undriven(character)}")
        try:
            bones, changes = _turn_bones(character, found, tracks, glb.tree["nodes"])
        except ValueError as error:
            raise DataError(f"{printable(path)}: {printable(error)}") from error
        animations = glb.tree.get("animations", [])
        unique = _unique(name, [str(one.get("name", "")) for one in animations])
        extras: Json = {"fps": fps}
        if target.sound_name is not None:
            extras["sound"] = target.sound_name
        animation = {"name": unique, "samplers": tracks.samplers, "channels": tracks.channels}
        glb.append("animations", animation | {"extras": extras})
        glb.save(target)
    return _report(character, found, bones, unique, character.container.changes + changes)


def _n_frames(found: Drive) -> int:
    columns = (*found.morphs.values(), found.jaw, found.head, found.eyes)
    return next((len(column) for column in columns if column is not None), 0)


def _undriven(character: Character) -> str:
    bones = ", ".join(character.bone_names.values()) or "none"
    return (
        f"no morph target has a known name, and there is no jaw bone to move; the morph targets "
        f"are {listed(list(character.names))}; the bones of the head are {bones}; name the morph "
        "targets with `avatar_map`, or rename the bone of the jaw to Jaw"
    )


def _unique(name: str, taken: list[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name} {number}"
    return unique


class _Tracks:
    """The samplers and channels of the animation. Equal curves are stored once."""

    def __init__(self, glb: GlbWriter, n_frames: int, fps: float) -> None:
        self.n_frames = n_frames
        self.samplers: list[Json] = []
        self.channels: list[Json] = []
        self._glb = glb
        self._times = np.arange(n_frames) / fps
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, node: int, path: str, values: np.ndarray) -> None:
        """Animate a node; constant values are stored only for the first and the last frame."""
        times = self._times
        if len(values) > 2 and (values == values[0]).all():
            times, values = times[[0, -1]], values[[0, -1]]
        sampler = {"input": self._accessor("times", times), "interpolation": "LINEAR"}
        stored = values.reshape(-1) if path == "weights" else values
        sampler["output"] = self._accessor(path, stored)
        if sampler not in self.samplers:
            self.samplers.append(sampler)
        target = {"node": node, "path": path}
        self.channels.append({"sampler": self.samplers.index(sampler), "target": target})

    def _accessor(self, kind: str, values: np.ndarray) -> int:
        key = kind, values.tobytes()
        if key not in self._known:
            self._known[key] = self._glb.curve_accessor(values, bounds=kind == "times")
        return self._known[key]


def _turn_bones(
    character: Character, found: Drive, tracks: _Tracks, nodes: list[Json]
) -> tuple[list[str], tuple[str, ...]]:
    """Animate the bones, and return which ones, and what this changes in ``nodes`` to write."""
    zeros = np.zeros(tracks.n_frames)
    turns: dict[str, np.ndarray] = {}
    if found.head is not None:
        turns[HEAD] = found.head
    if found.jaw is not None:
        turns[JAW] = np.stack([zeros, found.jaw, zeros], axis=1)
    if found.eyes is not None:
        left, up = found.eyes.T
        turns[LEFT_EYE] = turns[RIGHT_EYE] = np.stack([left, -up, zeros], axis=1)
    axes = facing(character.nodes, character.group, character.bones)
    turned_bones, changes = [], []
    for bone, angles in turns.items():
        k = character.bones.get(bone)
        if k is None:
            continue
        rest = rest_of(character.nodes[k])
        tracks.add(k, "rotation", turned(character.nodes, k, quaternions(angles), axes))
        turned_bones.append(bone)
        if "matrix" in nodes[k]:  # glTF allows no matrix in an animated node
            del nodes[k]["matrix"]
            nodes[k] |= rest
            changes.append(
                f"the matrix of the bone {character.nodes.name(k)} is written as translation, "
                "rotation and scale"
            )
    return turned_bones, tuple(changes)


_SHOWN_BY = {JAW: "jawOpen", LEFT_EYE: "eyeLook", RIGHT_EYE: "eyeLook"}
"""What the names of the units that a bone shows begin with."""


def _report(
    character: Character, found: Drive, bones: list[str], name: str, changes: tuple[str, ...]
) -> AvatarReport:
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
    return AvatarReport(
        naming=found.naming,
        matched=matched,
        unmatched=list(dict.fromkeys(unmatched)),
        unused=list(found.unused),
        bones={bone: names[bone] for bone in bones},
        animation=name,
        changes=changes,
    )


# VRM animations ----------------------------------------------------------------------------------


def _export_vrma(
    take: Take, character: Character, target: Target, settings: AvatarSettings
) -> AvatarReport:
    """Write a .vrma with the expressions that suit the avatar."""
    if not character.is_vrm:
        raise InputError(
            f"`out` {printable(target.final.name)}: {printable(character.container.path.name)} is "
            "not a VRM avatar, and a .vrma moves only these; give a name that ends with .glb"
        )
    if settings.overrides:
        raise InputError(
            f"`out` {printable(target.final.name)}: the avatar map has no effect in a .vrma, which "
            "moves expressions; give a name that ends with .glb"
        )
    if settings.strength:
        head = None if take.native is None else take.native.head
        stronger = strengthen(take.arkit_curves, settings.strength)
        take = replace(take, native=replace(stronger, head=head))
    own = {unit: name for name in character.expressions if (unit := unit_of(name))}
    targets = "arkit" if len(own) >= MIN_CUSTOM else "units"
    write_vrma(take, target, settings.export.model_copy(update={"targets": targets}), own)
    names = dict(own)
    if targets == "units":
        presets_of = {_PRESETS.get(n.lower(), n.lower()): n for n in character.expressions}
        written = {name.lower(): name for name in presets(take.arkit_curves)}
        names |= {written[key]: name for key, name in presets_of.items() if key in written}
    matched = {key: [name] for key, name in names.items()}
    if not matched:
        raise InputError(
            f"{printable(character.container.path)}: no expression has a known name; the "
            f"expressions are {listed(list(character.expressions))}"
        )
    used = [name for names in matched.values() for name in names]
    has_head = HEAD in character.bones and take.native is not None and take.native.head is not None
    return AvatarReport(
        naming="VRM expressions",
        matched=matched,
        unmatched=[] if targets == "units" else [u for u in ARKIT_UNITS if u not in matched],
        unused=[name for name in character.expressions if name not in used],
        bones={HEAD: character.bone_names[HEAD]} if has_head else {},
        animation=ANIMATION,
    )


_PRESETS = {
    "a": "aa", "i": "ih", "u": "ou", "e": "ee", "o": "oh", "blink_l": "blinkleft",
    "blink_r": "blinkright",
}  # fmt: skip
"""The presets of VRM 0 that have other names in VRM 1."""
