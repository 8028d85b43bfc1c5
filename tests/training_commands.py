"""Run training commands through the command line in a temporary folder."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command
import killed_runs
import pytest
import tiny_data
import yaml

from codetalker_cli.models import checkpoint
from codetalker_cli.train.progress import TrainingProgress
from codetalker_cli.train.run_folder import RunFolder


class Commands:
    """Training commands in the working folder, with settings from a file.

    Attributes:
        at: Called with the progress after each step.
    """

    def __init__(self, stage: str, patch: pytest.MonkeyPatch) -> None:
        self.stage, self.at = stage, lambda progress: None
        self.data = tiny_data.prepared(Path("data"))
        self.settings(save_every_seconds=1000.0)
        made = killed_runs.everything()
        given = tiny_data.stage1(made)
        checkpoint.save("given", given.model, mesh=self.data.mesh)
        patch.setattr("codetalker_cli.train.progress.ProgressNote", lambda: self._note)
        patch.setattr("codetalker_cli.train.loop.draw_curves", lambda *_: None)  # slow

    def _note(self, progress: TrainingProgress) -> str:
        self.at(progress)
        return ""

    def settings(self, **changes: Any) -> None:
        """Write the settings file."""
        made = killed_runs.everything(**changes)
        content = made.model_dump(mode="json")
        Path("settings.yaml").write_text(yaml.safe_dump(content), "utf-8")

    def arguments(self, out: str, *more: object, given: bool = True) -> list[object]:
        """Return the arguments of a command; ``given``: whether to pass the settings file."""
        made: list[object] = [f"train-{self.stage}", "data", "--out", out, "--device", "cpu", *more]
        made += ["--config", "settings.yaml"] if given else []
        return made + (["--vq", "given"] if self.stage == "speech" else [])

    def train(self, out: str, *more: object, given: bool = True) -> dict[str, Any]:
        """Run a command that must succeed, and return the outcome of the run."""
        command.succeed(*self.arguments(out, *more, given=given))
        return killed_runs.outcome(Path(out))

    def stopped(
        self, out: str, *more: object, code: int = 1, resume: bool = False, given: bool = True
    ) -> str:
        """Run a command that must end with one error line, and return that line."""
        more = (*more, "--resume") if resume else more
        ended = command.run(*self.arguments(out, *more, given=given))
        assert ended.code == code, ended.err
        assert "Traceback" not in ended.err
        lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and ended.err.strip().endswith(lines[0]), ended.err
        return lines[0].removeprefix("error: ")


def kill_at(step: int) -> Callable[[TrainingProgress], None]:
    """Return a callback that sends SIGTERM to this process after a step, as a cluster does."""

    sent: list[int] = []

    def at(progress: TrainingProgress) -> None:
        if progress.step == step and not sent:  # a second signal would end the process
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)

    return at


def states(out: str) -> list[str]:
    return sorted(path.name for path in RunFolder(Path(out)).states.iterdir())
