"""Frames of one clip on disk: NumPy arrays, point caches, folders of meshes; unit and axes changed.

Files are mapped or read for the time of one ``read``: pages that were touched count as memory
for as long as a map lives, so a clip of any length takes the memory of one block.
"""

import re
import struct
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np

from codetalker_cli.arrays import map_array, read_npy_header
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats import meshes


class Frames(Protocol):
    """The frames of one raw clip, open for reading.

    Attributes:
        numbers: (n,) int64, strictly ascending: the number of each frame at the raw rate. A number
            that is left out is a hole.
    """

    numbers: np.ndarray

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(k, V, 3) vertices, float32 or float64, in the unit of the prepared data set.

        Args:
            positions: (k,) int64, ascending, indices into ``numbers``.

        Raises:
            DataError: A frame is damaged or of another vertex count; names file and frame.
        """
        ...


AXES = "x y z"
"""Recorded axes that point as ours do: to the subject's left, up, and the way the face looks."""

_PC2_HEADER = struct.Struct("<12siiffi")
_PC2_SIGNATURE = b"POINTCACHE2\0"
_PC2_STEPS = (0.05, 20.0)


class Pc2Header(NamedTuple):
    """What a point cache says of itself.

    Attributes:
        n_frames: Samples in the file.
        n_vertices: Points of a sample.
        step: Frames of the scene between two samples; 1 in nearly all files.
    """

    n_frames: int
    n_vertices: int
    step: float


def open_array(path: Path, n_vertices: int | None = None) -> np.ndarray:
    """Memory map (T, V, 3) of a .npy file of (T, V, 3) or (T, 3V) floating-point numbers.

    Args:
        path: The file; Python objects in it are never read.
        n_vertices: V, or None if any will do.

    Raises:
        InputError: Missing.
        DataError: Not such a file, cut short, without frames, or of another vertex count.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    header = read_npy_header(path)
    shape, dtype = header.shape, header.dtype
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise DataError(f"{path}: holds {dtype} numbers, expected float16, float32 or float64")
    if header.fortran_order and len(shape) > 1:
        raise DataError(
            f"{path}: is stored column by column (Fortran order), so that no frame can be read "
            "alone; save it from np.ascontiguousarray"
        )
    if len(shape) == 2 and shape[1] % 3 == 0:
        shape = (shape[0], shape[1] // 3, 3)
    if len(shape) != 3 or shape[2] != 3:
        found_shape = shape if len(shape) < 8 else f"of {len(shape)} dimensions"
        raise DataError(
            f"{path}: is {found_shape}, expected (frames, vertices, 3) or (frames, 3 vertices)"
        )
    if n_vertices is not None and shape[1] != n_vertices:
        raise DataError(f"{path}: its frames have {shape[1]} vertices, expected {n_vertices}")
    if shape[0] == 0:
        raise DataError(f"{path}: holds no frame")
    try:
        n_frames = header.count_whole_rows(path)
    except OSError as error:  # gone since
        raise DataError(f"{path}: cannot be read ({error})") from error
    if n_frames < shape[0]:
        raise DataError(
            f"{path}: cut short: it holds {n_frames} whole frames of {shape[0]}; copy or export "
            "it again"
        )
    return map_array(path, header._replace(shape=shape))


def read_pc2_header(path: Path) -> Pc2Header:
    """Check a .pc2 point cache without reading its frames.

    Raises:
        InputError: Missing.
        DataError: Not such a file, cut short, or without frames.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            content = file.read(_PC2_HEADER.size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) < _PC2_HEADER.size or not content.startswith(_PC2_SIGNATURE):
        raise DataError(f"{path}: not a point cache (no POINTCACHE2 header)")
    _, version, n_vertices, _, step, n_frames = _PC2_HEADER.unpack(content)
    if version != 1:
        raise DataError(f"{path}: a point cache of version {version}, expected 1")
    if n_vertices <= 0 or n_frames <= 0:
        raise DataError(f"{path}: holds {n_frames} frames of {n_vertices} points")
    if not _PC2_STEPS[0] <= step <= _PC2_STEPS[1]:
        raise DataError(
            f"{path}: its header tells {step:g} frames between two samples, expected about 1 "
            "(it is no frame rate); export it with a sampling of 1"
        )
    frame_bytes = n_vertices * 12
    n_bytes = path.stat().st_size - _PC2_HEADER.size
    if n_bytes != n_frames * frame_bytes:
        raise DataError(
            f"{path}: holds {n_bytes / frame_bytes:.6g} frames of {n_vertices} points, its header "
            f"tells {n_frames}; copy or export it again"
        )
    return Pc2Header(n_frames, n_vertices, step)


class FrameSource(AbstractContextManager["FrameSource"]):
    """Base class of the sources of ``Frames`` that need no closing."""

    numbers: np.ndarray

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(k, V, 3) vertices; see ``Frames``."""
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is open between two reads."""


class NpyFrames(FrameSource):
    """A .npy file, (T, V, 3) or (T, 3V).

    Args:
        path: The file.
        n_vertices: V.

    Raises:
        InputError: Missing.
        DataError: See ``open_array``.
    """

    def __init__(self, path: Path, n_vertices: int) -> None:
        self._path, self._n_vertices = path, n_vertices
        self.numbers = np.arange(len(open_array(path, n_vertices)))

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(k, V, 3) in the file's own type; float32 of float16."""
        return _to_floats(open_array(self._path, self._n_vertices)[positions])


