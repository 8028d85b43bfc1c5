"""Rig curves as motion: posed on the bundled head, rendered, and measured."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from command import refuse, succeed
from takes import smooth_weights

from codetalker_cli.datasets.motion_files import FaceOptions, read_motions
from codetalker_cli.datasets.stored_motions import read_stored
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.formats import audio2face, live_link
from codetalker_cli.formats.arkit_names import UNITS
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.posing import NECK_PIVOT, motion_of, rotation_matrices
from codetalker_cli.rigs.units import bundled_rig


def curves(n_frames: int = 6, fps: float = 30.0, head: object = None) -> RigCurves:
    angles = None if head is None else np.array([head] * n_frames, np.float32)
    return RigCurves(UNITS, fps, smooth_weights(n_frames, 52), head=angles)


def test_units_are_posed_by_name() -> None:
    rig, made = bundled_rig(), curves()
    expected = rig.pose("S03", made.select(rig.unit_names).weights)
    motion = motion_of(made, "S03")
    np.testing.assert_array_equal(np.asarray(motion.vertices), expected)
    assert (motion.fps, motion.subject) == (30, "S03")
    np.testing.assert_array_equal(motion.template, rig.template("S03"))


def test_long_curves_are_posed_when_they_are_used() -> None:
    motion = motion_of(RigCurves(UNITS, 30.0, np.zeros((20_000, 52), np.float32)))
    assert not isinstance(motion.vertices, np.ndarray)
    np.testing.assert_array_equal(motion.vertices[19_999], motion.template)


@pytest.mark.parametrize(
    ("head", "axis", "direction"),
    [
        ((0.3, 0, 0), 2, (1, 0, 0)),  # yaw turns the nose to the subject's left
        ((0, 0.3, 0), 2, (0, -1, 0)),  # pitch lowers it
        ((0, 0, 0.3), 1, (1, 0, 0)),  # roll tilts the head toward the left shoulder
    ],
)
def test_the_head_turns_as_described(head: tuple, axis: int, direction: tuple) -> None:
    turned = rotation_matrices(np.array([head]))[0][:, axis]
    assert turned @ direction == pytest.approx(np.sin(0.3))


def test_rotations_are_applied_in_the_order_roll_pitch_yaw() -> None:
    both = rotation_matrices(np.array([[0.5, 0.4, 0.3]]))[0]
    yaw, pitch, roll = (rotation_matrices(np.diag([0.5, 0.4, 0.3]))[k] for k in range(3))
    np.testing.assert_allclose(both, yaw @ pitch @ roll, atol=1e-12)
    np.testing.assert_allclose(both @ both.T, np.eye(3), atol=1e-12)


def test_the_head_turns_about_the_neck_or_not_at_all() -> None:
    made = curves(head=(0.3, -0.2, 0.1))
    still, turned = motion_of(made, rotate_head=False), motion_of(made)
    matrix = rotation_matrices(made.head[:1])[0]
    expected = (still.vertices[2] - NECK_PIVOT) @ matrix.T + NECK_PIVOT
    np.testing.assert_allclose(turned.vertices[2], expected, atol=1e-6)
    assert np.abs(still.vertices[2] - turned.vertices[2]).max() > 0.01


def test_an_unknown_subject_lists_the_choices() -> None:
    with pytest.raises(InputError, match="S01, S02"):
        motion_of(curves(), "S99")


@pytest.mark.parametrize("name", ["S02 Löwe.csv", "S02 Löwe.json"])
def test_rig_curves_are_read_as_motion(tmp_path: Path, name: str) -> None:
    path, made = tmp_path / name, curves(12)
    (live_link if name.endswith(".csv") else audio2face).write(path, made)
    (named,) = read_motions([path], FaceOptions(), None)
    assert (named.subject, named.n_frames, named.fps) == ("S02", 12, 30)
    expected = motion_of(made, "S02").vertices
    np.testing.assert_allclose(named.vertices, expected, atol=1e-6)
    (other,) = read_motions([path], FaceOptions(subject="S04"), 60.0)
    assert (other.subject, other.n_frames, other.fps) == ("S04", 24, 60)
    np.testing.assert_allclose(other.vertices[::2], motion_of(made, "S04").vertices, atol=1e-6)


def test_the_faces_of_rig_curves_are_fixed(tmp_path: Path) -> None:
    live_link.write(tmp_path / "a.csv", curves())
    with pytest.raises(InputError, match="move the bundled head"):
        read_motions([tmp_path / "a.csv"], FaceOptions(mesh="demo"), None)


def test_stored_curves_have_no_head_rotation(tmp_path: Path) -> None:
    made = curves(head=(0.3, -0.2, 0.1))
    live_link.write(tmp_path / "S02_a.csv", made)
    for subject in (None, "S03"):
        stored = read_stored(tmp_path / "S02_a.csv", subject=subject)
        expected = motion_of(made, subject or "S02", rotate_head=False)
        np.testing.assert_allclose(stored.vertices, expected.vertices, atol=1e-6)
        assert (stored.fps, stored.unit) == (30, "m")
    with pytest.raises(DataError, match="expected 5023"):
        read_stored(tmp_path / "S02_a.csv", 5023)
    with pytest.raises(InputError, match="no such file"):
        read_stored(tmp_path / "missing.csv")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for n in (3, 5):
        live_link.write(path, curves(n))
        assert len(read_stored(path).vertices) == n


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store the truth of one clip and its rig curves with a turned head in the current folder."""
    monkeypatch.chdir(tmp_path)
    made, rig = curves(20, 30.0, head=(0.3, -0.2, 0.1)), bundled_rig()
    for folder in ("gt", "pred", "regions"):
        Path(folder).mkdir()
    motion_of(made, "S02", rotate_head=False).save("gt/S02_a.npy")
    live_link.write(Path("pred/S02_a.csv"), made)
    Path("templates.pkl").write_bytes(pickle.dumps({"S02": rig.template("S02")}))
    for file, region in (("lve", "lips"), ("fdd", "upper_face")):
        indices = rig.topology.region(region)
        Path(f"regions/{file}.txt").write_text(", ".join(map(str, indices)), "utf-8")
    return tmp_path


