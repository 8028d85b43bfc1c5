"""Kill training runs wherever they write, resume them, and compare the outcome.

This is a separate program because it trains in forked children, which is only safe while torch has
one thread. Each call that changes the disk has three points at which to kill: before it, after it,
and in the middle. The program prints one line of JSON per case.
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tiny_data
import torch

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.models import checkpoint
from codetalker_cli.resources import CACHE_VARIABLE
from codetalker_cli.settings import Settings
from codetalker_cli.train import loop
from codetalker_cli.train.progress import ProgressReport, TrainingProgress
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.speech import SpeechReports, train_speech
from codetalker_cli.train.vq import train_vq

SLOW_IMPORTS = (
    "torch._dynamo",
    "torch.utils.tensorboard",
    "transformers.models.wav2vec2.modeling_wav2vec2",
    "transformers.models.whisper.modeling_whisper",
)
EVERYTHING: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 1,
    "accumulation": 2,
    "schedule": "cosine",
    "warmup_steps": 2,
    "gradient_clip": 1.0,
    "ema_decay": 0.9,
    "loss_vertices": 4,
    "region_weights": {"lips": 10.0},
    "revive_after_steps": 2,
    "history_dropout": 0.4,
    "own_history": 0.4,
    "history_noise": 0.1,
    "min_crop_frames": 6,
    "n_augmentations": 1,
    "validation_frames": 8,
    "save_every_seconds": 0.0,
    "sample_frames": 0,
}
"""Training settings that use every kind of random draw, counter and saved value."""


def everything(**changes: Any) -> Settings:
    """Return settings of both stages with ``EVERYTHING`` and a trained speech encoder."""
    made = tiny_data.settings(**{**EVERYTHING, **changes})
    encoder = made.speech.encoder.model_copy(update={"frozen": False})
    speech = made.speech.model_copy(update={"encoder": encoder, "dropout": 0.2})
    vq = made.vq.model_copy(update={"basis_rank": 4})
    return made.model_copy(update={"speech": speech, "vq": vq})


def train(
    stage: str,
    data: PreparedDataSet,
    settings: Settings,
    out: Path,
    *,
    report: ProgressReport | None = None,
    **more: Any,
) -> TrainingProgress:
    """Train a stage without curves; stage 2 uses a stage 1 with known weights."""
    with mock.patch.object(loop, "draw_curves"):  # slow
        if stage == "vq":
            return train_vq(data, settings, out, report=report, **more)
        stage1 = tiny_data.stage1(settings)
        return train_speech(data, settings, stage1, out, reports=SpeechReports(report), **more)


def outcome(out: Path) -> dict[str, Any]:
    """Return what two runs are compared by: both checkpoints, and the metrics without times."""
    run = RunFolder(out)
    made: dict[str, Any] = {
        f"{folder.name[len(out.name) :]}/{path.name}": path.read_bytes()
        for folder in (run.out, run.last)
        for path in sorted(folder.glob("*"))
    }
    assert made.keys() >= {"/settings.yaml", "-last/settings.yaml"}
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for row in rows:
        assert row.pop("seconds") >= 0
    left = [p.name for f in (out.parent, run.folder, run.states) for p in f.glob(".*")]
    # An empty .probe file is left if the process is killed while testing whether it can write.
    unfinished = sorted(name for name in left if not name.endswith(".probe"))
    return {**made, "metrics": rows, "unfinished": unfinished}


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the names of the files and values that differ."""
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


# Killing ----------------------------------------------------------------------------------------


