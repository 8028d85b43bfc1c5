"""The prepared format: round trip, atomic writing, unrelated files and damaged files."""

import json
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
import soundfile
import voices

from codetalker_cli.datasets.manifest import ClipEntry, Manifest, read_manifest
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.errors import DataError, InputError

SHAPE = (30, 12, 3)


def write(folder: Path, *names: str, overwrite: bool = False, seed: int = 0) -> Manifest:
    """Write a data set with the clips ``names``; the first one is in the split val."""
    rng = np.random.default_rng(seed)
    writer = PreparedWriter(folder, overwrite=overwrite)
    for k, name in enumerate(names):
        vertices = rng.standard_normal(SHAPE).astype(np.float32)
        split: Any = "val" if k == 0 else "train"
        writer.add(
            NewClip(name, "A", split, vertices, voices.speech(1.0, seed=seed), "Ça va? 'Yes'")
        )
    return writer.finish(
        DataSetFacts("tiny", 25.0, ["A", "B"]), voices.mesh("A", "B"), {"left_out": []}
    )


def test_a_data_set_round_trips(tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", "one", "two", "three")
    data = PreparedDataSet(str(tmp_path / "data"))
    assert data.manifest == manifest
    assert (manifest.fps, manifest.train_subjects) == (25.0, ("A", "B"))
    assert list(data.mesh.templates) == ["A", "B"]
    assert [c.entry.name for c in data.clips("val")] == ["one"]
    assert [c.entry.name for c in data.clips("train")] == ["two", "three"]
    assert data.clips("test") == []
    clip = data.clips("val")[0]
    expected = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    assert clip.entry.text == "Ça va? 'Yes'" and clip.entry.n_frames == 30
    np.testing.assert_array_equal(clip.vertices, expected)
    np.testing.assert_allclose(clip.samples(), voices.speech(1.0), atol=1 / 32768)


def test_a_subject_with_clips_and_without_a_template_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data", "one")
    voices.mesh("B").save(tmp_path / "data/mesh.npz")
    with pytest.raises(DataError, match=r"mesh.npz: no template of the subject A, which has clips"):
        PreparedDataSet(tmp_path / "data")


def test_vertices_are_read_only_memory_maps(tmp_path: Path) -> None:
    write(tmp_path / "data", "one")
    vertices = PreparedDataSet(tmp_path / "data").clips("val")[0].vertices
    assert isinstance(vertices, np.memmap) and not vertices.flags.writeable


def test_the_files_match_the_documented_format(tmp_path: Path) -> None:
    write(tmp_path / "data", "one")
    assert {k.removeprefix(f"{tmp_path}/") for k in command.listing(tmp_path)} == {
        "data",
        "data/manifest.json",
        "data/mesh.npz",
        "data/clips",
        "data/clips/one.npy",
        "data/audio",
        "data/audio/one.wav",
    }
    info = soundfile.info(tmp_path / "data" / "audio" / "one.wav")
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert np.load(tmp_path / "data" / "clips" / "one.npy").dtype == np.float32
    content = json.loads((tmp_path / "data" / "manifest.json").read_text("utf-8"))
    assert content["format_version"] == 2 and content["clips"][0]["name"] == "one"


def test_the_id_changes_with_any_clip(tmp_path: Path) -> None:
    ids = [
        write(tmp_path / "a", "one", "two").data_id,
        write(tmp_path / "b", "one", "two").data_id,
        write(tmp_path / "c", "one", "two", seed=1).data_id,
        write(tmp_path / "d", "one", "three").data_id,
    ]
    assert ids[0] == ids[1] and len(set(ids)) == 3


def test_a_folder_without_manifest_is_unfinished(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    writer = PreparedWriter(folder, overwrite=False)
    writer.add(NewClip("one", "A", "train", np.zeros(SHAPE), voices.speech()))
    with pytest.raises(InputError, match="data: the data set is unfinished; run the same"):
        PreparedDataSet(folder)
    # A new run restarts it and removes the leftover files.
    write(folder, "two")
    assert [p.name for p in (folder / "clips").iterdir()] == ["two.npy"]
    assert not (folder / ".unfinished").exists()


def test_a_finished_data_set_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, "one", "two")
    before = command.listing(folder)
    with pytest.raises(InputError, match="already contains a prepared data set; give `overwrite`"):
        PreparedWriter(folder, overwrite=False)
    PreparedWriter(folder, overwrite=True)  # nothing is removed before the first clip
    assert command.listing(folder) == before
    write(folder, "three", overwrite=True)
    assert [p.name for p in folder.glob("*/*.*")] == ["three.npy", "three.wav"]


def test_an_interrupted_replacement_is_unfinished_and_can_be_restarted(
    tmp_path: Path,
) -> None:
    write(tmp_path, "one", "two")
    writer = PreparedWriter(tmp_path, overwrite=True)
    writer.add(NewClip("one", "A", "train", np.zeros(SHAPE), voices.speech()))
    with pytest.raises(InputError, match="the data set is unfinished"):
        PreparedDataSet(tmp_path)  # a mixture of old and new clips
    write(tmp_path, "three")
    assert [p.name for p in tmp_path.glob("clips/*")] == ["three.npy"]


@pytest.mark.parametrize("name", ["audio/song.wav", "clips/data.npy"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_unrelated_files_are_not_overwritten(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match="but no prepared data set; give an empty or a new folder"):
        write(tmp_path, "one", overwrite=overwrite)
    assert (tmp_path / name).read_text() == "precious"


def test_an_unwritable_folder_is_refused_before_writing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot write here"):
        PreparedWriter(tmp_path / "file", overwrite=True)


# Damage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"format_version": 1}',
        '{"format_version": 1, "clips": [{"name": 1}], "train_subjects": []}',
        '{"format_version": 1, "clips": 3, "train_subjects": []}',
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path, "one")
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json: damaged manifest .*prepare the data"):
        PreparedDataSet(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "one")
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(
        DataError,
        match="format version is 3, but this version of codetalker reads only up to 2; upgrade",
    ):
        PreparedDataSet(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "text", "length", "flat", "float64"])
def test_a_damaged_clip_is_refused(tmp_path: Path, damage: str) -> None:
    write(tmp_path, "one")
    path = tmp_path / "clips" / "one.npy"
    if damage == "gone":
        path.unlink()
    elif damage in ("empty", "text", "cut"):
        size = {"empty": 0, "text": 0, "cut": 500}[damage]
        path.write_bytes(path.read_bytes()[:size] + b"hello" * (damage == "text"))
    else:
        shape = {"length": (29, 12, 3), "flat": (30,), "float64": SHAPE}[damage]
        np.save(path, np.zeros(shape, np.float64 if damage == "float64" else np.float32))
    with pytest.raises(DataError, match=r"one\.npy: .*; prepare the data again"):
        _ = PreparedDataSet(tmp_path).clips("val")[0].vertices


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": "fast"}, "fps is 'fast', expected a number of frames per second"),
        ({"fps": 0}, "fps is 0, expected a number of frames"),
        ({"format_version": 0}, "format_version is 0, expected 1 to 2"),
        ({"name": None}, "name is None, expected a name"),
        ({"train_subjects": "A"}, "train_subjects is not a list"),
        ({"notes": []}, "notes is not a JSON object"),
        ({"color": "red"}, "unknown key 'color'"),
        ({"clips": [3]}, "manifest.json, clip 0: the row has no name"),
        (
            {"clips": [{"name": "../x"}]},
            "manifest.json, clip 0: name '../x' contains a path separator",
        ),
        ({"clips": [{"name": "x"}]}, "x: subject is None, expected a name"),
    ],
)
def test_the_first_fault_of_a_manifest_is_an_error_and_all_are_reported(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    manifest = write(tmp_path, "one", "two")
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **change, "unit": 7}), "utf-8")
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    faults: list[tuple[str, str, str]] = []
    lenient = read_manifest(tmp_path, lambda *fault: faults.append(fault))
    lines = [f"{where}: {line}".removeprefix("manifest.json: ") for _, where, line in faults]
    assert any(line.startswith(message) for line in lines)
    assert str(caught.value) == f"{path}: damaged manifest ({lines[0]})"
    assert "unit is 7, expected text; prepare the data again" in lines
    assert "clips" in change or lenient.clips == manifest.clips


