"""Motion files that models write: .npz and .npy of this project, .npy of the official code.

The official code names a prediction ``CLIP_condition_STYLE.npy`` and stores it as (T, 3V). Our
files are (T, V, 3). Vertices are memory-mapped, so only the frames in use are read.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.errors import DataError
from codetalker_cli.formats.frames import open_array
from codetalker_cli.motion import Motion, Vertices

SUFFIXES = (".npy", ".npz")
_CONDITION = "_condition_"


def file_name(clip: str, style: str | None) -> str:
    """Return the file name of a prediction without its suffix. A reconstruction has no style."""
    return clip if style is None else f"{clip}{_CONDITION}{style}"


def split_name(stem: str) -> tuple[str, str | None]:
    """Split ``CLIP_condition_STYLE`` into (CLIP, STYLE). Without a style, STYLE is None."""
    clip, word, style = stem.rpartition(_CONDITION)
    return (clip, style) if word else (stem, None)


def subject_in(name: str, subjects: Iterable[str]) -> str | None:
    """Return the longest subject that a file name begins with, or None."""
    matching = [s for s in subjects if re.match(rf"{re.escape(s)}(?![a-zA-Z0-9])", name)]
    return max(matching, key=len, default=None)


@dataclass(frozen=True)
class StoredMotion:
    """The vertices of a motion file, and the facts that it stores.

    Attributes:
        vertices: (T, V, 3), as a memory map.
        fps: The frame rate, or None if it is not known.
        unit: The length unit, or None if it is not known.
    """

    vertices: Vertices
    fps: float | None = None
    unit: str | None = None


def read_vertices(path: Path, n_vertices: int | None = None) -> Vertices:
    """Return the (T, V, 3) vertices of a motion file as a memory map; see ``read_stored``."""
    return read_stored(path, n_vertices).vertices


def read_stored(path: Path, n_vertices: int | None = None) -> StoredMotion:
    """Return the vertices of a motion file, with the frame rate and the unit of a .npz.

    Args:
        path: A .npy of (T, V, 3) or (T, 3V), or a .npz written by ``Motion.save``.
        n_vertices: The expected vertex count V, or None to accept any.

    Raises:
        InputError: The file is missing, or the .npz is not a motion file.
        DataError: The .npy is not a motion file or is cut short, or the file contains no frames or
            has the wrong vertex count.
    """
    if path.suffix.lower() != ".npz":
        return StoredMotion(open_array(path, n_vertices))
    motion = Motion.load(path)
    vertices = motion.vertices
    if n_vertices is not None and vertices.shape[1] != n_vertices:
        raise DataError(
            f"{path}: its frames have {vertices.shape[1]} vertices, expected {n_vertices}"
        )
    if not len(vertices):
        raise DataError(f"{path}: contains no frames")
    return StoredMotion(vertices, motion.fps, motion.topology.unit)
