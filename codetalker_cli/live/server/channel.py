"""A stream on its way between the event loop, which has the client, and the decoding thread."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from codetalker_cli.animate.stream import Stream
from codetalker_cli.animate.stream_frames import StreamFrame
from codetalker_cli.live.server.limits import Clock
from codetalker_cli.live.server.protocol import Refusal, base64_of, encode
from codetalker_cli.live.server.statistics import Statistics

_PIECE_SECONDS = 0.25
"""The most sound that a stream takes in a round, so that a burst does not delay other streams."""
_DIGITS = 5

logger = logging.getLogger(__name__)


class _Mark(Enum):
    """What a client asks for, in order with its sound."""

    END = "end"
    INTERRUPT = "interrupt"


@dataclass(frozen=True)
class _Piece:
    samples: np.ndarray
    arrival: float


@dataclass(frozen=True)
class Wanted:
    """What a client asked for.

    Attributes:
        frames: What each frame contains: ``weights``, ``vertices`` and ``sound``.
        sampling_rate: The rate of its sound in hertz.
        backlog_seconds: How much sound may wait; beyond it, frames are dropped.
        neutral: The (V, 3) neutral face, from which vertices are sent as offsets.
    """

    frames: Sequence[str]
    sampling_rate: int
    backlog_seconds: float
    neutral: np.ndarray


class Channel:
    """The stream of one client.

    Sound and commands are put in by the event loop. All else is done by the decoding thread.

    Args:
        stream: The stream.
        wanted: What the client asked for.
        deliver: Called by the decoding thread with messages to the client, or with the refusal that
            ends the stream.
        statistics: Counts frames and delays.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        stream: Stream,
        wanted: Wanted,
        deliver: Callable[[list[str | Refusal]], None],
        statistics: Statistics,
        clock: Clock = time.monotonic,
    ) -> None:
        self.stream, self.deliver = stream, deliver
        self._wanted, self._statistics, self._clock = wanted, statistics, clock
        self._lock = threading.Lock()
        self._inbox: deque[_Piece | _Mark] = deque()
        self._waiting = 0
        self._is_ending = False
        self._next_index = 0
        # The position in seconds up to which sound was pushed; and when the parts of it arrived.
        self._position = 0.0
        self._arrivals: deque[tuple[float, float]] = deque()

    # Event loop ------------------------------------------------------------------------------

    def put_sound(self, samples: np.ndarray) -> None:
        """Add (n,) float32 samples."""
        size, now = max(1, round(_PIECE_SECONDS * self._wanted.sampling_rate)), self._clock()
        pieces = [_Piece(samples[k : k + size], now) for k in range(0, len(samples), size)]
        with self._lock:
            self._inbox.extend(pieces)
            self._waiting += len(samples)

    def put_end(self) -> None:
        """End the utterance after the sound so far."""
        with self._lock:
            self._inbox.append(_Mark.END)

    def put_interrupt(self) -> None:
        """Drop what waits, and bring the face to rest."""
        with self._lock:
            self._inbox.clear()
            self._inbox.append(_Mark.INTERRUPT)
            self._waiting = 0

    @property
    def waiting_seconds(self) -> float:
        """The sound that the stream has not taken yet."""
        return self._waiting / self._wanted.sampling_rate

    # Decoding thread -------------------------------------------------------------------------

    def take(self) -> bool:
        """Take the next sound or the next command; return whether there was any."""
        with self._lock:
            # Sound after the end belongs to the next utterance, and waits for it.
            if not self._inbox or (self._is_ending and self._inbox[0] is not _Mark.INTERRUPT):
                return False
            item, pieces = self._inbox[0], self._take_pieces()
            if not pieces:
                self._inbox.popleft()
        if pieces:
            for piece in pieces:
                self._push(piece)
        elif item is _Mark.END:
            self.stream.push(np.zeros(0, np.float32), is_last=True)
            self._is_ending = True
            self._send([])
        else:
            frames = self.stream.interrupt()
            self._is_ending = False
            self._send(frames)
            self._begin()
            self.deliver([encode("interrupted", next_index=self._next_index)])
        return True

    def _take_pieces(self) -> list[_Piece]:
        """Remove the next sound from the inbox, in as many parts as it arrived in.

        A round of the scheduler can last longer than the chunks of a client, so one chunk per round
        would be less than what arrives.
        """
        most, n_samples = _PIECE_SECONDS * self._wanted.sampling_rate, 0
        pieces: list[_Piece] = []
        while self._inbox and isinstance(piece := self._inbox[0], _Piece):
            n_samples += len(piece.samples)
            if pieces and n_samples > most:
                break
            pieces.append(piece)
            self._inbox.popleft()
            self._waiting -= len(piece.samples)
        return pieces

    def accept(self, frames: Sequence[StreamFrame]) -> None:
        """Send decoded frames."""
        now, delays = self._clock(), []
        for frame in frames:
            while self._arrivals and self._arrivals[0][0] <= frame.seconds:
                self._arrivals.popleft()
            if self._arrivals:
                delays.append(now - self._arrivals[0][1])
        self._statistics.add_delays(delays)
        self._send(frames)

    def _push(self, piece: _Piece) -> None:
        self.stream.push(piece.samples)
        self._position += len(piece.samples) / self._wanted.sampling_rate
        self._arrivals.append((self._position, piece.arrival))
        allowed = self._wanted.backlog_seconds - self.waiting_seconds
        backlog = self.stream.backlog_seconds
        if backlog > max(0.0, allowed) and (n := self.stream.drop(max(0.0, allowed))):
            self._statistics.count("dropped_frames", n)
            self.deliver([encode("behind", dropped_frames=n, total=self.stream.n_dropped)])

    def _send(self, frames: Sequence[StreamFrame]) -> None:
        messages: list[str | Refusal] = [self._message(frame) for frame in frames]
        if frames:
            self._next_index = frames[-1].index + 1
            self._statistics.count("frames", len(frames))
        if self._is_ending and not self.stream.is_due:
            self._is_ending = False
            self._begin()
            messages.append(encode("ended", next_index=self._next_index))
        if messages:
            self.deliver(messages)

    def _begin(self) -> None:
        """Begin a new utterance after the last frame."""
        self._arrivals.clear()
        self._position = self._next_index / self.stream.fps

    def _message(self, frame: StreamFrame) -> str:
        fields: dict[str, Any] = {"index": frame.index, "seconds": round(frame.seconds, 6)}
        if self.stream.moves_head:
            fields["head"] = _rounded(frame.head)
        if "weights" in self._wanted.frames:
            fields["weights"] = _rounded(frame.weights)
        if "vertices" in self._wanted.frames:
            # Offsets are small, so float16 resolves them far better than positions.
            offsets = (frame.vertices - self._wanted.neutral).astype(np.float16)
            fields["vertices"] = base64_of(offsets)
        if "sound" in self._wanted.frames:
            samples = np.clip(np.rint(frame.sound * 2.0**15), -(2**15), 2**15 - 1)
            fields["sound"] = base64_of(samples.astype(np.int16))
        return encode("frame", **fields)


def _rounded(values: np.ndarray) -> list[float]:
    numbers: list[float] = np.round(values.astype(float), _DIGITS).tolist()
    return numbers
