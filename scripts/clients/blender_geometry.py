"""Open the geometry exports of a folder in Blender, and compare them with the motion.

    .venv-blender/bin/python scripts/clients/blender_geometry.py FOLDER MOTION.npz [--render FRAME]

MOTION.npz is the motion that was exported, with the head rotation in its vertices. These files are
opened:

- .abc, .usdc, .usda and .usdz by the importers. Run ``usd_check.py`` first: it writes what the
  blend shapes of USD files must show.
- .pc2 and .mdd by the modifier Mesh Cache, with its default axes, on the .obj of the same name.
- Folders of .obj or .ply frames by the importers (the first frame) and by trimesh (five frames).

Five frames must have the right vertices within 0.1 mm in Blender's axes (+z up, the face looks
toward -y). The names of shape keys and the range of frames are checked too. Prints one line a check
and exits with 1 if one fails. ``--render`` also draws a frame of the .usdc and .abc files with
Cycles, on the CPU. This script runs in an environment of its own with bpy and trimesh, because bpy
is licensed under the GPL.
"""

import argparse
import json
import sys
from pathlib import Path

import bpy
import numpy as np
import trimesh
from mathutils import Vector

N_FRAMES = 5
TOLERANCE_MM = 0.1
METERS = {"m": 1.0, "mm": 1e-3, "area1": 1.0}
USD = (".usdc", ".usda", ".usdz")
CACHES = {".pc2": "PC2", ".mdd": "MDD"}

failures = 0


class Reference:
    """The motion: five of its frames in meters, +y up and +z forward."""

    def __init__(self, path: Path) -> None:
        motion = np.load(path)
        vertices, scale = motion["vertices"], METERS[str(motion["topology_unit"])]
        self.fps, self.n_frames = float(motion["fps"]), len(vertices)
        numbers = np.linspace(0, self.n_frames - 1, N_FRAMES).round().astype(int)
        self.frames = np.unique(numbers).tolist()
        self.vertices = vertices[self.frames] * scale


def check(file: str, what: str, good: bool, detail: str = "") -> None:
    global failures
    failures += not good
    print(f"{'ok' if good else 'FAILED'}  {file}: {what}{f' ({detail})' if detail else ''}")


def new_scene(fps: float) -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = round(fps), round(fps) / fps
    return scene


def imported_mesh() -> bpy.types.Object:
    return next(one for one in bpy.context.scene.objects if one.type == "MESH")


def vertices_of(face: bpy.types.Object) -> np.ndarray:
    """Return the (V, 3) vertices in the world of the current frame, as +y up and +z forward."""
    evaluated = face.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    flat = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", flat)
    evaluated.to_mesh_clear()
    matrix = np.array(evaluated.matrix_world)
    x, y, z = (flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]).T
    return np.stack([x, z, -y], axis=1)


def check_vertices(file: str, frames: list[np.ndarray], expected: np.ndarray) -> None:
    same = len(frames) == len(expected) and all(
        one.shape == two.shape for one, two in zip(frames, expected, strict=True)
    )
    errors = np.linalg.norm(np.stack(frames) - expected, axis=-1) if same else np.array(np.inf)
    worst = errors.max() * 1e3
    detail = f"off by {worst:.6f} mm"
    check(file, f"vertices in {len(frames)} frames", worst <= TOLERANCE_MM, detail)


def played(face: bpy.types.Object, frames: list[int]) -> list[np.ndarray]:
    found = []
    for number in frames:
        bpy.context.scene.frame_set(number)
        found.append(vertices_of(face))
    return found


def check_range(file: str, scene: bpy.types.Scene, reference: Reference) -> None:
    first, last = scene.frame_start, scene.frame_end
    good = (first, last) == (0, reference.n_frames - 1)
    check(file, "duration", good, f"frames {first} to {last}")


def check_scene_file(path: Path, reference: Reference) -> bpy.types.Object:
    """Check an .abc or a USD file."""
    scene = new_scene(reference.fps)
    expected, names = reference.vertices, []
    if path.suffix in USD:
        written = json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))
        expected, names = np.load(path.with_name(f"{path.name}.npy")), written["names"]
        bpy.ops.wm.usd_import(filepath=str(path), set_frame_range=True)
    else:
        bpy.ops.wm.alembic_import(filepath=str(path), set_frame_range=True)
    if reference.n_frames > 1 or path.suffix in USD:  # Blender ignores one sample of Alembic
        check_range(path.name, scene, reference)
    face = imported_mesh()
    keys = face.data.shape_keys
    found = [key.name for key in keys.key_blocks[1:]] if keys else []  # the first is the base
    check(path.name, "shape keys", found == names, f"{len(found)} names")
    check(path.name, "colors", len(face.data.color_attributes) == 1)
    check_vertices(path.name, played(face, reference.frames), expected)
    return face


