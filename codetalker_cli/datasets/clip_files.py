"""Write and check the two files of a clip in a prepared data set."""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from codetalker_cli.arrays import map_array
from codetalker_cli.datasets.manifest import ClipEntry
from codetalker_cli.datasets.prepared import audio_path, vertices_path
from codetalker_cli.errors import DataError, counted


def is_complete(folder: Path, entry: ClipEntry) -> bool:
    """Return whether both files of a clip have at least the length in the clip table."""
    vertices, speech = vertices_path(folder, entry.name), audio_path(folder, entry.name)
    try:
        shape = map_array(vertices).shape
    except DataError:
        return False
    # A WAV file has a header of 44 bytes, and two bytes per sample.
    return shape[:1] == (entry.n_frames,) and (
        speech.is_file() and speech.stat().st_size >= 44 + 2 * entry.n_samples
    )


def link_or_copy(source: Path, path: Path) -> None:
    """Create a hard link to a file, or a copy where links are not possible."""
    try:
        os.link(source, path)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, path)


def write_blocks(path: Path, blocks: Iterable[np.ndarray], n_frames: int) -> str:
    """Write blocks (k, V, 3) to a float32 .npy file; return the SHA-256 of the data."""
    digest = hashlib.sha256()
    written = 0
    with path.open("wb") as file:
        for block in blocks:
            block = np.ascontiguousarray(block, dtype=np.float32)
            if not written:
                shape = (n_frames, *block.shape[1:])
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            digest.update(block.data)
            file.write(block.data)
            written += len(block)
    if written != n_frames:
        raise DataError(f"{path.name}: received {counted(written, 'frame')}, expected {n_frames}")
    return digest.hexdigest()