QUICK = ("--renderer", "software", "--size", 64, "--set", "render.workers=1")
MEASURE = (
    "metrics", "--pred", "pred", "--gt", "gt", "--regions", "regions", "--templates",
    "templates.pkl", "--unit", "m",
)  # fmt: skip


@pytest.mark.usefixtures("measured")
def test_metrics_measure_rig_curves_without_the_head_rotation() -> None:
    result = json.loads(succeed(*MEASURE, "lve_mm", "--json"))
    assert result["clips"] == 1
    assert result["values"]["lve_mm"]["value"] < 1e-3
    live_link.write(Path("pred/S02_a.csv"), RigCurves(UNITS, 30.0, np.zeros((20, 52), np.float32)))
    assert json.loads(succeed(*MEASURE, "lve_mm", "--json"))["values"]["lve_mm"]["value"] > 1


@pytest.mark.usefixtures("measured")
def test_other_tables_among_predictions_are_not_motions() -> None:
    motion_of(curves(20), "S02", rotate_head=False).save("pred/S02_a.npy")
    Path("pred/values.csv").write_text("clip,lve\n", "utf-8")
    Path("pred/S02_a.json").write_text("{}", "utf-8")
    result = json.loads(succeed(*MEASURE, "lve_mm", "--json"))
    assert (result["clips"], result["results"]) == (1, 1)


@pytest.mark.usefixtures("measured")
def test_rig_curves_of_another_face_are_refused() -> None:
    Path("templates.pkl").write_bytes(pickle.dumps({"S02": np.zeros((5023, 3), np.float32)}))
    assert "rig curves move the bundled head of 5370 vertices, expected 5023" in refuse(*MEASURE)


def test_rig_curves_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    live_link.write(tmp_path / "still.csv", curves(8))
    live_link.write(tmp_path / "turned.csv", curves(8, head=(0.5, 0, 0)))
    for name in ("still", "turned"):
        succeed("render", f"{name}.csv", "-o", f"{name}.png", *QUICK)
    still, turned = (np.asarray(Image.open(f"{name}.png"), float) for name in ("still", "turned"))
    assert still.shape == turned.shape
    assert np.abs(still - turned).mean() > 5


def test_rotations_of_files_are_those_of_the_vertices() -> None:
    head = np.random.default_rng(3).uniform(-1, 1, (20, 3))
    x, y, z, w = quaternions(head).astype(np.float64).T
    columns = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    np.testing.assert_allclose(np.moveaxis(columns, 2, 0), rotation_matrices(head), atol=1e-6)
