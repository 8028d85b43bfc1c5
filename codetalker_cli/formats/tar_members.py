"""What a tar archive holds: where each regular file lies in it, all members checked beforehand.

The names in it are never used as paths on disk; they are refused all the same where they would
lead out of the folder that the archive is in, since other programs would follow them.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from codetalker_cli.errors import DataError
from codetalker_cli.formats.streams import CHUNK_BYTES, ByteStream, StreamReader

_BLOCK = 512
_MAX_HEADER = 1 << 20
MAX_MEMBERS = 1_000_000
_MAX_LINKS = 8
_VOLUME_LABEL = b"V"
_ORIGINAL = "nothing of it is used; take the archive from its original source"

Parts = tuple[str, ...]


class Member(NamedTuple):
    """A regular file in an archive: the names that lead to it, and where its bytes lie."""

    parts: Parts
    offset: int
    size: int


def list_members(stream: ByteStream, label: str) -> list[Member]:
    """The regular files, in the order of their bytes.

    Links to files within the archive stand for those files; a name that is there twice is given
    twice.

    Args:
        stream: The archive's bytes, not compressed.
        label: What messages call it.

    Raises:
        DataError: Not a whole tar archive, or a member that would leave the folder, or is neither
            file, folder nor link; names archive and member.
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
    """What ``tarfile`` reads headers from. It trusts the sizes in them; this does not."""

    def __init__(self, stream: ByteStream, label: str) -> None:
        super().__init__(stream)
        self._label = label

    def read(self, n: int) -> bytes:
        if not 0 <= n <= _MAX_HEADER or self.tell() < 0:
            raise DataError(f"{self._label}: not a tar archive that makes sense; {_ORIGINAL}")
        return super().read(n)


def _headers(stream: ByteStream, label: str) -> Iterator[tarfile.TarInfo]:
    """All members of a tar archive, to its very end; what ``tarfile`` passes over is an error."""
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
                    raise DataError(f"{label}: not a tar archive that makes sense; {_ORIGINAL}")
                end = info.offset_data
                untyped_tar.members.clear()  # they would pile up
                yield info
            end = tar.offset
    except DataError:
        raise
    except Exception as error:  # a damaged header raises nearly anything
        raise DataError(f"{label}: damaged or cut short ({error}); fetch it again") from error
    end_block = stream.read_at(end, _BLOCK)
    if end_block != bytes(_BLOCK):
        what = "cut short" if len(end_block) < _BLOCK else "damaged"
        raise DataError(f"{label}: the archive is {what} at byte {end}; fetch it again")
    while tail := stream.read_at(end, CHUNK_BYTES):  # the sum of what is compressed comes last
        end += len(tail)


def _check_parts(info: tarfile.TarInfo, label: str) -> Parts:
    """The names that lead to a member; what would leave the folder is refused."""
    parts = _resolve_path((), info.name)
    what = f"{label}: member {info.name!r}"
    if parts is None or ".." in info.name.replace("\\", "/").split("/"):
        raise DataError(f"{what} leads out of the folder it is in; {_ORIGINAL}")
    if info.ischr() or info.isblk() or info.isfifo():
        raise DataError(f"{what} is a device or a pipe, not a file; {_ORIGINAL}")
    if info.issparse():
        raise DataError(f"{what} is stored as a sparse file; unpack the archive with tar")
    known = info.isreg() or info.isdir() or info.issym() or info.islnk()
    if not known and info.type != _VOLUME_LABEL:
        raise DataError(f"{what} is of type {info.type!r}, not a file; unpack the archive with tar")
    return parts


def _check_target(info: tarfile.TarInfo, parts: Parts, label: str) -> Parts:
    """The member that a link leads to; a link out of the archive is refused."""
    target = _resolve_path(parts[:-1] if info.issym() else (), info.linkname)
    if target is None:
        raise DataError(
            f"{label}: member {info.name!r} is a link to {info.linkname!r}, out of the folder "
            f"it is in; {_ORIGINAL}"
        )
    return target


def _resolve_path(folder: Parts, name: str) -> Parts | None:
    """Where a path leads from a folder; None if that is outside. Windows's paths count too."""
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
    """Links to files, as those files by another name; a link to anything else leads nowhere."""
    files = {member.parts: member for member in members} if links else {}
    resolved = []
    for parts, target in links.items():
        for _ in range(_MAX_LINKS):
            target = links.get(target, target)
        if target in files:
            resolved.append(files[target]._replace(parts=parts))
    return resolved


def size_of(content: int) -> int:
    """Bytes that a file of so many bytes takes in an archive."""
    return _BLOCK + -(-content // _BLOCK) * _BLOCK
