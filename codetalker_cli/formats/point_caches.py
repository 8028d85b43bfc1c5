"""Point caches: the vertices of all frames in one file, without triangles.

- .pc2 (3ds Max, Blender): a header, then the frames; little-endian.
- .mdd (LightWave, Blender): two counts, the times of all frames, then the frames; big-endian.

The points of a frame are x, y, z as float32. Neither format stores units, axes or names, and .pc2
does not store the frame rate.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli.errors import DataError, counted
from codetalker_cli.text_files import check_file

PC2_HEADER = struct.Struct("<12siiffi")
"""Signature, version, points, first frame, scene frames per sample, samples; little-endian."""
_PC2_SIGNATURE = b"POINTCACHE2\0"
_PC2_STEPS = (0.05, 20.0)  # a value outside is probably a frame rate
_MDD_HEADER = struct.Struct(">ii")  # frames, points


class Pc2Header(NamedTuple):
    """The header of a .pc2 point cache.

    Attributes:
        n_frames: The number of samples in the file.
        n_vertices: The number of points in a sample.
        step: The number of scene frames per sample, which is 1 in nearly all files.
    """

    n_frames: int
    n_vertices: int
    step: float


def read_pc2_header(path: Path) -> Pc2Header:
    """Read and check the header of a .pc2 point cache, without reading its frames.

    Raises:
        InputError: The file is missing.
        DataError: The file is not a point cache, is cut short or contains no frames.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(PC2_HEADER.size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) < PC2_HEADER.size or not content.startswith(_PC2_SIGNATURE):
        raise DataError(f"{path}: not a point cache (no POINTCACHE2 header)")
    _, version, n_vertices, _, step, n_frames = PC2_HEADER.unpack(content)
    if version != 1:
        raise DataError(f"{path}: the point cache has version {version}, expected 1")
    if n_vertices <= 0 or n_frames <= 0:
        raise DataError(
            f"{path}: the point cache is empty ({counted(n_frames, 'frame')} of "
            f"{counted(n_vertices, 'point')}); export it again"
        )
    if not _PC2_STEPS[0] <= step <= _PC2_STEPS[1]:
        raise DataError(
            f"{path}: the header gives one sample per {step:g} scene frames, expected "
            f"{_PC2_STEPS[0]:g} to {_PC2_STEPS[1]:g} (this value is not the frame rate of the "
            "scene); export it with one sample per frame"
        )
    frame_bytes = n_vertices * 12
    n_bytes = path.stat().st_size - PC2_HEADER.size
    if n_bytes != n_frames * frame_bytes:
        raise DataError(
            f"{path}: contains {n_bytes / frame_bytes:.6g} frames of "
            f"{counted(n_vertices, 'point')}, but the header gives {n_frames}; copy or export "
            "it again"
        )
    return Pc2Header(n_frames, n_vertices, step)


def write_pc2(path: Path, n_frames: int, n_vertices: int, blocks: Iterable[np.ndarray]) -> None:
    """Write a .pc2 point cache with one sample per frame, which starts at frame 0.

    Args:
        path: The output file.
        n_frames: T.
        n_vertices: V.
        blocks: (n, V, 3) arrays with all frames in order.
    """
    with path.open("wb") as file:
        file.write(PC2_HEADER.pack(_PC2_SIGNATURE, 1, n_vertices, 0.0, 1.0, n_frames))
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<f4").data)


def write_mdd(path: Path, times: np.ndarray, n_vertices: int, blocks: Iterable[np.ndarray]) -> None:
    """Write an .mdd point cache.

    Args:
        path: The output file.
        times: The (T,) times of the frames in seconds.
        n_vertices: V.
        blocks: (n, V, 3) arrays with all frames in order.
    """
    with path.open("wb") as file:
        file.write(_MDD_HEADER.pack(len(times), n_vertices))
        file.write(np.ascontiguousarray(times, ">f4").data)
        for block in blocks:
            file.write(np.ascontiguousarray(block, ">f4").data)
