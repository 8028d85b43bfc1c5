"""Vertex lists (.vl): a little-endian uint32 count, followed by three float32 per vertex."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.formats.archives import FoundFile, Span

SUFFIX = ".vl"
"""The suffix of vertex lists, in lower case."""

_COUNT = np.dtype("<u4")
_VERTEX = np.dtype(("<f4", 3))


def n_bytes(n_vertices: int) -> int:
    """Return the size in bytes of a file with ``n_vertices`` vertices."""
    return _COUNT.itemsize + n_vertices * _VERTEX.itemsize


def read_vl(file: BinaryIO, size: int, n_vertices: int, name: str) -> np.ndarray:
    """Read one vertex list.

    Args:
        file: The file, positioned at the first byte of the list.
        size: The size of the list in bytes.
        n_vertices: The expected vertex count.
        name: The name of the list in messages.

    Returns:
        (n_vertices, 3) float32 vertices in the unit of the file.

    Raises:
        DataError: The vertex count is not the expected one, the size does not match the count, or
            a vertex is not finite.
    """
    expected = n_bytes(n_vertices)
    content = file.read(min(size, expected))
    if len(content) < _COUNT.itemsize:
        raise DataError(f"{name}: not a vertex list: {len(content)} bytes, expected {expected}")
    count = int(np.frombuffer(content, _COUNT, 1)[0])
    if count != n_vertices:
        raise DataError(f"{name}: {count} vertices, expected {n_vertices}")
    if size != expected or len(content) != expected:
        got, what = (size, "too long") if size > expected else (len(content), "cut short")
        raise DataError(
            f"{name}: {what}, {got} bytes, expected {expected} for {n_vertices} vertices"
        )
    vertices = np.frombuffer(content, _VERTEX, offset=_COUNT.itemsize)
    if not np.isfinite(vertices).all():
        k = int(np.argmin(np.isfinite(vertices).all(axis=1)))
        raise DataError(f"{name}: vertex {k} is NaN or infinite")
    return vertices


def sort_by_number(files: Sequence[FoundFile]) -> tuple[np.ndarray, list[FoundFile]]:
    """Sort vertex lists by frame number, which is the last number in a file name.

    Returns:
        (n,) int64 frame numbers, strictly ascending, and the file of each number.

    Raises:
        DataError: A file name contains no number, or two files have the same number.
    """
    by_number: dict[int, FoundFile] = {}
    for file in files:
        digits = re.findall("[0-9]+", Path(file.name).stem)
        if not digits:
            raise DataError(f"{file.label}: the name contains no frame number")
        number = int(digits[-1])
        if number in by_number:
            raise DataError(
                f"{by_number[number].label} and {file.label} are both frame {number}; "
                "remove one of them"
            )
        by_number[number] = file
    numbers = sorted(by_number)
    return np.array(numbers, dtype=np.int64), [by_number[number] for number in numbers]


class VertexLists:
    """Numbered vertex lists, each of which is a file or a part of a file.

    Args:
        numbers: (n,) int64 frame numbers, strictly ascending.
        spans: The position of each list on disk.
        n_vertices: The expected vertex count of each list.

    Attributes:
        numbers: (n,) int64 frame numbers, strictly ascending.
    """

    def __init__(self, numbers: np.ndarray, spans: Sequence[Span], n_vertices: int) -> None:
        self.numbers = numbers
        self._spans = spans
        self._n_vertices = n_vertices
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def read_one(self, position: int) -> np.ndarray:
        """Return the (n_vertices, 3) float32 vertices at an index into ``numbers``.

        Raises:
            DataError: The file cannot be read or the list is invalid (see ``read_vl``). The message
                names the file and the frame.
        """
        span = self._spans[position]
        name = self.name(position)
        try:
            file = self._open(span.path)
            file.seek(span.offset)
            return read_vl(file, span.size, self._n_vertices, name)
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error

    def name(self, position: int) -> str:
        """Return the name of a frame in messages: its file and its frame number."""
        return f"{self._spans[position].label} (frame {self.numbers[position]})"

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()
        self._path, self._file = None, None

    def _open(self, path: Path) -> BinaryIO:
        if self._file is None or path != self._path:  # lists in one archive share a file
            self.close()
            self._file, self._path = path.open("rb"), path
        return self._file


@contextmanager
def vertex_lists(
    numbers: np.ndarray, spans: Sequence[Span], n_vertices: int
) -> Iterator[VertexLists]:
    """Yield ``VertexLists`` and close its file at the end."""
    lists = VertexLists(numbers, spans, n_vertices)
    try:
        yield lists
    finally:
        lists.close()
