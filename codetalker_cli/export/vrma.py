"""The .vrma exporter: an animation for any VRM avatar (VRMC_vrm_animation 1.0).

The weights of the presets aa, ih, ou, ee and oh are fitted to the mouth of the bundled head with
the same curves, so that the lips are shut where those of the head are. The presets blinkLeft and
blinkRight are the units eyeBlinkLeft and eyeBlinkRight. The presets of emotions are not used.
"""

from collections.abc import Mapping

import numpy as np

from codetalker_cli.errors import InputError
from codetalker_cli.export.glb_writer import GlbWriter, Json
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.avatars import drive
from codetalker_cli.rigs.posing import PITCH_OF_GAZE, YAW_OF_GAZE
from codetalker_cli.settings import ExportSettings

EXTENSION = "VRMC_vrm_animation"
PRESETS = ("aa", "ih", "ou", "ee", "oh", "blinkLeft", "blinkRight")
"""The presets that are animated; nearly every VRM avatar has them."""

_Bones = dict[str, tuple[str, tuple[float, float, float]]]
# The bones that a VRM must have: parent, and offset from it in the rest pose (arms to the sides),
# in meters. +x points to the avatar's left.
_CENTER: _Bones = {
    "hips": ("", (0, 0.95, 0)),
    "spine": ("hips", (0, 0.1, 0)),
    "head": ("spine", (0, 0.5, 0)),
}
_LIMBS: _Bones = {
    "UpperLeg": ("hips", (0.09, -0.05, 0)),
    "LowerLeg": ("UpperLeg", (0, -0.42, 0)),
    "Foot": ("LowerLeg", (0, -0.4, 0)),
    "UpperArm": ("spine", (0.15, 0.38, 0)),
    "LowerArm": ("UpperArm", (0.26, 0, 0)),
    "Hand": ("LowerArm", (0.24, 0, 0)),
}
_EYES_ABOVE_HEAD_BONE = (0.0, 0.07, 0.05)


