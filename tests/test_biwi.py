"""The BIWI reader: layouts of the download, normalization of the frames, and reported problems."""

import os
import pickle
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import biwi_raw
import numpy as np
import pytest
from biwi_raw import Contents, frame_files, tar_bytes, vl_bytes, write
from test_archives import HOSTILE, everything, with_member

from codetalker_cli.datasets import timeline
from codetalker_cli.datasets.raw_clips import RawClip, RawDataSet
from codetalker_cli.datasets.readers.biwi import normalize, read_biwi
from codetalker_cli.errors import CodeTalkerError, DataError, InputError

DATA = biwi_raw.data_settings("F2", "M3")
N_VERTICES = biwi_raw.N_VERTICES
N_BYTES = 4 + 12 * N_VERTICES
"""The size of a frame file."""
ONE = Contents(subjects=("F2",), sentences=("e01",), numbers=(1, 2, 3))


def read(root: Path, **options: bool) -> RawDataSet:
    return read_biwi(root, DATA, scratch=root.parent / "scratch", **options)


def frames(clip: RawClip) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n,) frame numbers and the (n, V, 3) vertices of a clip."""
    with clip.open() as opened:
        return opened.numbers, opened.read(np.arange(len(opened.numbers)))


def reference(subject: str, sentence: str, number: int) -> np.ndarray:
    """Normalize a frame independently, with a rotation matrix and a sum of Voronoi areas."""
    angle = np.pi
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    vertices = biwi_raw.frame(subject, sentence, number).astype(np.float64) @ turn
    vertices = vertices - vertices.mean(axis=0)
    return vertices / np.sqrt(voronoi_areas(vertices, biwi_raw.faces()).sum())


def voronoi_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the (V,) mixed Voronoi areas; an obtuse triangle gives half to its obtuse corner."""
    corners = vertices[faces]
    lengths = np.stack(
        [np.sum((corners[:, (k + 1) % 3] - corners[:, (k + 2) % 3]) ** 2, -1) for k in range(3)], 1
    )  # squared length of the edge opposite each corner
    cosines = np.stack(
        [
            np.einsum(
                "fx,fx->f",
                corners[:, (k + 1) % 3] - corners[:, k],
                corners[:, (k + 2) % 3] - corners[:, k],
            )
            for k in range(3)
        ],
        axis=1,
    )
    sides = np.sqrt(lengths)
    half = sides.sum(1) / 2
    area = np.sqrt(half * np.prod(half[:, None] - sides, axis=1))  # Heron
    cotangents = cosines / (2 * area)[:, None]
    shares = np.stack(
        [
            (
                lengths[:, (k + 1) % 3] * cotangents[:, (k + 1) % 3]
                + lengths[:, (k + 2) % 3] * cotangents[:, (k + 2) % 3]
            )
            / 8
            for k in range(3)
        ],
        axis=1,
    )
    obtuse = cosines < 0
    mixed = np.where(obtuse, area[:, None] / 2, area[:, None] / 4)
    shares = np.where(obtuse.any(axis=1, keepdims=True), mixed, shares)
    return np.bincount(faces.ravel(), shares.ravel(), minlength=len(vertices))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A download with two subjects, two sentences and four frames, which tests must not change."""
    return biwi_raw.build(tmp_path_factory.mktemp("real") / "BIWI")


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A folder with one unpacked clip of three frames, which tests may change."""
    return biwi_raw.build(tmp_path / "BIWI", "extracted", ONE)


def frames_error(root: Path) -> str:
    """Return the error of reading the frames of the only clip."""
    (clip,) = read(root).clips
    with pytest.raises(CodeTalkerError) as caught:
        frames(clip)
    assert not everything(root.parent / "scratch")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_download_contains_the_clips_templates_and_audio(real: Path) -> None:
    raw = read(real)
    assert raw.fps == 25 and raw.first_number == 1
    assert [(c.name, c.subject, c.sentence, c.n_frames) for c in raw.clips] == [
        ("F2_e01", "F2", "e01", 4),
        ("F2_e37", "F2", "e37", 4),
        ("M3_e01", "M3", "e01", 4),
        ("M3_e37", "M3", "e37", 4),
    ]
    topology = raw.mesh.topology
    assert (topology.name, topology.unit) == ("biwi", "area1")
    np.testing.assert_array_equal(topology.triangles, biwi_raw.faces())
    raw.mesh.check(N_VERTICES, "it")
    for subject, template in raw.mesh.templates.items():
        assert template.dtype == np.float32
        expected = normalize(biwi_raw.template(subject), biwi_raw.faces().T)
        np.testing.assert_array_equal(template, expected.astype(np.float32))
    sound = raw.clips[0].read_audio()
    assert sound.rate == 44_100
    np.testing.assert_allclose(sound.samples, biwi_raw.samples(4), atol=1e-4)
    absent = [p for p in raw.problems if p.clip.startswith("F2")]
    assert [p.clip for p in absent] == [f"F2_e{k:02d}" for k in range(2, 41) if k != 37]
    assert {p.kind for p in raw.problems} == {"missing"}
    assert absent[0].reason == f"no frames (faces/F2/e02.tar, …) in {real}"


