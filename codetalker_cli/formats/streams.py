"""Bytes that can be read from any position: of a file, of a part of one, of what gzip holds."""

import zlib
from bisect import bisect_right
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from codetalker_cli.errors import DataError

GZIP = b"\x1f\x8b"
"""The first bytes of what gzip compressed."""
CHUNK_BYTES = 1 << 20
"""Bytes that are handled at a time."""

_INPUT_BYTES = 1 << 14
_MARK_EVERY = 1 << 26
_BOMB_BYTES, _BOMB_RATIO = 1 << 28, 200


class ByteStream(Protocol):
    """Something to read from at any position."""

    def read_at(self, position: int, n: int) -> bytes:
        """Up to ``n`` bytes; fewer only at the end."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class FileStream:
    """A file on disk.

    Raises:
        DataError: It cannot be opened, or (from :meth:`read_at`) read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error

    def read_at(self, position: int, n: int) -> bytes:
        """Up to ``n`` bytes; fewer only at the end."""
        try:
            self._file.seek(position)
            return self._file.read(n)
        except OSError as error:
            raise DataError(f"{self._path}: cannot be read ({error.strerror})") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StreamWindow:
    """A part of another stream, which it closes."""

    def __init__(self, base: ByteStream, offset: int, size: int) -> None:
        self._base, self._offset, self._size = base, offset, size

    def read_at(self, position: int, n: int) -> bytes:
        """Up to ``n`` bytes; none beyond the window."""
        n = min(n, self._size - position)
        return self._base.read_at(self._offset + position, n) if n > 0 else b""

    def close(self) -> None:
        """Close the stream it is a part of."""
        self._base.close()


class Mark(NamedTuple):
    """A point that decompression can go on from."""

    plain: int
    packed: int
    state: Any


def first_mark() -> list[Mark]:
    """The start, to which :class:`GzipStream` adds a mark every 64 MB as it reads."""
    return [Mark(0, 0, _new_decompressor())]


class GzipStream:
    """What gzip holds in another stream, which it closes; checked against its sums on the way.

    Args:
        base: The compressed bytes.
        marks: From :func:`first_mark`; shared by all that read the same file.
        label: What messages call it.

    Raises:
        DataError: From :meth:`read_at`: damaged, cut short, or a decompression bomb.
    """

    def __init__(self, base: ByteStream, marks: list[Mark], label: str) -> None:
        self._base, self._marks, self._label = base, marks, label
        self._seek_to(marks[0])

    def read_at(self, position: int, n: int) -> bytes:
        """Up to ``n`` bytes; reading onward is fast, going back starts at the mark before."""
        mark = self._marks[bisect_right(self._marks, position, key=lambda m: m.plain) - 1]
        if position < self._plain or mark.plain > self._plain:
            self._seek_to(mark)
        while self._plain < position:
            if not self._read_next(min(CHUNK_BYTES, position - self._plain)):
                return b""
        chunks = []
        while n > 0 and (chunk := self._read_next(min(CHUNK_BYTES, n))):
            chunks.append(chunk)
            n -= len(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Close the compressed stream."""
        self._base.close()

    def _seek_to(self, mark: Mark) -> None:
        self._plain, self._packed = mark.plain, mark.packed
        self._state = mark.state.copy()
        self._input = b""
        self._has_ended = False

    def _read_next(self, n: int) -> bytes:
        """Up to ``n`` bytes from where it stands; none at the end."""
        while not self._has_ended:
            if self._state.eof:
                self._start_next_member()
                continue
            if not self._input:
                self._input = self._base.read_at(self._packed, _INPUT_BYTES)
                self._packed += len(self._input)
                if not self._input:
                    raise DataError(f"{self._label}: the archive is cut short; fetch it again")
            try:
                chunk = self._state.decompress(self._input, n)
            except zlib.error as error:
                raise DataError(
                    f"{self._label}: the archive is damaged ({error}); fetch it again"
                ) from error
            self._input = self._state.unconsumed_tail
            self._plain += len(chunk)
            self._refuse_bomb()
            self._add_mark()
            if chunk:
                return chunk
        return b""

    def _start_next_member(self) -> None:
        """gzip files may follow each other; anything else after the last one is ignored."""
        # What decompression left over is read again from the base, and must not stand there twice.
        self._packed -= len(self._state.unused_data)
        self._input = b""
        if self._base.read_at(self._packed, len(GZIP)) == GZIP:
            self._state = _new_decompressor()
        else:
            self._has_ended = True

    def _add_mark(self) -> None:
        if self._plain - self._marks[-1].plain >= _MARK_EVERY and not self._state.eof:
            packed = self._packed - len(self._input)
            self._marks.append(Mark(self._plain, packed, self._state.copy()))

    def _refuse_bomb(self) -> None:
        if self._plain > _BOMB_BYTES and self._plain > _BOMB_RATIO * self._packed:
            raise DataError(
                f"{self._label}: {self._packed} bytes of it unpack to more than {self._plain}, "
                "which no recording does; take the archive from its original source"
            )


def _new_decompressor() -> Any:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
