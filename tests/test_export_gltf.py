"""A .glb shows the vertices of the motion, whatever its morph targets are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gltf_reader import Glb
from hypothesis import given, settings
from hypothesis import strategies as st
from takes import curves_take, head_take, small_take, smooth_weights

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export import glb_writer, principal
from codetalker_cli.export.gltf import write_glb
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import Take
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.motion import VertexFrames
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.posing import NECK_PIVOT
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import ExportSettings
from codetalker_cli.surface import to_srgb, vertex_normals

N_UNITS = 58


def exported(take: Take, folder: Path, targets: str = "units", **other: float) -> Glb:
    path = folder / "face.glb"
    options = {"targets": targets, **other}
    write_glb(take, Target(path, path), ExportSettings.model_validate(options))
    return Glb(path)


def millimeters(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected, axis=-1).max() * 1e3)


# Morph targets ----------------------------------------------------------------------------------


def test_each_unit_and_its_weight_survive(tmp_path: Path) -> None:
    take = curves_take(np.eye(N_UNITS, dtype=np.float32))
    glb = exported(take, tmp_path)
    assert tuple(glb.mesh["extras"]["targetNames"]) == take.units.names
    np.testing.assert_array_equal(glb.weights(), np.eye(N_UNITS))
    np.testing.assert_array_equal(glb.offsets(), take.units.deltas)
    np.testing.assert_array_equal(glb.attribute("POSITION"), take.template)
    assert millimeters(glb.vertices(), take.motion.vertices) < 1e-4


def test_arkit_contains_the_units_of_arkit_in_their_order(tmp_path: Path) -> None:
    take = curves_take(smooth_weights(6, N_UNITS))
    glb = exported(take, tmp_path, "arkit")
    assert tuple(glb.mesh["extras"]["targetNames"]) == ARKIT_UNITS
    np.testing.assert_array_equal(glb.weights(), take.arkit_curves.weights)
    np.testing.assert_array_equal(glb.offsets(), take.arkit_units.deltas)


def test_arkit_leaves_out_units_that_the_face_lacks(tmp_path: Path) -> None:
    glb = exported(small_take(), tmp_path, "arkit")
    assert glb.mesh["extras"]["targetNames"] == ["jawOpen"]
    assert glb.weights().shape == (7, 1)


@pytest.mark.parametrize("error_mm", [0.5, 0.1, 0.01])
def test_basis_is_as_accurate_as_it_promises_and_no_larger(tmp_path: Path, error_mm: float) -> None:
    take = head_take(20)
    noise = np.random.default_rng(0).normal(scale=2e-5, size=take.motion.vertices.shape)
    vertices = (take.motion.vertices + noise).astype(np.float32)
    glb = exported(Take(replace(take.motion, vertices=vertices)), tmp_path, "basis",
                   basis_error_mm=error_mm)  # fmt: skip
    assert millimeters(glb.vertices(), vertices) <= error_mm * 1.001
    offsets = (vertices - take.template).reshape(20, -1).astype(np.float64)
    u, s, v = np.linalg.svd(offsets, full_matrices=False)
    rest = [offsets - (u[:, :k] * s[:k]) @ v[:k] for k in range(21)]
    errors = [np.linalg.norm(r.reshape(20, -1, 3), axis=-1).max() * 1e3 for r in rest]
    fewest = next(k for k, error in enumerate(errors) if error <= error_mm)
    names = glb.mesh["extras"]["targetNames"]
    assert abs(len(names) - fewest) <= 1
    assert names[0] == "basis_001"


def test_weights_of_a_basis_stay_within_the_sliders_of_blender(tmp_path: Path) -> None:
    glb = exported(head_take(16), tmp_path, "basis")
    weights = glb.weights()
    assert 0 <= weights.min() <= weights.max() <= 1
    rest = np.einsum("r,rvc->vc", glb.mesh["weights"], glb.offsets())
    neutral = glb.attribute("POSITION") + rest
    assert millimeters(neutral, bundled_rig().template("S01")) < 1e-3


def test_basis_finds_rare_shapes_in_a_long_motion(tmp_path: Path) -> None:
    # The frames come in several blocks, and one vertex moves in a single frame only.
    take = head_take(8)
    source, n = take.motion.vertices, 1300

    def compute(frames: np.ndarray) -> np.ndarray:
        made = source[frames % 8]
        made[frames == 900, 77] += np.float32(0.002)
        return made

    motion = replace(take.motion, vertices=VertexFrames(n, source.shape[1], compute))
    assert len(list(Take(motion).blocks())) > 1
    glb = exported(Take(motion), tmp_path, "basis")
    assert len(glb.mesh["extras"]["targetNames"]) <= 9
    frames = [0, 3, 900, n - 1]
    moved = np.einsum("tr,rvc->tvc", glb.weights()[frames], glb.offsets())
    assert millimeters(glb.attribute("POSITION") + moved, motion.vertices[frames]) <= 0.1001


def test_basis_below_the_precision_of_floats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export\.basis_error_mm is 1e-07"):
        exported(head_take(5), tmp_path, "basis", basis_error_mm=1e-7)


def test_a_basis_of_noise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principal, "MAX_TARGETS", 4)
    with pytest.raises(InputError, match="more than 4 shapes"):
        exported(head_take(12), tmp_path, "basis")


def test_a_basis_of_a_still_face_has_one_shape(tmp_path: Path) -> None:
    take = curves_take(np.zeros((3, N_UNITS), np.float32))
    glb = exported(take, tmp_path, "basis")
    assert glb.mesh["extras"]["targetNames"] == ["basis_001"]
    assert millimeters(glb.vertices(), take.motion.vertices) < 1e-6


def test_frames_contain_the_motion_itself(tmp_path: Path) -> None:
    take = head_take(11)
    glb = exported(take, tmp_path, "frames")
    np.testing.assert_array_equal(glb.weights(), np.eye(11))
    assert glb.mesh["extras"]["targetNames"][:2] == ["frame_00", "frame_01"]
    assert millimeters(glb.vertices(), take.motion.vertices) < 1e-4


def test_too_many_frames_are_refused_before_work_is_done(tmp_path: Path) -> None:
    n = principal.MAX_TARGETS + 1

    def compute(frames: np.ndarray) -> np.ndarray:
        raise AssertionError

    motion = replace(small_take().motion, vertices=VertexFrames(n, 5, compute))
    with pytest.raises(InputError, match="limited to 2000; choose basis, units or arkit"):
        exported(Take(motion), tmp_path, "frames")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("targets", ["units", "arkit"])
def test_a_face_without_units_is_refused(tmp_path: Path, targets: str) -> None:
    with pytest.raises(InputError, match="has no known units"):
        exported(Take(small_take().motion), tmp_path, targets)


@pytest.mark.parametrize("targets", ["basis", "frames"])
def test_a_face_without_units_needs_no_units_for_plain_shapes(tmp_path: Path, targets: str) -> None:
    take = Take(small_take().motion)
    glb = exported(take, tmp_path, targets)
    assert millimeters(glb.vertices(), take.motion.vertices / 1e3) <= 0.1


random_weights = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2), min_size=n, max_size=n
    )
)


@given(weights=random_weights, targets=st.sampled_from(["units", "basis", "frames"]))
@settings(max_examples=40, deadline=None)
def test_random_motions_survive(
    tmp_path_factory: pytest.TempPathFactory, weights: list[list[float]], targets: str
) -> None:
    base = small_take()
    assert base.given_units is not None
    array = np.array(weights, np.float32)
    deltas = base.given_units.deltas * np.float32(1e3)
    vertices = base.motion.template + np.einsum("tu,uvc->tvc", array, deltas)
    motion = replace(base.motion, vertices=vertices.astype(np.float32))
    curves = RigCurves(base.given_units.names, motion.fps, array)
    take = Take(motion, curves, base.given_units)
    glb = exported(take, tmp_path_factory.getbasetemp(), targets)
    assert millimeters(glb.vertices(), vertices / 1e3) <= (0.1 if targets == "basis" else 1e-4)


def test_files_that_are_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glb_writer, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match=r"face\.glb: the file would be .* 4\.3 GB"):
        exported(small_take(), tmp_path)
    assert not list(tmp_path.iterdir())


# Surface ----------------------------------------------------------------------------------------


def test_triangles_keep_their_vertices_and_parts_have_materials(tmp_path: Path) -> None:
    take = head_take(2)
    glb = exported(take, tmp_path)
    names = [glb.tree["materials"][p["material"]]["name"] for p in glb.mesh["primitives"]]
    assert names == ["skin", "tongue", "teeth", "eye", "brow"]
    found, expected = glb.triangles(), take.triangles
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(expected, axis=0))
    assert len(found) == len(expected)
    eyes = glb.array(glb.mesh["primitives"][3]["indices"])
    assert (eyes.min(), eyes.max()) == (4838, 5199)


def test_colors_are_linear_and_normals_match_the_shape(tmp_path: Path) -> None:
    take = head_take(2)
    glb = exported(take, tmp_path)
    colors = glb.attribute("COLOR_0")
    assert (colors[:, 3] == 65535).all()
    shown = np.round(255 * to_srgb(colors[:, :3] / 65535)).astype(int)
    assert abs(shown - take.colors).max() <= 0
    normals = glb.attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    k = take.units.names.index("jawOpen")
    opened = vertex_normals(take.template + take.units.deltas[k], take.triangles)
    np.testing.assert_allclose(normals + glb.offsets("NORMAL")[k], opened, atol=1e-6)


def test_a_face_without_colors_or_parts_is_gray(tmp_path: Path) -> None:
    glb = exported(small_take(), tmp_path)
    (material,) = glb.tree["materials"]
    assert material["name"] == "face"
    assert len(material["pbrMetallicRoughness"]["baseColorFactor"]) == 4
    assert "COLOR_0" not in glb.mesh["primitives"][0]["attributes"]


def test_vertices_without_triangles_have_unit_normals(tmp_path: Path) -> None:
    take = small_take()
    topology = replace(take.motion.topology, triangles=take.triangles[:1])
    lonely = replace(take, motion=replace(take.motion, topology=topology))
    normals = exported(lonely, tmp_path).attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def test_our_own_reader_returns_the_neutral_face(tmp_path: Path) -> None:
    take = head_take(2)
    exported(take, tmp_path)
    mesh = read_mesh_file(tmp_path / "face.glb")
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), take.template)


# Time and names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [23.976, 25, 30, 60])
@pytest.mark.parametrize("n_frames", [1, 2, 9])
def test_frame_k_is_at_k_over_fps(tmp_path: Path, fps: float, n_frames: int) -> None:
    glb = exported(replace_fps(small_take(n_frames), fps), tmp_path)
    times, _ = glb.tracks()[0, "weights"]
    np.testing.assert_allclose(times, np.arange(n_frames) / fps, rtol=1e-6)


def replace_fps(take: Take, fps: float) -> Take:
    return replace(take, motion=replace(take.motion, fps=fps))


def test_names_with_spaces_and_umlauts_survive(tmp_path: Path) -> None:
    take = small_take()
    take = replace(take, motion=replace(take.motion, subject="Jörg Müller"))
    path = tmp_path / "Über uns.glb"
    write_glb(take, Target(path, path, sound_name="Über uns.wav"), ExportSettings())
    glb = Glb(path)
    assert glb.mesh["extras"]["targetNames"] == ["jawOpen", "mouth Löwer"]
    assert glb.mesh["name"] == glb.tree["nodes"][0]["name"] == "Jörg Müller"
    assert glb.tree["animations"][0]["extras"] == {"fps": 25.0, "sound": "Über uns.wav"}


@pytest.mark.parametrize("targets", ["units", "basis", "frames"])
def test_equal_takes_give_equal_bytes(tmp_path: Path, targets: str) -> None:
    contents = []
    for name in "ab":
        exported(head_take(5), tmp_path, targets)
        contents.append((tmp_path / "face.glb").read_bytes())
        (tmp_path / "face.glb").rename(tmp_path / name)
    assert contents[0] == contents[1]


@pytest.mark.parametrize("targets", ["basis", "frames"])
def test_motions_with_nan_are_refused(tmp_path: Path, targets: str) -> None:
    take = small_take()
    vertices = take.motion.vertices.copy()
    vertices[3, 2, 1] = np.nan
    broken = Take(replace(take.motion, vertices=vertices))
    with pytest.raises(DataError, match="NaN"):
        exported(broken, tmp_path, targets)


# Head rotation ----------------------------------------------------------------------------------


def turned(axes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the matrices of quaternions (x, y, z, w)."""
    for x, y, z, w in axes.astype(np.float64):
        yield np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )


