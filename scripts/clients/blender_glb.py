"""Import the .glb files of a folder into Blender, and compare them with what they must show.

    .venv-blender/bin/python scripts/clients/blender_glb.py FOLDER [--render]

NAME.json and NAME.npy next to a file NAME contain the reference; ``samples.py`` writes them.
Prints one line a check and exits with 1 if one fails. ``--render`` also draws the middle one of
the frames in ``pictures`` of the reference with Cycles, on the CPU. This script runs in an
environment of its own, because bpy is licensed under the GPL.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Quaternion, Vector

failures = 0


def check(file: str, what: str, good: bool, detail: str = "") -> None:
    global failures
    failures += not good
    print(f"{'ok' if good else 'FAILED'}  {file}: {what}{f' ({detail})' if detail else ''}")


def set_frame(scene: bpy.types.Scene, frame: float) -> None:
    whole = math.floor(frame)
    scene.frame_set(whole, subframe=frame - whole)


def vertices(face: bpy.types.Object) -> np.ndarray:
    """Return the (V, 3) vertices in the world, +y up and +z forward, with shape keys."""
    evaluated = face.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    flat = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", flat)
    evaluated.to_mesh_clear()
    matrix = np.array(face.matrix_world)
    x, y, z = matrix[:3, :3] @ flat.reshape(-1, 3).T + matrix[:3, 3:]
    return np.stack([x, z, -y], axis=1)


def load(path: Path, fps: float) -> bpy.types.Object:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    render = bpy.context.scene.render
    # A scene has fps / fps_base frames a second, but the importer of Blender 5.0 multiplies them.
    render.fps, render.fps_base = round(fps), fps / round(fps)
    bpy.ops.import_scene.gltf(filepath=str(path))
    return next(o for o in bpy.context.scene.objects if o.type == "MESH")


def action_end(face: bpy.types.Object) -> float:
    """Return the frame of the last key of the shape keys."""
    return max(
        key.co.x
        for layer in face.data.shape_keys.animation_data.action.layers
        for strip in layer.strips
        for bag in strip.channelbags
        for curve in bag.fcurves
        for key in curve.keyframe_points
    )


def check_file(path: Path) -> tuple[bpy.types.Object, list[int]]:
    """Return the face, and the frames of which there should be a picture."""
    reference = json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))
    expected = np.load(path.with_name(f"{path.name}.npy"))
    face = load(path, reference["fps"])
    scene = bpy.context.scene
    names = [key.name for key in face.data.shape_keys.key_blocks[1:]]  # the first is the base
    check(path.name, "shape key names", names == reference["names"], f"{len(names)} names")
    materials = [slot.material.name.split(".")[0] for slot in face.material_slots]
    check(path.name, "materials", materials == reference["materials"], " ".join(materials))
    end = action_end(face)
    good = abs(end - (reference["n_frames"] - 1)) < 1e-3
    check(path.name, "duration", good, f"last frame {end:g} of the scene")
    errors = []
    for number, wanted in zip(reference["frames"], expected, strict=True):
        set_frame(scene, number)
        found = vertices(face)
        fits = found.shape == wanted.shape
        errors.append(np.linalg.norm(found - wanted, axis=1).max() * 1e3 if fits else np.inf)
    worst, tolerance = max(errors), reference["tolerance_mm"]
    detail = f"{worst:.4f} mm of {tolerance} mm"
    check(path.name, f"vertices in {len(errors)} frames", worst <= tolerance, detail)
    if "rotations" in reference:
        check_rotation(path.name, face, reference)
    return face, reference["pictures"]


def check_rotation(name: str, face: bpy.types.Object, reference: dict) -> None:
    """Compare the nose direction and the top of the head, which are +z and +y in the file."""
    off = 0.0
    for number, (x, y, z, w) in zip(reference["frames"], reference["rotations"], strict=True):
        set_frame(bpy.context.scene, number)
        found = face.matrix_world.to_quaternion()
        for axis in (Vector((0, 0, 1)), Vector((0, 1, 0))):
            wanted = Quaternion((w, x, y, z)) @ axis
            turned = found @ Vector((axis.x, -axis.z, axis.y))
            off = max(off, (turned - Vector((wanted.x, -wanted.z, wanted.y))).length)
    check(name, "head rotation", off < 1e-4, f"off by {off:.6f}")


def render(face: bpy.types.Object, frame: float, path: Path) -> None:
    """Draw a frame with Cycles, from the left front."""
    scene = bpy.context.scene
    set_frame(scene, frame)
    positions = vertices(face)
    low, high = positions.min(axis=0), positions.max(axis=0)
    x, y, z = (low + high) / 2
    center, height = Vector((x, -z, y)), float(high[1] - low[1])

    def aimed(data: object, offset: tuple[float, float, float]) -> bpy.types.Object:
        thing = bpy.data.objects.new("thing", data)
        scene.collection.objects.link(thing)
        thing.location = center + height * Vector(offset)
        thing.rotation_euler = (center - thing.location).to_track_quat("-Z", "Y").to_euler()
        return thing

    camera = bpy.data.cameras.new("camera")
    camera.lens = 85
    scene.camera = aimed(camera, (1.2, -3.4, 0.15))
    for offset, watts, size in (((-0.8, -2.2, 0.9), 5.0, 2.0), ((2.0, -1.0, 0.2), 2.0, 2.0)):
        lamp = bpy.data.lights.new("lamp", "AREA")
        lamp.energy, lamp.size = watts, size * height
        aimed(lamp, offset)
    world = bpy.data.worlds.new("world")
    background = world.node_tree.nodes["Background"] if world.node_tree else None
    if background is None:
        world.color = (0.3, 0.32, 0.35)
    else:
        background.inputs["Color"].default_value = (0.3, 0.32, 0.35, 1)
    scene.world = world
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", 48, False
    scene.cycles.seed = 0
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = 1200, 900
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the exports")
    parser.add_argument("--render", action="store_true", help="also draw pictures with Cycles")
    arguments = parser.parse_args()
    files = sorted(p for p in arguments.folder.glob("*.glb") if Path(f"{p}.npy").exists())
    if not files:
        print(f"{arguments.folder}: no .glb with a reference", file=sys.stderr)
        return 2
    for path in files:
        face, pictures = check_file(path)
        if arguments.render and pictures:
            render(face, pictures[len(pictures) // 2], path.with_name(f"{path.name}.blender.png"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
