"""A .vrma moves the expressions, the head and the gaze of a VRM avatar."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gltf_reader import Glb
from hypothesis import given
from hypothesis import strategies as st
from takes import curves_take, head_take, small_take, smooth_weights

from codetalker_cli.errors import InputError
from codetalker_cli.export import vrma
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import Take
from codetalker_cli.export.vrma import gaze_rotation, presets, write_vrma
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import ExportSettings

N_UNITS = 58
REQUIRED_BONES = {
    "hips", "spine", "head", "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg",
    "rightLowerLeg", "rightFoot", "leftUpperArm", "leftLowerArm", "leftHand", "rightUpperArm",
    "rightLowerArm", "rightHand",
}  # fmt: skip
"""The bones that the specification of VRM 1.0 requires."""


def exported(take: Take, folder: Path, targets: str = "units") -> Glb:
    path = folder / "face.vrma"
    write_vrma(take, Target(path, path), ExportSettings.model_validate({"targets": targets}))
    return Glb(path)


def extension(glb: Glb) -> dict[str, Any]:
    assert glb.tree["extensionsUsed"] == [vrma.EXTENSION]
    return glb.tree["extensions"][vrma.EXTENSION]


def weights(glb: Glb, kind: str, n_frames: int) -> dict[str, np.ndarray]:
    """Return the weights of each expression in all frames."""
    tracks = glb.tracks()
    found = {}
    for name, expression in extension(glb)["expressions"][kind].items():
        times, values = tracks[expression["node"], "translation"]
        assert (values[:, 1:] == 0).all()
        frames = np.linspace(times[0], times[-1], n_frames)
        found[name] = np.interp(frames, times, values[:, 0])
    return found


def curves(values: dict[str, float], n_frames: int = 1) -> RigCurves:
    row = [values.get(name, 0) for name in ARKIT_UNITS]
    return RigCurves(ARKIT_UNITS, 30, np.array([row] * n_frames, np.float32))


def test_each_unit_of_arkit_is_a_custom_expression_with_its_weights(tmp_path: Path) -> None:
    take = curves_take(np.eye(N_UNITS, dtype=np.float32))
    found = weights(exported(take, tmp_path), "custom", N_UNITS)
    assert tuple(found) == ARKIT_UNITS
    for column, values in zip(take.arkit_curves.weights.T, found.values(), strict=True):
        np.testing.assert_allclose(values, column, atol=1e-5)


def test_presets_follow_from_the_units(tmp_path: Path) -> None:
    take = curves_take(smooth_weights(9, N_UNITS))
    found = weights(exported(take, tmp_path), "preset", 9)
    expected = presets(take.arkit_curves)
    assert list(found) == ["aa", "ih", "ou", "ee", "oh", "blinkLeft", "blinkRight"]
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def vowel(name: str) -> dict[str, float]:
    """Return the units of ARKit of a viseme of the bundled head."""
    rig = bundled_rig()
    pose = zip(rig.unit_names, rig.visemes[name].tolist(), strict=True)
    return {unit: weight for unit, weight in pose if unit in ARKIT_UNITS and weight}


@pytest.mark.parametrize(
    ("units", "preset"),
    [
        (vowel("aa"), "aa"),
        (vowel("U"), "ou"),
        (vowel("O"), "oh"),
        (vowel("I"), "ih"),
        (vowel("E"), "ee"),
        ({"eyeBlinkLeft": 1}, "blinkLeft"),
        ({"eyeBlinkRight": 1}, "blinkRight"),
        ({}, None),
    ],
)
def test_clear_mouth_shapes_give_mainly_one_preset(
    units: dict[str, float], preset: str | None
) -> None:
    found = {name: float(values[0]) for name, values in presets(curves(units)).items()}
    if preset is None:
        assert max(found.values()) < 0.01
        return
    assert max(found, key=lambda name: found[name]) == preset and found[preset] > 0.5


def test_presets_shut_the_lips_where_the_head_does() -> None:
    found = presets(curves(vowel("PP")))
    assert sum(float(found[name][0]) for name in ("aa", "ih", "ou", "ee", "oh")) < 0.02


@given(st.dictionaries(st.sampled_from(ARKIT_UNITS), st.floats(0, 1, width=32)))
def test_presets_of_the_mouth_never_add_up_to_more_than_one(units: dict[str, float]) -> None:
    found = presets(curves(units))
    assert min(values[0] for values in found.values()) >= -1e-6
    assert sum(found[name][0] for name in ("aa", "ih", "ou", "ee", "oh")) <= 1 + 1e-6


def test_arkit_contains_only_custom_expressions(tmp_path: Path) -> None:
    found = extension(exported(curves_take(smooth_weights(4, N_UNITS)), tmp_path, "arkit"))
    assert list(found["expressions"]) == ["custom"]
    assert "lookAt" not in found


def test_all_required_bones_are_in_a_rest_pose_with_arms_to_the_sides(tmp_path: Path) -> None:
    glb = exported(head_take(2), tmp_path)
    bones = {name: bone["node"] for name, bone in extension(glb)["humanoid"]["humanBones"].items()}
    assert set(bones) == REQUIRED_BONES
    nodes = glb.tree["nodes"]
    parents = {child: k for k, node in enumerate(nodes) for child in node.get("children", [])}

    def place(node: int | None) -> np.ndarray:
        if node is None:
            return np.zeros(3)
        assert "rotation" not in nodes[node] and "scale" not in nodes[node]
        return np.array(nodes[node]["translation"]) + place(parents.get(node))

    places = {name: place(node) for name, node in bones.items()}
    assert places["head"][1] > places["spine"][1] > places["hips"][1] > 0.8
    assert 0 < places["leftFoot"][1] < places["leftLowerLeg"][1] < places["leftUpperLeg"][1]
    assert places["leftHand"][0] > places["leftLowerArm"][0] > places["leftUpperArm"][0] > 0
    assert places["leftHand"][1] == places["leftUpperArm"][1]
    np.testing.assert_allclose(places["rightHand"], places["leftHand"] * [-1, 1, 1])


def test_gaze_turns_as_the_eyes_of_the_bundled_head(tmp_path: Path) -> None:
    rig = bundled_rig()
    eye = slice(*rig.topology.parts["eye_left"])
    rest = rig.template("S01")[eye]
    look = {"eyeLookOutLeft": 1, "eyeLookInRight": 1}, {"eyeLookDownLeft": 1, "eyeLookDownRight": 1}
    for units, axis in zip(look, (1, 0), strict=True):
        moved = rest + rig.unit_deltas[rig.unit_names.index(next(iter(units)))][eye]
        a, b = rest - rest.mean(0), moved - moved.mean(0)
        u, _, v = np.linalg.svd(a.T @ b)
        angle = np.arccos((np.trace((u @ v).T) - 1) / 2)  # the best rotation of the vertices
        (rotation,) = gaze_rotation(curves(units))
        assert abs(2 * np.arcsin(rotation[axis]) - angle) < np.radians(1.5)
        assert rotation[3] > 0 and np.count_nonzero(np.abs(rotation) > 1e-6) == 2


def test_gaze_is_written_only_if_the_eyes_move(tmp_path: Path) -> None:
    still = np.zeros((3, N_UNITS), np.float32)
    assert "lookAt" not in extension(exported(curves_take(still), tmp_path))
    moving = still.copy()
    moving[1, bundled_rig().unit_names.index("eyeLookUpLeft")] = 0.5
    glb = exported(curves_take(moving), tmp_path)
    times, values = glb.tracks()[extension(glb)["lookAt"]["node"], "rotation"]
    assert len(times) == 3
    assert values[1, 0] < 0  # up is a negative turn around +x
    assert "offsetFromHeadBone" in extension(glb)["lookAt"]


def test_head_rotation_moves_the_head_bone(tmp_path: Path) -> None:
    take = curves_take(smooth_weights(3, N_UNITS))
    assert take.native is not None
    head = np.array([[0, 0, 0], [0.2, 0, 0], [0, 0.1, 0]], np.float32)
    glb = exported(replace(take, native=replace(take.native, head=head)), tmp_path)
    bone = extension(glb)["humanoid"]["humanBones"]["head"]["node"]
    _, values = glb.tracks()[bone, "rotation"]
    np.testing.assert_allclose(values[:, :2] * 2, [[0, 0], [0, 0.2], [0.1, 0]], atol=1e-3)


@pytest.mark.parametrize("fps", [23.976, 60])
@pytest.mark.parametrize("n_frames", [1, 2, 9])
def test_the_animation_ends_with_the_last_frame(tmp_path: Path, fps: float, n_frames: int) -> None:
    for weight in (0, 1):  # constant curves too
        take = curves_take(np.full((n_frames, N_UNITS), weight, np.float32), fps)
        ends = {times[-1] for times, _ in exported(take, tmp_path).tracks().values()}
        np.testing.assert_allclose(list(ends), (n_frames - 1) / fps, rtol=1e-6)


def test_faces_without_some_units_have_zero_weights(tmp_path: Path) -> None:
    found = weights(exported(small_take(), tmp_path), "custom", 7)
    assert found["jawOpen"].any() and not found["mouthPucker"].any()


@pytest.mark.parametrize("targets", ["basis", "frames"])
def test_shapes_without_names_are_refused(tmp_path: Path, targets: str) -> None:
    with pytest.raises(InputError, match="choose units or arkit"):
        exported(head_take(2), tmp_path, targets)


def test_equal_takes_give_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        exported(head_take(4), tmp_path)
        contents.append((tmp_path / "face.vrma").read_bytes())
    assert contents[0] == contents[1]
