"""Read and write .npy and .npz files, in blocks and through memory maps."""

import math
import mmap
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from codetalker_cli.errors import DataError, printable
from codetalker_cli.settings.limits import active
from codetalker_cli.text_files import check_file

_ZIP_HEADER = struct.Struct("<26x2H")
"""The header of a zip member, which contains the lengths of its name and its extra field."""
_MAX_SIDE = 1 << 40  # a longer axis occurs only in a damaged header
RATIO_FLOOR_BYTES = 64_000_000
"""Content up to this size can have any compression ratio."""
_DAMAGE = (
    DataError,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # encrypted
)
"""The exceptions that reading a damaged .npz can raise."""


def read_arrays(path: Path | str, mapped: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz by name, without running any code in the file.

    Args:
        path: The file.
        mapped: The arrays to return as read-only memory maps. Compressed arrays are read
            into memory.

    Raises:
        DataError: The file is missing, cut short, or not an .npz file.
    """
    check_file(path, DataError)
    if not zipfile.is_zipfile(path):  # NumPy would try to read it as a pickle
        raise DataError(f"{path}: not a complete .npz file of arrays")
    try:
        with np.load(path, allow_pickle=False) as archive:
            _check_sizes(path, archive.zip)
            maps = {
                key: _map_member(path, archive.zip, archive.zip.getinfo(f"{key}.npy"))
                for key in mapped
            }
            mapped_arrays = {key: array for key, array in maps.items() if array is not None}
            return {
                key: mapped_arrays[key] if key in mapped_arrays else _checked(key, archive[key])
                for key in archive.files
            }
    except _DAMAGE as error:
        raise DataError(f"{path}: not a complete .npz file of arrays ({error})") from error


def _checked(key: str, array: np.ndarray) -> np.ndarray:
    """Refuse other files, and text with numbers that are not characters."""
    if not isinstance(array, np.ndarray):  # NumPy returns the bytes of other files
        raise ValueError(f"it contains the file {printable(key, 60)!r}, which is not an array")
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        codes = np.frombuffer(np.ascontiguousarray(array).tobytes(), f"{array.dtype.byteorder}u4")
        if codes.max(initial=0) > sys.maxunicode:
            raise ValueError("damaged text")
    return array


def _check_sizes(path: Path | str, archive: zipfile.ZipFile) -> None:
    """Refuse entries that need much more memory than the file has content, before reading them."""
    limits, packed = active(), os.path.getsize(path)
    total = sum(member.file_size for member in archive.infolist())
    if total > limits.archive_gb * 1e9:
        raise ValueError(
            f"it unpacks to {total / 1e9:.1f} GB, but at most {limits.archive_gb:g} GB are read; "
            "if you trust the file, raise the setting limits.archive_gb"
        )
    sizes = [(m.file_size, m.compress_size) for m in archive.infolist()]
    for unpacked, packed_size in [*sizes, (total, packed)]:
        if unpacked > RATIO_FLOOR_BYTES and unpacked > limits.zip_ratio * packed_size:
            raise ValueError(
                f"{packed_size} bytes unpack to {unpacked}, a ratio above {limits.zip_ratio:g}; "
                "if you trust the file, raise the setting limits.zip_ratio"
            )
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        with archive.open(member) as content:
            header = read_npy_header(content)
        needed = header.offset + math.prod(header.shape) * header.dtype.itemsize
        if needed > member.file_size:
            name = printable(member.filename)
            raise ValueError(
                f"{name} has only {member.file_size} of the {needed} bytes that its header declares"
            )


def _map_member(
    path: Path | str, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> np.ndarray | None:
    """Memory-map an array that is stored uncompressed in a zip file; None if that is impossible."""
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(member) as content:
        header = read_npy_header(content)
    if header.fortran_order or 0 in header.shape:
        return None
    if header.offset + math.prod(header.shape) * header.dtype.itemsize != member.file_size:
        raise ValueError(f"{member.filename} does not have the size given in its header")
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        lengths = _ZIP_HEADER.unpack(file.read(_ZIP_HEADER.size))
        start = file.seek(sum(lengths), os.SEEK_CUR)
    return map_array(path, header._replace(offset=start + header.offset))


class NpyHeader(NamedTuple):
    """The header of a .npy file.

    Attributes:
        shape: The lengths of the axes, all of them at least 0.
        dtype: The type of the numbers; never Python objects.
        fortran_order: Whether the first axis is the one that varies fastest.
        offset: The byte offset of the first number.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int

    def count_whole_rows(self, path: Path) -> int:
        """Count the whole rows (frames) in the file; fewer than in ``shape`` if it is cut short."""
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        n_bytes = max(path.stat().st_size - self.offset, 0)
        return min(self.shape[0], n_bytes // row_bytes) if row_bytes else self.shape[0]


def read_npy_header(source: Path | str | IO[bytes]) -> NpyHeader:
    """Read the header of a .npy file. NumPy parses it as literals, so no code in it is run.

    Args:
        source: A path, or a file that is open at the start of the array.

    Raises:
        DataError: The file is missing, damaged, not a .npy file, or contains Python objects.
    """
    if isinstance(source, Path | str):
        check_file(source, DataError)
        try:
            with open(source, "rb") as file:
                return read_npy_header(file)
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror or error})") from error
    name = source.name
    try:
        version = np.lib.format.read_magic(source)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(source)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(source)
        else:
            raise ValueError(f"format version {version} is not supported")
        offset = source.tell()
    # The header is a Python expression, and parsing a damaged one can raise anything.
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else "damaged"
        raise DataError(f"{name}: not a readable .npy file ({reason})") from error
    if not all(type(side) is int and 0 <= side < _MAX_SIDE for side in shape):
        raise DataError(f"{name}: its header is damaged (it contains an impossible shape)")
    if dtype.hasobject:
        raise DataError(
            f"{name}: contains Python objects, which are not read because they could run code; "
            "save a plain array of float32"
        )
    return NpyHeader(shape, dtype, fortran_order, offset)


