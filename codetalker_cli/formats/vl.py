"""Vertex lists (.vl): a little-endian uint32 count, then three float32 for each vertex."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.formats.archives import FoundFile, Span

SUFFIX = ".vl"
"""Of such files, in lower case."""

_COUNT = np.dtype("<u4")
_VERTEX = np.dtype(("<f4", 3))


def n_bytes(n_vertices: int) -> int:
    """Size of a file of so many vertices."""
    return _COUNT.itemsize + n_vertices * _VERTEX.itemsize


def read_vl(file: BinaryIO, size: int, n_vertices: int, name: str) -> np.ndarray:
    """One vertex list.

    Args:
        file: Stands at its first byte.
        size: Its bytes.
        n_vertices: How many vertices it should have.
        name: What messages call it.

    Returns:
        (n_vertices, 3) float32, in the file's unit.

    Raises:
        DataError: Of another vertex count, cut short, longer than its count says, or with a
            vertex that is not finite.
    """
    expected = n_bytes(n_vertices)
    content = file.read(min(size, expected))
    if len(content) < _COUNT.itemsize:
        raise DataError(f"{name}: {len(content)} bytes, expected {expected}: not a vertex list")
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
    """Vertex lists in the order of their frame numbers: the last digits of their names.

    Returns:
        (n,) int64 numbers, strictly ascending, and the files.

    Raises:
        DataError: A name has no number, or two have the same; names them.
    """
    by_number: dict[int, FoundFile] = {}
    for file in files:
        digits = re.findall("[0-9]+", Path(file.name).stem)
        if not digits:
            raise DataError(f"{file.label}: no frame number in its name")
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
    """Numbered vertex lists, each a file or a part of one.

    Args:
        numbers: (n,) int64, strictly ascending.
        spans: Where each of them lies.
        n_vertices: How many vertices each should have.

    Attributes:
        numbers: As given.
    """

    def __init__(self, numbers: np.ndarray, spans: Sequence[Span], n_vertices: int) -> None:
        self.numbers = numbers
        self._spans = spans
        self._n_vertices = n_vertices
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def read_one(self, position: int) -> np.ndarray:
        """(n_vertices, 3) float32 of the list at an index into ``numbers``.

        Raises:
            DataError: As ``read_vl``, or the file is gone; names file and frame.
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
        """What messages call a frame: its file and its number."""
        return f"{self._spans[position].label} (frame {self.numbers[position]})"

    def close(self) -> None:
        """Close the file that was read last."""
        if self._file is not None:
            self._file.close()
        self._path, self._file = None, None

    def _open(self, path: Path) -> BinaryIO:
        if self._file is None or path != self._path:  # lists in one archive share its file
            self.close()
            self._file, self._path = path.open("rb"), path
        return self._file


@contextmanager
def vertex_lists(
    numbers: np.ndarray, spans: Sequence[Span], n_vertices: int
) -> Iterator[VertexLists]:
    """``VertexLists`` whose file is closed at the end."""
    lists = VertexLists(numbers, spans, n_vertices)
    try:
        yield lists
    finally:
        lists.close()
