"""An artist's character: its meshes with morph targets, its expressions, and its bones."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError, InputError, counted, printable
from codetalker_cli.export.character_bones import (
    BONES,
    JAW,
    LEFT_EYE,
    RIGHT_EYE,
    Bones,
    facing,
    find_bones,
    head_of,
)
from codetalker_cli.export.character_expressions import morph_weights, read_expressions
from codetalker_cli.export.character_nodes import Group, Nodes, find_groups
from codetalker_cli.export.character_skin import Skinning
from codetalker_cli.formats.glb import item
from codetalker_cli.formats.gltf_container import Container, Json, read_container
from codetalker_cli.rigs.avatar_map import near
from codetalker_cli.rigs.avatar_meaning import name_key

_N_LISTED = 12

_SPELLINGS = {LEFT_EYE: "left_eye", RIGHT_EYE: "right_eye"}
"""The spellings of bones in a map, where they differ from ``BONES``."""

Expressions = dict[str, dict[str, float]]


@dataclass(frozen=True)
class MorphNode:
    """A node whose mesh has morph targets.

    Attributes:
        node: The index of the node.
        targets: The names of the morph targets; those without names are numbered.
        rest: The weights of the morph targets without an animation.
    """

    node: int
    targets: tuple[str, ...]
    rest: tuple[float, ...]


@dataclass(frozen=True)
class Character:
    """A character in a glTF file.

    Attributes:
        container: The file.
        nodes: The nodes of its scenes.
        group: Which of them belong to the character.
        meshes: The nodes with morph targets.
        bones: The nodes of the bones that speech moves, by their names in ``BONES``.
        idle_bones: The names of bones that seem to be such bones but move no mesh.
        skinning: The influence of bones on meshes.
        axes: (3, 3) columns that are the left, up and forward of the character in the file.
        expressions: The weights of morph targets in each expression of a VRM file.
        presets: Whether each expression that changes something is a preset of VRM.
        warnings: What prevents the file from moving as it should: one sentence each.
    """

    container: Container
    nodes: Nodes
    group: Group
    meshes: tuple[MorphNode, ...]
    bones: dict[str, int]
    idle_bones: tuple[str, ...]
    skinning: Skinning
    axes: np.ndarray
    expressions: Expressions
    presets: dict[str, bool]
    warnings: tuple[str, ...]

    @classmethod
    def read(
        cls,
        path: Path | str,
        node: str | None = None,
        bones: Mapping[str, str | None] | None = None,
    ) -> "Character":
        """Read a character.

        Args:
            path: A .glb, .vrm or .gltf file.
            node: The name or the index of one of the character's nodes, for files with several
                characters.
            bones: The names of the bones jaw, head, leftEye and rightEye, where they are not
                recognized; None: the bone is not turned.

        Raises:
            InputError: The file is missing, has nothing that could be driven, contains several
                characters and ``node`` does not choose one, or lacks one of ``bones``.
            DataError: The file is damaged.
        """
        container = read_container(path)
        try:
            return _find(container, node, bones or {})
        except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
            raise DataError(f"{printable(path)}: its JSON is invalid: {error!r}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise DataError(
                f"{printable(path)}: not a readable glTF file ({printable(error)})"
            ) from error

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all morph targets, each once."""
        return tuple(dict.fromkeys(name for mesh in self.meshes for name in mesh.targets))

    @property
    def is_vrm(self) -> bool:
        """Whether the file is a VRM avatar."""
        return bool(self.container.tree.get("extensions", {}).keys() & {"VRM", "VRMC_vrm"})

    @property
    def bone_names(self) -> dict[str, str]:
        """The names in the file of the bones that speech moves."""
        return {name: self.nodes.name(k) for name, k in self.bones.items()}


def _find(container: Container, chosen: str | None, named: Mapping[str, str | None]) -> Character:
    nodes = Nodes(container.tree)
    unnamed: list[str] = []
    listed_expressions = read_expressions(container.tree)
    bound = {(mesh, index) for one in listed_expressions for mesh, index, _ in one.binds}
    meshes = {}
    for k in nodes:
        mesh = _morph_node(nodes, k, bound, unnamed)
        if mesh is not None:
            meshes[k] = mesh
    skinning = Skinning(container, nodes)
    given = {part_of(part): _named_bone(nodes, part, name) for part, name in named.items()}

    def bones_of(group: Group) -> Bones:
        return find_bones(nodes, group, skinning, given)

    group = _choose(container.path, nodes, meshes, chosen, bones_of)
    own = tuple(meshes[k] for k in sorted(group.meshes))
    bones = bones_of(group)
    _check_bones(nodes, skinning, bones, given)
    if not own and JAW not in bones.found:
        reason = _nothing(nodes, group, unnamed, bones)
        raise InputError(f"{printable(container.path)}: {reason}")
    axes = facing(nodes, group, bones.found, skinning)
    targets = {nodes[k]["mesh"]: mesh.targets for k, mesh in meshes.items()}
    return Character(
        container=container,
        nodes=nodes,
        group=group,
        meshes=own,
        bones=bones.found,
        idle_bones=bones.idle,
        skinning=skinning,
        axes=axes,
        expressions=morph_weights(listed_expressions, targets),
        presets={one.name: one.is_preset for one in listed_expressions if not one.is_empty},
        warnings=tuple(_warnings(nodes, group, unnamed)),
    )


