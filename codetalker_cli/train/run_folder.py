"""The files of a training run, and the checks before it starts or resumes.

- ``OUT``: the best checkpoint.
- ``OUT-last``: the latest checkpoint.
- ``OUT-run``: ``run.json`` (settings and inputs), ``metrics.jsonl``, ``curves.png``,
  ``sample.mp4``, ``tensorboard/``, and ``state/``, from which a run resumes.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError, OutputError, SettingsError
from codetalker_cli.files import atomic_path, claim, remove_leftovers
from codetalker_cli.models.checkpoint import (
    LAST,
    Checkpoint,
    check_folder,
)
from codetalker_cli.presets import flatten, settings_from_dict
from codetalker_cli.settings import Settings
from codetalker_cli.text_files import TABLE_BYTES, parse_json, read_json, read_text
from codetalker_cli.workspace import RUN, run_folder_of

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

_DESCRIPTION_KEYS = {"stage", "data", "data_id", "stage1", "stage1_weights", "settings"}
CHANGEABLE = {"save_every_seconds", "workers", "sample_frames", "trackers"}
"""The training settings that a resumed run may change, because they do not affect the result."""


def resumed_settings(description: Mapping[str, Any], given: Settings, stage: str) -> Settings:
    """Check the requested settings against those of the run, and return the ones to resume with.

    The number of epochs may change, unless the learning rate depends on it (schedule cosine).

    Args:
        description: The result of ``RunFolder.describe``.
        given: The requested settings.
        stage: ``vq`` or ``speech``.

    Raises:
        SettingsError: A setting differs; the message contains its name and both values.
    """
    original = settings_from_dict(description["settings"], "run.json")
    section = f"train_{stage}"
    changeable = CHANGEABLE | (
        {"epochs"} if getattr(original, section).schedule != "cosine" else set()
    )
    original_values, given_values = (dict(flatten(x.of_a_run())) for x in (original, given))
    prefixes = ("data.", f"{stage}.", f"{section}.")
    for key in sorted(original_values.keys() | given_values.keys()):
        relevant = key.startswith(prefixes) and key not in {
            f"{section}.{name}" for name in changeable
        }
        # Training sets these values itself: it may limit the rank and reads the config of `source`.
        filled_in = key in ("vq.basis_rank",) or key.startswith("speech.encoder.config")
        if relevant and not filled_in and original_values.get(key) != given_values.get(key):
            reason = " (the cosine schedule depends on it)"
            raise SettingsError(
                f"`resume`: the run was started with {key} = {original_values.get(key)}, but now "
                f"it is {given_values.get(key)}{reason if key == f'{section}.epochs' else ''}; "
                "drop this setting to resume with the original value, or start again with "
                "`overwrite`"
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
        """The folder of all files that are not checkpoints."""
        return run_folder_of(self.out)

    @property
    def description(self) -> Path:
        """The JSON file with the settings and inputs of the run."""
        return self.folder / RUN

    @property
    def metrics(self) -> Path:
        """The metrics file, with one JSON object per epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """The plot of the metrics, drawn when the run is finished."""
        return self.folder / "curves.png"

    @property
    def sample(self) -> Path:
        """The video of a validation clip."""
        return self.folder / "sample.mp4"

    @property
    def states(self) -> Path:
        """The folder of the saved state, from which a run resumes."""
        return self.folder / "state"

    def check(self, *, overwrite: bool) -> None:
        """Check that a new run can be started here.

        Raises:
            OutputError: There is a run already and ``overwrite`` is false, other files are in the
                way, or the folder is not writable.
        """
        if self.description.is_file() and not overwrite:
            raise OutputError(
                f"{self.out}: a run was already started here; give `resume` to continue it, "
                "`overwrite` to replace it, or another `out`"
            )
        for folder in (self.out, self.last):
            check_folder(folder, overwrite=overwrite)
        is_run = self.description.is_file() or not self.folder.is_dir()
        other_files = [] if is_run else sorted(p.name for p in self.folder.iterdir())
        if other_files:
            raise OutputError(
                f"{self.folder}: contains {other_files[0]} and is not a training run, so it is not "
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
        """Start the run in the main process or, with ``resume``, prepare to continue it.

        All processes must call this; it ends with a barrier.

        Args:
            stage: ``vq`` or ``speech``.
            settings: The settings of the run.
            data: The data set to train on.
            accelerator: The processes of the run.
            resume: Whether to continue a run that was started here.
            stage1: The stage 1 that stage 2 is trained with.

        Raises:
            OutputError: There is no run to resume, and other files are in the way.
            CheckpointError: See ``find_resumable``.
        """
        resumed = self.find_resumable(stage, data, stage1) if resume else None
        description = {
            "stage": stage,
            "data": str(data.folder),
            "data_id": data.manifest.data_id,
            "stage1": "" if stage1 is None else str(stage1.path),
            "stage1_weights": _stage1_weights(stage1),
            "settings": settings.of_a_run(),
        }
        if accelerator.is_main_process:
            if resumed is None:
                if resume:  # `set_up` leaves out this check when resuming
                    self.check(overwrite=False)
                self.begin(description)
            else:
                self.repair()
                _write_description(self.description, description)  # the epochs may have changed
        accelerator.wait_for_everyone()

    def find_resumable(
        self, stage: str, data: PreparedDataSet, stage1: Checkpoint | None = None
    ) -> dict[str, Any] | None:
        """Return the description of the run to resume, or None if none was started here.

        Raises:
            CheckpointError: The run is of the other stage, or it used another data set or stage 1.
        """
        stored = self.describe()
        data_id, weights = data.manifest.data_id, _stage1_weights(stage1)
        if stored is not None and stored["stage"] != stage:
            raise CheckpointError(
                f"{self.out}: this run was started by train-{stored['stage']}; resume it with that "
                "command, or give another `out`"
            )
        if stored is not None and stage1 is not None and stored["stage1_weights"] != weights:
            raise CheckpointError(
                f"{self.out}: the run was started with stage 1 from {stored['stage1']}, but the "
                f"weights of {stage1.path} are different; give the original stage 1, or start "
                "again with `overwrite`"
            )
        if stored is not None and stored["data_id"] != data_id:
            raise CheckpointError(
                f"{self.out}: the run was started with data {stored['data_id']} from "
                f"{stored['data']}, but {data.folder} now contains {data_id}; start again with "
                "`overwrite`"
            )
        return stored

    @contextmanager
    def lock(self, accelerator: "Accelerator") -> Iterator[None]:
        """Lock the run inside a ``with`` block, so that no other process can train here.

        Raises:
            OutputError: Another process is training here.
        """
        if not accelerator.is_main_process:
            yield
            return
        with claim(self.out):
            yield

    def repair(self) -> None:
        """Repair what a killed process left half written; that process must have ended."""
        for folder in (self.out.parent, self.folder, self.states):
            remove_leftovers(folder)

    def begin(self, description: Mapping[str, Any]) -> None:
        """Create the run folder and its description, replacing the folder of an older run.

        The checkpoints of an older run are kept until new ones replace them.
        """
        self.repair()
        with atomic_path(self.folder) as temporary:  # never mixes files of two runs
            temporary.mkdir()
            _write_description(temporary / self.description.name, description)

    def describe(self) -> dict[str, Any] | None:
        """Return the description that ``begin`` wrote, or None if no run was started here.

        Raises:
            CheckpointError: The file is damaged.
        """
        try:
            content = read_json(self.description, finite=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.description}: the file is damaged ({error}); start again with `overwrite`"
            ) from error
        missing = (
            sorted(_DESCRIPTION_KEYS - content.keys()) if isinstance(content, dict) else ["all"]
        )
        if missing:
            raise CheckpointError(
                f"{self.description}: the file is damaged (missing: {', '.join(missing)}); start "
                "again with `overwrite`"
            )
        return content

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """Append a row to the metrics file."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """Return the metrics in order of epochs, with the latest row of each.

        Lines that are not valid rows are skipped with a warning.

        Raises:
            CheckpointError: The file cannot be read.
        """
        rows: dict[int, dict[str, Any]] = {}
        text = ""
        if self.metrics.is_file():
            try:
                text = read_text(self.metrics, TABLE_BYTES, errors="replace")
            except (OSError, ValueError) as error:
                raise CheckpointError(f"{self.metrics}: cannot be read ({error})") from error
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                row = parse_json(line, finite=False)
                rows[int(row["epoch"])] = row | {"step": int(row["step"])}
            # a killed run can leave half a line
            except (ValueError, TypeError, KeyError, OverflowError):
                logger.warning("%s, line %d: not a row of metrics; skipped", self.metrics, number)
        return [rows[epoch] for epoch in sorted(rows)]

    def truncate_metrics(self, step: int) -> None:
        """Remove the rows after ``step``, which a resumed run measures again."""
        rows = [row for row in self.rows() if row["step"] <= step]
        with atomic_path(self.metrics) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _write_description(path: Path, description: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(dict(description), indent=1) + "\n", "utf-8")


def _stage1_weights(stage1: Checkpoint | None) -> str:
    return "" if stage1 is None else str(stage1.meta.get("weights", ""))
