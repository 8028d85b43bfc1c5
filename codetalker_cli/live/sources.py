"""Sources of live sound: raw samples from a pipe, and recordings at their own pace.

A source gives its chunks to a ``ChunkQueue``, in a thread of its own.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codetalker_cli import audio
from codetalker_cli.audio.inputs import MAX_CHANNELS, checked_rate
from codetalker_cli.errors import DataError, InputError, counted
from codetalker_cli.live.chunks import ChunkQueue, Clock
from codetalker_cli.live.pcm import FORMATS, PcmReader

CHUNK_SECONDS = 0.02
"""The length of the chunks of a paced source."""
_READ_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where sound comes from.

    Attributes:
        rate: The rate of its samples in hertz.
        name: Its name in messages.
    """

    @property
    def rate(self) -> int: ...

    @property
    def name(self) -> str: ...

    def start(self, queue: ChunkQueue) -> None:
        """Start to give chunks to a queue."""
        ...

    def check(self) -> None:
        """Raise an error if the source is broken."""
        ...

    def close(self) -> None:
        """Stop the source."""
        ...


class ReadSource:
    """A source whose chunks are read one after another.

    Args:
        name: The name in messages.
        rate: The rate of the samples in hertz.
        chunks: Yields (n,) or (n, channels) samples.
    """

    def __init__(self, name: str, rate: int, chunks: Iterator[np.ndarray]) -> None:
        self.name, self.rate = name, rate
        self._chunks = chunks

    def start(self, queue: ChunkQueue) -> None:
        """Start a thread that reads the chunks."""
        # The thread may wait for a pipe forever, so it must not keep the process alive.
        thread = threading.Thread(target=self._read, args=(queue,), daemon=True)
        thread.start()

    def _read(self, queue: ChunkQueue) -> None:
        try:
            for samples in self._chunks:
                if not queue.put(samples):
                    return
        except Exception as error:  # the loop raises it
            queue.end(error)
        else:
            queue.end()

    def check(self) -> None:
        """Do nothing, because an error of the thread ends the sound."""

    def close(self) -> None:
        """Do nothing, because the thread ends with its queue."""


# Raw samples --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RawFormat:
    """The form of raw samples.

    Attributes:
        rate: The rate in hertz.
        format: A key of ``FORMATS``.
        channels: The number of interleaved channels.

    Raises:
        InputError: The rate, the format or the number of channels is invalid.
    """

    rate: int = audio.SAMPLE_RATE
    format: str = "s16le"
    channels: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        checked_rate(self.rate)
        if self.format not in FORMATS:
            raise InputError(f"`format` {self.format!r}: expected {' or '.join(FORMATS)}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise InputError(f"`channels` {self.channels}: expected 1 to {MAX_CHANNELS}")


def raw_samples(
    read: Callable[[int], bytes], given: RawFormat, name: str = "stdin"
) -> Iterator[np.ndarray]:
    """Yield the (n, channels) float32 samples of a pipe as soon as they arrive.

    Args:
        read: Returns the next bytes, up to a number, and none at the end.
        given: The form of the samples.
        name: The name of the pipe in messages.

    Raises:
        DataError: The pipe cannot be read.
        InputError: A sample is NaN or infinite.
    """
    reader, n_samples = PcmReader(given.format, given.channels), 0
    while content := _read(read, name):
        samples = reader.add(content)
        bad = np.flatnonzero(~np.isfinite(samples).all(axis=1))
        if len(bad):
            raise InputError(
                f"{name}: sample {n_samples + bad[0]} is NaN or infinite; check that the samples "
                "have the `format`, `channels` and byte order that were given"
            )
        n_samples += len(samples)
        if len(samples):
            yield samples
    if rest := reader.n_rest:
        logger.warning(
            "%s: the last %s of an incomplete sample %s skipped",
            name, counted(rest, "byte"), "was" if rest == 1 else "were",
        )  # fmt: skip


def _read(read: Callable[[int], bytes], name: str) -> bytes:
    try:
        return read(_READ_BYTES)
    except OSError as error:
        raise DataError(f"{name}: the sound cannot be read ({error.strerror or error})") from error


# Pace ---------------------------------------------------------------------------------------------


def paced(
    chunks: Iterator[np.ndarray],
    rate: int,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[np.ndarray]:
    """Yield samples at the pace of their own time, in chunks of 20 ms.

    A chunk is yielded when its last sample would have been recorded. If the samples come late, the
    pace continues from there.

    Args:
        chunks: Samples of any length.
        rate: Their rate in hertz.
        clock: The clock.
        sleep: Waits for a number of seconds.
    """
    size = max(1, round(CHUNK_SECONDS * rate))
    start, n_samples = None, 0
    for chunk in chunks:
        now = clock()
        if start is None or now - start - n_samples / rate > CHUNK_SECONDS:
            start, n_samples = now, 0  # the source paused
        for first in range(0, len(chunk), size):
            part = chunk[first : first + size]
            n_samples += len(part)
            wait = start + n_samples / rate - clock()
            if wait > 0:
                sleep(wait)
            yield part