def turning_take(head: np.ndarray) -> Take:
    """Return a still face whose head turns; the vertices of the motion contain the rotation."""
    take = curves_take(np.zeros((len(head), N_UNITS), np.float32))
    assert take.native is not None
    rotations = np.stack(list(turned(quaternions(head))))
    vertices = (take.motion.vertices - NECK_PIVOT) @ rotations.transpose(0, 2, 1) + NECK_PIVOT
    motion = replace(take.motion, vertices=vertices.astype(np.float32))
    return replace(take, motion=motion, native=replace(take.native, head=head))


HEAD = np.array([[0.3, 0, 0], [0, 0.2, 0], [0, 0, 0.1], [0.3, 0.2, 0.1]], np.float32)


def test_head_rotation_turns_as_the_curves_define(tmp_path: Path) -> None:
    glb = exported(turning_take(HEAD), tmp_path)
    _, rotations = glb.tracks()[1, "rotation"]
    yaw, pitch, roll, together = turned(rotations)
    _, up, forward = np.eye(3)
    assert (yaw @ forward)[0] > 0.29  # the nose turns to the subject's left
    assert (pitch @ forward)[1] < -0.19  # the nose goes down
    assert (roll @ up)[0] > 0.09  # the top moves to the subject's left
    np.testing.assert_allclose(together, yaw @ pitch @ roll, atol=1e-6)


