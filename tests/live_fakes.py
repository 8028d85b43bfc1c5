"""Stand-ins for the world around a live stream: clocks, sinks, devices and players."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from codetalker_cli.live.frames import LiveFrame


class Clock:
    """A clock that stands still between calls, or moves by ``tick`` seconds with each call."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 1000.0, tick
        self.slept: list[float] = []

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Recorder:
    """A sink that collects frames, and the time at which it got each."""

    is_usable = True

    def __init__(self, clock: Clock | None = None, error: Exception | None = None) -> None:
        self.clock, self.error = clock, error
        self.frames: list[LiveFrame] = []
        self.times: list[float] = []
        self.is_closed = False

    def send(self, frame: LiveFrame) -> None:
        if self.error is not None and len(self.frames) >= 3:
            raise self.error
        self.frames.append(frame)
        self.times.append(self.clock.now if self.clock else 0.0)

    def close(self) -> None:
        self.is_closed = True


class Device:
    """A device whose blocks a test gives or takes."""

    def __init__(self) -> None:
        self.stop_callback: Any = None
        self.generator: Any = None
        self.is_closed = False

    def start(self, generator: Any) -> None:
        self.generator = generator

    def close(self) -> None:
        self.is_closed = True


def chunks_of(samples: np.ndarray, size: int = 320) -> Iterator[np.ndarray]:
    """Yield the chunks of a sound."""
    for start in range(0, len(samples), size):
        yield samples[start : start + size]