@pytest.mark.parametrize("layout", biwi_raw.LAYOUTS)
def test_every_layout_gives_the_same_frames(tmp_path: Path, layout: biwi_raw.Layout) -> None:
    kept = Contents(subjects=("F2", "M3"), sentences=("e01",), numbers=(2, 1))
    root = biwi_raw.build(tmp_path / "BIWI", layout, kept)
    before = everything(root)
    raw = read(root)
    assert [c.name for c in raw.clips] == ["F2_e01", "M3_e01"]
    for clip in raw.clips:
        numbers, vertices = frames(clip)
        np.testing.assert_array_equal(numbers, [1, 2])
        expected = [
            normalize(biwi_raw.frame(clip.subject, "e01", k), biwi_raw.faces().T) for k in (1, 2)
        ]
        np.testing.assert_array_equal(vertices, expected)
        assert 0 < clip.n_frames <= 4
    assert everything(root) == before and not everything(tmp_path / "scratch")


def test_frames_match_an_independent_normalization(real: Path) -> None:
    clips = read(real).clips[1:3]
    assert len(clips) == 2
    for clip in clips:
        numbers, vertices = frames(clip)
        assert len(numbers) > 1
        for number, mesh in zip(numbers, vertices, strict=True):
            expected = reference(clip.subject, clip.sentence, int(number))
            assert np.abs(mesh - expected).max() < 1e-9
            assert np.abs(mesh.mean(axis=0)).max() < 1e-12
            assert abs(voronoi_areas(mesh, biwi_raw.faces()).sum() - 1) < 1e-9
        assert vertices.dtype == np.float64


def test_normalization_is_invariant_to_position_and_scale() -> None:
    rng = np.random.default_rng(0)
    vertices, corners = rng.standard_normal((30, 3)), rng.integers(0, 30, (3, 40))
    normalized = normalize(vertices, corners)
    assert normalized.shape == vertices.shape and normalized.dtype == np.float64
    moved = normalize(170 * vertices + [1, 20, 300], corners)
    np.testing.assert_allclose(moved, normalized, atol=1e-9)
    np.testing.assert_array_equal(
        normalized.argmax(axis=0), [vertices[:, 0].argmax(), *vertices[:, 1:].argmin(axis=0)]
    )
    with pytest.raises(DataError, match="surface area of the mesh is 0"):
        normalize(np.ones((30, 3)), corners)


def test_frames_are_sorted_by_number_and_holes_are_kept(one: Path) -> None:
    shutil.rmtree(one / "faces" / "F2" / "e01")
    scattered = frame_files("F2", "e01", (10, 2, 9, 1))
    write(one / "faces" / "F2" / "e01.tar", tar_bytes(scattered))
    (clip,) = read(one).clips
    with clip.open() as opened:
        np.testing.assert_array_equal(opened.numbers, [1, 2, 9, 10])
        part = opened.read(np.array([1, 3]))
    assert np.abs(part - [reference("F2", "e01", k) for k in (2, 10)]).max() < 1e-9


def test_frame_number_is_not_parsed_as_a_sentence(one: Path) -> None:
    place = one / "faces" / "F2" / "e01"
    for k in (1, 2, 3):
        os.rename(place / f"frame_{k:03d}.vl", place / f"frame_{10 * k}.vl")
    (clip,) = read(one, neutral=True).clips
    assert clip.name == "F2_e01"
    np.testing.assert_array_equal(frames(clip)[0], [10, 20, 30])


