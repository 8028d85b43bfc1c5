"""The loop of live animation: sound from a source goes in, and each frame goes to the sinks.

The frames of a hop become known together. They are sent at the frame rate from then on, so that the
face moves evenly, and the next hop is decoded when they are sent. If a whole hop of further sound
waits already, the loop is behind, and sends them at once.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from codetalker_cli.animate.stream import Stream, advance
from codetalker_cli.animate.stream_frames import StreamFrame
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.live.chunks import Chunk, ChunkQueue, Clock
from codetalker_cli.live.frames import LiveFrame
from codetalker_cli.live.sinks import Sinks
from codetalker_cli.live.stats import Stats
from codetalker_cli.settings import LiveSettings

_LONGEST_WAIT = 0.1
"""The longest time in which a signal is not noticed, in seconds."""
_REPORT_SECONDS = 0.2


class Playback(Protocol):
    """Plays the sound of frames; see ``devices.Player``."""

    @property
    def queued_seconds(self) -> float:
        """The time until sound that is pushed now is played."""
        ...

    def push(self, sound: np.ndarray) -> None:
        """Play samples after those that wait."""
        ...


class LiveLoop:
    """Animates the sound of a queue.

    Args:
        stream: The stream, whose rate is that of the queue.
        queue: The queue.
        sinks: Where frames go.
        settings: The limits.
        player: Plays the sound, or None.
        clock: The clock; the same as that of the queue.

    Attributes:
        stats: The numbers so far.
    """

    def __init__(
        self,
        stream: Stream,
        queue: ChunkQueue,
        sinks: Sinks,
        settings: LiveSettings,
        player: Playback | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.stats = Stats()
        self._stream, self._queue, self._sinks = stream, queue, sinks
        self._settings, self._player, self._clock = settings, player, clock
        self._waiting: deque[tuple[float, StreamFrame]] = deque()
        self._arrivals = _Arrivals(queue.rate)
        self._next_index = 0
        self._last_chunk = clock()
        self._is_speaking = self._is_ending = self._is_stopped = False

    def stop(self) -> None:
        """End the stream soon, as if its sound ended. A signal handler may call this."""
        self._is_stopped = True

    def run(
        self,
        check: Callable[[], None] = lambda: None,
        report: Callable[[Stats], None] = lambda stats: None,
    ) -> None:
        """Animate the sound until it ends.

        Args:
            check: Raises an error if the source is broken.
            report: Called about five times per second.

        Raises:
            Exception: The source or a sink failed. The frames of the sound before it were sent,
                and all sinks are closed.
        """
        error = self._animate(check, report)
        try:
            self._sinks.close()
        except Exception as fault:
            if error is not None:
                raise error from fault
            raise
        if error is not None:
            raise error

    def _animate(
        self, check: Callable[[], None], report: Callable[[Stats], None]
    ) -> Exception | None:
        """Animate the sound until it ends, and return the error that ended it or None."""
        reported, broken = self._clock(), None
        try:
            while not self._is_stopped and self._sinks.is_usable and broken is None:
                self.turn(self._queue.take(self._patience()))
                if self._queue.has_ended and self._is_at_rest:
                    break
                if self._clock() - reported >= _REPORT_SECONDS:
                    reported = self._clock()
                    report(self.stats)
                broken = _fault_of(check)
            self.finish()
        except Exception as error:  # the sinks must be closed first
            return error
        finally:
            self._queue.close()
        return broken or self._queue.error

    @property
    def _is_at_rest(self) -> bool:
        return not (self._is_speaking or self._is_ending or self._waiting)

    def _patience(self) -> float:
        """Return how long to wait for sound, in seconds."""
        if self._is_due:
            return 0.0
        until_frame = self._waiting[0][0] - self._clock() if self._waiting else _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, until_frame))

    @property
    def _is_due(self) -> bool:
        """Whether to decode the next hop now."""
        # A player must get sound before it has played the last.
        is_free = not self._waiting or self._is_behind or self._player is not None
        return self._stream.is_due and is_free

    @property
    def _is_behind(self) -> bool:
        waited = self._stream.backlog_seconds * self._stream.fps
        return not self._is_ending and waited >= max(1, len(self._waiting))

    def turn(self, chunks: Sequence[Chunk]) -> None:
        """Take chunks, decode at most one hop, and send the frames whose time has come."""
        for chunk in chunks:
            self._accept(chunk)
        self.stats.lost_seconds = self._queue.n_lost / self._queue.rate
        if self._is_speaking:
            self._drop(is_last=self._queue.has_ended)
        pause = self._clock() - self._last_chunk
        has_paused = self._queue.has_ended or pause >= self._settings.pause_seconds
        if self._is_speaking and not self._is_ending and has_paused and not self._stream.is_due:
            self._is_ending = True
            self._stream.push(np.zeros(0, np.float32), is_last=True)
        if self._is_due:
            self._schedule(advance([self._stream])[0])
        elif self._is_ending and not self._stream.is_due and not self._waiting:
            self._rest()
        self._send(self._clock())

    def _accept(self, chunk: Chunk) -> None:
        if self._is_ending:  # sound arrives again before the face is at rest
            self._send_all()
        if not self._is_speaking:
            self._arrivals.begin(self._next_index / self._stream.fps)
        self._is_speaking, self._last_chunk = True, self._clock()
        self._stream.push(chunk.samples)
        self._arrivals.add(chunk)
        self.stats.add_level(chunk.samples)

    def _rest(self) -> None:
        """Bring the face to rest after the last sound."""
        self._is_speaking = self._is_ending = False
        self._schedule(self._stream.interrupt())

    def _send_all(self) -> None:
        """Decode and send the rest of the sound at once."""
        while self._stream.is_due:
            self._schedule(advance([self._stream])[0])
            self._drop(is_last=True)
        self._send(np.inf)
        self._is_speaking = self._is_ending = False

    def finish(self) -> None:
        """Decode and send what was taken, and bring the face to rest."""
        for chunk in self._queue.take(0):
            self._accept(chunk)
        if self._is_speaking:
            self._drop(is_last=True)
            if not self._is_ending:
                self._stream.push(np.zeros(0, np.float32), is_last=True)
            self._send_all()
            self._rest()
        self._send(np.inf)

    def _drop(self, *, is_last: bool) -> None:
        """Drop sound that is too old. After the last chunk, the rest becomes older with time."""
        age = self._clock() - self._last_chunk if is_last else 0.0
        allowed = max(0.0, self._settings.backlog_seconds - age)
        self.stats.n_dropped += self._stream.drop(allowed)

    def _schedule(self, frames: Sequence[StreamFrame]) -> None:
        """Send frames that are known now: the first one at once, the others at the frame rate."""
        now = self._clock()
        if self._player is None:
            self._send(np.inf)  # earlier frames are late
        else:
            now += self._player.queued_seconds
            for frame in frames:
                self._player.push(frame.sound)
        period = 1 / self._stream.fps if self._settings.spread_frames else 0.0
        self._waiting.extend((now + k * period, frame) for k, frame in enumerate(frames))
        if frames:
            self._next_index = frames[-1].index + 1

    def _send(self, until: float) -> None:
        """Send the frames that are scheduled up to a time."""
        while self._waiting and self._waiting[0][0] <= until:
            _, frame = self._waiting.popleft()
            arrived = self._arrivals.at(frame.seconds)
            delay = None if arrived is None else self._clock() - arrived
            stream = self._stream
            self._sinks.send(LiveFrame(frame, stream.units, delay, stream.moves_head))
            self.stats.n_frames += 1
            if delay is not None:
                self.stats.delays.append(delay)


def _fault_of(check: Callable[[], None]) -> Exception | None:
    try:
        check()
    except CodeTalkerError as error:
        return error
    return None


class _Arrivals:
    """When the sound of each time of the stream arrived."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._start, self._n_samples = 0.0, 0
        self._ends: deque[tuple[float, float]] = deque()

    def begin(self, seconds: float) -> None:
        """Begin an utterance whose first frame has this time."""
        self._start, self._n_samples = seconds, 0
        self._ends.clear()

    def add(self, chunk: Chunk) -> None:
        """Add the next chunk of the utterance."""
        self._n_samples += len(chunk.samples)
        self._ends.append((self._start + self._n_samples / self._rate, chunk.arrived))

    def at(self, seconds: float) -> float | None:
        """Return when the sound of a time arrived, or None; times must not decrease."""
        if seconds < self._start:
            return None
        while self._ends and self._ends[0][0] <= seconds:
            self._ends.popleft()
        return self._ends[0][1] if self._ends else None
