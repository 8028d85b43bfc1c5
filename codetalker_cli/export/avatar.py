"""Write an artist's character with one more animation, which moves its face.

Everything else in the file stays as it is: the old binary chunk is the beginning of the new one,
and the JSON only gets accessors, buffer views and an animation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.export.avatar_report import ANIMATION, AvatarReport, report_of, strength_notes
from codetalker_cli.export.character import Character, listed
from codetalker_cli.export.character_bones import (
    HEAD,
    JAW,
    LEFT_EYE,
    RIGHT_EYE,
    rest_of,
    turned,
)
from codetalker_cli.export.glb_writer import GlbWriter, Json
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import Take
from codetalker_cli.export.vrma import PRESETS, presets, write_vrma
from codetalker_cli.formats.arkit_names import unit_of
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_limits import strengthen
from codetalker_cli.rigs.avatar_meaning import name_key
from codetalker_cli.rigs.avatars import Drive, drive_meshes
from codetalker_cli.rigs.units import is_bundled_head
from codetalker_cli.settings import ExportSettings

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
        bones: The names of bones that are not recognized, see ``Character.read``.
        strength: Factors for groups of morph targets, e.g. ``jaw``.
        export: What exported files contain.
    """

    node: str | None = None
    overrides: Mapping[str, Mapping[str, float]] | None = None
    bones: Mapping[str, str | None] | None = None
    strength: Mapping[str, float] | None = None
    export: ExportSettings = field(default_factory=lambda: ExportSettings.model_validate({}))


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
    character = Character.read(character_path, settings.node, settings.bones)
    if target.final.exists() and target.final.samefile(character_path):
        raise InputError(
            f"`out` {printable(target.final)}: this is the file of the character, which is never "
            "replaced; give another name"
        )
    if suffix == VRMA:
        return _export_vrma(take, character, target, settings)
    found = drive_meshes(
        _curves_of(take),
        [mesh.targets for mesh in character.meshes],
        settings.overrides,
        settings.strength,
        character.expressions,
    )
    return write_avatar(character, found, take.fps, target, settings.strength)


def _curves_of(take: Take) -> RigCurves:
    """Return the weights of all units of the bundled head if they are known, or of ARKit's."""
    if take.native is not None:
        return take.native
    is_known = take.given_units is None and is_bundled_head(take.motion.topology)
    return take.curves if is_known else take.arkit_curves


def write_avatar(
    character: Character,
    found: Drive,
    fps: float,
    target: Target,
    strength: Mapping[str, float] | None = None,
) -> AvatarReport:
    """Write a .glb with the content of a character's file and one more animation.

    Args:
        character: The character.
        found: What moves it.
        fps: The frame rate.
        target: Where to write.
        strength: The factors that were given, for the report.

    Raises:
        InputError: Nothing that the character has is driven, or the file would be too large.
        DataError: A curve contains NaN or infinite values, or a bone cannot be animated.
    """
    path = character.container.path
    with GlbWriter(target.path.parent, character.container) as glb:
        tracks = _Tracks(glb, _n_frames(found), fps)
        for number, mesh in enumerate(character.meshes):
            morphs = found.mesh(number).morphs
            if not morphs.keys().isdisjoint(mesh.targets):
                weights = np.tile(np.array(mesh.rest, np.float32), (tracks.n_frames, 1))
                for column, target_name in enumerate(mesh.targets):
                    if target_name in morphs:
                        weights[:, column] = morphs[target_name]
                tracks.add(mesh.node, "weights", weights)
        has_jaw = found.jaw is not None and JAW in character.bones
        if not tracks.channels and not has_jaw:
            raise InputError(f"{printable(path)}: {_undriven(character)}")
        try:
            bones, changes = _turn_bones(character, found, tracks, glb.tree["nodes"])
        except ValueError as error:
            raise DataError(f"{printable(path)}: {printable(error)}") from error
        animations = glb.tree.get("animations", [])
        unique = _unique(ANIMATION, [str(one.get("name", "")) for one in animations])
        extras: Json = {"fps": fps}
        if target.sound_name is not None:
            extras["sound"] = target.sound_name
        animation = {"name": unique, "samplers": tracks.samplers, "channels": tracks.channels}
        glb.append("animations", animation | {"extras": extras})
        glb.save(target)
    changes = character.container.changes + changes
    return report_of(character, found, bones, unique, changes, strength)


def _n_frames(found: Drive) -> int:
    columns = (*found.morphs.values(), found.jaw, found.head, found.eyes)
    return next((len(column) for column in columns if column is not None), 0)