def part_of(name: str) -> str:
    """Return the bone in ``BONES`` that a name such as ``left_eye`` means.

    Raises:
        InputError: The name is unknown.
    """
    parts = {name_key(part): part for part in BONES}
    if name_key(name) not in parts:
        shown = [_SPELLINGS.get(part, part) for part in BONES]
        raise InputError(
            f"avatar map, bones: {printable(name)!r} is not a bone that speech moves"
            f"{near(name, shown)}; choose from {', '.join(shown)}"
        )
    return parts[name_key(name)]


def _named_bone(nodes: Nodes, part: str, name: str | None) -> int | None:
    """Return the node of a bone that a map names."""
    if name is None:
        return None
    found = [k for k in nodes if nodes.name(k) == name]
    found = found or [k for k in nodes if nodes.name(k).lower() == str(name).lower()]
    if not found:
        names = [nodes.name(k) for k in nodes if "mesh" not in nodes[k]]
        raise InputError(
            f"avatar map, bones, {printable(part)}: the character has no bone {printable(name)!r}"
            f"{near(str(name), names)}; its bones are {listed(names)}"
        )
    return found[0]


def _check_bones(
    nodes: Nodes, skinning: Skinning, bones: Bones, given: Mapping[str, int | None]
) -> None:
    """Refuse bones of a map that belong to another character or move nothing."""
    for part, k in given.items():
        if k is None:
            continue
        where = f"avatar map, bones, {_SPELLINGS.get(part, part)}: the bone {nodes.name(k)}"
        if not skinning.moved(k):
            raise InputError(
                f"{printable(where)} moves no vertex: no skin has weights for it or for the bones "
                "below it, and no mesh is below it; give another bone"
            )
        if part not in bones.found:
            raise InputError(f"{printable(where)} belongs to another character in the file")


def _nothing(nodes: Nodes, group: Group, unnamed: list[str], bones: Bones) -> str:
    if unnamed:
        return (
            f"the names of the morph targets are missing: {listed(unnamed)}; export the character "
            "with the names of its shapes (mesh.extras.targetNames)"
        )
    names = [nodes.name(k) for k in sorted(group.joints or nodes)]
    idle = f" ({listed(list(bones.idle))} moves no vertex)" if bones.idle else ""
    return (
        f"the character has no morph targets and no jaw bone{idle}, so speech cannot move it; its "
        f"{'bones' if group.joints else 'nodes'} are {listed(names)}; add shapes for the mouth, "
        "or name the bone of the jaw in `avatar_map`, e.g. bones: {jaw: Chin}"
    )


def _warnings(nodes: Nodes, group: Group, unnamed: list[str]) -> Iterator[str]:
    for mesh in unnamed:
        yield f"the mesh {mesh} stays still, because the names of its morph targets are missing"
    for k in sorted(group.meshes):
        parts = item(nodes.tree, "meshes", nodes[k]["mesh"])["primitives"]
        counts = {len(part.get("targets", [])) for part in parts}
        if len(counts) > 1:
            yield (
                f"the parts of the mesh {nodes.name(k)} have {min(counts)} to {max(counts)} morph "
                "targets, which glTF does not allow, so some programs may not move it"
            )


def listed(names: list[str]) -> str:
    """Return some names for a message, e.g. ``a, b and 3 more``."""
    shown = ", ".join(printable(name, 60) for name in names[:_N_LISTED])
    more = len(names) - _N_LISTED
    return f"{shown} and {more} more" if more > 0 else shown or "none"


# Which nodes -------------------------------------------------------------------------------------