def test_first_number_is_0_only_if_frames_start_at_0(tmp_path: Path) -> None:
    counted = Contents(subjects=("F2",), sentences=("e01", "e02"), numbers=(0, 1))
    assert read(biwi_raw.build(tmp_path / "a", "real", counted)).first_number == 0
    late = Contents(subjects=("F2",), sentences=("e01",), numbers=(5, 6))
    assert read(biwi_raw.build(tmp_path / "b", "real", late)).first_number == 1


@pytest.mark.parametrize("layout", ["extracted", "real"])
@pytest.mark.parametrize(("usual", "odd"), [(1, 0), (0, 1)])
def test_clip_with_an_unusual_first_number_keeps_its_audio_offset(
    tmp_path: Path, layout: biwi_raw.Layout, usual: int, odd: int
) -> None:
    """The position of the clip among the others and a longer recording make no difference."""
    sentences = ("e01", "e02", "e03")
    both = [
        biwi_raw.face_files(Contents(subjects=("F2",), sentences=sentences, numbers=[n]), layout)
        for n in (usual, odd)
    ]
    root = biwi_raw.build(tmp_path / "BIWI", layout, Contents(("F2",), sentences, (1,)))
    for place in sentences:
        shutil.rmtree(root / "faces")
        for files, is_odd in zip(both, (False, True), strict=True):
            biwi_raw.write_all(
                root, {n: content for n, content in files.items() if (place in n) == is_odd}
            )
        raw = read(root)
        assert [clip.sentence for clip in raw.clips] == [*sentences]
        for clip in raw.clips:
            with clip.open() as opened:
                first = int(opened.numbers[0])
                assert first == (odd if clip.sentence == place else usual)
                start = timeline.speech_start(opened.numbers, raw.first_number, raw.fps, 1 / 25)
                assert start == first
                if (usual, odd) == (1, 0):
                    late = timeline.speech_start(opened.numbers, raw.first_number, raw.fps, 0.2)
                    assert late == first


def test_first_number_is_determined_without_opening_archives(tmp_path: Path) -> None:
    extracted = Contents(("F2",), ("e01", "e02", "e03", "e04", "e05"), (1,))
    root = biwi_raw.build(tmp_path / "BIWI", "extracted", extracted)
    for sentence in ("e01", "e02"):
        os.rename(
            root / "faces" / "F2" / sentence / "frame_001.vl",
            root / "faces" / "F2" / sentence / "frame_000.vl",
        )
    assert read(root).first_number == 1  # three of five
    for name in ("e06.tgz", "e07.tgz"):
        write(root / "faces" / "F2" / name, b"never opened, because it has no recording")
    assert read(root).first_number == 1


def test_source_with_frames_is_used_and_tar_is_preferred(one: Path) -> None:
    folder = one / "faces" / "F2"
    for name, gz, number in (("e01.tgz", True, 30), ("e01.tar", False, 20)):
        write(folder / name, tar_bytes(frame_files("F2", "e01", [number]), gz=gz))
    np.testing.assert_array_equal(frames(read(one).clips[0])[0], [20])
    write(folder / "e01.tar", tar_bytes({"frame_001.png": b"picture"}))
    np.testing.assert_array_equal(frames(read(one).clips[0])[0], [1, 2, 3])
    shutil.rmtree(folder / "e01")
    np.testing.assert_array_equal(frames(read(one).clips[0])[0], [30])
    write(folder / "e01.tgz", tar_bytes({"frame_001.png": b"picture"}))
    assert "e01.tar: the archive contains no frames" in frames_error(one)


def test_archives_are_opened_only_if_files_are_missing(one: Path) -> None:
    # F2 lacks 39 sentences, which this archive could contain.
    write(one / "faces" / "F2" / "other.tgz", b"damaged")
    (clip,) = (raw := read(one)).clips
    assert clip.name == "F2_e01"
    assert {p.kind for p in raw.problems if p.clip.startswith("F2")} == {"broken"}
    assert "other.tgz" in raw.problems[0].reason
    write(one / "scans01.tgz", b"damaged, but never opened")
    read(one)
    write(one / "faces02.tgz", b"damaged")  # could contain any subject
    with pytest.raises(DataError, match=r"faces02\.tgz"):
        read(one)


