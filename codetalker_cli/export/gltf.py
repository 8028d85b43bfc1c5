"""The .glb exporter: a mesh with named morph targets, and one animation of their weights."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codetalker_cli.errors import InputError
from codetalker_cli.export.glb_writer import GlbWriter, Json
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.export.principal import MAX_TARGETS, principal_shapes
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.settings import ExportSettings
from codetalker_cli.surface import VertexNormals, to_linear

_SIDES = ("_left", "_right", "_upper", "_lower")
_ROUGHNESS = {"eye": 0.15, "teeth": 0.3, "tongue": 0.4}
_SKIN_ROUGHNESS = 0.6
_GRAY = (0.6, 0.6, 0.6, 1.0)


@dataclass(frozen=True)
class _Morphs:
    """The geometry of a mesh and its animation.

    Attributes:
        base: (V, 3) float32 vertices at zero weights.
        names: The names of the R targets.
        offsets: The (V, 3) float32 offsets of each target, in order.
        weights: (T, R) float32 weights.
        rest: (R,) weights without the animation, or None for zeros.
        head: (T, 3) rotation of the head, or None if the vertices of the motion contain it.
        with_normals: Whether the targets also change the normals. Without, three.js shades the
            lips as if they had not moved; with it, a file of frames would be twice as large.
    """

    base: np.ndarray
    names: tuple[str, ...]
    offsets: Iterable[np.ndarray]
    weights: np.ndarray
    rest: np.ndarray | None = None
    head: np.ndarray | None = None
    with_normals: bool = True


def write_glb(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write a mesh with the morph targets that ``settings.targets`` describes.

    Raises:
        InputError: The units of the face are unknown, there are too many frames for the targets
            ``frames``, or the file would be too large.
    """
    morphs = _morphs(take, settings)
    name = take.motion.subject or "face"
    with GlbWriter(target.path.parent) as glb:
        mesh = {"name": name} | _mesh(glb, take, morphs, single=settings.targets == "frames")
        nodes = _add_nodes(glb, name, mesh, None if morphs.head is None else take.neck_pivot)
        curves = {nodes["face"]: ("weights", morphs.weights.reshape(-1))}
        if morphs.head is not None:
            curves[nodes["neck"]] = "rotation", quaternions(morphs.head)
        animation = _animation(glb, take, curves)
        if target.sound_name is not None:
            animation["extras"]["sound"] = target.sound_name
        glb.append("animations", animation)
        glb.save(target)


def _add_nodes(
    glb: GlbWriter, name: str, mesh: Json, neck_pivot: np.ndarray | None
) -> dict[str, int]:
    """Add the scene, and return its nodes. The neck is the point about which the face turns."""
    face: Json = {"name": name, "mesh": glb.append("meshes", mesh)}
    if neck_pivot is not None:
        face["translation"] = (-neck_pivot).tolist()
    root = glb.append("nodes", face)
    nodes = {"face": root}
    if neck_pivot is not None:
        neck: Json = {"name": "neck", "translation": neck_pivot.tolist(), "children": [root]}
        nodes["neck"] = root = glb.append("nodes", neck)
    glb.tree["scene"] = glb.append("scenes", {"name": name, "nodes": [root]})
    return nodes


def _morphs(take: Take, settings: ExportSettings) -> _Morphs:
    if settings.targets == "frames":
        return _frame_morphs(take)
    if settings.targets == "basis":
        shapes = principal_shapes(take.without_head, settings.basis_error_mm / 1e3)
        names = tuple(f"basis_{k:03d}" for k in range(1, len(shapes.offsets) + 1))
        base, offsets, weights = shapes.base, shapes.offsets, shapes.weights
        head = take.motion.head
        return _Morphs(base, names, offsets, weights, shapes.neutral, head, with_normals=False)
    if settings.targets == "arkit":
        units = take.arkit_units
        curves = take.arkit_curves.select(units.names)
    else:
        units, curves = take.units, take.curves
    return _Morphs(take.template, units.names, units.deltas, curves.weights, head=take.head)


def _frame_morphs(take: Take) -> _Morphs:
    n = take.n_frames
    if n > MAX_TARGETS:
        raise InputError(
            f"the motion has {n} frames, but `targets` frames is limited to {MAX_TARGETS}; "
            "choose basis, units or arkit, or export a part of the motion"
        )
    digits = len(str(n))
    names = tuple(f"frame_{k:0{digits}d}" for k in range(n))
    blocks = take.without_head.blocks()
    offsets = (frame - take.template for block in blocks for frame in block)
    weights, head = np.eye(n, dtype=np.float32), take.motion.head
    return _Morphs(take.template, names, offsets, weights, head=head, with_normals=False)