def _choose(
    path: Path,
    nodes: Nodes,
    meshes: dict[int, MorphNode],
    chosen: str | None,
    bones_of: Callable[[Group], Bones],
) -> Group:
    names = {k: mesh.targets for k, mesh in meshes.items()}
    groups = find_groups(nodes, names, lambda joints: head_of(nodes, joints))
    if not groups:
        groups = [Group(roots={k}) for k in nodes if nodes.parent[k] is None]
    able = [g for g in groups if g.meshes or JAW in bones_of(g).found]
    able = able or groups[:1] or [Group()]
    if chosen is None:
        if len(able) == 1:
            return able[0]
        raise InputError(
            f"{printable(path)}: the file contains {len(able)} characters; choose one of them with "
            f"`avatar_node`: {listed([_label(nodes, g, able) for g in able])}"
        )
    matching = _named(path, nodes, chosen)
    found = [part for g in able if (part := _part(nodes, g, matching)) is not None]
    if len(found) != 1:
        what = f"contains {len(found)} characters" if found else "is not part of a character"
        raise InputError(
            f"{printable(path)}: the node {printable(chosen)!r} {what}; choose one of "
            f"{listed([_label(nodes, g, able) for g in able])} as `avatar_node`"
        )
    return found[0]


def _named(path: Path, nodes: Nodes, chosen: str) -> list[int]:
    found = [k for k in nodes if nodes.name(k) == chosen]
    found = found or [k for k in nodes if nodes.name(k).lower() == chosen.lower()]
    if not found and chosen.isdecimal():
        found = [k for k in nodes if str(k) == chosen]
    if not found:
        names = [nodes.name(k) for k in nodes]
        raise InputError(
            f"{printable(path)}: no node is named {printable(chosen)!r}; the nodes are "
            f"{listed(names)}"
        )
    return found


def _part(nodes: Nodes, group: Group, chosen: list[int]) -> Group | None:
    """Return what some nodes choose of a character, or None."""
    if set(chosen) & (group.meshes | group.joints):
        return group
    below = {k for k in nodes if set(nodes.lineage(k)) & set(chosen)}
    if below & group.joints or (group.roots & below and not group.meshes):
        return group
    part = group.meshes & below
    return Group(part, group.joints, group.roots) if part else None


def _label(nodes: Nodes, group: Group, groups: list[Group]) -> str:
    """Return the name of the highest node that contains only this character."""
    others = {
        k
        for other in groups
        if other is not group
        for member in other.meshes | other.joints | other.roots
        for k in nodes.lineage(member)
    }
    member = min(group.meshes or group.joints or group.roots)
    own = [k for k in nodes.lineage(member) if k not in others]
    return nodes.name(own[0] if own else member)


# Morph targets -----------------------------------------------------------------------------------


def _morph_node(
    nodes: Nodes, k: int, bound: set[tuple[int, int]], unnamed: list[str]
) -> MorphNode | None:
    """Return a node with morph targets, or None if it has none, or none with names."""
    node = nodes[k]
    if "mesh" not in node:
        return None
    mesh = item(nodes.tree, "meshes", node["mesh"])
    n_targets = max((len(part.get("targets", [])) for part in mesh["primitives"]), default=0)
    if not n_targets:
        return None
    names = _target_names(nodes.tree, mesh, n_targets)
    if names is None:
        if not any((node["mesh"], j) in bound for j in range(n_targets)):
            unnamed.append(f"{nodes.name(k)}{_count_of_names(mesh, n_targets)}")
            return None
        names = tuple(f"{nodes.name(k)}[{j}]" for j in range(n_targets))
    rest: list[float] = node.get("weights") or mesh.get("weights") or [0.0] * n_targets
    if len(rest) != n_targets:
        raise ValueError(
            f"its mesh {nodes.name(k)!r} has {n_targets} morph targets, but {len(rest)} weights"
        )
    return MorphNode(k, names, tuple(float(weight) for weight in rest))


def _count_of_names(mesh: Json, n_targets: int) -> str:
    """Return the number of the names in a mesh for a message, if it has another one."""
    for owner in (mesh, *mesh["primitives"]):
        extras = owner.get("extras")
        names = extras.get("targetNames") if isinstance(extras, dict) else None
        if isinstance(names, list):
            return f" ({counted(len(names), 'name')} for {n_targets} morph targets)"
    return ""


def _target_names(tree: Json, mesh: Json, n_targets: int) -> tuple[str, ...] | None:
    """Return the names of the morph targets of a mesh, which glTF does not standardize."""
    for owner in (mesh, *mesh["primitives"]):
        extras = owner.get("extras")
        names = extras.get("targetNames") if isinstance(extras, dict) else None
        if isinstance(names, list) and len(names) == n_targets:
            return tuple(str(name) for name in names)
    found = []
    parts = [part.get("targets", []) for part in mesh["primitives"]]
    for target in max(parts, key=len):
        accessors = [item(tree, "accessors", number) for number in target.values()]
        found.append(next((a["name"] for a in accessors if a.get("name")), ""))
    return tuple(map(str, found)) if all(found) else None
