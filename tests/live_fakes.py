"""Stand-ins for the world around a live stream: clocks, sinks, devices and players."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import tiny
import torch
import voices

from codetalker_cli.animate.live_windows import Decoded, LiveWindows, Window
from codetalker_cli.animate.stream import Stream
from codetalker_cli.animate.stream_frames import StreamFace
from codetalker_cli.live.frames import LiveFrame
from codetalker_cli.rigs.solve import FrameSolver
from codetalker_cli.rigs.units import UnitSet, bundled_rig, bundled_units
from codetalker_cli.topology import Mesh


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


FPS = 25.0
UNITS = UnitSet(
    ("jawOpen", "mouthClose"),
    np.random.default_rng(3).standard_normal((2, tiny.N_VERTICES, 3)).astype(np.float32),
)


class Decoder:
    """A decoder whose face follows the loudness of each frame of the window.

    Args:
        fps: The frame rate.
        delta: (V, 3) offsets of the vertices at loudness 1.
    """

    n_silent, refresh_seconds = 50, 0.0

    def __init__(self, fps: float = FPS, delta: np.ndarray = UNITS.deltas[0]) -> None:
        self.fps, self.delta = fps, delta

    def style(self, weights: np.ndarray) -> torch.Tensor:
        return torch.zeros(1, 1)

    def decode(self, windows: Sequence[Window]) -> list[Decoded]:
        results = []
        for window in windows:
            size = len(window.samples) // window.n_frames
            rows = window.samples[: size * window.n_frames].reshape(window.n_frames, size)
            hidden = torch.from_numpy(np.abs(rows).mean(axis=1, keepdims=True))
            results.append(Decoded(hidden, None))
        return results

    def to_vertices(self, hidden: torch.Tensor, neutral: np.ndarray) -> np.ndarray:
        return neutral + hidden.numpy()[:, :, None] * self.delta


def stream(
    units: UnitSet | None = UNITS, lookahead_seconds: float = 0.2, head_seed: int | None = None
) -> Stream:
    """Return a stream of a tiny face at 25 fps, whose head is still without a seed."""
    mesh = voices.mesh("A")
    solver = None if units is None else FrameSolver(mesh.topology, units)
    face = StreamFace(mesh.templates["A"], solver, None, head_seed)
    decoder: Any = Decoder()
    return Stream(decoder, face, np.ones(1), LiveWindows.of(lookahead_seconds, 1.0), 16_000)


class HeadVoice:
    """A voice of the bundled head at 30 fps, whose jaw follows the loudness."""

    def __init__(self) -> None:
        rig = bundled_rig()
        mesh = Mesh(rig.topology, {"S01": rig.template("S01")})
        data = SimpleNamespace(fps=30.0)
        self.checkpoint = SimpleNamespace(mesh=mesh, settings=SimpleNamespace(data=data))
        self._units = bundled_units("S01").arkit()
        self._face = StreamFace(mesh.templates["S01"], FrameSolver(rig.topology, self._units), None)

    def check(self, request: object) -> tuple[str, np.ndarray]:
        return "S01", np.ones(1)

    def stream(self, *_: object, sampling_rate: int = 16_000, **options: Any) -> Stream:
        jaw = self._units.deltas[self._units.names.index("jawOpen")]
        decoder: Any = Decoder(30.0, jaw)
        lengths = LiveWindows.of(options.get("lookahead_seconds", 0.2), 1.0)
        moves_head = options.get("idle", True) if options.get("head") is None else options["head"]
        face = replace(self._face, head_seed=options.get("seed", 0) if moves_head else None)
        return Stream(decoder, face, np.ones(1), lengths, sampling_rate)
