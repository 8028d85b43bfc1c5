"""Select what to evaluate or measure, with defaults such as the newest run and its data set."""

import logging
from pathlib import Path

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import InputError
from codetalker_cli.evaluate.folder import EvaluationFolder
from codetalker_cli.evaluate.truth import Truth, of_data_set, of_files, with_files
from codetalker_cli.text_files import read_json
from codetalker_cli.workspace import (
    RUN,
    newest_data_set,
    newest_evaluation,
    newest_run,
    run_folder_of,
)

logger = logging.getLogger(__name__)


def checkpoint_and_data(checkpoint: str | None, data: Path | None) -> tuple[str, PreparedDataSet]:
    """Return the checkpoint to evaluate and the data set to evaluate it on.

    Args:
        checkpoint: Name or folder; None: the best checkpoint of the newest training run.
        data: Prepared data set; None: the data set of the training run, else the newest.

    Raises:
        InputError: No checkpoint is given and there is no run, or there is no data set.
        DataError: The data set is damaged.
    """
    folder = newest_run() if checkpoint is None else Path(checkpoint)
    if folder is None:
        raise InputError(
            "no checkpoint is given, and there is no training run under runs/; give a checkpoint, "
            "such as demo"
        )
    if checkpoint is None:
        logger.info("checkpoint: %s (the newest training run)", folder)
    if data is None:
        data = _trained_on(folder) or newest_data_set()
        logger.info("data set: %s", data)
    return checkpoint or str(folder), PreparedDataSet(data)


def _trained_on(checkpoint: Path) -> Path | None:
    """Return the data set that a checkpoint was trained on, or None if it is not known."""
    description = run_folder_of(checkpoint) / RUN
    if not description.is_file():
        return None
    try:
        return Path(read_json(description, finite=False)["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{description}: the file is damaged ({error}); give the data set as `data`"
        ) from error


def predictions_and_truth(
    pred: Path | None,
    *,
    gt: Path | None = None,
    data: Path | None = None,
    split: str | None = None,
    regions: Path | None = None,
    templates: Path | None = None,
    unit: str | None = None,
) -> tuple[Path, Truth]:
    """Return the folder of predictions to measure and the ground-truth clips to compare them with.

    Args:
        pred: Folder of predictions; None: those of the newest evaluation.
        gt: Folder of ground-truth clips; None: those of the data set.
        data: Prepared data set.
        split: Split of the data set; None: all clips.
        regions: Folder of vertex regions; required without a data set.
        templates: File of neutral faces; required without a data set.
        unit: Length unit, for use without a data set; None: not known.

    Raises:
        InputError: A required argument is missing, or arguments contradict each other.
        DataError: A file is damaged.
    """
    if data is not None and (regions or templates or unit):
        raise InputError(
            "`data` already contains templates, regions and a unit; give either `data` or these"
        )
    if pred is None:
        if any((gt, regions, templates, unit)):
            raise InputError("`pred` is missing; give the folder of predictions")
        evaluation = EvaluationFolder(newest_evaluation())
        protocol = evaluation.read()
        begun = f"{protocol['checkpoint']} on {protocol['split']}"
        logger.info("evaluation: %s (%s)", evaluation.path, begun)
        pred, split = evaluation.predictions, split or protocol["split"]
        data = data or Path(protocol["data"])
    if data is not None:
        truth = of_data_set(PreparedDataSet(data), split)
        return pred, truth if gt is None else with_files(truth, gt)
    needed = {"gt": gt, "templates": templates, "regions": regions}
    lacking = [f"`{name}`" for name, value in needed.items() if value is None]
    if lacking:
        raise InputError(
            f"without a prepared data set, {' and '.join(lacking)} must be given; give `data` "
            "instead, or all of `gt`, `regions` and `templates`"
        )
    assert gt is not None and templates is not None and regions is not None
    return pred, of_files(gt, templates=templates, regions=regions, unit=unit)