GOOD = vl_bytes(biwi_raw.frame("F2", "e01", 2))
DAMAGED = {
    "truncated": (GOOD[:-5], f"cut short, {N_BYTES - 5} bytes, expected {N_BYTES}"),
    "trailing": (GOOD + b"1", f"too long, {N_BYTES + 1} bytes"),
    "vertex count": (vl_bytes(np.ones((5023, 3))), f"5023 vertices, expected {N_VERTICES}"),
    "empty": (b"", f"0 bytes, expected {N_BYTES}"),
    "no area": (vl_bytes(np.ones((N_VERTICES, 3))), "surface area of the mesh is 0"),
    "NaN": (vl_bytes(np.full((N_VERTICES, 3), np.nan)), "vertex 0 is NaN"),
}


@pytest.mark.parametrize(
    ("packed", "what"),
    [*(("", what) for what in DAMAGED), (".tar", "truncated"), (".tgz", "vertex count")],
)
def test_damaged_frame_is_reported_by_file_and_number(one: Path, packed: str, what: str) -> None:
    content, expected = DAMAGED[what]
    place = one / "faces" / "F2" / "e01"
    if packed:
        shutil.rmtree(place)
        files = frame_files("F2", "e01", (1, 2, 3)) | {"frame_002.vl": content}
        write(place.with_suffix(packed), tar_bytes(files, gz=packed == ".tgz"))
    else:
        write(place / "frame_002.vl", content)
    message = frames_error(one)
    assert "frame_002.vl (frame 2)" in message and expected in message
    assert str(place.with_suffix(packed)) in message


