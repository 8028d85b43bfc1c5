"""The VOCASET reader: the download, the reference layout, and reported problems."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vocaset_raw
from command import listing, refuse, run, succeed
from vocaset_raw import CLIPS, FPS, RATE, TEST, TRAIN, VAL

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.readers.vocaset import read_vocaset
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.presets import resolve

DATA = resolve("vocaset").settings.data


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vocaset_raw.build(tmp_path_factory.mktemp("raw") / "vocaset")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def linked(download: Path, *left_out: str) -> Path:
    """Link the download to ./vocaset, without some of its files."""
    Path("vocaset").mkdir()
    for path in download.iterdir():
        if path.name not in left_out:
            os.link(path, Path("vocaset") / path.name)
    return Path("vocaset")


def prepared(out: str = "data/vocaset") -> dict[str, Any]:
    data = PreparedDataSet(out)
    names = dict.fromkeys(entry.split for entry in data.manifest.clips)
    return {clip.entry.name: clip for split in names for clip in data.clips(split)}


def test_prepare_data_writes_all_clips(download: Path) -> None:
    linked(download)
    out = succeed("prepare-data", "vocaset")
    assert out.startswith("data/vocaset: 5 clips (2 train, 1 unused, 1 test, 1 val), ")
    clips = prepared()
    assert {name: clip.entry.split for name, clip in clips.items()} == {
        f"{TRAIN}_sentence01": "train",
        f"{TRAIN}_sentence02": "train",
        f"{VAL}_sentence21": "val",
        f"{TEST}_sentence22": "test",
        f"{TEST}_sentence01": "unused",
    }
    for name, numbers in CLIPS.items():
        clip = clips[name.replace("/", "_")]
        # Rows and dictionaries are in reverse order, but frames are sorted by number. Every second
        # frame is kept, unchanged.
        expected = vocaset_raw.vertices(name, sorted(numbers))[::2]
        np.testing.assert_array_equal(clip.vertices, expected)
        assert len(clip.samples()) == pytest.approx(len(numbers) / FPS * 16000, abs=1)
    data = PreparedDataSet("data/vocaset")
    assert (data.manifest.fps, data.manifest.unit) == (30, "m")
    assert data.manifest.train_subjects == DATA.train_subjects
    np.testing.assert_array_equal(data.mesh.topology.triangles, vocaset_raw.faces())
    np.testing.assert_allclose(data.mesh.templates[VAL], vocaset_raw.template(VAL), atol=1e-7)


def test_speech_is_resampled_without_a_shift(download: Path) -> None:
    linked(download)
    succeed("prepare-data", "vocaset")
    samples = prepared()[f"{TRAIN}_sentence01"].samples()
    raw = vocaset_raw.speech(40) / 32768
    times = np.arange(200, len(samples) - 200) / 16000
    expected = np.interp(times, np.arange(len(raw)) / RATE, raw)
    assert np.corrcoef(expected, samples[200:-200])[0, 1] > 0.99


def test_reference_layout_gives_the_same_data(download: Path) -> None:
    linked(download)
    succeed("prepare-data", "vocaset")
    vocaset_raw.build_layout(Path("layout"))
    succeed("prepare-data", "vocaset", "layout", "data/layout")
    os.link("vocaset/data_verts.npy", "layout/data_verts.npy")  # the scripts leave this file
    assert read_vocaset(Path("layout"), DATA).notes["layout"].endswith("reference's scripts")
    first, second = prepared(), prepared("data/layout")
    assert first.keys() == second.keys()
    for name, clip in first.items():
        np.testing.assert_array_equal(clip.vertices, second[name].vertices)
        assert clip.entry == second[name].entry


def test_second_run_changes_nothing(download: Path) -> None:
    linked(download)
    succeed("prepare-data", "vocaset")
    before = listing()
    assert "already up to date" in succeed("prepare-data", "vocaset")
    assert listing() == before


def test_missing_clips_of_the_splits_are_listed(download: Path) -> None:
    linked(download)
    succeed("prepare-data", "vocaset")
    report = Path("data/vocaset/report.txt").read_text()
    assert f"{TRAIN}_sentence40: neither motion nor speech" in report
    assert "FaceTalk_170904_00128_TA: no data for this subject; the splits name 40" in report
    assert f"{VAL}_sentence20" not in report  # no split names it


def test_holes_and_clips_missing_in_one_file_are_reported() -> None:
    name, silent, motionless = (f"{TRAIN}/sentence{k:02d}" for k in (24, 25, 26))
    hole = [n for n in range(90) if not 40 <= n < 50 and n != 7]
    clips = {name: hole, silent: range(4), f"{VAL}/sentence21": range(10)}
    vocaset_raw.build(Path("vocaset"), clips, speech={silent: None}, templates=[TRAIN])
    rows = Path("vocaset/subj_seq_to_idx.pkl")
    content = pickle.loads(rows.read_bytes())
    content[TRAIN][motionless.split("/")[1]] = {}
    rows.write_bytes(pickle.dumps(content, protocol=2))
    ended = run("prepare-data", "vocaset")
    assert ended.code == 1  # a clip without a template is broken
    report = Path("data/vocaset/report.txt").read_text()
    stem = name.replace("/", "_")
    assert f"{stem}: frames 7 are missing; filled" in report
    assert f"{stem}: frames 40 to 49 are missing (0.17 s); split" in report
    assert f"{silent.replace('/', '_')}: no speech in raw_audio_fixed.pkl" in report
    assert f"{motionless.replace('/', '_')}: no frames in subj_seq_to_idx.pkl" in report
    assert f"{VAL}_sentence21: templates.pkl contains no template for {VAL}" in report
    parts = prepared()
    assert list(parts) == [f"{stem}_part1", f"{stem}_part2"]
    truth = vocaset_raw.vertices(name, range(90))
    np.testing.assert_array_equal(parts[f"{stem}_part1"].vertices, truth[0:40:2])
    np.testing.assert_array_equal(parts[f"{stem}_part2"].vertices, truth[50:90:2])
    assert parts[f"{stem}_part2"].entry.n_samples == pytest.approx(40 / FPS * 16000, abs=2)


def test_missing_files_are_listed_with_their_source(download: Path) -> None:
    message = refuse("prepare-data", "vocaset")
    assert message.startswith("vocaset: no such folder; it must contain data_verts.npy, ")
    assert "(from https://voca.is.tue.mpg.de" in message
    linked(download, "templates.pkl", "FLAME_sample.ply")
    message = refuse("prepare-data", "vocaset")
    assert message.startswith("vocaset: missing templates.pkl (from https://voca")
    assert "FLAME_sample.ply (from https://github.com/TimoBolkart/voca" in message


def test_mesh_file_is_found_in_templates_or_given(download: Path) -> None:
    linked(download, "FLAME_sample.ply")
    Path("vocaset/templates").mkdir()
    os.link(download / "FLAME_sample.ply", "vocaset/templates/FLAME_sample.ply")
    assert len(read_vocaset(Path("vocaset"), DATA).clips) == 5
    os.rename("vocaset/templates/FLAME_sample.ply", "mine.ply")
    assert len(read_vocaset(Path("vocaset"), DATA, Path("mine.ply")).clips) == 5
    with pytest.raises(InputError, match=r"vocaset: missing yours\.ply"):
        read_vocaset(Path("vocaset"), DATA, Path("yours.ply"))


class Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("touch proof",)


@pytest.mark.parametrize("name", ["templates.pkl", "subj_seq_to_idx.pkl", "raw_audio_fixed.pkl"])
def test_unsafe_pickle_is_named_and_runs_no_code(download: Path, name: str) -> None:
    linked(download, name)
    Path("vocaset", name).write_bytes(pickle.dumps({TRAIN: Hostile()}, protocol=2))
    message = refuse("prepare-data", "vocaset")
    assert message.startswith(f"vocaset/{name}: ") and "posix.system" in message
    assert not Path("proof").exists()


@pytest.mark.parametrize("name", ["subj_seq_to_idx.pkl", "raw_audio_fixed.pkl", "templates.pkl"])
def test_pickle_with_other_content_is_named(download: Path, name: str) -> None:
    linked(download, name)
    for content in (b"", b"hello", pickle.dumps([1, 2]), pickle.dumps({"A": 3})):
        Path("vocaset", name).write_bytes(content)
        assert refuse("prepare-data", "vocaset").startswith(f"vocaset/{name}: ")


@pytest.mark.parametrize("name", ["data_verts.npy", "subj_seq_to_idx.pkl", "templates.pkl"])
def test_folder_in_place_of_a_file_is_named(download: Path, name: str) -> None:
    linked(download, name)
    Path("vocaset", name).mkdir()
    message = refuse("prepare-data", "vocaset")
    assert f"vocaset/{name}: cannot be read (it is a folder)" in message


def test_truncated_array_is_reported(download: Path) -> None:
    linked(download, "data_verts.npy")
    content = (download / "data_verts.npy").read_bytes()
    Path("vocaset/data_verts.npy").write_bytes(content[: len(content) // 2])
    assert "data_verts.npy: cut short" in refuse("prepare-data", "vocaset")


def test_rows_outside_the_array_are_reported(download: Path) -> None:
    linked(download, "data_verts.npy")
    array = np.load(download / "data_verts.npy")
    np.save("vocaset/data_verts.npy", array[:-30])
    ended = run("prepare-data", "vocaset")
    assert ended.code == 1
    message = ended.err.replace("\n", " ")
    assert f"the array has {len(array) - 30} rows, but subj_seq_to_idx.pkl places frame" in message
    assert "does not belong to this subj_seq_to_idx.pkl" in message


def test_array_with_another_topology_is_refused(download: Path) -> None:
    linked(download, "data_verts.npy")
    np.save("vocaset/data_verts.npy", np.zeros((9, 5000, 3), np.float32))
    assert "have 5000 vertices, expected 5023" in refuse("prepare-data", "vocaset")


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([-32768, 0, 16384], np.int16), [-1, 0, 0.5]),
        (np.array([-32768.0, 0, 16384]), [-1, 0, 0.5]),  # floats in the 16-bit range
        (np.array([-1.0, 0, 0.5]), [-1, 0, 0.5]),
        (np.array([-(2**31), 0, 2**30], np.int32), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([-32768, 0, 16384], np.int64), [-1, 0, 0.5]),  # 16-bit range in a wider type
    ],
)
def test_samples_of_any_type_are_scaled_to_unit_range(
    tmp_path: Path, samples: np.ndarray, expected: list[float]
) -> None:
    sound = {f"{TRAIN}/sentence01": {"audio": samples, "sample_rate": np.int64(8000)}}
    root = vocaset_raw.build(tmp_path / "raw", {f"{TRAIN}/sentence01": range(3)}, speech=sound)
    audio = read_vocaset(root, DATA).clips[0].read_audio()
    assert audio.rate == 8000 and audio.samples.dtype == np.float32
    np.testing.assert_allclose(audio.samples, expected, atol=1e-6)


@pytest.mark.parametrize(
    "record",
    [
        {"audio": np.zeros((4, 2)), "sample_rate": RATE},
        {"audio": np.zeros(0), "sample_rate": RATE},
        {"audio": np.array([np.nan]), "sample_rate": RATE},
        {"audio": np.zeros(9)},
        {"audio": np.zeros(9), "sample_rate": 0},
        3,
    ],
)
def test_invalid_audio_record_is_named(tmp_path: Path, record: Any) -> None:
    clips = {f"{TRAIN}/sentence01": range(3)}
    speech = {f"{TRAIN}/sentence01": record}
    root = vocaset_raw.build(tmp_path / "raw", clips, speech=speech)
    with pytest.raises(DataError, match=rf"raw_audio_fixed\.pkl: {TRAIN}_sentence01: "):
        read_vocaset(root, DATA).clips[0].read_audio()


def test_duplicate_frames_break_only_their_clip() -> None:
    clips = {f"{TRAIN}/sentence01": range(9), f"{TRAIN}/sentence02": range(9)}
    vocaset_raw.build(Path("vocaset"), clips)
    rows = Path("vocaset/subj_seq_to_idx.pkl")
    content = pickle.loads(rows.read_bytes())
    content[TRAIN]["sentence01"]["3"] = 0
    rows.write_bytes(pickle.dumps(content, protocol=2))
    assert run("prepare-data", "vocaset").code == 1
    report = Path("data/vocaset/report.txt").read_text()
    assert f"{TRAIN}_sentence01: frame 3 is listed twice" in report
    assert list(prepared()) == [f"{TRAIN}_sentence02"]
