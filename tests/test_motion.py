"""A motion file loads as it was saved, and other files are refused in one line."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from codetalker_cli.arrays import release_pages
from codetalker_cli.errors import InputError
from codetalker_cli.motion import FORMAT_VERSION, Motion

ARRAYS = ("vertices", "template", "colors", "audio", "codes")


def motion(*, bare: bool = False) -> Motion:
    rng = np.random.default_rng(0)
    v = tiny.N_VERTICES
    result = Motion(
        vertices=rng.standard_normal((5, v, 3)).astype(np.float32),
        fps=29.97,
        topology=tiny.topology(),
        subject="Zoë",
        template=rng.standard_normal((v, 3)).astype(np.float32),
    )
    if bare:
        return result
    return dataclasses.replace(
        result,
        colors=rng.integers(0, 256, (v, 3), dtype=np.uint8),
        audio=rng.standard_normal(2667).astype(np.float32),
        audio_path=Path("some where/speech é.wav"),
        codes=rng.integers(0, 9, (5, 2), dtype=np.int32),
    )


@pytest.mark.parametrize("bare", [False, True])
def test_npz_loads_as_it_was_saved(tmp_path: Path, bare: bool) -> None:
    saved = motion(bare=bare)
    loaded = Motion.load(saved.save(tmp_path / "talk.npz"))
    for name in ARRAYS:
        a, b = getattr(saved, name), getattr(loaded, name)
        if a is None:
            assert b is None, name
        else:
            assert a.dtype == b.dtype and np.array_equal(a, b), name
    for name in ("fps", "subject", "n_frames", "seconds"):
        assert getattr(saved, name) == getattr(loaded, name), name
    assert loaded.topology.parts == saved.topology.parts
    assert np.array_equal(loaded.topology.region("lips"), saved.topology.region("lips"))


def test_a_motion_file_cannot_name_another_file(tmp_path: Path) -> None:
    path = motion().save(tmp_path / "talk.npz")
    with np.load(path) as arrays:
        content = dict(arrays)
    assert "audio_path" not in content
    np.savez(path, audio_path=np.array("/private/speech.wav"), **content)
    assert Motion.load(path).audio_path is None


@pytest.mark.parametrize("fps", [0.0, 1e-9, 1e9, np.nan])
def test_a_motion_file_with_an_implausible_frame_rate_is_refused(
    tmp_path: Path, fps: float
) -> None:
    path = motion().save(tmp_path / "talk.npz")
    with np.load(path) as arrays:
        content = {**arrays, "fps": np.array(fps)}
    np.savez(path, **content)
    with pytest.raises(InputError, match=r"expected 0\.01 to 1000"):
        Motion.load(path)


@pytest.mark.parametrize("fps", [0, -1, np.nan, "30", None])
def test_a_conversion_to_an_impossible_frame_rate_is_refused(fps: Any) -> None:
    with pytest.raises(InputError, match=r"`fps` .*: expected a number from 0\.01"):
        motion().at_fps(fps)


def test_npy_contains_the_vertices(tmp_path: Path) -> None:
    saved = motion()
    assert np.array_equal(np.load(saved.save(tmp_path / "talk.npy")), saved.vertices)


def test_frame_count_and_duration() -> None:
    assert motion().n_frames == 5
    assert motion().seconds == pytest.approx(5 / 29.97)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"saved as \.npz or \.npy, not '\.obj'"):
        motion().save(tmp_path / "talk.obj")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"talk{suffix}"
    path.write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        motion().save(path, overwrite=False)
    assert path.read_text() == "mine"
    motion().save(path)
    assert path.stat().st_size > 100


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        Motion.load(tmp_path / "none.npz")


class Hostile:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def other_files(folder: Path) -> dict[str, Path]:
    """Write files that are not motion files, and return them by kind."""
    folder.mkdir()
    files = {
        kind: folder / f"{kind}.npz"
        for kind in ("text", "empty", "vertices", "archive", "cut", "pickle", "objects")
    }
    files["text"].write_text("hello")
    files["empty"].touch()
    motion().save(folder / "talk.npy").rename(files["vertices"])
    np.savez(files["archive"], something=np.zeros(3))
    whole = motion().save(folder / "talk.npz").read_bytes()
    files["cut"].write_bytes(whole[: len(whole) // 2])
    files["pickle"].write_bytes(pickle.dumps(Hostile(folder / "ran")))
    np.savez(
        files["objects"],
        format_version=np.array(FORMAT_VERSION),
        vertices=np.array([Hostile(folder / "ran")], dtype=object),
    )
    partial = np.load(folder / "talk.npz")
    kept = {key: partial[key] for key in partial.files if key != "topology_faces"}
    files["partial"] = folder / "partial.npz"
    np.savez(files["partial"], **kept)
    files["folder"] = folder / "folder.npz"
    files["folder"].mkdir()
    return files


def test_other_files_are_refused_without_running_code(tmp_path: Path) -> None:
    for kind, path in other_files(tmp_path / "files").items():
        with pytest.raises(InputError) as caught:
            Motion.load(path)
        message = str(caught.value)
        assert str(path) in message and "\n" not in message, kind
    assert not (tmp_path / "files" / "ran").exists()


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = motion().save(tmp_path / "talk.npz")
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["format_version"] = np.array(FORMAT_VERSION + 1)
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=f"motion format {FORMAT_VERSION + 1} is newer.*upgrade"):
        Motion.load(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_vertices_are_memory_mapped_unless_compressed(tmp_path: Path, compressed: bool) -> None:
    saved, path = motion(), tmp_path / "talk.npz"
    saved.save(path)
    if compressed:  # as older versions and other programs write it
        with np.load(path) as archive:
            np.savez_compressed(path, allow_pickle=False, **archive)
    loaded = Motion.load(path)
    assert isinstance(loaded.vertices, np.memmap) is not compressed
    assert np.array_equal(loaded.vertices, saved.vertices)
    release_pages(loaded.vertices)
    assert np.array_equal(loaded.vertices, saved.vertices)  # the pages are read again
    loaded.save(path)  # replaces the mapped file
    assert np.array_equal(Motion.load(path).vertices, saved.vertices)
    assert np.array_equal(loaded.vertices, saved.vertices)


def test_truncated_vertices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "talk.npz"
    motion().save(path)
    content = path.read_bytes()
    shape = f"(5, {tiny.N_VERTICES}, 3)".encode()
    assert content.count(shape) == 1
    path.write_bytes(content.replace(shape, shape.replace(b"(5", b"(9")))
    with pytest.raises(InputError, match="not a motion file"):
        Motion.load(path)
