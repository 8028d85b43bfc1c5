"""A motion with a rotation of the head: saved, resampled, posed, rendered and exported."""

from dataclasses import replace
from pathlib import Path

import geometry_exports
import numpy as np
import pytest
import tiny
import voices
from ball import SOFTWARE, make_motion
from gltf_reader import Glb
from takes import head_take, small_take

import codetalker_cli as ct
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export.gltf import write_glb
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.export.rig_tables import write_csv
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import Take
from codetalker_cli.export.vrma import write_vrma
from codetalker_cli.formats.frames import Pc2Frames
from codetalker_cli.formats.rig_files import read_curves
from codetalker_cli.models import checkpoint
from codetalker_cli.motion import Motion, VertexFrames
from codetalker_cli.render import Panel, render_frames
from codetalker_cli.rigs.posing import NECK_PIVOT, motion_of, neck_pivot, turned
from codetalker_cli.rigs.solve import solve_curves
from codetalker_cli.settings import ExportSettings
from codetalker_cli.topology import Topology

N_FRAMES = 8
HEAD = np.random.default_rng(0).normal(0, 0.1, (N_FRAMES, 3)).astype(np.float32)


def turning_take() -> Take:
    """Return a take of the bundled head whose motion rotates the head."""
    return head_take(N_FRAMES, head=HEAD)


def small_turning_take() -> Take:
    """Return a take of a small face in millimeters whose motion rotates the head."""
    take = small_take(N_FRAMES)
    return replace(take, motion=replace(take.motion, head=HEAD))


def settings(targets: str = "units") -> ExportSettings:
    return ExportSettings.model_validate({"targets": targets})


