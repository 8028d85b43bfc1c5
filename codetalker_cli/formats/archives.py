"""Files in folders and in tar archives, also in archives within archives.

No archive is unpacked by the names in it: its members are listed and checked first, then read by
where they lie. Plain tar members are read in place. Those of compressed archives are copied, one
after another, into a temporary folder for as long as they are needed.
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
"""Of the names of archives; whether one is compressed, its first bytes tell."""

_OTHER_FORMATS = {
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
}
_MAX_DEPTH = 4
_MAX_OPEN = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class FoundFile:
    """A file below a folder, perhaps within archives.

    Attributes:
        root: The folder that was walked.
        parts: Names below it: folders, archives, folders in them, the file's own name.
        size: Bytes.
        archive: The archive it is in, or None.
        offset: Where it begins in that archive's tar bytes.
    """

    root: Path
    parts: tuple[str, ...]
    size: int
    archive: "Archive | None" = None
    offset: int = 0

    @property
    def name(self) -> str:
        """Its own name."""
        return self.parts[-1]

    @property
    def is_archive(self) -> bool:
        """Whether its name is an archive's."""
        return SUFFIX.search(self.name) is not None

    @property
    def disk(self) -> Path:
        """The file on disk that holds it: itself, or the outermost archive."""
        return self.root.joinpath(*self.parts) if self.archive is None else self.archive.file.disk

    @property
    def label(self) -> str:
        """What messages call it: ``faces/F1.tar: e01/frame_001.vl``; always one line."""
        if self.archive is None:
            return printable(self.disk)
        outer = self.archive.file
        return f"{outer.label}: {printable('/'.join(self.parts[len(outer.parts) :]))}"

    @property
    def place(self) -> tuple[Path, int] | None:
        """File on disk and offset where its bytes lie as they are; None if compressed."""
        if self.archive is None:
            return self.disk, 0
        outer = None if self.archive.compressed else self.archive.file.place
        return None if outer is None else (outer[0], outer[1] + self.offset)

    def stream(self) -> ByteStream:
        """Its bytes; to be closed.

        Raises:
            DataError: It cannot be opened.
        """
        if self.archive is None:
            return FileStream(self.disk)
        return StreamWindow(self.archive.stream(), self.offset, self.size)


class Archive:
    """A tar archive, compressed or not.

    Raises:
        DataError: It cannot be opened, or is an archive of another kind.
    """

    def __init__(self, file: FoundFile) -> None:
        self.file = file
        with closing(file.stream()) as stream:
            start = stream.read_at(0, 8)
        for magic, what in _OTHER_FORMATS.items():
            if start.startswith(magic):
                raise DataError(f"{file.label}: is {what}, not .tar or .tgz; unpack it there")
        self.compressed = start.startswith(GZIP)
        self._unpacked: GzipStream | None = None

    def stream(self) -> ByteStream:
        """Return its tar bytes, to be closed.

        Those of a compressed archive are shared and stay open for a while, so that the next member
        is found without decompressing all before it again.
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
    """Close the stream that was used longest ago: a process may open few files at a time."""
    with suppress(ValueError):
        _open_streams.remove(stream)
    _open_streams.append(stream)
    if len(_open_streams) > _MAX_OPEN:
        _open_streams.popleft().close()


class _Shared:
    """A stream that others read too, and that closing therefore leaves open."""

    def __init__(self, stream: ByteStream) -> None:
        self.read_at = stream.read_at

    def close(self) -> None:
        pass


class Span(NamedTuple):
    """Where the bytes of a file lie on disk, and what messages call it."""

    path: Path
    offset: int
    size: int
    label: str


def walk(root: Path) -> Iterator[FoundFile]:
    """The files of a folder, sorted; links are followed, hidden files left out, archives closed.

    Raises:
        InputError: A folder cannot be read.
    """
    seen: set[str] = set()
    for folder, names, files in os.walk(root, onerror=_refuse_folder, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
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
                logger.warning("%s: left out (%s)", os.path.join(folder, name), error.strerror)
                continue
            yield FoundFile(root, (*above, name), size)


def contents(
    file: FoundFile,
    enter: Callable[[FoundFile], bool],
    failed: list[tuple[FoundFile, DataError]],
    depth: int = 1,
) -> list[FoundFile]:
    """The files of an archive; of archives in it too, if wanted.

    Args:
        file: The archive.
        enter: Whether an archive within is to be replaced by what it holds.
        failed: Gets the archives that cannot be listed; nothing of those is given.
        depth: How many archives deep this is.
    """
    try:
        if depth > _MAX_DEPTH:
            raise DataError(f"{file.label}: more than {_MAX_DEPTH} archives within each other")
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
    """The regular files of a tar archive, in the order of their bytes; all members are checked.

    Hidden files are left out; links to files within the archive stand for those files; a name
    that is there twice is given twice.

    Raises:
        DataError: Not a whole tar archive, a member that would leave the folder or is no file, or
            far more data than the size of the archive makes likely; names archive and member.
    """
    archive = Archive(file)
    if archive.compressed and file.size > 64 * CHUNK_BYTES:
        logger.info("%s: compressed, reading all of it once", file.label)
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
    """Where each of some files lies on disk; those in compressed archives are unpacked meanwhile.

    Args:
        files: In any order, which the result has too.
        scratch: Folder for what is unpacked; None: the system's. Nothing stays there.
        max_bytes: A larger file is refused before it is unpacked.

    Raises:
        DataError: An archive is damaged, a file in it too large, or the scratch folder is full.
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
    """A path of the file alone; what is in an archive is copied for the time.

    Raises:
        DataError: As ``on_disk``.
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
    """One temporary file that holds all of ``files``, and where each (by its id) begins."""
    for file in files:
        if file.size > max_bytes:
            raise DataError(f"{file.label}: {file.size} bytes, expected at most {max_bytes}")
    offsets: dict[int, int] = {}
    with ExitStack() as stack:
        try:  # not around the yield: what goes wrong there is not of the unpacking
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
            f"{files[0].label}: unpacking takes {needed} bytes, but {folder.parent} has {free} "
            "free; unpack the archive elsewhere, or free some space"
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
    """Bytes of an archive's tar, at a glance; None where only reading all of it would tell.

    Of what gzip compressed it is a guess: larger ones than 4 GB, or of several parts, end with
    less.

    Raises:
        DataError: It cannot be opened.
    """
    archive = Archive(file)
    if not archive.compressed:
        return file.size
    if file.place is None:
        return None
    with closing(file.stream()) as stream:
        return int.from_bytes(stream.read_at(file.size - 4, 4), "little")


def _is_hidden(name: str) -> bool:
    """Left by file managers: ``.DS_Store``, ``._frame_001.vl``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def _refuse_folder(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
