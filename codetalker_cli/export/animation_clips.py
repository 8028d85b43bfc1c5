"""Export the weights of ARKit's units as animations of game engines: Unity and Godot.

Both animate the blend shapes of an object in the user's character, which ``ExportSettings.object``
names. The head rotation is left out, because the skeleton of the character is unknown.
"""

import json
from collections.abc import Iterator
from typing import TextIO

import numpy as np

from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.settings import ExportSettings

_UNITY_LINEAR = 69
"""Both tangents are linear and independent of each other."""
_UNITY_BLEND_SHAPE = 137
"""The class SkinnedMeshRenderer."""


def _key_frames(values: np.ndarray) -> np.ndarray:
    """Return the frames to store as keys: those within a run of equal values are left out."""
    same = values[1:] == values[:-1]
    inside = np.zeros(len(values), bool)
    inside[1:-1] = same[:-1] & same[1:]
    return np.flatnonzero(~inside)


def _curves(take: Take, factor: float = 1.0) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name, times and values of the curve of each unit."""
    curves = take.arkit_curves
    for name, column in zip(curves.names, curves.weights.T, strict=True):
        frames = _key_frames(column)
        yield name, frames / take.fps, column[frames].astype(np.float64) * factor


def _number(value: float) -> str:
    return f"{value + 0.0:.9g}"


# Unity -------------------------------------------------------------------------------------------


_UNITY_START = """%YAML 1.1
%TAG !u! tag:unity3d.com,2011:
--- !u!74 &7400000
AnimationClip:
  m_ObjectHideFlags: 0
  m_CorrespondingSourceObject: {{fileID: 0}}
  m_PrefabInstance: {{fileID: 0}}
  m_PrefabAsset: {{fileID: 0}}
  m_Name: {name}
  serializedVersion: 6
  m_Legacy: 0
  m_Compressed: 0
  m_UseHighQualityCurve: 1
  m_RotationCurves: []
  m_CompressedRotationCurves: []
  m_EulerCurves: []
  m_PositionCurves: []
  m_ScaleCurves: []
  m_FloatCurves:
"""
_UNITY_END = """  m_PPtrCurves: []
  m_SampleRate: {fps}
  m_WrapMode: 0
  m_Bounds:
    m_Center: {{x: 0, y: 0, z: 0}}
    m_Extent: {{x: 0, y: 0, z: 0}}
  m_ClipBindingConstant:
    genericBindings: []
    pptrCurveMapping: []
  m_AnimationClipSettings:
    serializedVersion: 2
    m_AdditiveReferencePoseClip: {{fileID: 0}}
    m_AdditiveReferencePoseTime: 0
    m_StartTime: 0
    m_StopTime: {seconds}
    m_OrientationOffsetY: 0
    m_Level: 0
    m_CycleOffset: 0
    m_HasAdditiveReferencePose: 0
    m_LoopTime: 0
    m_LoopBlend: 0
    m_LoopBlendOrientation: 0
    m_LoopBlendPositionY: 0
    m_LoopBlendPositionXZ: 0
    m_KeepOriginalOrientation: 0
    m_KeepOriginalPositionY: 1
    m_KeepOriginalPositionXZ: 0
    m_HeightFromFeet: 0
    m_Mirror: 0
  m_EditorCurves: []
  m_EulerEditorCurves: []
  m_HasGenericRootTransform: 0
  m_HasMotionFloatCurves: 0
  m_Events: []
"""


def write_anim(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write a Unity animation clip; the weights of blend shapes go to 100."""
    with target.path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(_UNITY_START.format(name=_yaml(target.final.stem)))
        for unit, times, values in _curves(take, 100.0):
            _write_unity_curve(file, unit, settings.object, times, values)
        file.write(_UNITY_END.format(fps=_number(take.fps), seconds=_number(take.seconds)))


def _yaml(text: str) -> str:
    """Quote text. JSON text without surrogates is valid in YAML; the other characters stay."""
    return '"' + "".join(json.dumps(c)[1:-1] if ord(c) < 0x10000 else c for c in text) + '"'


def _write_unity_curve(
    file: TextIO, unit: str, path: str, times: np.ndarray, values: np.ndarray
) -> None:
    slopes = np.concatenate([[0.0], np.diff(values) / np.diff(times), [0.0]])
    file.write("  - curve:\n      serializedVersion: 2\n      m_Curve:\n")
    for time, value, before, after in zip(times, values, slopes[:-1], slopes[1:], strict=True):
        file.write(
            f"      - serializedVersion: 3\n        time: {_number(time)}\n"
            f"        value: {_number(value)}\n        inSlope: {_number(before)}\n"
            f"        outSlope: {_number(after)}\n        tangentMode: {_UNITY_LINEAR}\n"
            "        weightedMode: 0\n        inWeight: 0.33333334\n        outWeight: 0.33333334\n"
        )
    file.write(
        "      m_PreInfinity: 2\n      m_PostInfinity: 2\n      m_RotationOrder: 4\n"
        f"    attribute: blendShape.{unit}\n    path: {_yaml(path)}\n"
        f"    classID: {_UNITY_BLEND_SHAPE}\n    script: {{fileID: 0}}\n"
    )


# Godot -------------------------------------------------------------------------------------------


def write_tres(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write a Godot 4 animation with a track for each unit."""
    name, path = (
        text.replace("\\", "\\\\").replace('"', '\\"')
        for text in (target.final.stem, settings.object)
    )
    with target.path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write('[gd_resource type="Animation" format=3]\n\n[resource]\n')
        file.write(f'resource_name = "{name}"\nlength = {_number(take.seconds)}\n')
        file.write(f"step = {_number(1 / take.fps)}\n")
        for k, (unit, times, values) in enumerate(_curves(take)):
            # A key is its time, its easing (1: linear) and its value.
            keys = np.stack([times, np.ones_like(times), values], axis=1).ravel()
            file.write(
                f'tracks/{k}/type = "blend_shape"\ntracks/{k}/imported = false\n'
                f'tracks/{k}/enabled = true\ntracks/{k}/path = NodePath("{path}:{unit}")\n'
                f"tracks/{k}/interp = 1\ntracks/{k}/loop_wrap = true\n"
                f"tracks/{k}/keys = PackedFloat32Array({', '.join(map(_number, keys))})\n"
            )


EXPORTERS = (
    Exporter(
        "anim",
        ".anim",
        write_anim,
        "a Unity animation of ARKit's 52 blend shapes",
        "Copy {name} into the Assets folder of a Unity project and play it on a character whose "
        "face mesh, a child called Head (or export.object), has ARKit's blend shapes.",
        settings=("object",),
    ),
    Exporter(
        "tres",
        ".tres",
        write_tres,
        "a Godot 4 animation of ARKit's 52 blend shapes",
        "Copy {name} into a Godot 4 project and add it to an AnimationPlayer whose root node has a "
        "MeshInstance3D called Head (or export.object) with ARKit's blend shapes.",
        settings=("object",),
    ),
)
