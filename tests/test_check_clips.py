"""Inspection: each fault of templates, motion and speech is reported."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import talking
from talking import FIRST, LAST, SECOND, check_only, found

from codetalker_cli.datasets.inspect import check
from codetalker_cli.datasets.lag import correlation
from codetalker_cli.face_fit import misfit


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking.write(tmp_path_factory.mktemp("valid") / "data")


@pytest.fixture
def data(valid: Path, tmp_path: Path) -> Path:
    """A copy that tests can damage."""
    return talking.linked(valid, tmp_path / "data")


# Templates and motion ---------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.2, 0.5])
def test_a_template_with_an_open_mouth_is_a_problem(data: Path, weight: float) -> None:
    templates = {**talking.mesh().templates, "S03": talking.open_mouth("S03", weight)}
    talking.put_mesh(data, replace(talking.mesh(), templates=templates))
    check_only(data, "template", "S03", "not neutral: its mouth is open")


def test_open_mouths_in_all_templates_are_problems(data: Path) -> None:
    templates = {name: talking.open_mouth(name, 0.25) for name in talking.SUBJECTS}
    talking.put_mesh(data, replace(talking.mesh(), templates=templates))
    assert set(found(data)) == {("problem", "template", name) for name in talking.SUBJECTS}


def test_swapped_templates_are_problems(data: Path) -> None:
    a, b, c = talking.SUBJECTS
    templates = talking.mesh().templates
    swapped = {a: templates[b], b: templates[a], c: templates[c]}
    talking.put_mesh(data, replace(talking.mesh(), templates=swapped))
    messages = found(data)
    assert set(messages) == {("problem", "template", f"{s}_{k}") for s in (a, b) for k in range(2)}
    assert "the template of S03 fits far better" in messages["problem", "template", FIRST]


def test_a_template_unlike_all_frames_is_a_problem(data: Path) -> None:
    templates = dict(talking.mesh().templates)
    templates["S05"] = 2 * templates["S05"] - talking.rig().template("S07")[talking.patch()]
    talking.put_mesh(data, replace(talking.mesh(), templates=templates))
    check_only(data, "template", "S05", "a different face than the frames")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 1000 * x, "1000 times as large as the template (mm against m?)"),
        (lambda x: x / 100, "0.01 times as large"),
        (
            lambda x: x + np.array([0, 0.2, 0]),
            "displaced from the template by (0, 0.2, 0) m",
        ),
        (lambda x: x[..., [0, 2, 1]] * [1, 1, -1], "rotated by 90° relative to"),
        (lambda x: x * [-1, 1, 1], "mirrored relative to"),
        (lambda x: x[..., ::-1, :], "the vertex order or the topology may differ"),
    ],
)
def test_misfit_explains_the_difference(
    change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    vertices = np.random.default_rng(0).normal(0, 0.05, (300, 3)) * [1, 1.5, 0.7]
    vertices -= vertices.mean(0)
    assert misfit(vertices, vertices) is None
    assert misfit(vertices + np.array([0.01, 0, 0]), vertices) is None
    difference = misfit(change(vertices), vertices, "m")
    assert difference is not None and words in difference.reason


def test_a_clip_that_does_not_fit_does_not_affect_other_checks(data: Path) -> None:
    talking.put_vertices(data, LAST, 1000 * talking.spoken(LAST)[0])
    check_only(data, "misfit", LAST, "times as large as the template (mm against m?)")


# Damaged clips ----------------------------------------------------------------------------------


def test_a_truncated_clip_is_a_problem(data: Path) -> None:
    path = data / "clips" / f"{FIRST}.npy"
    whole = path.read_bytes()
    path.unlink()
    frame = 12 * len(talking.patch())
    path.write_bytes(whole[: len(whole) - 3 * frame - 100])
    messages = found(data)
    assert (
        "cut short: 56 complete frames, but the file header specifies 60"
        in messages["problem", "file", FIRST]
    )
    assert "+4.0 frames" in messages["note", "length", FIRST]
    assert len(messages) == 2


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda v: v[:, :-1], "shape", "expected (frames, 2576, 3)"),
        (lambda v: v.reshape(len(v), -1), "shape", "(60, 7728), expected"),
        (np.asfortranarray, "shape", "Fortran order"),
        (lambda v: v.astype(np.float64), "dtype", "float64, expected float32"),
        (lambda v: v.astype(np.int32), "dtype", "int32"),
        (lambda v: v[:0], "length", "the vertices have no frames"),
    ],
)
def test_wrong_shapes_and_types_are_problems(
    data: Path, make: Callable[[np.ndarray], np.ndarray], kind: str, words: str
) -> None:
    talking.put_vertices(data, SECOND, make(talking.spoken(SECOND)[0]))
    check_only(data, kind, SECOND, words)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x93NUMPY\x01\x00\x10",
        b"\x93NUMPY\x01\x00\x08\x00" + b"(" * 8,
        b"\x93NUMPY\x01\x00\x20\x4e" + b"x" * 20_000,
        b"\x93NUMPY\x01\x00\x3b\x00{'descr': '<f4', 'fortran_order': False, 'shape': (-6,3,3)}",
    ],
)
def test_an_invalid_npy_file_is_a_problem(data: Path, content: bytes) -> None:
    path = data / "clips" / f"{FIRST}.npy"
    path.unlink()
    path.write_bytes(content)
    check_only(data, "file", FIRST, "not a complete .npy file")


def test_a_length_unlike_the_clip_table_is_a_problem(data: Path) -> None:
    talking.edit_row(data, FIRST, n_frames=61)
    check_only(data, "length", FIRST, "60 frames, expected 61 (clip table)")


def test_changed_bytes_are_a_problem(data: Path) -> None:
    vertices = talking.spoken(FIRST)[0].copy()
    vertices[30, 100, 1] += 1e-6
    talking.put_vertices(data, FIRST, vertices, right_hash=False)
    check_only(data, "hash", FIRST, "changed or damaged")
    talking.edit_row(data, LAST, audio_sha256="0" * 64)
    assert "the speech does not match its hash" in found(data)["problem", "hash", LAST]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_nan_infinite_and_huge_vertices_are_problems(data: Path, value: float) -> None:
    vertices = talking.spoken(FIRST)[0].copy()
    vertices[17:20, 1234, 2] = value
    talking.put_vertices(data, FIRST, vertices)
    words = "vertex 1234" if not np.isfinite(value) else "huge"
    check_only(data, "nan", FIRST, "3 of 60 frames", "first: frame 17", words)


def test_duplicate_clips_are_reported(data: Path) -> None:
    talking.put_vertices(data, SECOND, talking.spoken(FIRST)[0])
    talking.put_samples(data, SECOND, talking.spoken(FIRST)[1])
    messages = found(data)
    assert set(messages) == {("problem", "twins", FIRST), ("note", "twins", FIRST)}
    assert "same motion as S01_1" in messages["problem", "twins", FIRST]


def test_same_recording_in_two_styles_is_not_reported(data: Path) -> None:
    talking.put_samples(data, LAST, talking.spoken(FIRST)[1])
    assert FIRST.split("_")[0] != LAST.split("_")[0]  # the subjects
    assert not [key for key in found(data) if key[1] == "twins"]


def test_a_motionless_clip_is_a_problem(data: Path) -> None:
    vertices = talking.spoken(FIRST)[0]
    talking.put_vertices(data, FIRST, np.repeat(vertices[20:21], 60, axis=0))
    check_only(data, "motionless", FIRST, "nothing moves in its 60 frames")


def test_repeated_frames_are_a_note(data: Path) -> None:
    vertices = talking.spoken(FIRST)[0]
    talking.put_vertices(data, FIRST, vertices[np.arange(60) // 2 * 2])
    check_only(
        data, "repeated", FIRST, "% of its frames are identical to the previous frame", level="note"
    )


@pytest.mark.parametrize(("size", "level"), [(0.006, "note"), (0.1, "problem")])
def test_an_outlier_frame_is_reported(data: Path, size: float, level: str) -> None:
    vertices = talking.spoken(FIRST)[0].copy()
    vertices[33] += [0, 0, size]
    talking.put_vertices(data, FIRST, vertices)
    check_only(data, "jump", FIRST, "frame 33 (1.32 s) differs strongly from both", level=level)


def test_a_jumping_vertex_and_a_cut_are_reported(data: Path) -> None:
    vertices = talking.spoken(FIRST)[0].copy()
    vertices[41, 99] += 0.15
    talking.put_vertices(data, FIRST, vertices)
    cut = talking.spoken(LAST)[0].copy()
    cut[25:] += [0, 0.05, 0]
    talking.put_vertices(data, LAST, cut)
    messages = {key[2]: message for key, message in found(data).items() if key[1] == "jump"}
    assert set(messages) == {FIRST, LAST}
    assert messages[FIRST].startswith("frame 41 (1.64 s) differs strongly")
    assert messages[LAST].startswith("frame 25 (1.00 s) jumps away from the previous frame")


# Speech -----------------------------------------------------------------------------------------


def test_unreadable_speech_is_a_problem(data: Path) -> None:
    (data / "audio" / f"{FIRST}.wav").unlink()
    (data / "audio" / f"{FIRST}.wav").write_text("hello")
    check_only(data, "audio", FIRST, "the speech cannot be read")


def test_a_wrong_audio_format_is_reported(data: Path) -> None:
    samples = talking.spoken(FIRST)[1]
    path = data / "audio" / f"{FIRST}.wav"
    path.unlink()
    soundfile.write(path, np.stack([samples, samples], 1)[::2], 8000, subtype="FLOAT")
    talking.edit_row(data, FIRST, n_samples=0)
    messages = [f"{f.level}: {f.message}" for f in check(data).findings]
    assert len(messages) == 3 and all(f.where == FIRST for f in check(data).findings)
    assert any("8000 Hz, expected 16000 Hz" in line for line in messages)
    assert any("2 channels, expected 1" in line for line in messages)
    assert "note: the speech is stored as FLOAT, expected PCM_16" in messages
    talking.edit_row(data, FIRST, n_samples=5)
    assert "the speech has 19200 samples, expected 5" in " ".join(check(data).lines())


@pytest.mark.parametrize(
    ("change", "kind", "words", "level"),
    [
        (lambda x: 0 * x, "silent", "the speech is silent", "problem"),
        (
            lambda x: np.clip(30 * x, -1, 1),
            "clipped",
            "of the samples are in runs at the peak (1.00",
            "note",
        ),
        (lambda x: np.clip(30 * x, -0.5, 0.5), "clipped", "at the peak (0.50", "note"),
    ],
)
def test_silent_and_clipped_speech_is_reported(
    data: Path, change: Callable, kind: str, words: str, level: str
) -> None:
    talking.put_samples(data, LAST, change(talking.spoken(LAST)[1]))
    check_only(data, kind, LAST, words, level=level)


@pytest.mark.parametrize(
    ("frames", "level"), [(-10, "problem"), (-2, "note"), (-1, None), (1, None), (10, "problem")]
)
def test_a_length_difference_beyond_a_frame_is_reported(
    data: Path, frames: int, level: str | None
) -> None:
    samples = talking.spoken(FIRST)[1]
    n = len(samples) + frames * 640
    talking.put_samples(data, FIRST, np.resize(samples, n))
    if level is None:
        assert found(data) == {}
        return
    words = f"{frames / 25:+.2f} s ({frames:+.1f} frames)"
    check_only(data, "length", FIRST, words, level=level)


def test_a_wrong_frame_rate_is_a_problem(data: Path) -> None:
    talking.edit(data, fps=30)
    messages = found(data)
    assert "the frame rate may be 25, not 30" in messages["problem", "rate", "manifest.json"]
    assert {key[1] for key in messages} <= {"rate", "length", "sync"}


@pytest.mark.parametrize("frames", [-10, 10])
def test_a_common_lag_is_a_problem(data: Path, frames: int) -> None:
    for name in talking.CLIPS:
        talking.put_samples(data, name, np.roll(talking.spoken(name)[1], 640 * frames))
    words = f"the motion is 0.40 s {'before' if frames > 0 else 'after'} the audio"
    check_only(data, "sync", "manifest.json", words)


def test_the_correlation_peaks_at_the_lag() -> None:
    curve = np.random.default_rng(0).standard_normal(200)
    found = correlation(np.roll(curve, 7), curve, 20)
    assert found.shape == (41,) and found.argmax() == 27 and 0.9 < found.max() <= 1
    assert correlation(curve, -curve, 5)[5] == pytest.approx(-1)
    assert not correlation(np.ones(50), curve[:50], 5).any()
    assert not correlation(np.full(50, np.nan), curve[:50], 5).any()
    assert correlation(curve[:3], curve[:3], 10).shape == (21,)