def check_point_cache(path: Path, reference: Reference) -> None:
    new_scene(reference.fps)
    bpy.ops.wm.obj_import(filepath=str(path.with_suffix(".obj")))
    face = imported_mesh()
    modifier = face.modifiers.new("cache", "MESH_CACHE")
    modifier.cache_format, modifier.filepath = CACHES[path.suffix], str(path)
    check_vertices(path.name, played(face, reference.frames), reference.vertices)


def check_folder(folder: Path, reference: Reference) -> None:
    files = sorted(folder.iterdir())
    check(folder.name, "files", len(files) == reference.n_frames, f"{len(files)} frames")
    chosen = [files[k] for k in reference.frames]
    meshes = [trimesh.load(file, process=False).vertices for file in chosen]
    check_vertices(f"{folder.name} in trimesh", meshes, reference.vertices)
    new_scene(reference.fps)
    if files[0].suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=str(files[0]))
    else:
        bpy.ops.wm.ply_import(filepath=str(files[0]), up_axis="Y", forward_axis="NEGATIVE_Z")
        check(folder.name, "colors", len(imported_mesh().data.color_attributes) == 1)
    check_vertices(folder.name, [vertices_of(imported_mesh())], reference.vertices[:1])


# Pictures -----------------------------------------------------------------------------------------


def color_material(face: bpy.types.Object) -> bpy.types.Material:
    """Return a material that shows the vertex colors, for files that contain no materials."""
    material = bpy.data.materials.new("colors")
    nodes, links = material.node_tree.nodes, material.node_tree.links
    reader = nodes.new("ShaderNodeVertexColor")
    reader.layer_name = face.data.color_attributes[0].name
    links.new(reader.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    return material


def render(face: bpy.types.Object, frame: int, path: Path) -> None:
    """Draw a frame with Cycles, from the left front."""
    scene = bpy.context.scene
    scene.frame_set(frame)
    if not face.data.materials:
        face.data.materials.append(color_material(face))
    positions = vertices_of(face)
    low, high = positions.min(axis=0), positions.max(axis=0)
    x, y, z = (low + high) / 2
    center, height = Vector((x, -z, y)), float(high[1] - low[1])

    def place(data: bpy.types.ID, offset: tuple[float, float, float]) -> bpy.types.Object:
        thing = bpy.data.objects.new("thing", data)
        scene.collection.objects.link(thing)
        thing.location = center + height * Vector(offset)
        thing.rotation_euler = (center - thing.location).to_track_quat("-Z", "Y").to_euler()
        return thing

    camera = bpy.data.cameras.new("camera")
    camera.lens = 85
    scene.camera = place(camera, (1.2, -3.4, 0.15))
    lamp = bpy.data.lights.new("lamp", "AREA")
    lamp.energy, lamp.size = 3.5, 2 * height
    place(lamp, (-0.8, -2.2, 0.9))
    world = bpy.data.worlds.new("world")
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.5, 0.5, 0.5, 1)
    scene.world = world
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 24
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = 480, 400
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the exports")
    parser.add_argument("motion", type=Path, help="the .npz of the motion that was exported")
    parser.add_argument("--render", type=int, help="frame to draw (default: none)")
    arguments = parser.parse_args()
    reference = Reference(arguments.motion)
    n_files = 0
    for path in sorted(arguments.folder.iterdir()):
        if path.suffix in (".abc", *USD):
            face = check_scene_file(path, reference)
            if arguments.render is not None and path.suffix in (".abc", ".usdc"):
                render(face, arguments.render, path.with_name(f"{path.name}.blender.png"))
        elif path.suffix in CACHES:
            check_point_cache(path, reference)
        elif path.is_dir() and {one.suffix for one in path.iterdir()} in ({".obj"}, {".ply"}):
            check_folder(path, reference)
        else:
            continue
        n_files += 1
    if not n_files:
        print(f"{arguments.folder}: no exports of geometry", file=sys.stderr)
        return 2
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
