"""Raw data sets in memory, as readers return them, with optional faults."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import tiny
import voices

from codetalker_cli.datasets.raw_clips import RawAudio, RawClip, RawDataSet
from codetalker_cli.settings import DataSettings
from codetalker_cli.topology import Mesh

FPS, RATE = 60.0, 22000
SUBJECTS = ("A", "B")
STEP = 2.0**-14
"""How far vertex 0 moves along x from one frame number to the next."""


class Rows:
    """Frames of a template whose vertex 0 shows the frame number, and whose z shows a mark."""

    def __init__(self, numbers: Sequence[int], name: str, fault: Callable | None) -> None:
        self.numbers = np.array(numbers, dtype=np.int64)
        self._template = mesh().templates[name.split("_")[0]].astype(np.float64)
        self._mark, self._fault = sum(name.encode()), fault
        self.largest = 0

    def read(self, positions: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(positions))
        vertices = np.tile(self._template, (len(positions), 1, 1))
        vertices[:, 0, 0] += STEP * self.numbers[positions]
        vertices[..., 2] += self._mark * 2.0**-16
        return self._fault(vertices, self.numbers[positions]) if self._fault else vertices


def numbers_in(vertices: np.ndarray, subject: str) -> list[float]:
    """Return the frame numbers that the vertices (T, V, 3) of ``Rows`` show."""
    offsets = vertices[:, 0, 0] - mesh().templates[subject][0, 0]
    return [round(float(offset / STEP), 2) for offset in offsets]


def tone(n_frames: int, rate: int = RATE) -> RawAudio:
    """Return a ramp from -0.5 to 0.5, so that the value of a sample indicates its time."""
    return RawAudio(np.linspace(-0.5, 0.5, round(n_frames / FPS * rate), dtype=np.float32), rate)


def clip(
    name: str,
    numbers: Sequence[int] = range(60),
    *,
    sound: Callable[[], RawAudio] | None = None,
    fault: Callable | None = None,
    stamp: str = "1",
) -> RawClip:
    """Return a raw clip named SUBJECT_SENTENCE."""
    subject, sentence = name.split("_")
    span = max(numbers) - min(numbers) + 1

    @contextmanager
    def opened() -> Iterator[Rows]:
        yield Rows(numbers, name, fault)

    read_audio = sound or partial(tone, span)
    return RawClip(
        name, subject, sentence, len(numbers), stamp, opened, read_audio, f"says {sentence}"
    )


def mesh() -> Mesh:
    """Return a mesh with two templates of a plausible size."""
    mesh = voices.mesh(*SUBJECTS)
    return replace(mesh, templates={k: v * 0.05 for k, v in mesh.templates.items()})


def data_set(*clips: RawClip, **changes: Any) -> RawDataSet:
    return RawDataSet(**{"fps": FPS, "mesh": mesh(), "clips": clips, **changes})


def settings(**changes: Any) -> DataSettings:
    """Return data settings with sentences 1 to 5 in train and 6 in val."""
    values: dict[str, Any] = {
        "name": "look-alike",
        "fps": 30,
        "unit": "m",
        "n_vertices": tiny.N_VERTICES,
        "train_subjects": SUBJECTS,
        "splits": {"train": {"sentences": ["1-5"]}, "val": {"sentences": ["6"]}},
    }
    return DataSettings.model_validate({**values, **changes})
