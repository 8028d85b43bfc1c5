"""The jaw, the head and the eyes turn about the axes of the character, whatever their rest pose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from characters import CharacterFile, assert_untouched, jaw_bone, parts_of, tracks_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from morph_files import Json
from scipy.spatial.transform import Rotation

from codetalker_cli.errors import DataError
from codetalker_cli.export.avatar import AvatarReport, write_avatar
from codetalker_cli.export.character import Character
from codetalker_cli.export.table import Target
from codetalker_cli.rigs.avatars import Drive

ANGLE = 0.3
LENGTH = 0.1


def drive_of(**more: Any) -> Drive:
    parts: dict[str, Any] = {"jaw": None, "head": None, "eyes": None} | more
    return Drive(
        morphs={},
        jaw=np.array([0.0, ANGLE]) if parts["jaw"] is None else parts["jaw"],
        head=parts["head"],
        eyes=parts["eyes"],
        matched={},
        unmatched=[],
        unused=[],
        naming="",
    )


def write(file: CharacterFile, folder: Path, drive: Drive) -> tuple[Path, AvatarReport]:
    path, out = file.save(folder / "a.glb"), folder / "b.glb"
    return out, write_avatar(Character.read(path), drive, 30.0, Target(out, out))


def local(node: Json, rotation: Any = None) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"]).reshape(4, 4).T
    matrix = np.eye(4)
    turn = node.get("rotation", [0, 0, 0, 1]) if rotation is None else rotation
    matrix[:3, :3] = Rotation.from_quat(turn).as_matrix() * np.array(node.get("scale", [1, 1, 1]))
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix


def worlds(path: Path, frame: int | None) -> dict[str, np.ndarray]:
    """Return the transform of each node in a frame of the animation, or None in the rest pose."""
    nodes = parts_of(path)[0]["nodes"]
    turns = (
        {}
        if frame is None
        else {n: values[frame] for (n, _), (_, values) in tracks_of(path).items()}
    )
    parents = {child: k for k, node in enumerate(nodes) for child in node.get("children", [])}

    def world(k: int) -> np.ndarray:
        own = local(nodes[k], turns.get(nodes[k]["name"]))
        return world(parents[k]) @ own if k in parents else own

    return {node["name"]: world(k) for k, node in enumerate(nodes)}


def moved(path: Path, bone: str, point: np.ndarray) -> np.ndarray:
    """Return how a point at an offset from a bone moves from the rest pose to the last frame."""
    before, after = worlds(path, None)[bone], worlds(path, -1)[bone]
    place = before[:3, 3] + point
    attached = np.linalg.inv(before) @ np.append(place, 1)
    return (after @ attached)[:3] - place


NUMBERS = st.floats(-1, 1)
QUATERNIONS = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS).filter(
    lambda q: np.linalg.norm(q) > 0.1
).map(lambda q: (np.array(q) / np.linalg.norm(q)).tolist())  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jaw=QUATERNIONS, head=QUATERNIONS, size=st.sampled_from([0.01, 1.0, -2.0]), yaw=st.floats(-3, 3)
)
def test_the_chin_goes_down_in_every_rest_pose(
    tmp_path: Path, jaw: list[float], head: list[float], size: float, yaw: float
) -> None:
    file = jaw_bone(rotation=jaw, translation=[0.01, -0.02, 0.03])
    nodes = {node["name"]: node for node in file.tree["nodes"]}
    nodes["Head"]["rotation"] = head
    nodes["Armature"]["scale"] = [size] * 3
    upright = Rotation.from_quat(head).inv()
    for name, x in (("LeftEye", 0.03), ("RightEye", -0.03)):
        nodes[name]["translation"] = upright.apply([x, 0.07, 0.06]).tolist()
    nodes["Armature"]["rotation"] = [0, np.sin(yaw / 2), 0, np.cos(yaw / 2)]
    out, _ = write(file, tmp_path, drive_of())
    rest = worlds(out, None)
    left = rest["LeftEye"][:3, 3] - rest["RightEye"][:3, 3]
    left /= np.linalg.norm(left)
    # An axis of the file is used if the character faces nearly along it.
    near = np.abs(left).max() > np.cos(np.radians(20))
    left = np.round(left) if near else left
    forward = np.cross(left, [0, 1, 0])
    expected = LENGTH * ((np.cos(ANGLE) - 1) * forward - np.sin(ANGLE) * np.array([0, 1, 0]))
    np.testing.assert_allclose(moved(out, "Jaw", LENGTH * forward), expected, atol=1e-6)


def test_the_jaw_follows_the_head(tmp_path: Path) -> None:
    head = np.array([[0, 0, 0], [ANGLE, 0, 0]])
    out, _ = write(jaw_bone(rotation=[0.5, 0.5, 0.5, 0.5]), tmp_path, drive_of(head=head))
    last, rest = worlds(out, -1), worlds(out, None)
    turn = Rotation.from_euler("y", ANGLE) * Rotation.from_euler("x", ANGLE)
    expected = turn.as_matrix() @ rest["Jaw"][:3, :3]
    np.testing.assert_allclose(last["Jaw"][:3, :3], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("head", "expected"),
    [((ANGLE, 0, 0), (1, 0)), ((0, ANGLE, 0), (0, -1)), ((0, 0, ANGLE), (0, 0))],
    ids=["yaw", "pitch", "roll"],
)
def test_the_nose_follows_the_head(
    head: tuple[float, ...], expected: tuple[int, int], tmp_path: Path
) -> None:
    angles = np.array([(0, 0, 0), head])
    out, report = write(jaw_bone(), tmp_path, drive_of(head=angles))
    left, up, _ = moved(out, "Head", np.array([0, 0, LENGTH]))
    np.testing.assert_allclose((left, up), LENGTH * np.sin(ANGLE) * np.array(expected), atol=1e-6)
    assert report.bones == {"head": "Head", "jaw": "Jaw"}


def test_a_positive_roll_tilts_the_head_to_the_left_shoulder(tmp_path: Path) -> None:
    out, _ = write(jaw_bone(), tmp_path, drive_of(head=np.array([(0, 0, 0), (0, 0, ANGLE)])))
    assert moved(out, "Head", np.array([0, LENGTH, 0]))[0] == pytest.approx(LENGTH * np.sin(ANGLE))


@pytest.mark.parametrize("bone", ["LeftEye", "RightEye"])
def test_the_eyes_look_to_the_left_and_up(bone: str, tmp_path: Path) -> None:
    eyes = np.array([[0, 0], [0.2, 0.1]])
    file = jaw_bone()
    node = next(node for node in file.tree["nodes"] if node["name"] == bone)
    node["rotation"] = Rotation.from_euler("xyz", [1, 2, 3]).as_quat().tolist()
    out, _ = write(file, tmp_path, drive_of(eyes=eyes))
    left, up, _ = moved(out, bone, np.array([0, 0, 1]))
    np.testing.assert_allclose((left, up), (np.sin(0.2) * np.cos(0.1), np.sin(0.1)), atol=1e-6)


def backwards(file: CharacterFile, how: str) -> CharacterFile:
    """Make a character look along -z, as in VRM 0."""
    nodes = {node["name"]: node for node in file.tree["nodes"]}
    if how == "eyes":
        for name in ("LeftEye", "RightEye"):
            nodes[name]["translation"][0] *= -1
        return file
    for name in ("LeftEye", "RightEye"):
        nodes[name]["name"] = name.replace("Left", "First ").replace("Right", "Second ")
    if how == "arms":
        file.tree["skins"][0]["joints"] += [
            file.node("Arm.L", 1, translation=[-0.2, 0.5, 0]),
            file.node("Arm.R", 1, translation=[0.2, 0.5, 0.1]),
        ]
    else:
        file.tree["extensions"] = {"VRM": {}}
    return file


@pytest.mark.parametrize("how", ["eyes", "arms", "VRM 0"])
def test_a_character_that_looks_backwards_opens_its_jaw_downwards(how: str, tmp_path: Path) -> None:
    out, _ = write(backwards(jaw_bone(), how), tmp_path, drive_of())
    expected = LENGTH * np.array([0, -np.sin(ANGLE), 1 - np.cos(ANGLE)])
    np.testing.assert_allclose(moved(out, "Jaw", np.array([0, 0, -LENGTH])), expected, atol=1e-6)


def with_chin(ahead: tuple[int, int, int], sides: str) -> CharacterFile:
    """Return a character whose chin is in front of its jaw; its eyes may have other names."""
    file = jaw_bone()
    nodes = {node["name"]: node for node in file.tree["nodes"]}
    left, right = {"none": ("A", "B"), "a viewer's": ("EyeRight", "EyeLeft")}.get(sides, ("", ""))
    axis = np.cross((0, 1, 0), ahead)
    for name, new, side in (("LeftEye", left, 1), ("RightEye", right, -1)):
        nodes[name]["translation"] = (0.03 * side * axis + np.array([0, 0.07, 0])).tolist()
        nodes[name]["name"] = new or name
    # The mesh has no inverse bind matrices, so its vertices are those of the space of the jaw.
    file.face((), "Chin", 0, (2,), (0.1 * np.array(ahead)).tolist(), skin=0)
    return file


@pytest.mark.parametrize("ahead", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0)])
@pytest.mark.parametrize("sides", ["none", "the character's", "a viewer's"])
def test_the_chin_goes_down_whatever_the_names_of_the_sides(
    ahead: tuple[int, int, int], sides: str, tmp_path: Path
) -> None:
    out, _ = write(with_chin(ahead, sides), tmp_path, drive_of())
    expected = LENGTH * np.array([0, -np.sin(ANGLE), 0])
    expected -= LENGTH * (1 - np.cos(ANGLE)) * np.array(ahead)
    np.testing.assert_allclose(moved(out, "Jaw", LENGTH * np.array(ahead)), expected, atol=1e-6)


def test_the_eyes_decide_for_a_character_that_lies_on_its_face(tmp_path: Path) -> None:
    file = with_chin((0, -1, 1), "the character's")
    file.tree["nodes"][0]["rotation"] = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]  # as in Z-up files
    out, _ = write(file, tmp_path, drive_of())
    towards_the_feet = moved(out, "Jaw", np.array([0, -LENGTH, 0]))[2]
    assert towards_the_feet < -0.9 * LENGTH * np.sin(ANGLE)


def test_a_matrix_becomes_translation_rotation_and_scale(tmp_path: Path) -> None:
    turn = Rotation.from_euler("xyz", [0.4, 2, 3])
    matrix = np.eye(4)
    matrix[:3, :3] = turn.as_matrix() * [2, -3, 4]
    matrix[:3, 3] = 0.1, 0.2, 0.3
    file = jaw_bone()
    node = next(node for node in file.tree["nodes"] if node["name"] == "Jaw")
    node.clear()
    node |= {"name": "Jaw", "matrix": matrix.T.ravel().tolist()}
    out, report = write(file, tmp_path, drive_of())
    assert len(report.changes) == 1 and "matrix of the bone Jaw" in report.changes[0]
    tree, _ = parts_of(out)
    (changed,) = (node for node in tree["nodes"] if node["name"] == "Jaw")
    assert set(changed) == {"name", "translation", "rotation", "scale"}
    np.testing.assert_allclose(local(changed), matrix, atol=1e-9)
    changed.clear()
    changed |= node
    assert tree["nodes"] == file.tree["nodes"]


@pytest.mark.parametrize("angle", [0.0, 1e-3, 1.5, np.pi - 1e-3, np.pi])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_the_rotation_of_a_matrix_is_exact(axis: str, angle: float, tmp_path: Path) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler(axis, angle).as_matrix()
    file = jaw_bone(matrix=matrix.T.ravel().tolist())
    for node in file.tree["nodes"]:
        if node["name"] == "Jaw":
            del node["translation"]
    out, _ = write(file, tmp_path, drive_of(jaw=np.zeros(2)))
    (node,) = (node for node in parts_of(out)[0]["nodes"] if node["name"] == "Jaw")
    np.testing.assert_allclose(local(node), matrix, atol=1e-9)
    np.testing.assert_allclose(worlds(out, -1)["Jaw"], worlds(out, None)["Jaw"], atol=1e-6)


def test_a_sheared_matrix_is_refused(tmp_path: Path) -> None:
    matrix = np.eye(4)
    matrix[0, 1] = 0.5
    file = jaw_bone(matrix=matrix.ravel().tolist())
    with pytest.raises(DataError, match="the matrix of the bone 'Jaw' is sheared"):
        write(file, tmp_path, drive_of())
    assert not (tmp_path / "b.glb").exists()


def test_bones_of_a_file_without_matrices_stay_as_they_are(tmp_path: Path) -> None:
    write(jaw_bone(rotation=[0.6, 0, 0, 0.8]), tmp_path, drive_of(eyes=np.zeros((2, 2))))
    assert_untouched(tmp_path / "a.glb", tmp_path / "b.glb")
