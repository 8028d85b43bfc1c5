"""Files in folders and in tar archives, including nested archives.

Archives are never unpacked by member name. Their members are first listed and checked, then read by
their position. Members of a plain tar are read in place. Members of a compressed archive are copied
into a temporary folder for as long as they are needed.
"""

import logging
import os
import re
import shutil
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple, cast

from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.formats import tar_members
from codetalker_cli.formats.streams import (
    CHUNK_BYTES,
    GZIP,
    ByteStream,
    FileStream,
    GzipStream,
    StreamWindow,
)

SUFFIX = re.compile(r"\.(tar|tgz|tar\.gz)$", re.IGNORECASE)
"""The suffix of an archive's name. The first bytes of a file show whether it is compressed."""

_OTHER_FORMATS = {
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
}
_MAX_DEPTH = 4
_MAX_OPEN = 8  # gzip streams; a process has a limited number of open files

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class FoundFile:
    """A file below a folder, on disk or in an archive.

    Attributes:
        root: The folder that was searched.
        parts: The path below ``root``: folders, archives, folders in archives and the file name.
        size: The size in bytes.
        archive: The archive that contains the file, or None.
        offset: The position of the file in the uncompressed bytes of that archive.
    """

    root: Path
    parts: tuple[str, ...]
    size: int
    archive: "Archive | None" = None
    offset: int = 0

    @property
    def name(self) -> str:
        """The file name without folders."""
        return self.parts[-1]

    @property
    def is_archive(self) -> bool:
        """Whether the file has the suffix of an archive."""
        return SUFFIX.search(self.name) is not None

    @property
    def disk(self) -> Path:
        """The file on disk: this file or the outermost archive that contains it."""
        return self.root.joinpath(*self.parts) if self.archive is None else self.archive.file.disk

    @property
    def label(self) -> str:
        """The name in messages, always on one line: ``faces/F1.tar: e01/frame_001.vl``."""
        if self.archive is None:
            return printable(self.disk)
        outer = self.archive.file
        return f"{outer.label}: {printable('/'.join(self.parts[len(outer.parts) :]))}"

    @property
    def place(self) -> tuple[Path, int] | None:
        """The file on disk and the offset of this file's bytes in it, or None if compressed."""
        if self.archive is None:
            return self.disk, 0
        outer = None if self.archive.compressed else self.archive.file.place
        return None if outer is None else (outer[0], outer[1] + self.offset)

    def stream(self) -> ByteStream:
        """Open the bytes of the file. The caller closes the stream.

        Raises:
            DataError: The file cannot be opened.
        """
        if self.archive is None:
            return FileStream(self.disk)
        return StreamWindow(self.archive.stream(), self.offset, self.size)


class Archive:
    """A tar archive, compressed or not.

    Raises:
        DataError: The file cannot be opened, or is an archive of a different format.
    """

    def __init__(self, file: FoundFile) -> None:
        self.file = file
        with closing(file.stream()) as stream:
            start = stream.read_at(0, 8)
        for magic, what in _OTHER_FORMATS.items():
            if start.startswith(magic):
                raise DataError(
                    f"{file.label}: the file is {what}, expected .tar or .tgz; "
                    "unpack it yourself into the folder that contains it"
                )
        self.compressed = start.startswith(GZIP)
        self._unpacked: GzipStream | None = None

    def stream(self) -> ByteStream:
        """Open the uncompressed bytes of the archive. The caller closes the stream.

        The stream of a compressed archive is shared and stays open for a while, because reopening
        it means decompressing the archive from its start again.
        """
        if not self.compressed:
            return self.file.stream()
        if self._unpacked is None:
            self._unpacked = GzipStream(self.file.stream, self.file.label)
            weakref.finalize(self, self._unpacked.close)
        _keep_open(self._unpacked)
        return _Shared(self._unpacked)


_open_streams: deque[GzipStream] = deque()


def _keep_open(stream: GzipStream) -> None:
    """Mark a stream as used, and close the least recently used one if too many are open."""
    with suppress(ValueError):
        _open_streams.remove(stream)
    _open_streams.append(stream)
    if len(_open_streams) > _MAX_OPEN:
        _open_streams.popleft().close()


class _Shared:
    """A view of a stream that is used elsewhere too. Closing the view does not close the stream."""

    def __init__(self, stream: ByteStream) -> None:
        self.read_at = stream.read_at

    def close(self) -> None:
        pass


class Span(NamedTuple):
    """The position of a file's bytes on disk, and the name of the file in messages."""

    path: Path
    offset: int
    size: int
    label: str


def walk(root: Path) -> Iterator[FoundFile]:
    """Yield the files below a folder in sorted order.

    Symbolic links are followed. Hidden files are skipped. An archive is yielded as one file.

    Raises:
        InputError: A folder cannot be read.
    """
    seen: set[str] = set()
    for folder, names, files in os.walk(root, onerror=_refuse_folder, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above it
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not _is_hidden(name))
        above = Path(folder).relative_to(root).parts
        for name in sorted(files):
            if _is_hidden(name):
                continue
            try:
                size = os.stat(os.path.join(folder, name)).st_size
            except OSError as error:
                logger.warning("%s: skipped (%s)", os.path.join(folder, name), error.strerror)
                continue
            yield FoundFile(root, (*above, name), size)


