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

SQUARED = "(squared length unit)"
"""The unit of the lip vertex error if the size of the length unit is unknown."""
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
        best_mm: The lip error of that epoch in millimeters, if the length unit is known.
        sample: The path of the sample video; empty until it is rendered.
    """

    epoch: int = 0
    step: int = 0
    n_steps: int = 0
    values: Values = field(default_factory=dict)
    best: float = math.inf
    best_epoch: int = 0
    best_mm: float | None = None
    sample: str = ""

    def summary(self, out: Path) -> str:
        """Return one line that describes a finished run with best checkpoint ``out``."""
        best = f"lowest loss {self.best:.4g}"  # without validation clips
        if self.best_mm is not None:
            best = f"lowest lip error {self.best_mm:.3g} mm"
        elif "val_lve" in self.values:
            best = f"lowest lip vertex error {self.best:.4g} {SQUARED}"
        return (
            f"{out}: {counted(self.step, 'step')}, {best} in epoch {self.best_epoch}; "
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


def describe(values: Values) -> str:
    """Return the values of an epoch with their units; ``metrics.jsonl`` contains all of them."""
    known = {key: value for key, value in values.items() if math.isfinite(value)}
    parts = []
    if "loss" in known:
        parts.append(f"loss {known['loss']:.4g}")
    if "codes_used" in known:
        parts.append(f"{known['codes_used']:.0f} codes used")
    if "val_lve_mm" in known:
        parts.append(f"lip error {known['val_lve_mm']:.3g} mm")
    elif "val_lve" in known:
        parts.append(f"lip vertex error {known['val_lve']:.4g} {SQUARED}")
    if known.get("val_lve_forced") and "val_lve" in known:
        ratio = known["val_lve"] / known["val_lve_forced"]
        parts.append(f"{ratio:.2g} times the teacher-forced error")
    if "val_motion_energy" in known:
        parts.append(f"{known['val_motion_energy']:.0%} of the true motion energy")
    return ", ".join(parts)


ProgressReport = Callable[[TrainingProgress], None]


class ProgressNote:
    """Formats the latest step for a progress bar, with the lip error of the last validation."""

    def __init__(self) -> None:
        self._times: deque[tuple[int, float]] = deque(maxlen=RATE_STEPS)

    def __call__(self, progress: TrainingProgress) -> str:
        """Return the note for the step that has just ended."""
        self._times.append((progress.step, time.monotonic()))
        (first, began), (step, now) = self._times[0], self._times[-1]
        values = progress.values
        parts = [f"epoch {progress.epoch}", f"loss {values.get('loss', math.nan):.3g}"]
        if "codes_used" in values:
            parts.append(f"{values['codes_used']:.0f} codes used")
        if "val_lve_mm" in values:
            parts.append(f"lip error {values['val_lve_mm']:.3g} mm")
        if step > first:
            parts.append(f"{(step - first) / (now - began):.2g} steps/s")
        return ", ".join(parts)
