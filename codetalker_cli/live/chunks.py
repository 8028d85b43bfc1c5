"""A bounded queue of sound between the thread of a source and the loop."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], float]
"""Returns the time in seconds; it never goes back."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Samples of a source, and the time at which they arrived."""

    samples: np.ndarray
    arrived: float


class ChunkQueue:
    """The chunks that a source has given and the loop has not taken.

    Args:
        max_seconds: The most sound that waits.
        rate: The rate of the samples in hertz.
        clock: The clock.

    Attributes:
        rate: The rate of the samples in hertz.
        n_lost: The number of samples that ``offer`` dropped.
    """

    def __init__(self, max_seconds: float, rate: int, clock: Clock = time.monotonic) -> None:
        self.rate, self.n_lost = rate, 0
        self._max_samples = max(1, round(max_seconds * rate))
        self._clock = clock
        self._chunks: deque[Chunk] = deque()
        self._n_samples = 0
        self._changed = threading.Condition()
        self._has_ended, self._is_closed = False, False
        self._error: Exception | None = None

    def offer(self, samples: np.ndarray) -> None:
        """Add samples without waiting; if the queue is full, the oldest chunks are dropped."""
        with self._changed:
            self._append(samples)
            while self._n_samples > self._max_samples and len(self._chunks) > 1:
                dropped = len(self._chunks.popleft().samples)
                self._n_samples -= dropped
                self.n_lost += dropped

    def put(self, samples: np.ndarray) -> bool:
        """Add samples, once there is room; return whether the loop still wants any."""
        with self._changed:
            while self._n_samples >= self._max_samples and not self._is_closed:
                self._changed.wait()
            if not self._is_closed:
                self._append(samples)
            return not self._is_closed

    def _append(self, samples: np.ndarray) -> None:
        self._chunks.append(Chunk(samples, self._clock()))
        self._n_samples += len(samples)
        self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """Mark the end of the sound, and give the error that ended it."""
        with self._changed:
            self._has_ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse further samples, so that the thread of the source ends."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def take(self, timeout: float) -> list[Chunk]:
        """Return all chunks that wait, after at most ``timeout`` seconds."""
        with self._changed:
            if not self._chunks and not self._has_ended and timeout > 0:
                self._changed.wait(timeout)
            chunks = list(self._chunks)
            self._chunks.clear()
            self._n_samples = 0
            self._changed.notify_all()
            return chunks

    @property
    def has_ended(self) -> bool:
        """Whether the sound has ended and all of it was taken."""
        with self._changed:
            return self._has_ended and not self._chunks

    @property
    def error(self) -> Exception | None:
        """The error that ended the sound, or None."""
        return self._error