class Pc2Frames(FrameSource):
    """A .pc2 point cache.

    Args:
        path: The file.
        n_vertices: V.

    Raises:
        InputError: Missing.
        DataError: See ``read_pc2_header``; another vertex count.
    """

    def __init__(self, path: Path, n_vertices: int) -> None:
        header = read_pc2_header(path)
        if header.n_vertices != n_vertices:
            raise DataError(
                f"{path}: its frames have {header.n_vertices} vertices, expected {n_vertices}"
            )
        self._path, self._shape = path, (header.n_frames, n_vertices, 3)
        self.numbers = np.arange(header.n_frames)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(k, V, 3) float32."""
        try:
            frames = np.memmap(self._path, "<f4", "r", _PC2_HEADER.size, self._shape)
        except (OSError, ValueError) as error:
            raise DataError(f"{self._path}: cannot be read ({error})") from error
        return _to_floats(frames[positions])


def _to_floats(array: np.ndarray) -> np.ndarray:
    """A copy in memory, in this machine's byte order; float32 of float16."""
    wide = np.float64 if array.dtype.itemsize == 8 else np.float32
    return np.array(array, dtype=wide)


class MeshSequence(FrameSource):
    """A folder with one mesh file for each frame, numbered by the last number in its name.

    Args:
        folder: The folder; other files in it do not matter.
        n_vertices: V.

    Raises:
        InputError: No such folder.
        DataError: No mesh in it, meshes of several kinds, a name without a number, or a number
            twice.
    """

    def __init__(self, folder: Path, n_vertices: int) -> None:
        files = frame_numbers(folder, meshes_in(folder))
        if not files:
            raise DataError(f"{folder}: holds no {meshes.SUFFIX_LIST} files")
        self._files, self._n_vertices = list(files.values()), n_vertices
        self.numbers = np.array(list(files), dtype=np.int64)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(k, V, 3) float64."""
        frames = np.empty((len(positions), self._n_vertices, 3))
        for frame, position in zip(frames, positions, strict=True):
            path = self._files[position]
            vertices = meshes.read_vertices(path)
            if len(vertices) != self._n_vertices:
                raise DataError(
                    f"{path}: frame {self.numbers[position]} has {len(vertices)} vertices, "
                    f"expected {self._n_vertices}"
                )
            frame[:] = vertices
        return frames


def meshes_in(folder: Path) -> list[Path]:
    """The mesh files of a folder by name; hidden ones (``._x.obj``) are skipped.

    Raises:
        InputError: No such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in meshes.SUFFIXES and not path.name.startswith(".")
    )


def frame_numbers(folder: Path, files: Sequence[Path]) -> dict[int, Path]:
    """Frame number → file, in ascending order.

    Raises:
        DataError: Files of several kinds, a name without a number, or a number twice.
    """
    kinds = sorted({path.suffix.lower() for path in files})
    if len(kinds) > 1:
        raise DataError(f"{folder}: holds {' and '.join(kinds)} files; keep those of one kind")
    by_number: dict[int, Path] = {}
    for path in files:
        digits = re.findall(r"[0-9]+", path.stem)
        if not digits:
            raise DataError(f"{path}: its name holds no frame number; move it out of the sequence")
        number = int(digits[-1][-18:])
        if number in by_number:
            raise DataError(
                f"{folder}: {by_number[number].name} and {path.name} are both frame {number}"
            )
        by_number[number] = path
    return dict(sorted(by_number.items()))


class AxisMap(NamedTuple):
    """How recorded vectors become ours: ``vectors[..., order] * factors``.

    Attributes:
        order: (3,) recorded axis of each of ours.
        factors: (3,) float64 sign and scale.
    """

    order: np.ndarray
    factors: np.ndarray

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """(..., 3) vectors in their own floating-point type."""
        return (vectors[..., self.order] * self.factors).astype(vectors.dtype, copy=False)

    @property
    def is_identity(self) -> bool:
        """Whether recorded vectors are ours already."""
        return self.order.tolist() == [0, 1, 2] and self.factors.tolist() == [1.0, 1.0, 1.0]


def axis_map(axes: str = AXES, scale: float = 1.0) -> AxisMap:
    """From three recorded axes and the meters in a recorded unit.

    Args:
        axes: Those that point to the subject's left, up, and the way the face looks, each once,
            with a minus where turned round: ``x z -y``.
        scale: Of all lengths.

    Raises:
        InputError: Not such axes.
    """
    words = axes.split()
    names = [word.removeprefix("-") for word in words]
    if sorted(names) != ["x", "y", "z"]:
        raise InputError(f"axes {axes!r} must name each of x, y and z once, such as 'x z -y'")
    signs = [-1.0 if word.startswith("-") else 1.0 for word in words]
    return AxisMap(np.array(["xyz".index(name) for name in names]), np.array(signs) * scale)


class ConvertedFrames(FrameSource):
    """Frames of another source in our unit and axes.

    Args:
        source: The raw frames.
        change: See ``axis_map``.
    """

    def __init__(self, source: Frames, change: AxisMap) -> None:
        self._source, self._change = source, change
        self.numbers = source.numbers

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(k, V, 3) in the source's own floating-point type."""
        vertices = self._source.read(positions)
        return vertices if self._change.is_identity else self._change.apply(vertices)