def _mesh(glb: GlbWriter, take: Take, morphs: _Morphs, *, single: bool) -> Json:
    """Return the mesh. Its primitives share their vertices, which keep their order."""
    normals = VertexNormals(take.triangles, len(morphs.base))
    neutral_normals = _unit_normals(normals, take.template)
    attributes = {
        "POSITION": glb.vertex_accessor(morphs.base, bounds=True),
        "NORMAL": glb.vertex_accessor(neutral_normals),
    }
    if take.colors is not None:
        attributes["COLOR_0"] = glb.vertex_accessor(_linear_colors(take.colors))
    targets = []
    for offsets in morphs.offsets:
        moved = {"POSITION": glb.offsets_accessor(offsets)}
        if morphs.with_normals:
            turned = _unit_normals(normals, take.template + offsets) - neutral_normals
            moved["NORMAL"] = glb.offsets_accessor(turned)
        targets.append(moved)
    parts = {"face": take.triangles} if single else _triangles_by_material(take)
    primitives = [
        {
            "attributes": attributes,
            "indices": glb.index_accessor(triangles),
            "material": glb.append("materials", _material(name, colored="COLOR_0" in attributes)),
            "targets": targets,
        }
        for name, triangles in parts.items()
    ]
    mesh: Json = {"primitives": primitives, "extras": {"targetNames": list(morphs.names)}}
    if morphs.rest is not None:
        mesh["weights"] = morphs.rest.tolist()
    return mesh


def _unit_normals(normals: VertexNormals, vertices: np.ndarray) -> np.ndarray:
    """Return the normals; those of vertices without triangles point forward."""
    found = normals.of(vertices)
    found[~found.any(axis=1)] = 0, 0, 1
    return found


def _linear_colors(colors: np.ndarray) -> np.ndarray:
    """Return (V, 4) uint16 colors, which are linear in glTF. 8 bits are too few for dark ones."""
    linear = np.round(to_linear(np.arange(256) / 255) * 65535).astype(np.uint16)
    opaque = np.full((len(colors), 1), 65535, np.uint16)
    return np.concatenate([linear[colors], opaque], axis=1)


def _triangles_by_material(take: Take) -> dict[str, np.ndarray]:
    """Group the triangles by the parts of the face, both sides of a part together."""
    first = take.triangles[:, 0]
    left = np.ones(len(first), bool)
    groups: dict[str, np.ndarray] = {}
    for name, (start, stop) in take.motion.topology.parts.items():
        kind = next((name.removesuffix(side) for side in _SIDES if name.endswith(side)), name)
        inside = (first >= start) & (first < stop) & left
        left &= ~inside
        groups[kind] = groups.get(kind, False) | inside
    groups["face"] = groups.get("face", False) | left
    return {name: take.triangles[mask] for name, mask in groups.items() if mask.any()}


def _material(name: str, *, colored: bool) -> Json:
    surface: Json = {
        "metallicFactor": 0.0,
        "roughnessFactor": _ROUGHNESS.get(name, _SKIN_ROUGHNESS),
    }
    if not colored:
        surface["baseColorFactor"] = _GRAY
    # Double-sided materials show back faces as dark lines along contours, e.g. of the nose.
    return {"name": name, "pbrMetallicRoughness": surface, "doubleSided": False}


def _animation(glb: GlbWriter, take: Take, curves: dict[int, tuple[str, np.ndarray]]) -> Json:
    """Return the animation of some nodes, each with what is animated and its values."""
    times = glb.curve_accessor(np.arange(take.n_frames) / take.fps, bounds=True)
    samplers: list[Json] = []
    channels: list[Json] = []
    for node, (path, values) in curves.items():
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        output = glb.curve_accessor(values)
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})
    extras: Json = {"fps": take.fps}
    return {"name": "speech", "samplers": samplers, "channels": channels, "extras": extras}


EXPORTERS = (
    Exporter(
        "glb",
        ".glb",
        write_glb,
        "mesh with named morph targets and an animation of their weights",
        "Drag {name} into a glTF viewer, or import it into Blender (set the frame rate of the "
        "scene first), Unreal, Unity or Godot.",
        settings=("targets", "basis_error_mm"),
    ),
)
