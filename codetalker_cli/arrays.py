"""Reading and writing .npy and .npz files, in blocks and through memory maps."""

import math
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from codetalker_cli.errors import DataError

_ZIP_HEADER = struct.Struct("<26x2H")
"""What stands before a member of a zip file; the lengths of its name and of its extra field."""


def read_arrays(path: Path | str, mapped: Collection[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of an .npz by name; nothing in it is ever run.

    Args:
        path: The file.
        mapped: Arrays that stay in the file until they are used: read-only memory maps. What is
            compressed is read all the same.

    Raises:
        DataError: Missing, cut short, or not such a file.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):  # NumPy would take it for a pickle, and say so
        raise DataError(f"{path}: not a whole .npz file of arrays")
    try:
        with np.load(path, allow_pickle=False) as archive:
            maps = {key: _map_member(path, archive.zip.getinfo(f"{key}.npy")) for key in mapped}
            mapped_arrays = {key: array for key, array in maps.items() if array is not None}
            return {
                key: mapped_arrays[key] if key in mapped_arrays else archive[key]
                for key in archive.files
            }
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a whole .npz file of arrays ({error})") from error


def _map_member(path: Path | str, member: zipfile.ZipInfo) -> np.ndarray | None:
    """A memory map of an array that lies in a zip file as it is; None where that cannot be."""
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        lengths = _ZIP_HEADER.unpack(file.read(_ZIP_HEADER.size))
        end = file.seek(sum(lengths), os.SEEK_CUR) + member.file_size
        if np.lib.format.read_magic(file) != (1, 0):
            return None
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject or by_columns or 0 in shape:
            return None
        if file.tell() + math.prod(shape) * dtype.itemsize != end:
            raise ValueError(f"{member.filename} is not of the size that its header tells")
        return np.memmap(path, dtype, "r", file.tell(), shape)


def release_pages(array: object) -> None:
    """Give the memory of a read-only map's pages back; they are read again when they are used.

    A page that was touched counts as memory for as long as its map lives, so that going through a
    file once would in the end take the size of the file. Other arrays stay as they are.
    """
    memory_map = getattr(array, "_mmap", None)
    if (
        memory_map is not None
        and getattr(array, "mode", "") == "r"
        and hasattr(mmap, "MADV_DONTNEED")
    ):
        memory_map.madvise(mmap.MADV_DONTNEED)


def write_array(path: Path, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write a float32 array as .npy from its blocks along the first axis, one at a time."""
    with path.open("wb") as file:
        _write_blocks(file, shape, blocks)


def write_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    **streamed: tuple[tuple[int, ...], Iterable[np.ndarray]],
) -> None:
    """Write an .npz: arrays, and float32 ones that come in blocks along their first axis.

    Equal content gives equal bytes. Nothing is compressed: vertices lose only a fifth of their
    size, and ten minutes of a face took 26 s longer to write.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
        for name, (shape, blocks) in streamed.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_blocks(file, shape, blocks)


def _write_blocks(file: IO[bytes], shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for block in blocks:
        file.write(np.ascontiguousarray(block, "<f4").data)
