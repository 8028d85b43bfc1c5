"""Check all members of a tar archive and list the position of each regular file in it.

The names in an archive are never used as paths on disk. Names that point outside the archive's
folder are refused nevertheless, because other programs would follow them.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from codetalker_cli.errors import DataError
from codetalker_cli.formats.streams import CHUNK_BYTES, ByteStream, StreamReader
from codetalker_cli.settings.limits import active

_BLOCK = 512
_MAX_HEADER = 1 << 20
MAX_MEMBERS = 1_000_000
_MAX_LINKS = 8
_VOLUME_LABEL = b"V"
_ORIGINAL = "download the archive from its original source"

Parts = tuple[str, ...]


class Member(NamedTuple):
    """A regular file in an archive: the parts of its path, and its offset and size in bytes."""

    parts: Parts
    offset: int
    size: int


def list_members(stream: ByteStream, label: str) -> list[Member]:
    """Check all members of a tar archive and return its regular files in storage order.

    A link to a file in the archive is returned as that file under the name of the link. A name that
    occurs twice is returned twice.

    Args:
        stream: The uncompressed bytes of the archive.
        label: The name of the archive in messages.

    Raises:
        DataError: The archive is damaged or incomplete, or a member has a path outside the
            archive's folder or is not a file, folder or link. The message names the archive and
            the member.
    """
    members: list[Member] = []
    links: dict[Parts, Parts] = {}
    for info in _headers(stream, label):
        parts = _check_parts(info, label)
        if not parts:  # the folder itself
            continue
        if info.isreg():
            members.append(Member(parts, info.offset_data, info.size))
        elif info.issym() or info.islnk():
            links[parts] = _check_target(info, parts, label)
    return sorted(members + _resolve_links(links, members), key=lambda member: member.offset)


class _TarBytes(StreamReader):
    """A stream for ``tarfile`` that refuses implausible sizes, which ``tarfile`` would trust."""

    def __init__(self, stream: ByteStream, label: str) -> None:
        super().__init__(stream)
        self._label = label

    def read(self, n: int) -> bytes:
        if not 0 <= n <= _MAX_HEADER or self.tell() < 0:
            raise DataError(f"{self._label}: it contains an implausible header; {_ORIGINAL}")
        return super().read(n)


def _headers(stream: ByteStream, label: str) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of all members. Damage that ``tarfile`` tolerates is an error here."""
    end = -1
    try:
        fileobj: Any = _TarBytes(stream, label)
        with tarfile.open(fileobj=fileobj, mode="r:", errors="surrogateescape") as tar:
            untyped_tar: Any = tar
            for n_members in range(MAX_MEMBERS + 1):
                info = tar.next()
                if info is None:
                    break
                if info.size < 0 or info.offset_data <= end or n_members == MAX_MEMBERS:
                    raise DataError(f"{label}: it contains an implausible header; {_ORIGINAL}")
                end = info.offset_data
                if end + info.size > active().archive_gb * 1e9:
                    raise DataError(
                        f"{label}: it unpacks to more than {active().archive_gb:g} GB; "
                        "if you trust the file, raise the setting limits.archive_gb"
                    )
                untyped_tar.members.clear()  # tarfile would keep every member in memory
                yield info
            end = tar.offset
    except DataError:
        raise
    except Exception as error:  # a damaged header can raise almost any exception
        raise DataError(f"{label}: damaged or cut short ({error}); download it again") from error
    end_block = stream.read_at(end, _BLOCK)
    if end_block != bytes(_BLOCK):
        what = "cut short" if len(end_block) < _BLOCK else "damaged"
        raise DataError(f"{label}: the archive is {what} at byte {end}; download it again")
    while tail := stream.read_at(end, CHUNK_BYTES):  # reading to the end checks the gzip checksum
        end += len(tail)


def _check_parts(info: tarfile.TarInfo, label: str) -> Parts:
    """Return the parts of a member's path. Refuse a path outside the archive's folder."""
    parts = _resolve_path((), info.name)
    what = f"{label}: member {info.name!r}"
    if parts is None or ".." in info.name.replace("\\", "/").split("/"):
        raise DataError(f"{what} points outside the archive's folder; {_ORIGINAL}")
    if info.ischr() or info.isblk() or info.isfifo():
        raise DataError(f"{what} is a device or a pipe, not a file; {_ORIGINAL}")
    if info.issparse():
        raise DataError(f"{what} is stored as a sparse file; unpack the archive with tar")
    known = info.isreg() or info.isdir() or info.issym() or info.islnk()
    if not known and info.type != _VOLUME_LABEL:
        raise DataError(f"{what} is of type {info.type!r}, not a file; unpack the archive with tar")
    return parts


def _check_target(info: tarfile.TarInfo, parts: Parts, label: str) -> Parts:
    """Return the path that a link points to. Refuse a target outside the archive's folder."""
    target = _resolve_path(parts[:-1] if info.issym() else (), info.linkname)
    if target is None:
        raise DataError(
            f"{label}: member {info.name!r} is a link to {info.linkname!r}, outside the archive's "
            f"folder; {_ORIGINAL}"
        )
    return target


def _resolve_path(folder: Parts, name: str) -> Parts | None:
    """Resolve a POSIX or Windows path relative to a folder. Return None if it points outside."""
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return None
    parts = list(folder)
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def _resolve_links(links: dict[Parts, Parts], members: list[Member]) -> list[Member]:
    """Return the target file of each link under the link's name. Other links are dropped."""
    files = {member.parts: member for member in members} if links else {}
    resolved = []
    for parts, target in links.items():
        for _ in range(_MAX_LINKS):
            target = links.get(target, target)
        if target in files:
            resolved.append(files[target]._replace(parts=parts))
    return resolved


def size_of(content: int) -> int:
    """Return how many bytes a file of ``content`` bytes takes in an archive."""
    return _BLOCK + -(-content // _BLOCK) * _BLOCK
