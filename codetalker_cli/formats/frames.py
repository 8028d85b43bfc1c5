"""The frames of one clip on disk: NumPy arrays, point caches and folders of meshes.

A file is mapped separately for each ``read``, because the pages that were read count as used memory
until the map is closed. A clip of any length therefore needs only the memory of one block.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np

from codetalker_cli.arrays import map_array, read_npy_header
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats import meshes
from codetalker_cli.formats.point_caches import PC2_HEADER, read_pc2_header
from codetalker_cli.text_files import check_file


class Frames(Protocol):
    """The frames of one raw clip, open for reading.

    Attributes:
        numbers: (n,) int64 frame numbers at the raw frame rate, strictly ascending. A number that
            does not occur is a missing frame.
    """

    numbers: np.ndarray

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return (k, V, 3) float32 or float64 vertices in the unit of the prepared data set.

        Args:
            positions: (k,) int64 ascending indices into ``numbers``.

        Raises:
            DataError: A frame is damaged or has the wrong vertex count. The message names the file
                and the frame.
        """
        ...


AXES = "x y z"
"""Our axes: x points to the subject's left, y up, and z in the direction the face looks."""


def open_array(path: Path, n_vertices: int | None = None) -> np.ndarray:
    """Memory-map a .npy file of (T, V, 3) or (T, 3V) floating-point numbers as (T, V, 3).

    Args:
        path: The file. Python objects in it are never loaded.
        n_vertices: The expected vertex count V, or None to accept any.

    Raises:
        InputError: The file is missing.
        DataError: The file has an unexpected format or shape, is cut short, contains no frames or
            has the wrong vertex count.
    """
    check_file(path)
    header = read_npy_header(path)
    shape, dtype = header.shape, header.dtype
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise DataError(f"{path}: contains {dtype}, expected float16, float32 or float64")
    if header.fortran_order and len(shape) > 1:
        raise DataError(
            f"{path}: the array is stored in Fortran order, so its frames cannot be read one by "
            "one; save it again with np.ascontiguousarray"
        )
    if len(shape) == 2 and shape[1] % 3 == 0:
        shape = (shape[0], shape[1] // 3, 3)
    if len(shape) != 3 or shape[2] != 3:
        found = f"shape {shape}" if len(shape) < 8 else f"{len(shape)} dimensions"
        hint = "; transpose its last two axes" if shape[1:2] == (3,) and len(shape) == 3 else ""
        raise DataError(
            f"{path}: the array has {found}, expected (frames, vertices, 3) or (frames, 3 * "
            f"vertices){hint}"
        )
    if n_vertices is not None and shape[1] != n_vertices:
        raise DataError(f"{path}: its frames have {shape[1]} vertices, expected {n_vertices}")
    if shape[0] == 0:
        raise DataError(f"{path}: contains no frames")
    try:
        n_frames = header.count_whole_rows(path)
    except OSError as error:  # deleted since its header was read
        raise DataError(f"{path}: cannot be read ({error})") from error
    if n_frames < shape[0]:
        raise DataError(
            f"{path}: cut short: it contains only {n_frames} of {shape[0]} frames; "
            "copy or export it again"
        )
    return map_array(path, header._replace(shape=shape))


class FrameSource(AbstractContextManager["FrameSource"]):
    """The base class of ``Frames`` implementations that keep no file open between reads."""

    numbers: np.ndarray

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return (k, V, 3) vertices; see ``Frames.read``."""
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing, because no file is open."""


class NpyFrames(FrameSource):
    """The frames of a .npy file of shape (T, V, 3) or (T, 3V).

    Args:
        path: The file.
        n_vertices: The expected vertex count V.

    Raises:
        InputError: The file is missing.
        DataError: See ``open_array``.
    """

    def __init__(self, path: Path, n_vertices: int) -> None:
        self._path, self._n_vertices = path, n_vertices
        self.numbers = np.arange(len(open_array(path, n_vertices)))

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return (k, V, 3) vertices as float64 if the file is float64, else as float32."""
        return _to_floats(open_array(self._path, self._n_vertices)[positions])


class Pc2Frames(FrameSource):
    """The frames of a .pc2 point cache.

    Args:
        path: The file.
        n_vertices: The expected vertex count V.

    Raises:
        InputError: The file is missing.
        DataError: The file is invalid (see ``read_pc2_header``) or its vertex count differs.
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
        """Return (k, V, 3) float32 vertices."""
        try:
            frames = np.memmap(self._path, "<f4", "r", PC2_HEADER.size, self._shape)
        except (OSError, ValueError) as error:
            raise DataError(f"{self._path}: cannot be read ({error})") from error
        return _to_floats(frames[positions])


def _to_floats(array: np.ndarray) -> np.ndarray:
    """Copy an array into memory in native byte order. float16 becomes float32."""
    wide = np.float64 if array.dtype.itemsize == 8 else np.float32
    return np.array(array, dtype=wide)


class MeshSequence(FrameSource):
    """A folder with one mesh file per frame. The last number in a file name is the frame number.

    Args:
        folder: The folder. Files other than meshes are ignored.
        n_vertices: The expected vertex count V.

    Raises:
        InputError: The folder does not exist.
        DataError: The folder contains no meshes or meshes of several formats, a file name contains
            no number, or two files have the same number.
    """

    def __init__(self, folder: Path, n_vertices: int) -> None:
        files = frame_numbers(folder, meshes_in(folder))
        if not files:
            raise DataError(f"{folder}: contains no {meshes.SUFFIX_LIST} files")
        self._files, self._n_vertices = list(files.values()), n_vertices
        self.numbers = np.array(list(files), dtype=np.int64)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return (k, V, 3) float64 vertices."""
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
    """Return the mesh files in a folder, sorted by name. Hidden files (``._x.obj``) are skipped.

    Raises:
        InputError: The folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in meshes.SUFFIXES and not path.name.startswith(".")
    )


