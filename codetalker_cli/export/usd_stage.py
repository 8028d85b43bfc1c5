"""The scene of a USD file: a mesh that blend shapes or the vertices of every frame move.

    /S01                  the default prim, named after the subject
      /Face               the mesh, with vertex colors and texture coordinates
        /jawOpen …        its blend shapes
      /Skeleton           a single joint, which turns the head
      /Animation          the weights of the blend shapes and the rotation of the joint
      /Material           shows the vertex colors
      /Speech             the sound

Frame k has the time code k. Identifiers are ASCII, because USD before 24.03 accepts nothing else.
The original name is the display name of the prim, and the name of a blend shape in the animation.
The vertices of every frame come without normals, which would double the size of the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.export.take import Take
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.units import UnitSet
from codetalker_cli.surface import VertexNormals, to_linear

_JOINT = "head"
_COLOR, _UV = "displayColor", "st"
_ROUGHNESS = 0.55


def write_shapes(
    take: Take, units: UnitSet, curves: RigCurves, path: Path, sound_name: str | None
) -> None:
    """Write a mesh with a blend shape per unit, and the weights of every frame.

    Args:
        take: The take.
        units: The units, in meters.
        curves: The weights of at least these units.
        path: The file.
        sound_name: The file name of the sound, which is in the folder of ``path``, or None.
    """
    from pxr import Usd, UsdSkel

    stage = Usd.Stage.CreateInMemory()
    root = UsdSkel.Root.Define(stage, _root_path(take))
    _describe_stage(stage, root.GetPrim(), take)
    mesh = _define_mesh(stage, root, take)
    _add_material(stage, root, mesh)
    _add_sound(stage, root, sound_name)
    curves = curves.select(units.names)
    skeleton = _define_skeleton(stage, root, mesh, take.neck_pivot)
    _bind_shapes(stage, mesh, take, units)
    _animate(stage, skeleton, curves, take)
    root.CreateExtentAttr(_vectors(_bounds(take, units, curves)))
    _save(stage, path)


def write_frames(take: Take, path: Path, sound_name: str | None, scratch: Path) -> None:
    """Write a mesh with the vertices of every frame.

    USD keeps all values of an open layer in memory, except for those that it maps from a binary
    file. Each block of frames is therefore written to a file of its own first.

    Args:
        take: The take.
        path: The file.
        sound_name: The file name of the sound, which is in the folder of ``path``, or None.
        scratch: A folder for temporary files.
    """
    from pxr import Sdf, Usd, UsdGeom

    stage = Usd.Stage.CreateInMemory()
    root = UsdGeom.Xform.Define(stage, _root_path(take))
    _describe_stage(stage, root.GetPrim(), take)
    mesh = _define_mesh(stage, root, take)
    _add_material(stage, root, mesh)
    _add_sound(stage, root, sound_name)
    layer = stage.GetRootLayer()
    points, extent = mesh.GetPointsAttr().GetPath(), mesh.GetExtentAttr().GetPath()
    blocks = []  # keeps the layers open
    start = 0
    for number, block in enumerate(take.blocks()):
        part = Sdf.Layer.CreateNew(str(scratch / f"block{number}.usdc"))
        Sdf.CreatePrimAttributeInLayer(part, points, Sdf.ValueTypeNames.Point3fArray)
        for k, vertices in enumerate(block):
            part.SetTimeSample(points, start + k, _vectors(vertices))
            layer.SetTimeSample(extent, start + k, _vectors(_extent(vertices)))
        part.Save()
        name = part.identifier
        del part
        blocks.append(Sdf.Layer.FindOrOpen(name))
        for k in range(start, start + len(block)):
            layer.SetTimeSample(points, k, blocks[-1].QueryTimeSample(points, k))
        start += len(block)
    _save(stage, path)


def _save(stage: Any, path: Path) -> None:
    stage.GetRootLayer().Export(str(path))


# Stage and mesh -----------------------------------------------------------------------------------


def _describe_stage(stage: Any, root: Any, take: Take) -> None:
    from pxr import UsdGeom

    stage.SetDefaultPrim(root)
    _set_display_name(root, take.motion.subject)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(take.fps)
    stage.SetFramesPerSecond(take.fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(take.n_frames - 1)


def _root_path(take: Take) -> str:
    return f"/{identifiers([take.motion.subject or 'face'])[0]}"


def identifiers(names: Sequence[str]) -> list[str]:
    """Return a different ASCII identifier for each name; a valid name stays as it is."""
    from pxr import Tf

    taken, chosen = set(names), []
    for name in names:
        base = identifier = Tf.MakeValidIdentifier(name)
        number = 1
        while identifier != name and identifier in taken:
            number += 1
            identifier = f"{base}_{number}"
        taken.add(identifier)
        chosen.append(identifier)
    return chosen


def _set_display_name(prim: Any, name: str) -> None:
    if name and name != prim.GetName():
        prim.SetDisplayName(name)


def _define_mesh(stage: Any, root: Any, take: Take) -> Any:
    from pxr import Sdf, UsdGeom

    mesh = UsdGeom.Mesh.Define(stage, root.GetPath().AppendChild("Face"))
    mesh.CreatePointsAttr(_vectors(take.template))
    mesh.CreateExtentAttr(_vectors(_extent(take.template)))
    mesh.CreateFaceVertexCountsAttr(_integers(np.full(len(take.triangles), 3)))
    mesh.CreateFaceVertexIndicesAttr(_integers(take.triangles))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    primvars = UsdGeom.PrimvarsAPI(mesh)
    if take.colors is not None:
        colors = primvars.CreatePrimvar(
            _COLOR, Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex
        )
        colors.Set(_vectors(to_linear(take.colors / 255)))
    topology = take.motion.topology
    if topology.uv is not None and topology.uv_triangles is not None:
        uv = primvars.CreatePrimvar(
            _UV, Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
        )
        uv.Set(_vectors(topology.uv))
        uv.SetIndices(_integers(topology.uv_triangles))
    return mesh


def _add_material(stage: Any, root: Any, mesh: Any) -> None:
    """Add a material that shows the vertex colors, for renderers that ignore them otherwise."""
    from pxr import Sdf, UsdGeom, UsdShade

    if not UsdGeom.PrimvarsAPI(mesh).HasPrimvar(_COLOR):
        return
    path = root.GetPath().AppendChild("Material")
    material = UsdShade.Material.Define(stage, path)
    reader = UsdShade.Shader.Define(stage, path.AppendChild("Colors"))
    reader.CreateIdAttr("UsdPrimvarReader_float3")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set(_COLOR)
    output = reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
    shader = UsdShade.Shader.Define(stage, path.AppendChild("Surface"))
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(output)
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(_ROUGHNESS)
    surface = shader.CreateOutput("surface", Sdf.ValueTypeNames.Token)
    material.CreateSurfaceOutput().ConnectToSource(surface)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _add_sound(stage: Any, root: Any, name: str | None) -> None:
    """Add a sound that starts with the first frame, which is the default."""
    from pxr import Sdf, UsdMedia

    if name is None:
        return
    sound = UsdMedia.SpatialAudio.Define(stage, root.GetPath().AppendChild("Speech"))
    sound.CreateFilePathAttr(Sdf.AssetPath(f"./{name}"))
    sound.CreateAuralModeAttr(UsdMedia.Tokens.nonSpatial)
    sound.CreatePlaybackModeAttr(UsdMedia.Tokens.onceFromStart)


# Skeleton and blend shapes ------------------------------------------------------------------------


def _define_skeleton(stage: Any, root: Any, mesh: Any, pivot: np.ndarray) -> Any:
    """Add the skeleton, to which blend shapes need a binding, and bind the mesh to its joint."""
    from pxr import Gf, UsdSkel, Vt

    skeleton = UsdSkel.Skeleton.Define(stage, root.GetPath().AppendChild("Skeleton"))
    pose = Vt.Matrix4dArray([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*pivot.tolist()))])
    skeleton.CreateJointsAttr([_JOINT])
    skeleton.CreateBindTransformsAttr(pose)
    skeleton.CreateRestTransformsAttr(pose)
    n_vertices = len(mesh.GetPointsAttr().Get())
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    binding.CreateJointIndicesPrimvar(False, 1).Set(_integers(np.zeros(n_vertices)))
    binding.CreateJointWeightsPrimvar(False, 1).Set(_floats(np.ones(n_vertices)))
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    return skeleton


def _bind_shapes(stage: Any, mesh: Any, take: Take, units: UnitSet) -> None:
    """Add a blend shape per unit, which also changes the normals."""
    from pxr import UsdGeom, UsdSkel

    surface = VertexNormals(take.triangles, len(take.template))
    normals = surface.of(take.template)
    mesh.CreateNormalsAttr(_vectors(normals))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    paths = []
    for name, identifier, deltas in zip(
        units.names, identifiers(units.names), units.deltas, strict=True
    ):
        shape = UsdSkel.BlendShape.Define(stage, mesh.GetPath().AppendChild(identifier))
        _set_display_name(shape.GetPrim(), name)
        turned = surface.of(take.template + deltas) - normals
        moved = np.flatnonzero(deltas.any(1) | turned.any(1))
        shape.CreateOffsetsAttr(_vectors(deltas[moved]))
        shape.CreateNormalOffsetsAttr(_vectors(turned[moved]))
        shape.CreatePointIndicesAttr(_integers(moved))
        paths.append(shape.GetPath())
    binding = UsdSkel.BindingAPI(mesh.GetPrim())
    binding.CreateBlendShapesAttr(list(units.names))
    binding.CreateBlendShapeTargetsRel().SetTargets(paths)


def _animate(stage: Any, skeleton: Any, curves: RigCurves, take: Take) -> None:
    from pxr import Gf, UsdSkel, Vt

    path = skeleton.GetPath().GetParentPath().AppendChild("Animation")
    animation = UsdSkel.Animation.Define(stage, path)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([path])
    animation.CreateBlendShapesAttr(list(curves.names))
    weights = animation.CreateBlendShapeWeightsAttr().GetPath()
    layer = stage.GetRootLayer()
    for k, row in enumerate(curves.weights):
        layer.SetTimeSample(weights, k, _floats(row))
    animation.CreateJointsAttr([_JOINT])
    animation.CreateTranslationsAttr(Vt.Vec3fArray([Gf.Vec3f(*take.neck_pivot.tolist())]))
    animation.CreateScalesAttr(Vt.Vec3hArray([Gf.Vec3h(1)]))
    rotations = animation.CreateRotationsAttr(Vt.QuatfArray([Gf.Quatf(1)]))
    if take.head is not None:
        for k, (x, y, z, w) in enumerate(quaternions(take.head).tolist()):
            turn = Vt.QuatfArray([Gf.Quatf(w, x, y, z)])
            layer.SetTimeSample(rotations.GetPath(), k, turn)


def _bounds(take: Take, units: UnitSet, curves: RigCurves) -> np.ndarray:
    """Return the (2, 3) corners of a box that contains every frame."""
    largest = curves.weights.max(0, initial=0)[:, None, None]
    low = take.template + (np.minimum(units.deltas, 0) * largest).sum(0)
    high = take.template + (np.maximum(units.deltas, 0) * largest).sum(0)
    box = np.stack([low.min(0), high.max(0)])
    if take.head is not None:
        pivot = take.neck_pivot
        radius = np.linalg.norm(np.abs(box - pivot).max(0))
        box = np.stack([pivot - radius, pivot + radius])
    return box


def _extent(vertices: np.ndarray) -> np.ndarray:
    return np.stack([vertices.min(0), vertices.max(0)])


# Arrays of USD ------------------------------------------------------------------------------------


def _vectors(vectors: np.ndarray) -> Any:
    """Convert (n, 2) or (n, 3) numbers."""
    from pxr import Vt

    kind = Vt.Vec2fArray if vectors.shape[-1] == 2 else Vt.Vec3fArray
    return kind.FromNumpy(np.ascontiguousarray(vectors, np.float32))


def _integers(values: np.ndarray) -> Any:
    from pxr import Vt

    return Vt.IntArray.FromNumpy(np.ascontiguousarray(values, np.int32).ravel())


def _floats(values: np.ndarray) -> Any:
    from pxr import Vt

    return Vt.FloatArray.FromNumpy(np.ascontiguousarray(values, np.float32))
