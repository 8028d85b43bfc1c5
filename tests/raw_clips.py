"""Raw data sets in memory: what readers give, with any fault that readers tell of."""

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


class Rows:
    """Frames whose vertices tell their number: vertex v is at (number, v, clip)."""

    def __init__(self, numbers: Sequence[int], mark: int, fault: Callable | None) -> None:
        self.numbers = np.array(numbers, dtype=np.int64)
        self._mark, self._fault = mark, fault
        self.largest = 0

    def read(self, positions: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(positions))
        made = np.empty((len(positions), tiny.N_VERTICES, 3))
        made[..., 0] = self.numbers[positions][:, None]
        made[..., 1] = np.arange(tiny.N_VERTICES)
        made[..., 2] = self._mark
        return self._fault(made, self.numbers[positions]) if self._fault else made


def tone(n_frames: int, rate: int = RATE) -> RawAudio:
    """A ramp: the value of each sample tells its time, from -0.5 to 0.5."""
    return RawAudio(np.linspace(-0.5, 0.5, round(n_frames / FPS * rate), dtype=np.float32), rate)


def clip(
    name: str,
    numbers: Sequence[int] = range(60),
    *,
    sound: Callable[[], RawAudio] | None = None,
    fault: Callable | None = None,
    stamp: str = "1",
) -> RawClip:
    """A clip SUBJECT_SENTENCE."""
    subject, sentence = name.split("_")
    span = max(numbers) - min(numbers) + 1

    @contextmanager
    def opened() -> Iterator[Rows]:
        yield Rows(numbers, sum(name.encode()), fault)

    heard = sound or partial(tone, span)
    return RawClip(name, subject, sentence, len(numbers), stamp, opened, heard, f"says {sentence}")


def mesh() -> Mesh:
    """Two faces of the size of heads."""
    made = voices.mesh(*SUBJECTS)
    return replace(made, templates={k: v * 0.05 for k, v in made.templates.items()})


def data_set(*clips: RawClip, **changes: Any) -> RawDataSet:
    return RawDataSet(**{"fps": FPS, "mesh": mesh(), "clips": clips, **changes})


def settings(**changes: Any) -> DataSettings:
    """Sentences 1 to 5 train, 6 validates."""
    values: dict[str, Any] = {
        "name": "look-alike",
        "fps": 30,
        "unit": "m",
        "n_vertices": tiny.N_VERTICES,
        "train_subjects": SUBJECTS,
        "splits": {"train": {"sentences": ["1-5"]}, "val": {"sentences": ["6"]}},
    }
    return DataSettings.model_validate({**values, **changes})
