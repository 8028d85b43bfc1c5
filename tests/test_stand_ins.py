"""Folders, pipes, web pages and Git LFS pointers in place of files: one line with the reason."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny

from codetalker_cli.arrays import read_arrays, read_npy_header
from codetalker_cli.datasets.manifest import ClipEntry
from codetalker_cli.datasets.prepared import Clip
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.formats.frames import open_array
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.formats.point_caches import read_pc2_header
from codetalker_cli.formats.predictions import read_vertices
from codetalker_cli.formats.streams import FileStream
from codetalker_cli.formats.templates import read_templates
from codetalker_cli.motion import Motion

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"

STAND_INS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "it is a folder"),
    "pipe": (os.mkfifo, "it is a pipe, expected a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    "web page": (lambda path: path.write_bytes(b"<!DOCTYPE html>\n<html>404"), "it is a web page"),
    "pointer": (lambda path: path.write_bytes(POINTER), "it is a Git LFS pointer"),
}

READERS: dict[str, Callable[[Path], object]] = {
    "x.npy": open_array,
    "header.npy": read_npy_header,
    "prediction.npz": read_vertices,
    "motion.npz": Motion.load,
    "arrays.npz": read_arrays,
    "x.pc2": read_pc2_header,
    "templates.pkl": read_templates,
    "face.obj": read_mesh_file,
    "face.glb": read_mesh_file,
    "frames.tar": FileStream,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", STAND_INS)
def test_readers_name_what_is_in_place_of_a_file(tmp_path: Path, name: str, kind: str) -> None:
    make, words = STAND_INS[kind]
    make(tmp_path / name)
    with pytest.raises(CodeTalkerError) as caught:
        READERS[name](tmp_path / name)
    message = str(caught.value)
    assert name in message and words in message and "\n" not in message


@pytest.mark.parametrize("kind", STAND_INS)
@pytest.mark.parametrize("folder", ["clips", "audio"])
def test_prepared_clips_name_what_is_in_place_of_a_file(
    tmp_path: Path, kind: str, folder: str
) -> None:
    clip = Clip(ClipEntry("A_1", "A", "train", 4, ""), tmp_path)
    make, words = STAND_INS[kind]
    (tmp_path / folder).mkdir()
    make(clip.vertices_path if folder == "clips" else clip.audio_path)
    with pytest.raises(CodeTalkerError) as caught:
        clip.vertices if folder == "clips" else clip.samples()
    assert words in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2, tiny.N_VERTICES, 3), np.float32))
    path.chmod(0)
    with pytest.raises(CodeTalkerError, match=r"x\.npy: cannot be read \(Permission denied\)"):
        open_array(path)
