"""What sinks receive."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from codetalker_cli.animate.stream_frames import StreamFrame


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame that is sent now.

    Attributes:
        frame: The frame of the stream.
        names: The names of its U units.
        delay_seconds: The time since the sound of the frame arrived; None if it has no sound.
        moves_head: Whether the head of the stream moves.
    """

    frame: StreamFrame
    names: tuple[str, ...]
    delay_seconds: float | None
    moves_head: bool = True

    @property
    def index(self) -> int:
        """The number of the frame."""
        return self.frame.index

    @property
    def seconds(self) -> float:
        """The time of the frame in the stream."""
        return self.frame.seconds

    @property
    def head(self) -> np.ndarray | None:
        """The (3,) rotation of the head as in ``RigCurves.head``; None if it does not move."""
        return self.frame.head if self.moves_head else None

    @cached_property
    def weights(self) -> np.ndarray:
        """(U,) float32 weights."""
        return self.frame.weights


class Sink(Protocol):
    """Where frames go."""

    @property
    def is_usable(self) -> bool:
        """Whether frames can be sent."""
        ...

    def send(self, frame: LiveFrame) -> None:
        """Send a frame."""
        ...

    def close(self) -> None:
        """End the stream: write what is not written yet."""
        ...
