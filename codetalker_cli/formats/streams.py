"""Byte streams with random access: files, parts of files and gzip-compressed files."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import IO, Protocol, cast

from codetalker_cli.errors import DataError
from codetalker_cli.text_files import check_file

GZIP = b"\x1f\x8b"
"""The first bytes of gzip-compressed data."""
CHUNK_BYTES = 1 << 20
"""The block size of large reads and copies, in bytes."""

_MAX_READERS = 4
# A stream is a decompression bomb if it exceeds both this size and this compression ratio.
BOMB_BYTES, _BOMB_RATIO = 1 << 28, 200


class ByteStream(Protocol):
    """A stream of bytes that can be read at any position."""

    def read_at(self, position: int, n: int) -> bytes:
        """Return ``n`` bytes from a position, or fewer at the end of the stream."""
        ...

    def close(self) -> None:
        """Close the underlying file."""
        ...


class FileStream:
    """A file on disk.

    Raises:
        DataError: The file cannot be opened or, in ``read_at``, cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        check_file(path, DataError)
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error

    def read_at(self, position: int, n: int) -> bytes:
        """Return ``n`` bytes from a position, or fewer at the end of the stream."""
        try:
            self._file.seek(position)
            return self._file.read(n)
        except OSError as error:
            raise DataError(f"{self._path}: cannot be read ({error.strerror})") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StreamWindow:
    """A part of another stream. Closing the part closes the other stream too."""

    def __init__(self, base: ByteStream, offset: int, size: int) -> None:
        self._base, self._offset, self._size = base, offset, size

    def read_at(self, position: int, n: int) -> bytes:
        """Return ``n`` bytes from a position, or fewer at the end of the window."""
        n = min(n, self._size - position)
        return self._base.read_at(self._offset + position, n) if n > 0 else b""

    def close(self) -> None:
        """Close the underlying stream."""
        self._base.close()


class StreamReader:
    """A stream with a current position, as the standard library expects of a file."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._position = 0

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def seek(self, position: int) -> int:
        """Move to a position."""
        self._position = position
        return position

    def read(self, n: int) -> bytes:
        """Return up to ``n`` bytes from the current position, and advance it."""
        content = self._stream.read_at(self._position, n)
        self._position += len(content)
        return content


class _GzipReader:
    """A decompressor with its own position in the compressed bytes."""

    def __init__(self, base: ByteStream) -> None:
        self.packed = StreamReader(base)
        self.plain = gzip.GzipFile(fileobj=cast(IO[bytes], self.packed), mode="rb")


class GzipStream:
    """The decompressed bytes of another stream, checked against the checksums in the gzip data.

    gzip data can only be decompressed forward. The most recent decompressors stay open, so
    alternating between parts does not restart the decompression if each part is read in order.

    Args:
        open_base: A function that opens the compressed bytes. It is called again after a ``close``.
        label: The name of the stream in messages.

    Raises:
        DataError: In ``read_at``: the stream cannot be opened, is damaged or cut short, or is a
            decompression bomb.
    """

    def __init__(self, open_base: Callable[[], ByteStream], label: str) -> None:
        self._open_base, self._label = open_base, label
        self._base: ByteStream | None = None
        self._readers: list[_GzipReader] = []
        self._lock = Lock()

    def read_at(self, position: int, n: int) -> bytes:
        """Return ``n`` bytes from a position, or fewer at the end of the stream."""
        with self._lock:
            reader = self._reader_before(position)
            try:
                while (left := position - reader.plain.tell()) > 0:
                    if not self._read(reader, min(CHUNK_BYTES, left)):
                        return b""
                content = self._read(reader, n)
            except EOFError as error:
                raise DataError(
                    f"{self._label}: the archive is cut short; download it again"
                ) from error
            except (gzip.BadGzipFile, zlib.error) as error:
                raise DataError(
                    f"{self._label}: the archive is damaged ({error}); download it again"
                ) from error
            self._readers.append(reader)  # a reader that failed is not reused
            return content

    def close(self) -> None:
        """Close the compressed stream. The next read opens it again."""
        with self._lock:
            self._readers.clear()
            if self._base is not None:
                self._base.close()
            self._base = None

    def _reader_before(self, position: int) -> _GzipReader:
        """Take the open reader that is closest before a position, or create one."""
        if self._base is None:
            self._base = self._open_base()
        places = [reader.plain.tell() for reader in self._readers]
        before = max((place for place in places if place <= position), default=None)
        if before is not None:
            return self._readers.pop(places.index(before))
        del self._readers[: len(self._readers) - _MAX_READERS + 1]
        return _GzipReader(self._base)

    def _read(self, reader: _GzipReader, n: int) -> bytes:
        content = reader.plain.read(n)
        plain, packed = reader.plain.tell(), reader.packed.tell()
        if plain > BOMB_BYTES and plain > _BOMB_RATIO * packed:
            raise DataError(
                f"{self._label}: {packed} compressed bytes unpack to more than {plain}, which is "
                "implausible for a data set; download the archive from its original source"
            )
        return content
