"""The files of an evaluation.

- ``protocol.json``: The checkpoint, the data and the settings.
- ``predictions/``: One file per clip and style, ``CLIP_condition_STYLE.npy``; for stage 1,
  ``CLIP.npy``.
- ``metrics.json``: The values of all models.
- ``clips.csv``: The values of each clip.
- ``report.html``: The report.

All of them are written to the folder ``.unfinished`` and moved out of it at the end, so a folder
that contains ``protocol.json`` contains a complete evaluation. If an evaluation fails, its finished
predictions stay in ``.unfinished``, and the next evaluation of the same kind resumes there.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetalker_cli.errors import InputError, OutputError, counted
from codetalker_cli.files import atomic_path, check_output, claim, remove_leftovers
from codetalker_cli.text_files import TABLE_BYTES, read_json
from codetalker_cli.workspace import PROTOCOL, RUNS

SUFFIX = "-eval"
"""Suffix of the folder of a checkpoint's evaluations; it contains one folder per split."""
DRAFT = ".unfinished"
"""Folder of an evaluation that is running or failed; hidden, so it is never the newest one."""
IDENTITY_KEYS = ("checkpoint", "weights", "stage", "data_id", "split", "decode", "package_version")
"""Keys of the protocol that must be equal for existing predictions to be reused."""
_NAMES = ("checkpoint", "data", "split")


