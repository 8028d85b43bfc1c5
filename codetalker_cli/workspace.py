"""The working folder: where data sets, checkpoints and evaluations are, and the newest of each."""

from pathlib import Path

from codetalker_cli.errors import InputError

RUNS = Path("runs")
"""Folder of checkpoints, training runs and evaluations, under the working folder."""
DATA = Path("data")
"""Folder of prepared data sets, under the working folder."""

MANIFEST = "manifest.json"
"""The file that makes a folder a prepared data set."""
WEIGHTS, META = "model.safetensors", "meta.json"
"""The files that make a folder a checkpoint."""
RUN_SUFFIX = "-run"
"""Ends the name of the folder of a training run, next to its best checkpoint."""
RUN = "run.json"
"""The file that describes a training run, in the folder of the run."""
PROTOCOL = "protocol.json"
"""The file that makes a folder an evaluation."""


def newest(root: Path, *patterns: str) -> list[Path]:
    """The folders below ``root`` that hold a file of one of the patterns, the newest file first.

    Hidden folders are left out: they are being written, or their writer died.
    """
    files = [path for pattern in patterns for path in root.glob(pattern)]
    visible = [path for path in files if "/." not in f"/{path.relative_to(root).as_posix()}"]
    visible.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [path.parent for path in visible]


# Prepared data sets ------------------------------------------------------------------------------


def data_sets(root: Path = DATA) -> list[Path]:
    """The prepared data sets under ``root``, newest first."""
    return newest(root, f"*/{MANIFEST}", f"*/*/{MANIFEST}")


def newest_data_set(root: Path = DATA) -> Path:
    """The data set under ``root`` that was prepared last.

    Raises:
        InputError: There is none.
    """
    folders = data_sets(root)
    if not folders:
        raise InputError(
            f"{root}: no prepared data set under it; make one with `codetalker prepare-data`, or "
            "name the folder of yours"
        )
    return folders[0]


# Checkpoints and training runs -------------------------------------------------------------------


def is_checkpoint(folder: Path) -> bool:
    """Whether ``folder`` looks like a checkpoint."""
    return (folder / META).is_file() and (folder / WEIGHTS).is_file()


def checkpoints(root: Path = RUNS) -> list[Path]:
    """The checkpoints below ``root``, newest first."""
    return [folder for folder in newest(root, f"**/{META}") if is_checkpoint(folder)]


def run_folder_of(checkpoint: Path) -> Path:
    """The folder of the training run that writes a checkpoint."""
    return checkpoint.with_name(f"{checkpoint.name}{RUN_SUFFIX}")


def newest_run(root: Path = RUNS) -> Path | None:
    """The best checkpoint of the training run that wrote one last; None if there is no run."""
    runs = (path for path in checkpoints(root) if (run_folder_of(path) / RUN).is_file())
    return next(runs, None)


# Evaluations -------------------------------------------------------------------------------------


def newest_evaluation(root: Path = RUNS) -> Path:
    """The evaluation below ``root`` that was begun last.

    Raises:
        InputError: There is none.
    """
    folders = newest(root, f"**/{PROTOCOL}")
    if not folders:
        raise InputError(
            f"{root}: no evaluation under it; make one with `codetalker eval`, or name predictions "
            "with `pred` DIR and `data` PREPARED"
        )
    return folders[0]
