"""What a training run writes, and how it is found again.

- ``OUT``        the best checkpoint        - ``OUT-last``  the latest
- ``OUT-run``    ``run.json`` (settings and inputs), ``metrics.jsonl``, ``curves.png``,
  ``sample.mp4``, ``tensorboard/``, and ``state/``, from which ``--resume`` goes on
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError, OutputError, SettingsError
from codetalker_cli.files import atomic_path, recover
from codetalker_cli.models.checkpoint import (
    LAST,
    Checkpoint,
    check_folder,
)
from codetalker_cli.presets import flatten, settings_from_dict
from codetalker_cli.settings import Settings
from codetalker_cli.workspace import RUN, run_folder_of

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

_DESCRIPTION_KEYS = {"stage", "data", "data_id", "stage1", "stage1_weights", "settings"}
CHANGEABLE = {"save_every_seconds", "workers", "sample_frames", "trackers"}
"""Training settings that a resumed run may have otherwise: they change no number."""


def resumed_settings(description: Mapping[str, Any], given: Settings, stage: str) -> Settings:
    """The settings to resume a run with: the given ones, which must agree with its own.

    More epochs may be asked for where the learning rate does not depend on their number.

    Args:
        description: What ``RunFolder.describe`` gives.
        given: Settings asked for.
        stage: ``vq`` or ``speech``.

    Raises:
        SettingsError: They differ; names what, and both values.
    """
    original = settings_from_dict(description["settings"], "run.json")
    section = f"train_{stage}"
    changeable = CHANGEABLE | (
        {"epochs"} if getattr(original, section).schedule != "cosine" else set()
    )
    original_values, given_values = (
        dict(flatten(x.model_dump(mode="json"))) for x in (original, given)
    )
    prefixes = ("data.", f"{stage}.", f"{section}.")
    for key in sorted(original_values.keys() | given_values.keys()):
        relevant = key.startswith(prefixes) and key not in {
            f"{section}.{name}" for name in changeable
        }
        filled_in = key in ("vq.basis_rank",) or key.startswith("speech.encoder.config")
        if relevant and not filled_in and original_values.get(key) != given_values.get(key):
            reason = " (schedule cosine: the learning rates follow from it)"
            raise SettingsError(
                f"`resume`: the run was begun with {key} = {original_values.get(key)}, now it is "
                f"{given_values.get(key)}{reason if key == f'{section}.epochs' else ''}; leave "
                "that away to go on as it was, or begin anew with `overwrite`"
            )
    return given


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run whose best checkpoint is ``out``."""

    out: Path

    @property
    def last(self) -> Path:
        """The latest checkpoint."""
        return self.out.with_name(self.out.name + LAST)

    @property
    def folder(self) -> Path:
        """Everything that is no checkpoint."""
        return run_folder_of(self.out)

    @property
    def description(self) -> Path:
        """Settings and inputs of the run."""
        return self.folder / RUN

    @property
    def metrics(self) -> Path:
        """One JSON object an epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """A picture of the metrics, drawn when all is done."""
        return self.folder / "curves.png"

    @property
    def sample(self) -> Path:
        """A video of a validation clip."""
        return self.folder / "sample.mp4"

    @property
    def states(self) -> Path:
        """Where the state for going on is."""
        return self.folder / "state"

    def check(self, *, overwrite: bool) -> None:
        """Refuse to begin a run where one is, or where nothing can be written.

        Raises:
            OutputError: Says which of the two.
        """
        if self.description.is_file() and not overwrite:
            raise OutputError(
                f"{self.out}: a run was begun here already; give `resume` to go on with it, "
                "`overwrite` to begin anew, or another `out`"
            )
        for folder in (self.out, self.last):
            check_folder(folder, overwrite=overwrite)
        is_run = self.description.is_file() or not self.folder.is_dir()
        other_files = [] if is_run else sorted(p.name for p in self.folder.iterdir())
        if other_files:
            raise OutputError(
                f"{self.folder} holds {other_files[0]}, which is no training run and is not "
                "replaced; give another `out`"
            )

    def enter(
        self,
        stage: str,
        settings: Settings,
        data: PreparedDataSet,
        accelerator: "Accelerator",
        *,
        resume: bool,
        stage1: Checkpoint | None = None,
    ) -> None:
        """Begin the run in the main process, or, with ``resume``, take it up.

        Raises:
            OutputError: There is no run to be resumed, and something else is in its place.
            CheckpointError: See ``find_resumable``.
        """
        resumed = self.find_resumable(stage, data, stage1) if resume else None
        description = {
            "stage": stage,
            "data": str(data.folder),
            "data_id": data.manifest.data_id,
            "stage1": "" if stage1 is None else str(stage1.path),
            "stage1_weights": _stage1_weights(stage1),
            "settings": settings.model_dump(mode="json"),
        }
        if accelerator.is_main_process:
            if resumed is None:
                if resume:  # the command took it for a run that had begun
                    self.check(overwrite=False)
                self.begin(description)
            else:
                self.repair()
                _write_description(self.description, description)  # it may have more epochs now
        accelerator.wait_for_everyone()

    def find_resumable(
        self, stage: str, data: PreparedDataSet, stage1: Checkpoint | None = None
    ) -> dict[str, Any] | None:
        """The run to be resumed, as it was noted; None where none was begun.

        Raises:
            CheckpointError: It is of the other stage, or had another data set or stage 1.
        """
        stored = self.describe()
        data_id, weights = data.manifest.data_id, _stage1_weights(stage1)
        if stored is not None and stored["stage"] != stage:
            raise CheckpointError(
                f"{self.out}: the run begun here is one of train-{stored['stage']}; resume it with "
                "that command, or give another `out`"
            )
        if stored is not None and stage1 is not None and stored["stage1_weights"] != weights:
            raise CheckpointError(
                f"{self.out}: the run was begun with the stage 1 of {stored['stage1']} as it was "
                f"then, {stage1.path} has other weights; begin anew with `overwrite`"
            )
        if stored is not None and stored["data_id"] != data_id:
            raise CheckpointError(
                f"{self.out}: the run was begun with data {stored['data_id']} of {stored['data']}, "
                f"{data.folder} now is {data_id}; begin anew with `overwrite`"
            )
        return stored

    @contextmanager
    def lock(self, accelerator: "Accelerator") -> Iterator[None]:
        """While entered, no other run can write here.

        Raises:
            OutputError: One does.
        """
        if not accelerator.is_main_process:
            yield
            return
        self.out.parent.mkdir(parents=True, exist_ok=True)
        path = self.out.with_name(f".{self.out.name}.lock")
        with path.open("a") as file:
            if not _try_lock(file):
                raise OutputError(
                    f"{self.out}: another process is training here; wait for it, stop it, or give "
                    "another `out`"
                )
            try:
                yield
            finally:  # the lock itself goes with the process, however it ends
                path.unlink(missing_ok=True)

    def repair(self) -> None:
        """Put right what a process that was killed left half done; it must not run any more."""
        for path in (self.out, self.last, self.folder):
            recover(path)
        for folder in (self.folder, self.states):
            for unfinished in folder.glob(".*.????????.*"):
                unfinished.unlink()

    def begin(self, description: Mapping[str, Any]) -> None:
        """Note what this run is. Checkpoints of an older one stay until they are replaced."""
        self.repair()
        with atomic_path(self.folder) as temporary:  # an older run goes as a whole
            temporary.mkdir()
            _write_description(temporary / self.description.name, description)

    def describe(self) -> dict[str, Any] | None:
        """What ``begin`` noted; None when no run was begun here.

        Raises:
            CheckpointError: It is damaged.
        """
        try:
            content = json.loads(self.description.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise CheckpointError(
                f"{self.description}: damaged ({error}); begin anew with `overwrite`"
            ) from error
        missing = (
            sorted(_DESCRIPTION_KEYS - content.keys()) if isinstance(content, dict) else ["all"]
        )
        if missing:
            raise CheckpointError(
                f"{self.description}: damaged (lacks {', '.join(missing)}); begin anew with "
                "`overwrite`"
            )
        return content

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """Append a row to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the metrics by epoch; a last line that was cut short is left out."""
        rows: dict[int, dict[str, Any]] = {}
        text = self.metrics.read_text("utf-8", "replace") if self.metrics.is_file() else ""
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                row = json.loads(line)
                rows[int(row["epoch"])] = row | {"step": int(row["step"])}
            except (ValueError, TypeError, KeyError):  # of a run that was killed
                logger.warning("%s, line %d: not a row of metrics; left out", self.metrics, number)
        return [rows[epoch] for epoch in sorted(rows)]

    def truncate_metrics(self, step: int) -> None:
        """Forget what was measured after ``step``: a resumed run measures it again."""
        rows = [row for row in self.rows() if row["step"] <= step]
        with atomic_path(self.metrics) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _try_lock(file: IO[str]) -> bool:
    """Whether the file is ours now; True where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that cannot lock
        return True
    return True


def _write_description(path: Path, description: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(dict(description), indent=1) + "\n", "utf-8")


def _stage1_weights(stage1: Checkpoint | None) -> str:
    return "" if stage1 is None else str(stage1.meta.get("weights", ""))