def contents(
    file: FoundFile,
    enter: Callable[[FoundFile], bool],
    failed: list[tuple[FoundFile, DataError]],
    depth: int = 1,
) -> list[FoundFile]:
    """Return the files of an archive, and optionally those of the archives in it.

    Args:
        file: The archive.
        enter: A function that decides whether a nested archive is replaced by its files.
        failed: A list to which archives that cannot be listed are appended, each with its error.
            Nothing from those archives is returned.
        depth: The nesting depth of the archive; 1 is an archive on disk.
    """
    try:
        if depth > _MAX_DEPTH:
            raise DataError(f"{file.label}: archives are nested more than {_MAX_DEPTH} levels deep")
        members = list_archive(file)
    except DataError as error:
        failed.append((file, error))
        return []
    files = []
    for member in members:
        if member.is_archive and enter(member):
            files += contents(member, enter, failed, depth + 1)
        else:
            files.append(member)
    return files


def list_archive(file: FoundFile) -> list[FoundFile]:
    """Check all members of a tar archive and return its regular files in storage order.

    Hidden files are skipped. A link to a file in the archive is returned as that file under the
    name of the link. A name that occurs twice is returned twice.

    Raises:
        DataError: The archive is incomplete or a decompression bomb, or a member has a path outside
            the archive's folder or is not a file. The message names the archive and the member.
    """
    archive = Archive(file)
    if archive.compressed and file.size > 64 * CHUNK_BYTES:
        logger.info("%s: compressed archive, reading it once from start to end", file.label)
    with closing(archive.stream()) as stream:
        members = tar_members.list_members(stream, file.label)
    return [
        FoundFile(file.root, file.parts + member.parts, member.size, archive, member.offset)
        for member in members
        if not any(map(_is_hidden, member.parts))
    ]


@contextmanager
def on_disk(
    files: Sequence[FoundFile], scratch: Path | None, max_bytes: int
) -> Iterator[list[Span]]:
    """Yield the positions of files on disk, unpacking those in compressed archives temporarily.

    Args:
        files: The files, in any order. The result has the same order.
        scratch: The folder for unpacked files, which are deleted at the end. None selects the
            temporary folder of the system.
        max_bytes: The largest size of a file to unpack.

    Raises:
        DataError: An archive is damaged, a file is too large, or the scratch folder is too full.
    """
    spans: dict[int, Span] = {}
    for file in files:
        if (place := file.place) is not None:
            spans[id(file)] = Span(*place, file.size, file.label)
    compressed = [file for file in files if id(file) not in spans]
    if not compressed:
        yield [spans[id(file)] for file in files]
        return
    with _unpack(compressed, scratch, max_bytes, "") as (path, offsets):
        for file in compressed:
            spans[id(file)] = Span(path, offsets[id(file)], file.size, file.label)
        yield [spans[id(file)] for file in files]


@contextmanager
def as_file(file: FoundFile, scratch: Path | None, max_bytes: int) -> Iterator[Path]:
    """Yield a path to the file. A file in an archive is copied to a temporary folder.

    Args:
        file: The file.
        scratch: See ``on_disk``.
        max_bytes: See ``on_disk``.

    Raises:
        DataError: See ``on_disk``.
    """
    if file.archive is None:
        yield file.disk
        return
    with _unpack([file], scratch, max_bytes, Path(file.name).suffix) as (path, _):
        yield path


@contextmanager
def _unpack(
    files: Sequence[FoundFile], scratch: Path | None, max_bytes: int, suffix: str
) -> Iterator[tuple[Path, dict[int, int]]]:
    """Unpack files into one temporary file. Yield its path and the offset of each file, by id."""
    for file in files:
        if file.size > max_bytes:
            raise DataError(f"{file.label}: {file.size} bytes, expected at most {max_bytes}")
    offsets: dict[int, int] = {}
    with ExitStack() as stack:
        try:  # not around the yield, because an error in the caller is not an unpacking error
            if scratch is not None:
                scratch.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(TemporaryDirectory(prefix="codetalker-", dir=scratch))
            _check_space(files, Path(folder))
            path = Path(folder) / f"unpacked{suffix}"
            with path.open("wb") as out:
                for archive in {cast(Archive, file.archive) for file in files}:
                    members = [file for file in files if file.archive is archive]
                    with closing(archive.stream()) as stream:
                        for file in sorted(members, key=lambda f: f.offset):
                            offsets[id(file)] = out.tell()
                            _copy(file, stream, out)
        except OSError as error:
            raise DataError(f"{files[0].label}: cannot be unpacked ({error})") from error
        yield path, offsets


def _check_space(files: Sequence[FoundFile], folder: Path) -> None:
    needed, free = sum(file.size for file in files), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{files[0].label}: unpacking needs {needed} bytes, but {folder.parent} has only "
            f"{free} free; free some space, or unpack the archive elsewhere"
        )


def _copy(file: FoundFile, stream: ByteStream, out: IO[bytes]) -> None:
    n_copied = 0
    while n_copied < file.size:
        chunk = stream.read_at(file.offset + n_copied, min(CHUNK_BYTES, file.size - n_copied))
        if not chunk:
            raise DataError(f"{file.label}: cut short after {n_copied} of {file.size} bytes")
        out.write(chunk)
        n_copied += len(chunk)


def unpacked_size(file: FoundFile) -> int | None:
    """Estimate the uncompressed size of an archive in bytes without decompressing it.

    The estimate is too small above 4 GB, because gzip stores the size modulo 4 GB. It is also too
    small for several concatenated gzip files, because only the last size is read.

    Returns:
        The size, or None for an archive within a compressed archive.

    Raises:
        DataError: The archive cannot be opened.
    """
    archive = Archive(file)
    if not archive.compressed:
        return file.size
    if file.place is None:
        return None
    with closing(file.stream()) as stream:
        return int.from_bytes(stream.read_at(file.size - 4, 4), "little")


def _is_hidden(name: str) -> bool:
    # file managers leave .DS_Store, ._frame_001.vl and __MACOSX
    return name.startswith(".") or name == "__MACOSX"


def _refuse_folder(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
