"""The progress of a training run, and how it is reported."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetalker_cli.errors import counted
from codetalker_cli.train.task import Values
from codetalker_cli.workspace import run_folder_of

RATE_STEPS = 50
"""The number of latest steps over which steps per second are averaged."""


@dataclass
class TrainingProgress:
    """The progress of a training run.

    Attributes:
        epoch: The current epoch, counted from 1.
        step: The number of finished steps.
        n_steps: The total number of steps.
        values: The latest values by name.
        best: The best (lowest) validation score so far.
        best_epoch: The epoch of the best score; 0 before the first validation.
        sample: The path of the sample video; empty until it is rendered.
    """

    epoch: int = 0
    step: int = 0
    n_steps: int = 0
    values: Values = field(default_factory=dict)
    best: float = math.inf
    best_epoch: int = 0
    sample: str = ""

    def summary(self, out: Path) -> str:
        """Return one line that describes a finished run with best checkpoint ``out``."""
        return (
            f"{out}: {counted(self.step, 'step')}, best score {self.best:.4g} in epoch "
            f"{self.best_epoch}; "
            f"curves{' and a sample video' * bool(self.sample)} in {run_folder_of(out)}"
        )

    def to_dict(self, out: Path) -> dict[str, Any]:
        """Return the summary and the latest values as JSON-serializable data."""
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
    """Formats the latest step for a progress bar: epoch, loss, codes in use, steps per second."""

    def __init__(self) -> None:
        self._times: deque[tuple[int, float]] = deque(maxlen=RATE_STEPS)

    def __call__(self, progress: TrainingProgress) -> str:
        """Return the note for the step that has just ended."""
        self._times.append((progress.step, time.monotonic()))
        (first, began), (step, now) = self._times[0], self._times[-1]
        values = progress.values
        parts = [f"epoch {progress.epoch} loss {values.get('loss', math.nan):.3g}"]
        if "codes_used" in values:
            parts.append(f"codes {values['codes_used']:.0f}")
        if step > first:
            parts.append(f"{(step - first) / (now - began):.2g}/s")
        return " ".join(parts)