def test_an_integer_frame_rate_stays_an_integer(tmp_path: Path) -> None:
    # The data id is a hash of the JSON numbers, and 25 and 25.0 have different hashes.
    write(tmp_path, "one")
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"fps": 25.0', '"fps": 25'))
    assert json.dumps(read_manifest(tmp_path).fps) == "25"


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_speech_is_read_without_conversion(tmp_path: Path, subtype: str) -> None:
    write(tmp_path, "one")
    clip = PreparedDataSet(tmp_path).clips("val")[0]
    soundfile.write(clip.audio_path, voices.speech(1.0), 16000, subtype=subtype)
    expected, _ = soundfile.read(clip.audio_path, dtype="float32")
    assert clip.read_speech().subtype == subtype
    np.testing.assert_array_equal(clip.samples(), expected)
    assert clip.samples().dtype == np.float32
    soundfile.write(clip.audio_path, np.stack([expected, expected], 1), 16000, subtype=subtype)
    with pytest.raises(DataError, match=r"one\.wav: the speech has 2 channels, expected 1"):
        clip.samples()


@pytest.mark.parametrize("damage", ["gone", "text", "rate"])
def test_damaged_speech_is_refused(tmp_path: Path, damage: str) -> None:
    write(tmp_path, "one")
    path = tmp_path / "audio" / "one.wav"
    if damage == "gone":
        path.unlink()
    elif damage == "text":
        path.write_text("hello")
    else:
        soundfile.write(path, voices.speech(), 8000)
    with pytest.raises(DataError, match=r"one\.wav: "):
        PreparedDataSet(tmp_path).clips("val")[0].samples()


def test_the_data_id_depends_on_the_clip_table() -> None:
    entry = ClipEntry("a", "A", "train", 3, "0" * 64)
    assert Manifest("x", 30.0, ("A",), (entry,)).data_id != Manifest("x", 30.0, ("A",), ()).data_id
