"""Idle motion without an end, for live streams."""

from functools import lru_cache

import numpy as np

from codetalker_cli.rigs.idle import IdleMotion
from codetalker_cli.topology import Mesh

BLOCK_SECONDS = 60
"""Idle motion is generated in blocks of this length, so that the memory is constant."""
_EDGE_SECONDS = 0.2
"""The time at both ends of a block in which the lids open and the gaze returns to the center."""


class LiveIdle:
    """Blinks and gaze of a stream, which do not depend on its sound.

    Args:
        mesh: A mesh with idle units.
        subject: The subject.
        fps: The frame rate.
        seed: The random seed.
    """

    def __init__(self, mesh: Mesh, subject: str, fps: float, seed: int) -> None:
        self._n_frames = round(BLOCK_SECONDS * fps)
        edge = _EDGE_SECONDS * fps
        at = np.arange(self._n_frames)
        share = np.clip(np.minimum(at, self._n_frames - 1 - at) / edge, 0.0, 1.0)

        def block(number: int) -> IdleMotion:
            idle = IdleMotion.of(mesh, subject, self._n_frames, fps, (seed, number))
            idle.weights[:] *= share[:, None]
            return idle

        self._block = lru_cache(maxsize=2)(block)

    def add_to(self, vertices: np.ndarray, first: int) -> np.ndarray:
        """Add idle motion to the (n, V, 3) vertices of the frames from ``first`` on, in place."""
        numbers = first + np.arange(len(vertices))
        for number in np.unique(numbers // self._n_frames):
            mine = np.flatnonzero(numbers // self._n_frames == number)
            part = slice(mine[0], mine[-1] + 1)
            frames = numbers[part] % self._n_frames
            vertices[part] = self._block(int(number)).add_to(vertices[part], frames)
        return vertices