def write_vrma(
    take: Take,
    target: Target,
    settings: ExportSettings,
    custom_names: Mapping[str, str] | None = None,
    preset_weights: Mapping[str, np.ndarray] | None = None,
    named_weights: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write expressions, the rotation of the head if it is known, and the direction of the gaze.

    With ``settings.targets`` units, the file contains VRM's presets, which every avatar has, and
    ARKit's units as custom expressions. An avatar that has both would move twice as much; for it,
    arkit writes only the units of ARKit, which include the gaze.

    Args:
        take: The take.
        target: Where to write.
        settings: What the file contains.
        custom_names: The names of an avatar's custom expressions by unit, where they differ from
            the names of the units.
        preset_weights: The (T,) weights of the presets; None: those of ``presets``.
        named_weights: The (T,) weights of further custom expressions.

    Raises:
        InputError: The units of the face are unknown, or ``targets`` is basis or frames.
    """
    if settings.targets not in ("units", "arkit"):
        raise InputError(
            f"a .vrma contains no mesh, so `targets` {settings.targets} is impossible; choose "
            "units or arkit"
        )
    curves = take.arkit_curves
    head = take.head
    with GlbWriter(target.path.parent) as glb:
        tracks = _Tracks(glb, take)
        extension: Json = {"specVersion": "1.0", "humanoid": {"humanBones": _add_bones(glb)}}
        if head is not None:
            tracks.add(extension["humanoid"]["humanBones"]["head"]["node"], quaternions(head))
        names = [(custom_names or {}).get(name, name) for name in curves.names]
        custom = dict(zip(names, curves.weights.T, strict=True)) | dict(named_weights or {})
        expressions = {"custom": custom}
        if settings.targets == "units":
            expressions["preset"] = dict(preset_weights or presets(curves))
            if _has_gaze(curves):
                gaze = glb.append("nodes", {"name": "gaze"})
                eyes = list(_EYES_ABOVE_HEAD_BONE)
                extension["lookAt"] = {"node": gaze, "offsetFromHeadBone": eyes}
                tracks.add(gaze, gaze_rotation(curves))
        extension["expressions"] = {
            kind: {name: {"node": tracks.add_weight(name, w)} for name, w in weights.items()}
            for kind, weights in expressions.items()
        }
        _finish(glb, tracks, extension)
        glb.save(target)


def presets(
    curves: RigCurves, strength: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Return the (T,) weights of VRM's mouth and blink presets from those of ARKit's units."""
    found = drive(curves, PRESETS, strength=strength).morphs
    still = np.zeros(curves.n_frames, np.float32)
    return {name: found.get(name, still) for name in PRESETS}


def _has_gaze(curves: RigCurves) -> bool:
    columns = [k for k, name in enumerate(curves.names) if name.startswith("eyeLook")]
    return bool(curves.weights[:, columns].any())


def gaze_rotation(curves: RigCurves) -> np.ndarray:
    """Return the (T, 4) rotation of the gaze, the mean of both eyes."""

    def weight(name: str) -> np.ndarray:
        return curves.weights[:, curves.names.index(f"eyeLook{name}")]

    left = weight("OutLeft") - weight("InLeft") + weight("InRight") - weight("OutRight")
    down = weight("DownLeft") - weight("UpLeft") + weight("DownRight") - weight("UpRight")
    angles = [YAW_OF_GAZE * left / 2, PITCH_OF_GAZE * down / 2, np.zeros(len(left))]
    return quaternions(np.stack(angles, axis=1))


def _add_bones(glb: GlbWriter) -> Json:
    """Add the nodes of the bones in the rest pose, and return their indices by name."""
    bones = dict(_CENTER)
    for side, sign in (("left", 1), ("right", -1)):
        for name, (parent, (x, y, z)) in _LIMBS.items():
            parent = side + parent if parent in _LIMBS else parent
            bones[side + name] = parent, (sign * x, y, z)
    nodes = {
        name: glb.append("nodes", {"name": name, "translation": list(offset)})
        for name, (_, offset) in bones.items()
    }
    for name, (parent, _) in bones.items():
        if parent:
            glb.tree["nodes"][nodes[parent]].setdefault("children", []).append(nodes[name])
    return {name: {"node": node} for name, node in nodes.items()}


class _Tracks:
    """The animation of the nodes."""

    def __init__(self, glb: GlbWriter, take: Take) -> None:
        self._glb = glb
        times = np.arange(take.n_frames) / take.fps
        self._times = glb.curve_accessor(times, bounds=True)
        self._ends = self._times
        if take.n_frames > 2:
            self._ends = glb.curve_accessor(times[[0, -1]], bounds=True)
        self.animation: Json = {"name": "speech", "samplers": [], "channels": []}

    def add(self, node: int, values: np.ndarray, path: str = "rotation") -> None:
        """Animate a node; constant values are stored only for the first and the last frame."""
        times = self._times
        if len(values) > 2 and (values == values[0]).all():
            times, values = self._ends, values[[0, -1]]
        samplers, channels = self.animation["samplers"], self.animation["channels"]
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": times, "output": self._glb.curve_accessor(values)})

    def add_weight(self, name: str, weights: np.ndarray) -> int:
        """Add a node whose translation along x is the weight of an expression."""
        node = self._glb.append("nodes", {"name": name})
        offsets = np.zeros((len(weights), 3), np.float32)
        offsets[:, 0] = np.clip(weights, 0, 1)
        self.add(node, offsets, "translation")
        return node


def _finish(glb: GlbWriter, tracks: _Tracks, extension: Json) -> None:
    nodes = glb.tree["nodes"]
    children = {child for node in nodes for child in node.get("children", ())}
    roots = [k for k in range(len(nodes)) if k not in children]
    glb.tree["scene"] = glb.append("scenes", {"nodes": roots})
    glb.append("animations", tracks.animation)
    glb.tree["extensionsUsed"] = [EXTENSION]
    glb.tree["extensions"] = {EXTENSION: extension}


EXPORTERS = (
    Exporter(
        "vrma",
        ".vrma",
        write_vrma,
        "expressions, head rotation and gaze for any VRM avatar",
        "Load {name} and a VRM avatar in a program that plays VRM animations.",
        settings=("targets",),
    ),
)