def map_array(path: Path | str, header: NpyHeader | None = None) -> np.ndarray:
    """Return a read-only memory map of a .npy file.

    Args:
        path: The file.
        header: The header, if it has already been read.

    Raises:
        DataError: The file is cut short, or ``read_npy_header`` refuses it.
    """
    shape, dtype, fortran_order, offset = header or read_npy_header(path)
    end = offset + math.prod(shape) * dtype.itemsize
    try:
        if (n_bytes := os.path.getsize(path)) < end:
            raise DataError(f"{path}: cut short: it has {n_bytes} of {end} bytes")
        return np.memmap(path, dtype, "r", offset, shape, "F" if fortran_order else "C")
    except (OSError, ValueError) as error:  # changed or deleted since
        raise DataError(f"{path}: cannot be read ({error})") from error


def release_pages(array: object) -> None:
    """Release the memory pages of a read-only map; they are read again when they are used.

    A page that was read counts as used memory for as long as its map exists. Without this, reading
    a file once would use as much memory as the file is large. Arrays that are not read-only maps
    are left alone.
    """
    memory_map = getattr(array, "_mmap", None)
    if (
        memory_map is not None
        and getattr(array, "mode", "") == "r"
        and hasattr(mmap, "MADV_DONTNEED")
    ):
        memory_map.madvise(mmap.MADV_DONTNEED)


def write_array(path: Path, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write a float32 array as .npy, block by block along the first axis."""
    with path.open("wb") as file:
        _write_blocks(file, shape, blocks)


def write_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    **streamed: tuple[tuple[int, ...], Iterable[np.ndarray]],
) -> None:
    """Write an .npz from arrays and from streamed float32 arrays (blocks along the first axis).

    Equal content gives equal bytes. Nothing is compressed: compression would make vertices only a
    fifth smaller, and writing ten minutes of motion took 26 s longer with it.
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