def _undriven(character: Character) -> str:
    bones = ", ".join(character.bone_names.values())
    found = f"the bones of the head are {bones}" if bones else "it has no bones of a head"
    idle = f" ({listed(list(character.idle_bones))} moves no vertex)" * bool(character.idle_bones)
    return (
        f"no morph target has a known name, and there is no jaw bone to move{idle}; the morph "
        f"targets are {listed(list(character.names))}; {found}; name the morph targets or the bone "
        "of the jaw in `avatar_map`, e.g. Mouth_Open: jawOpen"
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
    jaw = found.jaw if found.jaw is not None else found.spare_jaw
    if jaw is not None and (found.jaw is not None or _is_needed(character, found, JAW)):
        turns[JAW] = np.stack([zeros, jaw, zeros], axis=1)
    gaze = found.eyes if found.eyes is not None else found.spare_eyes
    for eye in (LEFT_EYE, RIGHT_EYE):
        if gaze is not None and (found.eyes is not None or _is_needed(character, found, eye)):
            left, up = gaze.T
            turns[eye] = np.stack([left, -up, zeros], axis=1)
    turned_bones, changes = [], []
    for bone, angles in turns.items():
        k = character.bones.get(bone)
        if k is None:
            continue
        rest = rest_of(character.nodes[k])
        tracks.add(k, "rotation", turned(character.nodes, k, quaternions(angles), character.axes))
        turned_bones.append(bone)
        if "matrix" in nodes[k]:  # glTF allows no matrix in an animated node
            del nodes[k]["matrix"]
            nodes[k] |= rest
            changes.append(
                f"the matrix of the bone {character.nodes.name(k)} is written as translation, "
                "rotation and scale"
            )
    return turned_bones, tuple(changes)


def _is_needed(character: Character, found: Drive, bone: str) -> bool:
    """Return whether a bone moves only meshes that no morph target moves in the same way.

    In many characters, the morph targets move the skin, and the bones move the teeth or the eyes.
    """
    k = character.bones.get(bone)
    moved = set() if k is None else character.skinning.moved(k)
    drives = [found.mesh(n) for n, mesh in enumerate(character.meshes) if mesh.node in moved]
    return bool(moved) and not any(d.opens if bone == JAW else d.looks for d in drives)


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
    if settings.overrides or settings.bones:
        raise InputError(
            f"`out` {printable(target.final.name)}: the avatar map has no effect in a .vrma, which "
            "moves expressions; give a name that ends with .glb"
        )
    weights = presets(take.arkit_curves, settings.strength)
    if settings.strength:
        stronger = strengthen(take.arkit_curves, settings.strength)
        take = replace(take, native=replace(stronger, head=take.head))
    own = {unit: name for name in character.presets if (unit := unit_of(name))}
    targets = "arkit" if len(own) >= MIN_CUSTOM else "units"
    export = settings.export.model_copy(update={"targets": targets})
    names = _presets_of(character.presets) if targets == "units" else {}
    if "blink" in names:
        weights["blink"] = (weights.pop("blinkLeft") + weights.pop("blinkRight")) / 2
    named = {name: weights[key] for key, name in names.items() if not character.presets[name]}
    write_vrma(take, target, export, own, weights, named)
    matched = {key: [name] for key, name in (own | names).items()}
    if not matched:
        raise InputError(
            f"{printable(character.container.path)}: no expression has a known name; the "
            f"expressions are {listed(list(character.presets))}; give a name that ends with .glb "
            "to move its morph targets"
        )
    used = [name for names in matched.values() for name in names]
    has_head = HEAD in character.bones and take.head is not None
    return AvatarReport(
        naming="VRM expressions",
        matched=matched,
        unmatched=[] if targets == "units" else [u for u in ARKIT_UNITS if u not in matched],
        unused=[name for name in character.presets if name not in used],
        bones={HEAD: character.bone_names[HEAD]} if has_head else {},
        animation=ANIMATION,
        notes=strength_notes(settings.strength) if targets == "units" else (),
        opens_mouth="jawOpen" in own or not names.keys().isdisjoint(PRESETS[:5]),
    )


def _presets_of(expressions: Mapping[str, bool]) -> dict[str, str]:
    """Return the expressions of an avatar that mean presets, by the names of these in VRM 1.

    ``blink`` is one of them if an eye has no expression of its own.

    Args:
        expressions: Whether each expression is a preset. Another one, such as ``A`` in many VRM 0
            files, has a meaning if no preset has it.
    """
    meanings = {name.lower(): name for name in (*PRESETS, "blink")}
    found: dict[str, str] = {}
    for name in sorted(expressions, key=lambda name: not expressions[name]):
        key = name_key(name)
        meaning = meanings.get(_PRESETS.get(key, key))
        if meaning is not None:
            found.setdefault(meaning, name)
    sides = {"blinkLeft", "blinkRight"}
    double = {"blink"} if sides <= found.keys() else sides if "blink" in found else set()
    return {meaning: name for meaning, name in found.items() if meaning not in double}


_PRESETS = {"a": "aa", "i": "ih", "u": "ou", "e": "ee", "o": "oh"}
"""The presets of VRM 0 that have other names in VRM 1."""