@dataclass(frozen=True)
class EvaluationFolder:
    """The paths of an evaluation."""

    path: Path

    @property
    def predictions(self) -> Path:
        """The folder of the predictions."""
        return self.path / "predictions"

    @property
    def protocol(self) -> Path:
        """The checkpoint, the data and the settings of the evaluation."""
        return self.path / PROTOCOL

    @property
    def metrics(self) -> Path:
        """The values of all models."""
        return self.path / "metrics.json"

    @property
    def clips(self) -> Path:
        """The values of each model, clip and style, one per line."""
        return self.path / "clips.csv"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    def read(self) -> dict[str, Any]:
        """Read the protocol.

        Raises:
            InputError: The protocol does not exist or is damaged.
        """
        try:
            content = read_json(self.protocol, TABLE_BYTES, finite=False)
            if not isinstance(content, dict):
                raise ValueError(f"expected a table, found {type(content).__name__}")
            if lacking := [k for k in _NAMES if not isinstance(content.get(k), str)]:
                raise ValueError(f"without a name for {', '.join(lacking)}")
            return content
        except FileNotFoundError as error:
            raise InputError(
                f"{self.path} contains no evaluation; run `codetalker eval` first"
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.protocol}: the file is damaged ({error}); evaluate again with `overwrite`"
            ) from error

    @property
    def draft(self) -> "EvaluationFolder":
        """The same files while the evaluation is unfinished."""
        return EvaluationFolder(self.path / DRAFT)

    @property
    def replaced(self) -> Path:
        """The predictions of an earlier evaluation, while a draft is published."""
        return self.path / "replaced"

    @contextmanager
    def begin(self, protocol: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
        """Start an evaluation or resume an unfinished one, and publish it when the block ends.

        If the block fails, an existing evaluation stays as it was. The draft is removed unless it
        contains finished predictions.

        Args:
            protocol: The protocol of the evaluation.
            overwrite: Whether to discard existing predictions.

        Raises:
            OutputError: The folder contains a different evaluation or other files, or another run
                is writing it.
        """
        check_output(self.path / PROTOCOL, overwrite=True)
        with claim(self.protocol):
            previous = next((one for one in (self.draft, self) if one.protocol.exists()), None)
            if previous is None:
                self._refuse_other_files()
            elif not overwrite:
                _check_same_protocol(previous.read(), protocol, self.path)
            try:
                self._open_draft(protocol, None if overwrite else previous)
                yield
                self._publish()
            finally:
                is_partly_published = self.predictions.exists() and not self.protocol.exists()
                if not (is_partly_published or self._new_predictions()):
                    shutil.rmtree(self.draft.path, ignore_errors=True)

    def _refuse_other_files(self) -> None:
        if any(not path.name.startswith(".") for path in self.path.iterdir()):
            raise OutputError(
                f"{self.path} is not empty and contains no evaluation; give another `out`"
            )

    def _open_draft(self, protocol: Mapping[str, Any], resumed: "EvaluationFolder | None") -> None:
        draft = self.draft
        if resumed != draft:
            shutil.rmtree(draft.path, ignore_errors=True)
        shutil.rmtree(draft.replaced, ignore_errors=True)
        # A resumed draft without predictions was stopped after they had been published.
        is_published = resumed is not None and not draft.predictions.exists()
        draft.predictions.mkdir(parents=True, exist_ok=True)
        remove_leftovers(draft.predictions)
        if is_published:
            for path in self.predictions.glob("[!.]*"):
                _link(path, draft.predictions / path.name)
        self.write_json(draft.protocol, protocol)

    def _publish(self) -> None:
        draft = self.draft
        # The protocol marks a complete evaluation, so it is removed first and moved last.
        self.protocol.unlink(missing_ok=True)
        if self.predictions.exists():
            os.replace(self.predictions, draft.replaced)
        for path in (draft.predictions, draft.metrics, draft.clips, draft.report, draft.protocol):
            if path.exists():
                os.replace(path, self.path / path.name)
        shutil.rmtree(draft.path, ignore_errors=True)

    def _new_predictions(self) -> list[Path]:
        """Return the finished predictions of the draft that the folder itself does not contain."""
        return [
            path
            for path in self.draft.predictions.glob("[!.]*")
            if not (same := self.predictions / path.name).exists() or not same.samefile(path)
        ]

    @staticmethod
    def write_json(path: Path, content: Mapping[str, Any]) -> None:
        """Write a JSON file atomically."""
        text = json.dumps(dict(content), indent=1, ensure_ascii=False) + "\n"
        with atomic_path(path) as temporary:
            # A path may contain bytes that are not UTF-8. Their escapes are valid JSON.
            temporary.write_text(text, "utf-8", "backslashreplace")


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        folder: The files that were written.
        protocol: The checkpoint, the data and the settings.
        values: Model → metric → value, interval and unit.
        motion_energy: Region → the model's motion energy relative to the truth, see
            ``diagnostics``.
        diagnostics: Kind of problem → warnings.
        failed: The clips that could not be evaluated, each with the reason.
    """

    folder: EvaluationFolder
    protocol: dict[str, Any]
    values: dict[str, dict[str, Any]]
    failed: list[dict[str, str]]
    motion_energy: dict[str, dict[str, Any]] = field(default_factory=dict)
    diagnostics: dict[str, list[str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """A summary of the checkpoint and the data in one line."""
        protocol = self.protocol
        return (
            f"{protocol['checkpoint']} on {protocol['data']}, {protocol['split']}: "
            f"{counted(protocol['n_clips'], 'clip')}, {counted(protocol['n_frames'], 'frame')} "
            f"at {protocol['fps']:g} fps"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as data that JSON can store."""
        return {
            "report": str(self.folder.report),
            "out": str(self.folder.path),
            "failed": self.failed,
            "protocol": self.protocol,
            "values": self.values,
            "motion_energy": self.motion_energy,
            "diagnostics": self.diagnostics,
        }


def _link(path: Path, to: Path) -> None:
    """Make a file available under a second path, without copying its content where possible."""
    try:
        os.link(path, to)
    except OSError:  # the file system has no hard links, or the path is a folder
        if path.is_dir():
            shutil.copytree(path, to)
        else:
            shutil.copy2(path, to)


def _check_same_protocol(
    previous: Mapping[str, Any], current: Mapping[str, Any], path: Path
) -> None:
    for key in IDENTITY_KEYS:
        if previous.get(key) != current[key]:
            raise OutputError(
                f"{path} contains a different evaluation ({key}: {_shorten(previous.get(key))}, "
                f"now {_shorten(current[key])}); give `overwrite` to replace it, or another `out`"
            )


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def default_folder(data_name: str, checkpoint: Path, split: str) -> Path:
    """Return the default output folder, ``runs/DATA_SET/CHECKPOINT-eval/SPLIT``."""
    return RUNS / data_name / f"{checkpoint.resolve().name}{SUFFIX}" / split


def write_csv(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Write a CSV file atomically."""
    import csv

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(_plain_cell, header))
        writer.writerows(map(_plain_cell, line) for line in lines)


def _plain_cell(text: str) -> str:
    """Return a cell that a spreadsheet program shows as text instead of evaluating it."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
