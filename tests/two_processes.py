"""The program that ``torchrun`` starts in each of two training processes.

All cases run in one launch, because starting takes the longest. Each process writes its results to
a JSON file.
"""

import hashlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import killed_runs
import tiny_data
import yaml

from codetalker_cli import cli
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.settings import Settings
from codetalker_cli.train.batches import Batch, ClipSource
from codetalker_cli.train.steps import Stepper
from codetalker_cli.train.task import Task

LENGTHS = (30, 26, 23, 24, 28, 26, 20, 29, 22, 25)
"""Three validation and seven training clips; neither number is divisible by two or four."""
STILL = {
    f"{name}_dropout": 0.0 for name in ("attention", "hidden", "activation", "feat_proj", "final")
} | {"layerdrop": 0.0, "apply_spec_augment": False}
CROPS = {"crop_frames": 20, "min_crop_frames": 6}
"""Random lengths of crops, which all processes must share."""
CASES: dict[str, dict[str, Any]] = {
    "two": {"batch_size": 2},
    "accumulated": {"batch_size": 1, "accumulation": 2, **CROPS},
    "idle": {"batch_size": 1},
}
"""The settings of each case in two processes."""
SINGLE = {
    "two": {"batch_size": 4},
    "accumulated": {"batch_size": 4, **CROPS},
    "idle": {"batch_size": 2},
}
"""The settings of each case in one process."""
RESUMED = {"batch_size": 1, "epochs": 2}
POISONED = "clip4"


def data(folder: Path) -> PreparedDataSet:
    """Prepare the data set of all cases."""
    return tiny_data.prepared(folder, lengths=LENGTHS, n_val=3)


def settings(**changes: Any) -> Settings:
    """Return settings without random draws inside the model, because those differ by process.

    The speech encoder is trained.
    """
    given = {"epochs": 2, "crop_frames": None, "loss_vertices": 4, "n_augmentations": 1}
    made = tiny_data.settings(frozen=False, **{**given, **changes})
    encoder = made.speech.encoder
    encoder = encoder.model_copy(update={"config": {**encoder.config, **STILL}})
    speech = made.speech.model_copy(update={"encoder": encoder, "dropout": 0.0})
    return made.model_copy(update={"speech": speech})


@contextmanager
def in_float64() -> Iterator[None]:
    """Compute training steps in float64, so that differences are not due to rounding."""
    begin, load = Stepper.__init__, ClipSource.batch

    def doubled(stepper: Stepper, task: Task, *arguments: Any) -> None:
        task.module.double()
        begin(stepper, task, *arguments)

    def batch(*arguments: Any, **named: Any) -> Batch:
        made = load(*arguments, **named)
        return replace(made, vertices=made.vertices.double(), template=made.template.double())

    with (
        mock.patch.object(Stepper, "__init__", doubled),
        mock.patch.object(ClipSource, "batch", batch),
    ):
        yield


class _Killed(Exception):
    pass


@contextmanager
def killed_after(step: int) -> Iterator[None]:
    """End the run inside the block abruptly after a number of steps."""
    real, n_done = Stepper.step, itertools.count()

    def limited(stepper: Stepper, *arguments: Any) -> Any:
        if next(n_done) == step:
            raise _Killed
        return real(stepper, *arguments)

    with mock.patch.object(Stepper, "step", limited):
        try:
            yield
        except _Killed:
            return
    raise AssertionError("the run was not killed")


@contextmanager
def poisoned(clip: str) -> Iterator[None]:
    """Make the motion of a clip NaN from the second epoch on."""
    real = ClipSource.batch

    def batch(self: ClipSource, indices: Any, *arguments: Any, **named: Any) -> Batch:
        made = real(self, indices, *arguments, **named)
        for k, index in enumerate(indices):
            if made.step >= 4 and self.clip(index).entry.name == clip:
                made.vertices[k, 3] = float("nan")
        return made

    with mock.patch.object(ClipSource, "batch", batch):
        yield


class Process:
    """One of the training processes.

    Attributes:
        weights: The hash of the weights at the end of each case.
        written: The changes that this process made in the folder ``runs``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.weights, self.written = folder, dict[str, str](), list[str]()
        self.data = PreparedDataSet(folder / "data")
        sys.addaudithook(self._look)

    def _look(self, event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = details
            changes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            path = details[0] if details else ""
            changes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
        if changes and str(path).startswith(f"{self.folder}/runs"):
            self.written.append(f"{event} {path}")

    def train(self, stage: str, made: Settings, name: str, **more: Any) -> None:
        """Train, and record the hash of the weights of this process."""
        kept: list[Any] = []
        real = Stepper.__init__

        def keep(stepper: Stepper, task: Task, *arguments: Any) -> None:
            real(stepper, task, *arguments)
            kept.append(task.module)

        with mock.patch.object(Stepper, "__init__", keep):
            killed_runs.train(stage, self.data, made, self.folder / "runs" / name, **more)
        digest = hashlib.sha256()
        for value in kept[-1].state_dict().values():
            digest.update(value.cpu().contiguous().numpy().tobytes())
        self.weights[name] = digest.hexdigest()

    def all_cases(self) -> None:
        """Run all cases in turn."""
        for stage in ("vq", "speech"):
            for name, case in CASES.items():
                with in_float64():
                    self.train(stage, settings(**case), f"{stage}-{name}")
            everything = killed_runs.everything(**RESUMED)
            self.train(stage, everything, f"{stage}-whole")
            with killed_after(3):
                self.train(stage, everything, f"{stage}-resumed")
            self.train(stage, everything, f"{stage}-resumed", resume=True)


def main() -> None:
    """Run all cases, and then a command that must fail in all processes."""
    folder = Path(sys.argv[1])
    process = Process(folder)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        process.all_cases()
    result = {"weights": process.weights, "written": process.written, "printed": printed.getvalue()}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(result), "utf-8")
    sys.argv = [
        *("codetalker", "train-vq", str(folder / "data"), "--device", "cpu"),
        *("--out", str(folder / "runs" / "poisoned"), "--config", str(folder / "settings.yaml")),
    ]
    with poisoned(POISONED):
        cli.main()


def write_settings(folder: Path) -> None:
    """Write the settings file of the command."""
    content = settings(batch_size=1).model_dump(mode="json")
    (folder / "settings.yaml").write_text(yaml.safe_dump(content), "utf-8")


if __name__ == "__main__":
    main()
