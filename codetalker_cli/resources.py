"""Where configs/ and assets/ are, and how files are written whole or not at all."""

import math
import mmap
import os
import re
import shutil
import struct
import uuid
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from codetalker_cli.errors import CodeTalkerError, DataError, InputError, OutputError

_PACKAGE = Path(__file__).resolve().parent
CACHE_VARIABLE = "CODETALKER_CACHE"
_ZIP_HEADER = struct.Struct("<26x2H")
"""What stands before a member of a zip file; the lengths of its name and of its extra field."""


@lru_cache(maxsize=1)
def root() -> Path:
    """The folder that holds configs/ and assets/: inside an installed wheel, else the checkout."""
    bundled = _PACKAGE / "_bundled"
    if bundled.is_dir():
        return bundled
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout
    raise CodeTalkerError(
        f"configs/ and assets/ were not found beside {_PACKAGE}; "
        "reinstall: pip install --force-reinstall codetalker-cli"
    )


def package_version() -> str:
    """Version of the installed distribution; ``checkout`` where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("codetalker-cli")
    except PackageNotFoundError:
        return "checkout"


def asset(name: str) -> Path:
    """Path of a bundled asset; raises CodeTalkerError when the installation lacks it."""
    return _existing(root() / "assets" / name)


def config(name: str) -> Path:
    """Path of a bundled preset file, ``name`` without ``.yaml``."""
    return _existing(root() / "configs" / f"{name}.yaml")


def config_names() -> list[str]:
    """Names of the bundled presets, sorted."""
    return sorted(path.stem for path in (root() / "configs").glob("*.yaml"))


def _existing(path: Path) -> Path:
    if not path.exists():
        raise CodeTalkerError(f"{path} is missing from the installation; reinstall codetalker-cli")
    return path


def cache_dir(given: str | Path | None = None) -> Path:
    """Where files that can be made again are kept; it need not exist yet.

    The given folder, else $CODETALKER_CACHE, else ~/.cache/codetalker.
    """
    chosen = given or os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "codetalker"


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
            found = {key: array for key, array in maps.items() if array is not None}
            return {key: found[key] if key in found else archive[key] for key in archive.files}
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


def let_go(array: object) -> None:
    """Give the memory of a read-only map's pages back; they are read again when they are used.

    A page that was touched counts as memory for as long as its map lives, so that going through a
    file once would in the end take the size of the file. Other arrays stay as they are.
    """
    held = getattr(array, "_mmap", None)
    if held is not None and getattr(array, "mode", "") == "r" and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def write_array(path: Path, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write a float32 array as .npy from its blocks along the first axis, one at a time."""
    with path.open("wb") as file:
        _put(file, shape, blocks)


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
                _put(file, shape, blocks)


def _put(file: IO[bytes], shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for block in blocks:
        file.write(np.ascontiguousarray(block, "<f4").data)


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists, or whose folder cannot be written, before any work is done.

    Nothing is left behind: a folder that is missing is not made, but tried where it would be.

    Raises:
        OutputError: Says which of the two.
    """
    folder = path.parent
    try:
        if path.exists() and not overwrite:
            raise OutputError(
                f"{path} exists already; give --overwrite to replace it, or another --out"
            )
        nearest = next(f for f in (folder, *folder.absolute().parents) if f.exists())
        probe = nearest / f".{uuid.uuid4().hex}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{folder}: cannot write here ({reason}); give another --out") from error


@contextmanager
def atomic_path(path: Path | str, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (same suffix) that becomes ``path`` if all went well.

    On an error whatever was written is removed and an older ``path`` stays as it was. Works for
    files and for folders; a folder replaces the old one as a whole.

    Raises:
        InputError: ``path`` exists and ``overwrite`` is false, its folder cannot be written, or a
            file was to replace a folder.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old)
        elif path.is_dir():
            raise InputError(f"{path} is a folder and is not replaced by a file; give another name")
        else:
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def mend(path: Path) -> None:
    """Put right what :func:`atomic_path` left when its process was killed.

    For whoever alone writes ``path``: of a folder that was being replaced the old one comes back,
    everything unfinished goes.
    """
    name, stem, suffix = (re.escape(part) for part in (path.name, path.stem, path.suffix))
    pattern = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.old|\.{stem}\.[0-9a-f]{{8}}{suffix}")
    if not path.parent.is_dir():
        return
    for left in sorted(path.parent.iterdir()):
        if not pattern.fullmatch(left.name):
            continue
        if left.suffix == ".old" and not path.exists():
            os.replace(left, path)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
