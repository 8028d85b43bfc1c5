"""Log a run to experiment trackers: TensorBoard and the others that accelerate supports."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, filter_trackers

from codetalker_cli.errors import MissingDependencyError
from codetalker_cli.resources import pip_install
from codetalker_cli.settings import TrainSettings

EVERY_STEPS = 10
"""The number of steps between two logged points."""
PROJECT = "codetalker"
"""The project name, for trackers that have projects."""

logger = logging.getLogger(__name__)


class Trackers:
    """The experiment trackers of a run; only the main process logs to them.

    TensorBoard's event files are in ``FOLDER/tensorboard``.

    Args:
        settings: The training settings; ``trackers`` lists the trackers to start.
        folder: The run folder.
        step: The number of finished steps; TensorBoard drops later points of an interrupted run.
        accelerator: The processes of the run.

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
        """Log values to the group ``epoch`` if ``always``, else to ``step`` at every tenth step.

        Args:
            step: The number of finished steps.
            values: The values by name.
            always: True for the values of an epoch, which are logged at any step.
        """
        if not (always or step % EVERY_STEPS == 0):
            return
        group = "epoch" if always else "step"
        named = {f"{group}/{name}": value for name, value in values.items()}
        for tracker in list(self._trackers):
            try:
                tracker.log(named, step=step)
            except Exception as error:  # a full disk or an unreachable service must not end a run
                logger.warning("%s failed and receives no more values: %s", tracker.name, error)
                self._trackers.remove(tracker)

    def close(self) -> None:
        """Finish all trackers and flush their values."""
        for tracker in self._trackers:
            tracker.finish()


def check_trackers(names: Sequence[str]) -> None:
    """Check that all trackers are installed, before a run starts.

    Raises:
        MissingDependencyError: The package of a tracker is not installed.
    """
    available = {str(name) for name in filter_trackers(list(names), ".")}
    for name in names:
        if name not in available:
            package = name.replace("_", "-")
            raise MissingDependencyError(
                f"trackers: {name} is not installed; run `{pip_install(package)}`, or remove it "
                "from the list"
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
