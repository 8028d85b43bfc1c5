"""The values of a run in experiment trackers: TensorBoard, and those that accelerate knows."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, filter_trackers

from codetalker_cli.errors import MissingDependencyError
from codetalker_cli.settings import TrainSettings

EVERY_STEPS = 10
"""Steps between two points of a step's values."""
PROJECT = "codetalker"
"""Name of the project in trackers that have projects."""

logger = logging.getLogger(__name__)


class Trackers:
    """accelerate's trackers, written by the main process alone.

    TensorBoard's event files are in ``FOLDER/tensorboard``.

    Args:
        settings: ``trackers`` names them; the others are stored with the run.
        folder: Folder of the run.
        step: Steps done already; TensorBoard drops points of an interrupted run beyond them.
        accelerator: Tells which process this is.

    Raises:
        MissingDependencyError: See ``check_trackers``.
    """

    def __init__(
        self, settings: TrainSettings, folder: Path, step: int, accelerator: Accelerator
    ) -> None:
        self._trackers: list[GeneralTracker] = []
        check_trackers(settings.trackers)
        if accelerator.is_main_process:
            self._trackers = [_start(name, settings, folder, step) for name in settings.trackers]

    def add(self, step: int, values: Mapping[str, float], *, always: bool = False) -> None:
        """Log a point of each value; an epoch's values go to ``epoch/``, a step's to ``step/``."""
        if not (always or step % EVERY_STEPS == 0):
            return
        group = "epoch" if always else "step"
        named = {f"{group}/{name}": value for name, value in values.items()}
        for tracker in list(self._trackers):
            try:
                tracker.log(named, step=step)
            except Exception as error:  # a full disk or a service that is down must not end a run
                logger.warning("no more values for %s: %s", tracker.name, error)
                self._trackers.remove(tracker)

    def close(self) -> None:
        """Write what is left."""
        for tracker in self._trackers:
            tracker.finish()


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that cannot be started, before a run begins.

    Raises:
        MissingDependencyError: The package of a tracker is not installed.
    """
    available = {str(name) for name in filter_trackers(list(names), ".")}
    for name in names:
        if name not in available:
            package = name.replace("_", "-")
            raise MissingDependencyError(
                f"trackers: {name} is not installed; run `pip install {package}`, or leave it out"
            )


def _start(name: str, settings: TrainSettings, folder: Path, step: int) -> GeneralTracker:
    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        tracker = kind(name, str(folder), purge_step=step + 1 if step else None)
        tracker.start()
        return tracker
    tracker = kind(PROJECT, str(folder)) if kind.requires_logging_directory else kind(PROJECT)
    tracker.start()
    tracker.store_init_configuration(settings.model_dump(mode="json"))
    return tracker
