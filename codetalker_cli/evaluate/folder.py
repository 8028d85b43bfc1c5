"""What an evaluation writes, and how it is found again.

- ``protocol.json``   what was evaluated on what, written first
- ``predictions/``    ``CLIP_condition_STYLE.npy`` each, or ``CLIP.npy`` of stage 1
- ``metrics.json``, ``clips.csv``, ``report.html``
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetalker_cli.errors import InputError, OutputError
from codetalker_cli.files import atomic_path, check_output
from codetalker_cli.workspace import PROTOCOL, RUNS

SUFFIX = "-eval"
"""Ends the name of the folder beside a checkpoint that its evaluations are in, one a split."""
IDENTITY_KEYS = ("checkpoint", "weights", "stage", "data_id", "split", "decode", "package_version")
"""What must be equal for predictions that exist to be used again."""


@dataclass(frozen=True)
class EvaluationFolder:
    """The paths of an evaluation."""

    path: Path

    @property
    def predictions(self) -> Path:
        """A file each."""
        return self.path / "predictions"

    @property
    def protocol(self) -> Path:
        """What was evaluated on what."""
        return self.path / PROTOCOL

    @property
    def metrics(self) -> Path:
        """Values of all models."""
        return self.path / "metrics.json"

    @property
    def clips(self) -> Path:
        """A line a model, clip and style."""
        return self.path / "clips.csv"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    def read(self) -> dict[str, Any]:
        """The protocol.

        Raises:
            InputError: There is none, or it is damaged.
        """
        try:
            content = json.loads(self.protocol.read_text("utf-8"))
            if not isinstance(content, dict) or not isinstance(content["data"], str):
                raise ValueError("no data set in it")
            return content
        except FileNotFoundError as error:
            raise InputError(
                f"{self.path}: no evaluation here; make one with `codetalker eval`"
            ) from error
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{self.protocol}: damaged ({error}); evaluate again with `overwrite`"
            ) from error

    def begin(self, protocol: Mapping[str, Any], *, overwrite: bool) -> None:
        """Take the folder up, or begin it.

        Raises:
            OutputError: It holds something else, or an evaluation of something else.
        """
        check_output(self.path / PROTOCOL, overwrite=True)
        if self.protocol.exists() and overwrite:
            shutil.rmtree(self.predictions, ignore_errors=True)
        elif self.protocol.exists():
            _check_same_protocol(self.read(), protocol, self.path)
        elif self.path.exists() and any(self.path.iterdir()):
            raise OutputError(
                f"{self.path} holds no evaluation and is not empty; give another `out`"
            )
        self.predictions.mkdir(parents=True, exist_ok=True)
        for unfinished in self.predictions.glob(".*.????????.npy"):
            unfinished.unlink()
        self.write_json(self.protocol, protocol)

    @staticmethod
    def write_json(path: Path, content: Mapping[str, Any]) -> None:
        """Whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(dict(content), indent=1, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Evaluation:
    """What came of it.

    Attributes:
        folder: Everything that was written.
        protocol: What was evaluated on what.
        values: Model → metric → value, interval, unit.
        failed: Clips that could not be evaluated, and why.
    """

    folder: EvaluationFolder
    protocol: dict[str, Any]
    values: dict[str, dict[str, Any]]
    failed: list[dict[str, str]]

    @property
    def title(self) -> str:
        """One line that says what was evaluated on what."""
        protocol = self.protocol
        return (
            f"{protocol['checkpoint']} on {protocol['data']}, {protocol['split']}: "
            f"{protocol['n_clips']} clips, {protocol['n_frames']} frames"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "report": str(self.folder.report),
            "out": str(self.folder.path),
            "failed": self.failed,
            "protocol": self.protocol,
            "values": self.values,
        }


def _check_same_protocol(
    previous: Mapping[str, Any], current: Mapping[str, Any], path: Path
) -> None:
    for key in IDENTITY_KEYS:
        if previous.get(key) != current[key]:
            raise OutputError(
                f"{path}: holds an evaluation with {key} {_shorten(previous.get(key))}, now it is "
                f"{_shorten(current[key])}; give `overwrite` to begin anew, or another `out`"
            )


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def default_folder(data_name: str, checkpoint: Path, split: str) -> Path:
    """``runs/DATA_SET/CHECKPOINT-eval/SPLIT``."""
    return RUNS / data_name / f"{checkpoint.resolve().name}{SUFFIX}" / split


def write_csv(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A CSV file, whole or not at all."""
    import csv

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
