"""Idle motion without an end, for live streams."""

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from codetalker_cli.rigs.idle import IdleMotion, against, eye_weights, idle_curves, unit_columns
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

        def block(number: int) -> np.ndarray:
            """Return the (n_frames, 3) gaze and lid closure of a block."""
            gaze, lids = idle_curves(subject, self._n_frames, fps, (seed, number))
            return np.column_stack([gaze, lids]) * share[:, None]

        self._block = lru_cache(maxsize=2)(block)
        still = eye_weights(np.zeros((1, 2)), np.zeros(1))
        self._still = IdleMotion.from_weights(mesh, subject, still)
        self._columns = partial(unit_columns, mesh, subject)

    def add_to(
        self, vertices: np.ndarray, first: int, head: np.ndarray | None = None
    ) -> np.ndarray:
        """Add idle motion to the vertices of consecutive frames in place.

        Args:
            vertices: (n, V, 3) vertices.
            first: The number of the first frame in the stream.
            head: (n, 3) rotation of the head, against which the eyes turn; None: it is still.

        Returns:
            ``vertices``.
        """
        numbers = first + np.arange(len(vertices))
        curves = np.empty((len(numbers), 3))
        for number in np.unique(numbers // self._n_frames):
            mine = numbers // self._n_frames == number
            curves[mine] = self._block(int(number))[numbers[mine] % self._n_frames]
        gaze, lids = curves[:, :2], curves[:, 2]
        if head is not None:
            gaze = gaze + against(head)
        weights = self._columns(eye_weights(gaze, lids))
        return replace(self._still, weights=weights).add_to(vertices, np.arange(len(numbers)))