def test_the_face_turns_about_the_neck_as_its_vertices_do(tmp_path: Path) -> None:
    take = turning_take(HEAD)
    glb = exported(take, tmp_path)
    face, neck = glb.tree["nodes"]
    assert glb.tree["scenes"][0]["nodes"] == [1] and neck["children"] == [0]
    _, rotations = glb.tracks()[1, "rotation"]
    local = glb.vertices() + face["translation"]
    matrices = np.stack(list(turned(rotations)))
    world = local @ matrices.transpose(0, 2, 1) + neck["translation"]
    assert millimeters(world, take.motion.vertices) < 1e-3


@pytest.mark.parametrize("targets", ["basis", "frames"])
def test_shapes_that_contain_the_rotation_are_not_turned_again(
    tmp_path: Path, targets: str
) -> None:
    take = turning_take(HEAD)
    glb = exported(take, tmp_path, targets)
    assert list(glb.tracks()) == [(0, "weights")]
    assert "translation" not in glb.tree["nodes"][0]
    assert millimeters(glb.vertices(), take.motion.vertices) <= 0.1


def test_rotations_never_jump_between_frames() -> None:
    head = np.zeros((100, 3))
    turns = np.linspace(0, 4 * np.pi, 100)
    head[:, 0] = np.arctan2(np.sin(turns), np.cos(turns))  # jumps from π to −π
    found = quaternions(head)
    assert (found[1:] * found[:-1]).sum(1).min() > 0.9


def test_a_still_head_has_no_rotation(tmp_path: Path) -> None:
    assert list(exported(small_take(), tmp_path).tracks()) == [(0, "weights")]