class Points:
    """Records the points of a run, and kills the process at one of them.

    Attributes:
        seen: The name of each point that was passed.
    """

    def __init__(self, deadly: int | None = None) -> None:
        self.seen: list[str] = []
        self._deadly = deadly

    def __call__(self, name: str) -> None:
        self.seen.append(name)
        if len(self.seen) - 1 == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def due(self) -> bool:
        """Return whether the process is killed at the next point."""
        return len(self.seen) == self._deadly

    def watch(self, stack: ExitStack) -> None:
        """Add points around every call that changes the disk."""

        def around(owner: Any, name: str, half: Callable[..., None] | None = None) -> None:
            real = getattr(owner, name)
            called = f"{owner.__name__.split('.')[-1]}.{name}"

            @wraps(real)
            def watched(*arguments: Any, **named: Any) -> Any:
                self(f"before {called}")
                if half is not None:
                    if self.due():
                        half(*arguments, **named)
                    self(f"amid {called}")
                result = real(*arguments, **named)
                self(f"after {called}")
                return result

            stack.enter_context(mock.patch.object(owner, name, watched))

        write_bytes, write_text, save = Path.write_bytes, Path.write_text, torch.save
        add_metrics, save_array = RunFolder.add_metrics, np.save

        def half_removed(folder: Path, **_: Any) -> None:
            first = min(p for p in Path(folder).rglob("*") if p.is_file())
            first.unlink()

        def cut(path: Path, by: int) -> None:
            os.truncate(path, max(0, path.stat().st_size - by))

        def half_row(run: RunFolder, row: Any) -> None:
            add_metrics(run, row)
            cut(run.metrics, 20)

        def half_state(content: Any, file: Any) -> None:
            save(content, file)
            file.flush()
            os.truncate(file.fileno(), file.tell() // 2)

        def half_array(path: Path, array: np.ndarray) -> None:
            save_array(path, array)
            cut(path, 5)

        # A killed process loses nothing that it wrote, so the disk need not be waited for.
        stack.enter_context(mock.patch.object(os, "fsync", lambda descriptor: None))
        around(os, "replace")
        around(os, "fsync")
        around(Path, "unlink")
        around(Path, "mkdir")
        around(checkpoint, "save")
        around(Path, "write_bytes", lambda p, b: write_bytes(p, b[: len(b) // 2]))
        around(Path, "write_text", lambda p, t, *e: write_text(p, t[: len(t) // 2], *e))
        around(shutil, "rmtree", half_removed)
        around(torch, "save", half_state)
        around(np, "save", half_array)
        around(RunFolder, "add_metrics", half_row)


def fork(action: Callable[[], None], log: Path) -> int:
    """Run an action in a child; return its exit code, or minus the signal that ended it."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
            try:
                action()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0
            except BaseException:
                import traceback

                traceback.print_exc()
    finally:
        os._exit(code)


class Runs:
    """Runs of one stage, which are compared with an undisturbed run.

    Args:
        folder: The folder for all runs.
        stage: ``vq`` or ``speech``.
        sparse: Whether to save the state only after some steps.
    """

    def __init__(self, folder: Path, stage: str, *, sparse: bool) -> None:
        self.folder, self.stage, self.sparse = (
            folder / f"{stage}{'-sparse' * sparse}",
            stage,
            sparse,
        )
        self.folder.mkdir()
        data = folder / "data"
        self.data = PreparedDataSet(data) if data.is_dir() else tiny_data.prepared(data)
        self.settings = everything(epochs=2, save_every_seconds=4.0 * sparse)
        assert self.go("undisturbed") == 0, self.log("undisturbed")
        self.points = json.loads((self.folder / "undisturbed" / "points.json").read_text())
        self.wanted = outcome(self.folder / "undisturbed" / "out")

    def go(self, name: str, deadly: int | None = None, resume: bool = False) -> int:
        """Train a run in a child, and return its exit code as ``fork`` does."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        points = Points(deadly)

        def action() -> None:
            os.environ[CACHE_VARIABLE] = str(home / "cache")
            with ExitStack() as stack:
                if self.sparse:
                    ticks = iter(range(10**9))
                    clock = mock.Mock(wraps=time, monotonic=lambda: float(next(ticks)))
                    stack.enter_context(mock.patch.object(loop, "time", clock))
                    stack.enter_context(mock.patch.object(loop, "SAVING_SHARE", 1))
                points.watch(stack)
                train(self.stage, self.data, self.settings, home / "out", resume=resume)
            (home / "points.json").write_text(json.dumps(points.seen))

        return fork(action, home / "log")

    def log(self, name: str) -> str:
        """Return the output of the latest run with this name."""
        return (self.folder / name / "log").read_text()

    def killed(self, *deadly: int) -> dict[str, Any]:
        """Kill a run at each point in turn, resuming in between, and compare the outcome."""
        name = "-".join(map(str, deadly))
        ends = [self.go(name, point, resume=k > 0) for k, point in enumerate(deadly)]
        last = self.go(name, resume=True)
        found: dict[str, Any] = {
            "case": self.folder.name,
            "points": [self.points[deadly[0]], *deadly],
            "ends": ends,
            "last": last,
        }
        if last == 0:
            found["different"] = differences(self.wanted, outcome(self.folder / name / "out"))
        else:
            found["log"] = self.log(name)
        shutil.rmtree(self.folder / name)
        return found


def chosen(points: list[str], n: int, rng: np.random.Generator) -> list[int]:
    """Return the numbers of n points (0: all) with different names, the ``amid`` ones first."""
    if not n:
        return list(range(len(points)))
    names = sorted(set(points))  # the order of a set differs between processes
    sorts = sorted(names, key=lambda name: (not name.startswith("amid"), rng.random()))
    return [int(rng.choice([k for k, name in enumerate(points) if name == s])) for s in sorts[:n]]


def main() -> None:
    """Kill runs of each kind at many points, and some runs twice."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="+", help="vq, speech, vq-sparse, speech-sparse")
    parser.add_argument("--points", type=int, default=0, help="points per kind (0: all)")
    parser.add_argument("--twice", type=int, default=0, help="runs per kind that are killed twice")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in SLOW_IMPORTS:  # once here, instead of in each child
        importlib.import_module(name)
    given.folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for kind in given.kinds:
        runs = Runs(given.folder, kind.split("-")[0], sparse=kind.endswith("-sparse"))
        cases = [(k,) for k in chosen(runs.points, given.points, rng)]
        cases += rng.integers(len(runs.points), size=(given.twice, 2)).tolist()
        for case in cases:
            print(json.dumps(runs.killed(*case)), flush=True)  # noqa: T201
    print(json.dumps({"done": True}))  # noqa: T201


if __name__ == "__main__":
    main()
