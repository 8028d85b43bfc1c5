"""Values of a run for TensorBoard."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

logger = logging.getLogger(__name__)

EVERY_STEPS = 10
"""Steps between two points of a step's values."""


class TensorBoard:
    """Event files in ``FOLDER/tensorboard``, written by the main process alone.

    Args:
        folder: Of the run.
        step: Steps done already; points of an interrupted run beyond them are taken back.
        accelerator: Tells which process this is.
    """

    def __init__(self, folder: Path, step: int, accelerator: Accelerator) -> None:
        self._writer: Any = None
        if accelerator.is_main_process:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(
                str(folder / "tensorboard"), purge_step=step + 1 if step else None
            )

    def add(self, step: int, values: Mapping[str, float], *, always: bool = False) -> None:
        """A point of each value; an epoch's values go to ``epoch/``, a step's to ``step/``."""
        if self._writer is None or not (always or step % EVERY_STEPS == 0):
            return
        group = "epoch" if always else "step"
        try:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
        except OSError as error:  # the state and the metrics are what a full disk must not cost
            logger.warning("no more values for TensorBoard: %s", error)
            self._writer = None

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