def test_duplicate_frames_and_damaged_archives_are_reported(one: Path) -> None:
    place = one / "faces" / "F2" / "e01"
    write(place / "again" / "frame_0002.vl", b"")
    assert "both frame 2" in frames_error(one)
    shutil.rmtree(place)
    tar = tar_bytes(frame_files("F2", "e01", (1, 2, 3)))
    write(place.with_suffix(".tar"), tar[: len(tar) // 2])
    assert "e01.tar: damaged or cut short" in frames_error(one)
    bomb = {"frame_001.vl": bytes(65 * N_BYTES)}
    place.with_suffix(".tar").unlink()
    write(place.with_suffix(".tgz"), tar_bytes(bomb, gz=True))
    assert f"frame_001.vl: {65 * N_BYTES} bytes, expected at most" in frames_error(one)


@pytest.mark.parametrize("what", ["up", "link to the root", "hard link up", "device"])
@pytest.mark.parametrize("suffix", [".tar", ".tgz"])
def test_unsafe_archive_of_a_clip_breaks_only_that_clip(one: Path, suffix: str, what: str) -> None:
    shutil.rmtree(one / "faces" / "F2" / "e01")
    write(one / "faces" / "F2" / f"e01{suffix}", with_member(HOSTILE[what], gz=suffix == ".tgz"))
    before = everything(one.parent)
    message = frames_error(one)
    assert f"e01{suffix}" in message and "evil" in message
    assert everything(one.parent) == before


def test_unsafe_archive_of_a_subject_breaks_only_that_subject(one: Path) -> None:
    write(one / "faces" / "M3.tar", with_member(HOSTILE["up"]))
    raw = read(one)
    assert [c.name for c in raw.clips] == ["F2_e01"]
    problems = [p for p in raw.problems if p.clip.startswith("M3")]
    assert [p.clip for p in problems] == [f"M3_e{k:02d}" for k in range(1, 41)]
    assert {p.kind for p in problems} == {"broken"}
    assert "M3.tar: member '../evil.bin' points outside" in problems[0].reason
    shutil.rmtree(one / "faces" / "F2")
    with pytest.raises(DataError, match=r"M3\.tar"):
        read(one)


def test_missing_parts_are_listed_in_one_error(tmp_path: Path, one: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "nowhere")
    for word in ("nowhere", "faces/F1/e01.tar", "rigid_scans/F1.obj", "videos/", "b3dac2"):
        assert word in str(caught.value)
    shutil.rmtree(one / "rigid_scans")
    shutil.rmtree(one / "audio")
    with pytest.raises(InputError) as caught:
        read(one)
    assert "rigid_scans/F1.obj" in str(caught.value) and "faces/" not in str(caught.value)
    assert "withdrawn" in str(caught.value)


def test_output_of_the_reference_scripts_is_read(tmp_path: Path, one: Path) -> None:
    with pytest.raises(InputError, match=r"x\.ply: no mesh file is needed"):
        read_biwi(one, DATA, tmp_path / "x.ply")
    prepared = tmp_path / "prepared"
    vertices = np.array([reference("F2", "e01", k) for k in (1, 2)])
    write(prepared / "vertices_npy" / "F2_e01.npy", b"")
    np.save(prepared / "vertices_npy" / "F2_e01.npy", vertices.reshape(2, -1))
    write(prepared / "wav" / "F2_e01.wav", biwi_raw.wav_bytes(2))
    template = normalize(biwi_raw.template("F2"), biwi_raw.faces().T)
    write(prepared / "templates.pkl", pickle.dumps({"F2": template}))
    with pytest.raises(InputError, match=r"BIWI\.ply"):
        read_biwi(prepared, DATA)
    mesh = write(tmp_path / "mesh.obj", biwi_raw.obj_bytes(template, biwi_raw.faces()))
    raw = read_biwi(prepared, DATA, mesh)
    assert (raw.fps, raw.mesh.topology.unit) == (25, "area1")
    np.testing.assert_array_equal(frames(raw.clips[0])[1], vertices)
    assert [(c.name, c.subject, c.sentence) for c in raw.clips] == [("F2_e01", "F2", "e01")]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with one unpacked clip of one frame for each of two subjects."""
    kept = Contents(subjects=("F2", "M3"), sentences=("e01",), numbers=(1,))
    return biwi_raw.build(tmp_path / "BIWI", "extracted", kept)


def test_clips_without_a_template_are_reported(two: Path) -> None:
    path = two / "rigid_scans" / "F2.obj"
    for change in (path.unlink, lambda: path.write_text("v 0 0 0\nf 1 1 1\n")):
        change()
        raw = read(two)
        assert [c.name for c in raw.clips] == ["M3_e01"] and list(raw.mesh.templates) == ["M3"]
        (problem,) = [p for p in raw.problems if p.clip == "F2_e01"]
        assert problem.kind == "broken" and str(path) in problem.reason


def test_templates_with_different_triangles_are_refused(two: Path) -> None:
    path = two / "rigid_scans" / "M3.obj"
    path.write_bytes(biwi_raw.obj_bytes(biwi_raw.template("M3"), biwi_raw.faces()[:-1]))
    with pytest.raises(DataError, match=r"F2\.obj and .*M3\.obj have different triangles"):
        read(two)


def test_file_names_are_case_insensitive(two: Path) -> None:
    os.rename(two / "rigid_scans" / "F2.obj", two / "rigid_scans" / "f2.OBJ")
    os.rename(two / "audio" / "F2_e01_cut.wav", two / "audio" / "f2-E01.WAV")
    place = two / "faces" / "F2"
    os.rename(place / "e01" / "frame_001.vl", place / "e01" / "FRAME_001.VL")
    os.rename(place, two / "faces" / "f2")
    assert [c.name for c in read(two).clips] == ["F2_e01", "M3_e01"]


def test_best_of_several_recordings_is_used(one: Path) -> None:
    place, root = one / "audio", one
    n_samples: Callable[[], int] = lambda: len(read(root).clips[0].read_audio().samples)  # noqa: E731
    best_first = [
        "wav/deep/F2_e01_cut.wav",
        "wav/F2_e01.wav",
        "audio/F2/e01.flac",
        "F2/e01.avi",
    ]
    shutil.rmtree(place)
    for k, name in reversed(list(enumerate(best_first))):
        import soundfile

        path = write(root / name, b"")
        kind = {".avi": "WAV"}.get(path.suffix)  # the content decides, not the suffix
        with path.open("wb") as out:
            soundfile.write(out, np.ones(1000 + k), 8000, format=kind or path.suffix[1:].upper())
        assert n_samples() == 1000 + k
    (root / best_first[0]).write_bytes(b"RIFF, but not a WAV file")
    with pytest.raises(InputError, match=r"F2_e01_cut\.wav"):
        n_samples()


def test_audio_is_read_from_videos_and_archives(one: Path) -> None:
    shutil.rmtree(one / "audio")
    biwi_raw.write_flv(one / "videos" / "F2_e01.flv", 25)
    (clip,) = read(one).clips
    assert abs(clip.read_audio().seconds - 1) < 0.1
    shutil.rmtree(one / "videos")
    write(one / "audio.tar", tar_bytes({"audio/F2_e01_cut.wav": biwi_raw.wav_bytes(3)}))
    assert abs(read(one).clips[0].read_audio().seconds - 3 / 25) < 1e-6
    write(one / "audio.tar", tar_bytes({"audio/F2_e01_cut.wav": b"RIFF"}))
    with pytest.raises(InputError, match=r"audio\.tar: audio/F2_e01_cut\.wav"):
        read(one).clips[0].read_audio()
    assert not everything(one.parent / "scratch")


def test_clip_without_a_recording_is_reported(two: Path) -> None:
    (two / "audio" / "F2_e01_cut.wav").unlink()
    raw = read(two)
    assert [c.name for c in raw.clips] == ["M3_e01"]
    (problem,) = [p for p in raw.problems if p.clip == "F2_e01"]
    assert problem.kind == "missing" and "no recording (F2_e01.wav" in problem.reason


def test_neutral_sentences_are_read_only_on_request(tmp_path: Path) -> None:
    both = Contents(subjects=("F2",), sentences=("e01", "01"), numbers=(1,))
    root = biwi_raw.build(tmp_path / "BIWI", "subject tar", both)
    raw = read(root)
    assert [c.name for c in raw.clips] == ["F2_e01"]
    assert raw.notes["neutral_sentences_not_taken"] == 1
    raw = read(root, neutral=True)
    assert [(c.name, c.sentence) for c in raw.clips] == [("F2_01", "01"), ("F2_e01", "e01")]
    assert raw.notes["neutral_sentences_not_taken"] == 0
    spoken, neutral = (frames(clip)[1][0] for clip in raw.clips[::-1])
    assert np.abs(spoken - reference("F2", "e01", 1)).max() < 1e-9
    assert np.abs(neutral - reference("F2", "01", 1)).max() < 1e-9


def test_stamp_changes_with_the_files_of_the_clip(two: Path) -> None:
    def stamps() -> dict[str, str]:
        return {clip.name: clip.stamp for clip in read(two).clips}

    first = stamps()
    assert stamps() == first
    for name in ("audio/F2_e01_cut.wav", "rigid_scans/F2.obj", "faces/F2/e01/frame_001.vl"):
        os.utime(two / name, (1, 1))
        now = stamps()
        assert now["F2_e01"] != first["F2_e01"] and now["M3_e01"] == first["M3_e01"]
        first = now


def test_frames_without_subject_or_sentence_are_counted(one: Path) -> None:
    write(one / "faces" / "somebody" / "frame_001.vl", b"")
    write(one / "rigid_scans" / "F2" / "e09" / "frame_001.vl", b"")
    raw = read(one)
    assert [c.name for c in raw.clips] == ["F2_e01"]
    assert raw.notes["frame_files_of_no_sentence"] == 1


@pytest.mark.parametrize("above", ["audiovisual_corpus", "scans", "rigid_scans", "Video.tar"])
@pytest.mark.parametrize("layout", ["extracted", "real"])
def test_outer_folders_may_have_any_name(
    tmp_path: Path, above: str, layout: biwi_raw.Layout
) -> None:
    kept = Contents(subjects=("F2",), sentences=("e01",), numbers=(1,))
    files = biwi_raw.face_files(kept, layout) | biwi_raw.rest_files(kept)
    if above.endswith(".tar"):
        write(tmp_path / "BIWI" / above, tar_bytes(files))
    else:
        biwi_raw.write_all(tmp_path / "BIWI" / above, files)
        write(tmp_path / "BIWI" / above / "faces" / "scans" / "F2" / "e02" / "f_1.vl", b"")
    raw = read(tmp_path / "BIWI")
    assert [clip.name for clip in raw.clips] == ["F2_e01"]
    assert len(raw.clips[0].read_audio().samples) and list(raw.mesh.templates) == ["F2"]


@pytest.mark.parametrize("layout", ["real", "tgz"])
def test_memory_does_not_grow_with_the_length_of_a_clip(
    tmp_path: Path, layout: biwi_raw.Layout
) -> None:
    full = biwi_raw.FULL

    def peak(n_frames: int) -> int:
        kept = Contents(("F2",), ("e01",), range(1, n_frames + 1), grid=full)
        root = biwi_raw.build(tmp_path / str(n_frames), layout, kept)
        data = biwi_raw.data_settings("F2", grid=full)
        (clip,) = read_biwi(root, data, scratch=tmp_path / "scratch").clips
        tracemalloc.start()
        with clip.open() as opened:
            for position in range(0, n_frames, 7):
                opened.read(np.array([position]))
        n_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return n_bytes

    assert peak(40) < peak(4) + 5 * 12 * full.n_vertices  # fewer than 6 of the 36 additional frames