def matrices(rotations: np.ndarray) -> np.ndarray:
    """Return the (T, 3, 3) matrices of quaternions (x, y, z, w)."""
    x, y, z, w = rotations.astype(np.float64).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def about(vertices: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Return vertices that are turned about a point with ``HEAD``."""
    return (vertices - pivot) @ matrices(quaternions(HEAD)).transpose(0, 2, 1) + pivot


# Motion -------------------------------------------------------------------------------------------


def test_npz_contains_the_rotation(tmp_path: Path) -> None:
    motion = turning_take().motion
    loaded = Motion.load(motion.save(tmp_path / "m.npz"))
    assert loaded.head is not None
    np.testing.assert_array_equal(loaded.head, HEAD)
    np.testing.assert_array_equal(loaded.vertices, motion.vertices)
    assert Motion.load(head_take(3).motion.save(tmp_path / "still.npz")).head is None


@pytest.mark.parametrize("head", [HEAD[:-1], HEAD[:, :2], np.full_like(HEAD, np.nan)])
def test_a_rotation_that_does_not_fit_is_refused(head: np.ndarray, tmp_path: Path) -> None:
    path = replace(turning_take().motion, head=head).save(tmp_path / "m.npz")
    with pytest.raises(InputError, match="head: the"):
        Motion.load(path)


@pytest.mark.parametrize("fps", [60.0, 24.0])
def test_another_frame_rate_interpolates_the_rotation(fps: float) -> None:
    motion = turning_take().motion
    head = motion.at_fps(fps).head
    assert head is not None
    position = np.arange(len(head)) * motion.fps / fps
    expected = [np.interp(position, np.arange(N_FRAMES), column) for column in HEAD.T]
    np.testing.assert_allclose(head, np.transpose(expected), atol=1e-6)


def test_solved_curves_keep_the_rotation() -> None:
    motion = turning_take().motion
    curves, still = solve_curves(motion), solve_curves(replace(motion, head=None))
    np.testing.assert_array_equal(curves.head, HEAD)
    np.testing.assert_array_equal(curves.weights, still.weights)
    assert still.head is None


# Pose ---------------------------------------------------------------------------------------------


def test_turned_applies_the_rotation_of_rig_curves() -> None:
    curves = replace(solve_curves(turning_take().motion), head=HEAD)
    still = motion_of(curves, "S01", rotate_head=False)
    posed = turned(replace(still, head=HEAD))
    assert posed.head is None
    expected = motion_of(curves, "S01").vertices
    np.testing.assert_allclose(np.asarray(posed.vertices), expected, atol=1e-7)
    assert np.abs(expected - still.vertices).max() > 0.005


def test_a_still_motion_is_returned_as_it_is() -> None:
    motion = head_take(3).motion
    assert turned(motion) is motion


def other_mesh(scale: float = 1.0, lips: bool = True) -> tuple[Topology, np.ndarray]:
    """Return the bundled head with fewer triangles, so that it is another mesh."""
    motion = head_take(1).motion
    full = motion.topology
    regions = {"lips": full.region("lips")} if lips else {}
    unit = "m" if scale == 1 else "mm" if scale == 1000 else "area1"
    topology = Topology("other", full.triangles[:-7], full.n_vertices, unit, regions)
    return topology, motion.template * np.float32(scale)


@pytest.mark.parametrize("scale", [1.0, 1000.0, 3.7])
@pytest.mark.parametrize("lips", [True, False])
def test_the_neck_of_other_meshes_is_found_from_the_face(scale: float, lips: bool) -> None:
    pivot = neck_pivot(*other_mesh(scale, lips)) / scale
    np.testing.assert_allclose(pivot, NECK_PIVOT, atol=0.012)


def test_the_neck_of_a_mask_is_behind_it() -> None:
    topology, template = other_mesh()
    front = template[:, 2] > -0.04
    kept = front[topology.triangles].all(axis=1)
    mask = replace(topology, triangles=topology.triangles[kept])
    np.testing.assert_allclose(neck_pivot(mask, template), NECK_PIVOT, atol=0.02)


# Render -------------------------------------------------------------------------------------------


def test_pictures_show_the_rotation_except_in_heat_maps() -> None:
    still = make_motion()
    head = np.tile(np.float32([0.3, 0.0, 0.2]), (still.n_frames, 1))
    turning = replace(still, head=head)
    baked = turned(turning)
    assert not np.array_equal(baked.vertices[1], still.vertices[1])

    def picture(*panels: Panel) -> np.ndarray:
        return next(iter(render_frames(list(panels), SOFTWARE, [1])))

    np.testing.assert_array_equal(picture(Panel(turning)), picture(Panel(baked)))
    # Two panels of the same vertices are drawn with their own rotations.
    both = picture(Panel(turning), Panel(still))
    assert not np.array_equal(both[:, : SOFTWARE.size], both[:, SOFTWARE.size :])
    heat = picture(Panel(turning), Panel(turning, against=still))[:, SOFTWARE.size :]
    expected = picture(Panel(still), Panel(still, against=still))[:, SOFTWARE.size :]
    np.testing.assert_array_equal(heat, expected)


# Export -------------------------------------------------------------------------------------------


def glb_vertices(glb: Glb) -> np.ndarray:
    """Return the (T, V, 3) vertices that a viewer shows, with the rotation of the neck."""
    neck = next(k for k, node in enumerate(glb.tree["nodes"]) if node.get("name") == "neck")
    pivot = np.array(glb.tree["nodes"][neck]["translation"])
    np.testing.assert_allclose(glb.tree["nodes"][neck - 1]["translation"], -pivot)
    assert glb.tree["scenes"][0]["nodes"] == [neck]
    _, rotations = glb.tracks()[neck, "rotation"]
    return (glb.vertices() - pivot) @ matrices(rotations).transpose(0, 2, 1) + pivot


@pytest.mark.parametrize("targets", ["units", "basis", "frames"])
@pytest.mark.parametrize("make", [turning_take, small_turning_take])
def test_a_glb_turns_about_the_neck(targets: str, make: object, tmp_path: Path) -> None:
    take = make()  # type: ignore[operator]
    path = tmp_path / "face.glb"
    write_glb(take, Target(path, path), settings(targets))
    made = glb_vertices(Glb(path))
    expected = np.concatenate(list(take.blocks()))
    error = {"units": 2.5e-3, "basis": 2e-4, "frames": 1e-6}[targets]
    assert np.linalg.norm(made - expected, axis=-1).max() < error
    still = np.concatenate(list(take.without_head.blocks()))
    assert np.linalg.norm(still - expected, axis=-1).max() > 0.004


def test_a_basis_needs_no_shapes_for_the_rotation(tmp_path: Path) -> None:
    counts = []
    for take in (turning_take(), turning_take().without_head):
        path = tmp_path / f"{len(counts)}.glb"
        write_glb(take, Target(path, path), settings("basis"))
        counts.append(len(Glb(path).mesh["extras"]["targetNames"]))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("make", [turning_take, small_turning_take])
def test_mesh_sequences_contain_the_rotation(make: object, tmp_path: Path) -> None:
    take = make()  # type: ignore[operator]
    still = np.concatenate(list(take.without_head.blocks()))
    path = geometry_exports.export(take, tmp_path / "x.pc2")
    frames = Pc2Frames(path, still.shape[1]).read(np.arange(N_FRAMES))
    np.testing.assert_allclose(frames, about(still, take.neck_pivot), atol=1e-6)
    # Vertices that are computed on access give the same file.
    whole = take.motion.vertices
    lazy = VertexFrames(*whole.shape[:2], lambda k: whole[k])
    again = replace(take, motion=replace(take.motion, vertices=lazy))
    other = geometry_exports.export(again, tmp_path / "y.pc2")
    assert other.read_bytes() == path.read_bytes()


def test_tables_and_vrm_animations_contain_the_rotation(tmp_path: Path) -> None:
    take, path = turning_take(), tmp_path / "x.csv"
    write_csv(take, Target(path, path), settings())
    np.testing.assert_allclose(read_curves(path).head, HEAD, atol=1e-6)

    path = tmp_path / "x.vrma"
    write_vrma(take, Target(path, path), settings())
    glb = Glb(path)
    bones = glb.tree["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    _, rotations = glb.tracks()[bones["head"]["node"], "rotation"]
    np.testing.assert_allclose(rotations, quaternions(HEAD), atol=1e-6)


@pytest.mark.parametrize("targets", ["units", "frames"])
def test_usd_contains_the_rotation(targets: str, tmp_path: Path) -> None:
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdSkel

    take = small_turning_take()
    path = geometry_exports.export(take, tmp_path / "x.usdc", targets=targets)
    stage = Usd.Stage.Open(str(path))
    if targets == "units":
        assert UsdSkel.BakeSkinning(stage.Traverse())
    points = UsdGeom.Mesh(stage.GetDefaultPrim().GetChild("Face")).GetPointsAttr()
    frames = np.stack([points.Get(k) for k in range(N_FRAMES)])
    np.testing.assert_allclose(frames, np.concatenate(list(take.blocks())), atol=5e-4)


# Animation ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> ct.Voice:
    mesh = voices.mesh("A")
    folder = tmp_path_factory.mktemp("voice")
    return ct.load(checkpoint.save(folder / "a", tiny.codetalker(), mesh=mesh))


@pytest.mark.parametrize(
    ("options", "eyes", "head"),
    [
        ({}, True, True),
        ({"idle": False}, False, False),
        ({"idle": False, "head": True}, False, True),
        ({"head": False}, True, False),
        ({"idle": True, "head": True}, True, True),
    ],
)
def test_head_motion_is_a_layer(voice: ct.Voice, options: dict, eyes: bool, head: bool) -> None:
    speech = voices.speech(6.0)
    model = voice.animate(speech, idle=False, head=False)
    made = voice.animate(speech, **options)
    assert np.array_equal(made.vertices, model.vertices) != eyes
    others = np.setdiff1d(np.arange(tiny.N_VERTICES), list(voices.EYES.values()))
    np.testing.assert_array_equal(made.vertices[:, others], model.vertices[:, others])
    assert (made.head is not None) == head
    if made.head is not None:
        assert made.head.shape == (made.n_frames, 3)
        assert made.head.dtype == np.float32
        assert np.degrees(np.abs(made.head).max()) > 0.5
    np.testing.assert_array_equal(made.codes, model.codes)


def test_head_motion_depends_on_the_seed_and_is_resampled(voice: ct.Voice) -> None:
    speech = voices.speech(6.0)
    first, again, other = (voice.animate(speech, seed=seed).head for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first is not None and other is not None and np.abs(first - other).max() > 0.003
    double = voice.animate(speech, seed=1, fps=2 * voice.checkpoint.settings.data.fps)
    assert double.head is not None
    np.testing.assert_allclose(double.head[::2], first, atol=1e-6)


def test_a_silent_recording_is_still(voice: ct.Voice) -> None:
    silence = np.zeros(48000, np.float32)
    still = voice.animate(silence, head=False)
    made = voice.animate(silence)
    assert made.head is not None and not made.head.any()
    np.testing.assert_array_equal(made.vertices, still.vertices)


def test_rotation_of_another_length_is_refused_by_the_solve() -> None:
    motion = turning_take().motion
    with pytest.raises(DataError, match="head rotations have shape"):
        solve_curves(replace(motion, head=HEAD[:-1]))
