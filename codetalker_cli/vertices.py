"""Vertices of motions that are too long to be held: made when they are asked for.

Half an hour of a face is some gigabytes of vertices, and each is a small product of numbers that
take some megabytes. :class:`VertexFrames` stands where an array (T, V, 3) stands otherwise.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BLOCK_BYTES = 32 << 20
"""Of the vertices that are made at once when all are gone through."""
HELD_BYTES = 512 << 20
"""Motions up to this size are plain arrays."""


class VertexFrames:
    """(T, V, 3) float32 vertices behind a function; indexed along time like an array.

    Args:
        n_frames: T.
        n_vertices: V.
        make: From (n,) frame numbers, 0 to T − 1, their (n, V, 3) float32 vertices.
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(
        self, n_frames: int, n_vertices: int, make: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.shape = (n_frames, n_vertices, 3)
        self._make = make

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(first, int | np.integer):
            return self[[first]][0][rest] if rest else self[[first]][0]
        frames = np.arange(len(self))[first]
        made = self._make(frames) if len(frames) else np.empty((0, *self.shape[1:]), self.dtype)
        return made[(slice(None), *rest)] if rest else made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, dtype or self.dtype)
        at = 0
        for block in blocks(self):
            whole[at : at + len(block)] = block
            at += len(block)
        return whole

    @property
    def nbytes(self) -> int:
        """Of all vertices, were they made."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


Vertices = np.ndarray | VertexFrames
"""(T, V, 3) float32."""


def held(frames: VertexFrames) -> Vertices:
    """The frames themselves, or an array of them where that is not large."""
    return np.asarray(frames) if frames.nbytes <= HELD_BYTES else frames


def blocks(vertices: Vertices) -> Iterator[np.ndarray]:
    """All frames in their order, some at a time; an array comes as it is."""
    if isinstance(vertices, np.ndarray):
        yield vertices
        return
    size = max(1, BLOCK_BYTES // max(1, vertices.nbytes // max(1, len(vertices))))
    for start in range(0, len(vertices), size):
        yield vertices[start : start + size]