def frame_numbers(folder: Path, files: Sequence[Path]) -> dict[int, Path]:
    """Return the file of each frame number, in ascending order of the numbers.

    Raises:
        DataError: The files have several suffixes, a file name contains no number, or two files
            have the same number.
    """
    kinds = sorted({path.suffix.lower() for path in files})
    if len(kinds) > 1:
        raise DataError(f"{folder}: contains {' and '.join(kinds)} files; keep only one kind")
    by_number: dict[int, Path] = {}
    for path in files:
        digits = re.findall(r"[0-9]+", path.stem)
        if not digits:
            raise DataError(f"{path}: the name contains no frame number; move it to another folder")
        number = int(digits[-1][-18:])  # 18 digits fit into int64
        if number in by_number:
            raise DataError(
                f"{folder}: {by_number[number].name} and {path.name} are both frame {number}"
            )
        by_number[number] = path
    return dict(sorted(by_number.items()))


class AxisMap(NamedTuple):
    """The conversion of recorded vectors to our axes and unit: ``vectors[..., order] * factors``.

    Attributes:
        order: (3,) indices of the recorded axes that become our x, y and z.
        factors: (3,) float64 scale of each of our axes, negative where the axis is flipped.
    """

    order: np.ndarray
    factors: np.ndarray

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Convert (..., 3) vectors. The floating-point type is kept."""
        return (vectors[..., self.order] * self.factors).astype(vectors.dtype, copy=False)

    @property
    def is_identity(self) -> bool:
        """Whether the conversion changes nothing."""
        return self.order.tolist() == [0, 1, 2] and self.factors.tolist() == [1.0, 1.0, 1.0]


def axis_map(axes: str = AXES, scale: float = 1.0) -> AxisMap:
    """Return the conversion from recorded axes and a recorded unit to ours.

    Args:
        axes: The recorded axes that point to the subject's left, up, and in the direction the face
            looks. A minus sign flips an axis: ``x z -y``.
        scale: The factor from recorded lengths to ours.

    Raises:
        InputError: ``axes`` does not name each of x, y and z once.
    """
    words = axes.split()
    names = [word.removeprefix("-") for word in words]
    if sorted(names) != ["x", "y", "z"]:
        raise InputError(f"axes {axes!r} must name each of x, y and z once, such as 'x z -y'")
    signs = [-1.0 if word.startswith("-") else 1.0 for word in words]
    return AxisMap(np.array(["xyz".index(name) for name in names]), np.array(signs) * scale)


class ConvertedFrames(FrameSource):
    """The frames of another source, converted to our axes and unit.

    Args:
        source: The raw frames.
        change: The conversion; see ``axis_map``.
    """

    def __init__(self, source: Frames, change: AxisMap) -> None:
        self._source, self._change = source, change
        self.numbers = source.numbers

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return (k, V, 3) vertices in the floating-point type of the source."""
        vertices = self._source.read(positions)
        return vertices if self._change.is_identity else self._change.apply(vertices)
