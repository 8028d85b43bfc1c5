"""Microphones and loudspeakers, through miniaudio."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from threading import Lock
from typing import Any, Protocol

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import CodeTalkerError, InputError, printable
from codetalker_cli.live.chunks import ChunkQueue, Clock
from codetalker_cli.live.packages import import_miniaudio

BLOCK_MS = 20
"""The length of the blocks in which a microphone gives sound, in milliseconds."""
_ALSA_NULL = "Discard all samples"
"""The start of the name of ALSA's device ``null``, which exists on machines without sound."""
_NO_DEVICE = (
    "this computer has no capture device that can be opened; connect a microphone, or give "
    "`file` with a recording, or `stdin` with sound from another program"
)


class Device(Protocol):
    """A device that calls a generator for each block of sound, in a thread of its own."""

    stop_callback: Any

    def start(self, generator: Any) -> None:
        """Start the device."""
        ...

    def close(self) -> None:
        """Stop the device."""
        ...


class Microphone:
    """A microphone, as a source.

    Args:
        device: The device, which gives blocks of float32 samples at 16 kHz.
        name: The name in messages.
        silent_seconds: A device that gives no blocks for this time counts as removed.
        clock: The clock.
    """

    rate = SAMPLE_RATE

    def __init__(
        self,
        device: Device,
        name: str,
        silent_seconds: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self._device, self._silent_seconds, self._clock = device, silent_seconds, clock
        self._last = clock()
        self._is_stopped = self._is_closed = False

    def start(self, queue: ChunkQueue) -> None:
        """Start the device; each of its blocks goes to the queue."""
        self._last = self._clock()
        receive = self._receive(queue)
        next(receive)
        self._device.stop_callback = self._stopped
        try:
            self._device.start(receive)
        except import_miniaudio().MiniaudioError as error:
            raise InputError(_NO_DEVICE) from error

    def _receive(self, queue: ChunkQueue) -> Generator[None, bytes, None]:
        while True:
            block = yield
            self._last = self._clock()
            queue.offer(np.frombuffer(bytes(block), np.float32))

    def _stopped(self) -> None:
        self._is_stopped = True

    def check(self) -> None:
        """Raise an error if the device was removed."""
        is_silent = self._clock() - self._last > self._silent_seconds
        if not self._is_closed and (self._is_stopped or is_silent):
            raise CodeTalkerError(
                f"{printable(self.name)}: the microphone gives no more sound; it may have been "
                "removed, or another program may have taken it"
            )

    def close(self) -> None:
        """Stop the device."""
        self._is_closed = True
        self._device.close()


def list_microphones() -> list[str]:
    """Return the names of the capture devices.

    Raises:
        MissingDependencyError: miniaudio is not installed.
        InputError: There is none.
    """
    return [name for name, _ in _captures()]


def open_microphone(name: str, silent_seconds: float) -> Microphone:
    """Open a capture device.

    Args:
        name: The name of the device or a part of it, or its number in ``list_microphones``; an
            empty string: the default one.
        silent_seconds: A device that gives no sound for this time counts as removed.

    Raises:
        MissingDependencyError: miniaudio is not installed.
        InputError: There is no such device, or it cannot be opened.
    """
    miniaudio = import_miniaudio()
    devices = _captures()
    chosen = _choose(name, [one for one, _ in devices]) if name else None
    options = {} if chosen is None else {"device_id": devices[chosen][1]}
    sample = miniaudio.SampleFormat.FLOAT32
    try:
        with _quiet():
            device = miniaudio.CaptureDevice(
                sample, 1, SAMPLE_RATE, BLOCK_MS, app_name="codetalker", **options
            )
    except miniaudio.MiniaudioError as error:
        raise InputError(_NO_DEVICE) from error
    title = "microphone" if chosen is None else devices[chosen][0]
    return Microphone(device, title, silent_seconds)


def _captures() -> list[tuple[str, Any]]:
    """Return the names and ids of the capture devices."""
    miniaudio = import_miniaudio()
    try:
        with _quiet():
            devices = miniaudio.Devices()
            found = [
                (one["name"], one["id"])
                for one in devices.get_captures()
                if not one["name"].startswith(_ALSA_NULL)
            ]
    except miniaudio.MiniaudioError as error:
        raise InputError(_NO_DEVICE) from error
    if not found or devices.backend == "Null":
        raise InputError(_NO_DEVICE)
    return found


def _choose(name: str, names: list[str]) -> int:
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    matches = [k for k, one in enumerate(names) if name.lower() in one.lower()]
    exact = [k for k in matches if names[k].lower() == name.lower()]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    shown = ", ".join(f"{k}: {printable(one)}" for k, one in enumerate(names))
    problem = "matches several devices" if matches else "is not a capture device"
    raise InputError(f"`mic` {printable(name)} {problem}; choose one of {shown}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the system's sound library from printing to stderr, as ALSA does without a device."""
    try:
        stderr = os.dup(2)
    except OSError:
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


# Playback -----------------------------------------------------------------------------------------


class Player:
    """Plays the sound of frames.

    Args:
        device: A device that takes blocks of float32 samples at 16 kHz.
        max_seconds: The most sound that waits; if there is more, the oldest is left out.
    """

    def __init__(self, device: Device, max_seconds: float) -> None:
        self._device = device
        self._max_samples = round(max_seconds * SAMPLE_RATE)
        self._waiting: deque[np.ndarray] = deque()
        self._n_waiting = 0
        self._lock = Lock()
        play = self._play()
        next(play)
        device.start(play)

    @property
    def queued_seconds(self) -> float:
        """The time until sound that is pushed now is played."""
        return self._n_waiting / SAMPLE_RATE

    def push(self, sound: np.ndarray) -> None:
        """Play samples after those that wait."""
        with self._lock:
            self._waiting.append(sound)
            self._n_waiting += len(sound)
            while self._n_waiting > self._max_samples and len(self._waiting) > 1:
                self._n_waiting -= len(self._waiting.popleft())

    def _play(self) -> Generator[bytes, int, None]:
        n_samples = yield b""
        while True:
            n_samples = yield self._next(n_samples).tobytes()

    def _next(self, n_samples: int) -> np.ndarray:
        """Return the next samples; those that have not arrived are silent."""
        block = np.zeros(n_samples, np.float32)
        n = 0
        with self._lock:
            while self._waiting and n < n_samples:
                part = self._waiting.popleft()
                used = part[: n_samples - n]
                block[n : n + len(used)] = used
                n += len(used)
                if len(used) < len(part):
                    self._waiting.appendleft(part[len(used) :])
            self._n_waiting -= n
        return block

    def close(self) -> None:
        """Stop the device."""
        self._device.close()


def open_player(max_seconds: float) -> Player:
    """Open the default playback device.

    Raises:
        MissingDependencyError: miniaudio is not installed.
        InputError: There is no playback device.
    """
    miniaudio = import_miniaudio()
    open_device: Callable[..., Any] = miniaudio.PlaybackDevice
    try:
        with _quiet():
            device = open_device(
                miniaudio.SampleFormat.FLOAT32, 1, SAMPLE_RATE, BLOCK_MS, app_name="codetalker"
            )
    except miniaudio.MiniaudioError as error:
        raise InputError("this computer has no playback device; omit `play`") from error
    if device.backend == "Null":
        device.close()
        raise InputError("this computer has no playback device; omit `play`")
    return Player(device, max_seconds)
