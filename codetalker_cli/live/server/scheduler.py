"""The thread that decodes all streams."""

import logging
import threading
import time

from codetalker_cli.animate.stream import advance
from codetalker_cli.errors import InputError
from codetalker_cli.failures import to_error
from codetalker_cli.live.server.channel import Channel
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.live.server.statistics import Statistics

_STOP_SECONDS = 10.0

logger = logging.getLogger(__name__)


class Scheduler:
    """Decodes the next hop of each stream that has one, in batches.

    In each round, a stream takes a quarter of a second of sound at most and is decoded once at
    most, so a stream with much sound does not delay the others.

    Args:
        batch_size: The most streams in a batch.
        statistics: Gets the load.
    """

    def __init__(self, batch_size: int, statistics: Statistics) -> None:
        self._batch_size, self._statistics = batch_size, statistics
        self._lock = threading.Lock()
        # Those that have waited longest come first.
        self._channels: list[Channel] = []
        self._work = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current batch."""
        self._is_stopping = True
        self._work.set()
        self._thread.join(_STOP_SECONDS)

    def add(self, channel: Channel) -> None:
        """Decode the stream of a channel from now on."""
        with self._lock:
            self._channels.append(channel)

    def remove(self, channel: Channel) -> None:
        """Stop decoding the stream of a channel."""
        with self._lock:
            if channel in self._channels:
                self._channels.remove(channel)

    def wake(self) -> None:
        """Report that a channel has new sound or a command."""
        self._work.set()

    def _run(self) -> None:
        while not self._is_stopping:
            self._work.wait()
            self._work.clear()
            while not self._is_stopping and self._round():
                time.sleep(0)  # lets the event loop run

    def _round(self) -> bool:
        """Decode one batch; return whether there was anything to do."""
        with self._lock:
            channels = list(self._channels)
        has_taken = False
        for channel in channels:
            try:
                has_taken |= channel.take()
            except Exception as error:
                self._fail(channel, error)
        with self._lock:
            channels = [channel for channel in channels if channel in self._channels]
        due = [channel for channel in channels if channel.stream.is_due][: self._batch_size]
        if due:
            self._decode(due)
            with self._lock:
                served = [channel for channel in due if channel in self._channels]
                self._channels = [c for c in self._channels if c not in served] + served
        self._statistics.load = sum(channel.stream.load for channel in channels)
        return has_taken or bool(due)

    def _decode(self, channels: list[Channel]) -> None:
        try:
            frames = advance([channel.stream for channel in channels])
        except Exception as error:
            if len(channels) == 1:
                self._fail(channels[0], error)
                return
            # Alone, only the stream with the fault fails.
            for channel in channels:
                self._decode([channel])
            return
        for channel, new in zip(channels, frames, strict=True):
            try:
                channel.accept(new)
            except Exception as error:
                self._fail(channel, error)

    def _fail(self, channel: Channel, error: Exception) -> None:
        """End a stream that cannot be decoded."""
        self.remove(channel)
        if isinstance(error, InputError):
            refusal = Refusal("bad_sound", error)
        else:
            logger.error("a stream failed: %s", to_error(error))
            refusal = Refusal("internal", "the server failed to animate the sound")
        channel.deliver([refusal])
