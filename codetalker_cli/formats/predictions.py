"""Motion files as models leave them: .npy of vertices, ours and the reference's, and our .npz.

The reference names a prediction ``CLIP_condition_STYLE.npy`` and stores (T, 3V); ours are
(T, V, 3). Vertices stay on the disk until they are used.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from codetalker_cli.errors import DataError
from codetalker_cli.formats.frames import open_array
from codetalker_cli.motion import Motion, Vertices

SUFFIXES = (".npy", ".npz")
_CONDITION = "_condition_"


def file_name(clip: str, style: str | None) -> str:
    """Name of a prediction, without its ending; a reconstruction has no style."""
    return clip if style is None else f"{clip}{_CONDITION}{style}"


def split_name(stem: str) -> tuple[str, str | None]:
    """``CLIP_condition_STYLE`` → (CLIP, STYLE); without the word there is no style."""
    clip, word, style = stem.rpartition(_CONDITION)
    return (clip, style) if word else (stem, None)


def subject_in(name: str, subjects: Iterable[str]) -> str | None:
    """The subject that a file's name begins with; of several the longest, or None."""
    matching = [s for s in subjects if re.match(rf"{re.escape(s)}(?![a-zA-Z0-9])", name)]
    return max(matching, key=len, default=None)


def read_vertices(path: Path, n_vertices: int | None = None) -> Vertices:
    """(T, V, 3) vertices of a motion file, mapped from the disk.

    Args:
        path: .npy of (T, V, 3) or (T, 3V), or .npz of ``save``.
        n_vertices: V that is expected, or None.

    Raises:
        InputError: Missing, or no such .npz.
        DataError: No such .npy, cut short, without frames, or of another vertex count.
    """
    if path.suffix != ".npz":
        return open_array(path, n_vertices)
    vertices = Motion.load(path).vertices
    if n_vertices is not None and vertices.shape[1] != n_vertices:
        raise DataError(
            f"{path}: its frames have {vertices.shape[1]} vertices, expected {n_vertices}"
        )
    if not len(vertices):
        raise DataError(f"{path}: holds no frame")
    return vertices
