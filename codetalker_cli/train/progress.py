"""How far a training run is, and what is reported of it."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetalker_cli.train.task import Values
from codetalker_cli.workspace import run_folder_of

RATE_STEPS = 50
"""Latest steps that the rate of steps is measured over."""


@dataclass
class TrainingProgress:
    """How far a run is.

    Attributes:
        epoch: Current epoch, from 1.
        step: Steps done.
        n_steps: Steps in all.
        values: Latest values by name.
        best: Best validation score so far.
        best_epoch: Its epoch.
        sample: Video of a validation clip, once it is rendered.
    """

    epoch: int = 0
    step: int = 0
    n_steps: int = 0
    values: Values = field(default_factory=dict)
    best: float = math.inf
    best_epoch: int = 0
    sample: str = ""

    def summary(self, out: Path) -> str:
        """One line for people about a finished run whose best checkpoint is ``out``."""
        return (
            f"{out}: {self.step} steps, best score {self.best:.4g} in epoch {self.best_epoch}; "
            f"curves{' and a sample video' * bool(self.sample)} in {run_folder_of(out)}"
        )

    def to_dict(self, out: Path) -> dict[str, Any]:
        """The same as plain data for JSON, with the latest values."""
        return {
            "out": str(out),
            "run": str(run_folder_of(out)),
            "steps": self.step,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "last": {key: round(value, 8) for key, value in self.values.items()},
        }


ProgressReport = Callable[[TrainingProgress], None]


class ProgressNote:
    """Describes the latest step in a few words: epoch, loss, codes in use, steps per second."""

    def __init__(self) -> None:
        self._times: deque[tuple[int, float]] = deque(maxlen=RATE_STEPS)

    def __call__(self, progress: TrainingProgress) -> str:
        """The note for a step that has just ended."""
        self._times.append((progress.step, time.monotonic()))
        (first, began), (step, now) = self._times[0], self._times[-1]
        values = progress.values
        parts = [f"epoch {progress.epoch} loss {values.get('loss', math.nan):.3g}"]
        if "codes_used" in values:
            parts.append(f"codes {values['codes_used']:.0f}")
        if step > first:
            parts.append(f"{(step - first) / (now - began):.2g}/s")
        return " ".join(parts)
