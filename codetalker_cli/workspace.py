"""Find the data sets, checkpoints and evaluations in the working folder, newest first."""

from pathlib import Path

from codetalker_cli.errors import InputError

RUNS = Path("runs")
"""The folder of checkpoints, training runs and evaluations, in the working folder."""
DATA = Path("data")
"""The folder of prepared data sets, in the working folder."""

MANIFEST = "manifest.json"
"""The file that identifies a prepared data set."""
WEIGHTS, META = "model.safetensors", "meta.json"
"""The files that identify a checkpoint."""
RUN_SUFFIX = "-run"
"""The suffix of a training run's folder, which is next to its best checkpoint."""
RUN = "run.json"
"""The file in a run folder that describes the training run."""
PROTOCOL = "protocol.json"
"""The file that identifies an evaluation."""


def newest(root: Path, *patterns: str) -> list[Path]:
    """Return the folders below ``root`` that contain a file matching a pattern, newest file first.

    Hidden folders are skipped: they are incomplete, because their writer is running or was killed.
    """
    files = [path for pattern in patterns for path in root.glob(pattern)]
    visible = [path for path in files if "/." not in f"/{path.relative_to(root).as_posix()}"]
    visible.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [path.parent for path in visible]


# Prepared data sets ------------------------------------------------------------------------------


def data_sets(root: Path = DATA) -> list[Path]:
    """Return the prepared data sets under ``root``, newest first."""
    return newest(root, f"*/{MANIFEST}", f"*/*/{MANIFEST}")


def newest_data_set(root: Path = DATA) -> Path:
    """Return the most recently prepared data set under ``root``.

    Raises:
        InputError: There is none.
    """
    folders = data_sets(root)
    if not folders:
        raise InputError(
            f"{root}: contains no prepared data set; create one with `codetalker prepare-data`, or "
            "give the folder of one"
        )
    return folders[0]


# Checkpoints and training runs -------------------------------------------------------------------


def is_checkpoint(folder: Path) -> bool:
    """Return whether ``folder`` looks like a checkpoint."""
    return (folder / META).is_file() and (folder / WEIGHTS).is_file()


def checkpoints(root: Path = RUNS) -> list[Path]:
    """Return the checkpoints below ``root``, newest first."""
    return [folder for folder in newest(root, f"**/{META}") if is_checkpoint(folder)]


def run_folder_of(checkpoint: Path) -> Path:
    """Return the folder of the training run that writes a checkpoint."""
    return checkpoint.with_name(f"{checkpoint.name}{RUN_SUFFIX}")


def newest_run(root: Path = RUNS) -> Path | None:
    """Return the best checkpoint of the newest training run; None if there is no run."""
    runs = (path for path in checkpoints(root) if (run_folder_of(path) / RUN).is_file())
    return next(runs, None)


# Evaluations -------------------------------------------------------------------------------------


def newest_evaluation(root: Path = RUNS) -> Path:
    """Return the most recently finished evaluation below ``root``.

    Raises:
        InputError: There is none.
    """
    folders = newest(root, f"**/{PROTOCOL}")
    if not folders:
        raise InputError(
            f"{root}: contains no evaluation; run `codetalker eval` first, or give predictions "
            "with `pred` DIR and `data` PREPARED"
        )
    return folders[0]
