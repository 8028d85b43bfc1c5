"""The frames of a live stream, whose vertices and weights are computed when they are needed."""

from dataclasses import dataclass

import numpy as np
import torch

from codetalker_cli.animate.live_windows import WindowDecoder
from codetalker_cli.errors import InputError
from codetalker_cli.rigs.live_idle import LiveIdle
from codetalker_cli.rigs.solve import FrameSolver


@dataclass(frozen=True, eq=False)
class StreamFace:
    """The face of a stream.

    Attributes:
        neutral: The (V, 3) float32 neutral face.
        solver: The solver for the weights of the units, or None if the units are unknown.
        idle: The idle motion, or None.
        head_seed: The random seed of the head motion; None: the head is still.
    """

    neutral: np.ndarray
    solver: FrameSolver | None
    idle: LiveIdle | None
    head_seed: int | None = None


class Hop:
    """The frames of one hop, whose vertices and weights are computed when they are needed.

    Args:
        decoder: The decoder of the voice.
        face: The face.
        first: The index of the first frame.
        hidden: (n, H) hidden states, or None for a face at rest.
        scale: (n,) factors of the offsets from the neutral face.
        head: (n, 3) float32 rotation of the head.
    """

    def __init__(
        self,
        decoder: WindowDecoder,
        face: StreamFace,
        first: int,
        hidden: torch.Tensor | None,
        scale: np.ndarray,
        head: np.ndarray,
    ) -> None:
        self._decoder, self._face, self._first = decoder, face, first
        self.hidden, self.scale, self.head = hidden, scale, head
        self._vertices: np.ndarray | None = None
        self._weights: np.ndarray | None = None

    def vertices(self) -> np.ndarray:
        """Return the (n, V, 3) float32 vertices."""
        if self._vertices is None:
            neutral = self._face.neutral
            vertices = np.repeat(neutral[None], len(self.scale), axis=0)
            if self.hidden is not None:
                moved = self._decoder.to_vertices(self.hidden, neutral)
                vertices += self.scale[:, None, None] * (moved - neutral)
            if self._face.idle is not None:
                self._face.idle.add_to(vertices, self._first, self.head)
            self._vertices = vertices
        return self._vertices

    def weights(self) -> np.ndarray:
        """Return the (n, U) float32 weights of the units."""
        if self._face.solver is None:
            raise InputError(
                "the face has no known units; give `units` to the stream, or use the vertices"
            )
        if self._weights is None:
            self._weights = self._face.solver.weights(self.vertices(), self._face.neutral)
        return self._weights


@dataclass(frozen=True, eq=False, repr=False)
class StreamFrame:
    """One frame of a stream.

    Attributes:
        index: The number of the frame in the stream.
        seconds: Its time in the stream.
        sound: The samples at 16 kHz from this frame to the next one, as they were recorded.
    """

    index: int
    seconds: float
    sound: np.ndarray
    _hop: Hop
    _row: int

    def __repr__(self) -> str:
        """Return the index and the time."""
        return f"<StreamFrame {self.index} at {self.seconds:.3f} s>"

    @property
    def vertices(self) -> np.ndarray:
        """The (V, 3) float32 vertices, which are computed on first access."""
        return self._hop.vertices()[self._row]

    @property
    def head(self) -> np.ndarray:
        """The (3,) float32 rotation of the head in radians, which the vertices do not contain.

        Yaw, pitch and roll, as in ``RigCurves.head``; zeros if the head is still.
        """
        return self._hop.head[self._row]

    @property
    def weights(self) -> np.ndarray:
        """The (U,) float32 weights of the units ``Stream.units``, computed on first access.

        Raises:
            InputError: The units of the face are unknown.
        """
        return self._hop.weights()[self._row]
