"""Lip inference finds the lips of the bundled head and refuses motion without lips."""

import numpy as np
import pytest
import voices

from codetalker_cli.datasets.lip_region import infer_lips, remove_head_motion, surfaces
from codetalker_cli.errors import DataError
from codetalker_cli.rigs.head import Rig
from codetalker_cli.synthetic import dataset
from codetalker_cli.synthetic.dataset import Passage
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone

LABELS = [SILENCE, "M", "AA", "P", "AE", "S", "IY", "W", "AO", "F", "EH", SILENCE]
SECONDS = 0.14


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.load()


def offsets(rig: Rig, *subjects: str, blinks: bool = False) -> np.ndarray:
    """Return every second frame of synthetic speech as an offset from the subject's template."""
    labels = LABELS * 2
    phones = [Phone(x, k * SECONDS, (k + 1) * SECONDS) for k, x in enumerate(labels)]
    passage = Passage("p", "", voices.speech(len(labels) * SECONDS), phones)
    frames = []
    for k, subject in enumerate(subjects):
        rng = np.random.default_rng(k)
        vertices = dataset.speak(rig, passage, subject, 30, rng, blinks=blinks)
        frames.append((vertices - rig.template(subject))[::2])
    return np.concatenate(frames)


def template(rig: Rig, *subjects: str) -> np.ndarray:
    return np.mean([rig.template(subject) for subject in subjects], axis=0)


def check_lips(rig: Rig, found: np.ndarray, face: np.ndarray) -> None:
    lips = rig.topology.regions["lips"]
    assert found.dtype == np.int32 and (np.diff(found) > 0).all()
    assert np.isin(lips, found).mean() >= 0.8  # recall
    away = np.linalg.norm(face[found, None] - face[None, lips], axis=-1).min(1)
    assert np.mean(away < 0.012) >= 0.95
    assert not np.isin(found, rig.topology.regions["upper_face"]).any()
    skin_stop = rig.topology.parts["skin"][1]
    assert found.max() < skin_stop  # no teeth and no tongue


@pytest.mark.parametrize("blinks", [False, True])
@pytest.mark.parametrize("subjects", [("S01",), ("S05",), ("S02", "S07", "S11")])
def test_the_lips_of_the_head_are_found(rig: Rig, subjects: tuple[str, ...], blinks: bool) -> None:
    face = template(rig, *subjects)
    found = infer_lips(face, offsets(rig, *subjects, blinks=blinks), rig.topology.triangles)
    check_lips(rig, found, face)


def test_triangles_are_optional_for_a_single_surface(rig: Rig) -> None:
    stop = rig.topology.parts["skin"][1]
    face = template(rig, "S03")[:stop]
    check_lips(rig, infer_lips(face, offsets(rig, "S03")[:, :stop]), face)


def test_unit_axes_and_head_motion_do_not_matter(rig: Rig) -> None:
    face, moved, triangles = template(rig, "S01"), offsets(rig, "S01"), rig.topology.triangles
    expected = infer_lips(face, moved, triangles)
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    np.testing.assert_array_equal(
        infer_lips(1000 * face @ turn, 1000 * moved @ turn, triangles), expected
    )
    nod = 0.2 * np.sin(np.arange(len(moved)) / 5)
    pivot = np.array([0, -0.15, -0.08])
    zero, one = np.zeros_like(nod), np.ones_like(nod)
    turns = np.array(
        [[one, zero, zero], [zero, np.cos(nod), -np.sin(nod)], [zero, np.sin(nod), np.cos(nod)]]
    )
    nodding = np.einsum("ijt,tvj->tvi", turns, face + moved - pivot) + pivot
    found = infer_lips(face, (nodding - face).astype(np.float32), triangles)
    assert len(np.setxor1d(found, expected)) < 0.05 * len(expected)
    np.testing.assert_allclose(
        remove_head_motion(face, nodding - face), remove_head_motion(face, moved), atol=1e-4
    )


def test_capture_noise_does_not_matter(rig: Rig) -> None:
    face, moved = template(rig, "S04"), offsets(rig, "S04")
    noise = np.random.default_rng(0).normal(0, 0.0005, moved.shape)
    check_lips(rig, infer_lips(face, moved + noise, rig.topology.triangles), face)


def test_lips_are_found_with_a_slightly_open_template(rig: Rig) -> None:
    face = rig.pose("S01", rig.unit_weights({"jawOpen": 0.15})[None])[0]
    assert rig.topology.inner_lip_gap(face) > 0.004
    moved = offsets(rig, "S01") + rig.template("S01") - face
    check_lips(rig, infer_lips(face, moved, rig.topology.triangles), face)


def test_lips_are_found_with_few_frames(rig: Rig) -> None:
    face = template(rig, "S06")
    moved = offsets(rig, "S06")[::4]
    assert len(moved) < 20
    check_lips(rig, infer_lips(face, moved, rig.topology.triangles), face)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:9], "from 9 frames of motion; at least 10"),
        (lambda x: x[:, :-1], r"expected \(frames, 5370, 3\)"),
        (lambda x: 0 * x, "no vertex moves by more than 0"),
        (lambda x: 0 * x + x[20], "no vertex moves"),
        (lambda x: 1e-3 * x, "no vertex moves"),
        (lambda x: np.where(np.arange(len(x))[:, None, None] == 3, np.nan, x), "NaN"),
        (lambda x: np.random.default_rng(0).normal(0, 0.01, x.shape), "separate everywhere"),
    ],
)
def test_unusable_motion_is_refused(rig: Rig, change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer_lips(template(rig, "S01"), change(offsets(rig, "S01")), rig.topology.triangles)


def test_a_face_that_only_swells_has_no_lips(rig: Rig) -> None:
    face = template(rig, "S01")
    swell = face * np.sin(np.arange(30))[:, None, None] * 0.1
    with pytest.raises(DataError, match="the mouth never opens; give a list of the lip vertices"):
        infer_lips(face, swell, rig.topology.triangles)


def test_surfaces_are_connected_by_triangles_and_seams() -> None:
    vertices = np.arange(27.0).reshape(9, 3)
    vertices[8] = vertices[0]  # a seam: two vertices at the same position
    triangles = np.array([[0, 1, 2], [2, 3, 1], [4, 5, 6], [8, 7, 8]])
    label = surfaces(vertices, triangles)
    assert len(set(label[[0, 1, 2, 3, 7, 8]])) == 1 and len(set(label[[4, 5, 6]])) == 1
    assert label[0] != label[4]
