"""Test that a resumed run equals an uninterrupted one, and which runs cannot be resumed."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import command
import killed_runs
import numpy as np
import pytest
import tiny_data
import torch
from training_commands import Commands, kill_at, states

from codetalker_cli.errors import CheckpointError, CodeTalkerError
from codetalker_cli.models import checkpoint
from codetalker_cli.train import state
from codetalker_cli.train.batches import Batch, ClipSource
from codetalker_cli.train.precomputed import Precomputed
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.vq import VQTraining

STAGES = ("vq", "speech")
HERE = Path(__file__).parent


# Killed runs ------------------------------------------------------------------------------------


def test_resume_after_a_kill_is_bit_exact(tmp_path: Path) -> None:
    """Only some points are tried; ``killed_runs.py --points 0`` tries all."""
    program = [sys.executable, str(HERE / "killed_runs.py"), str(tmp_path / "runs")]
    kinds = ["vq", "speech", "vq-sparse"]
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    ended = subprocess.run(
        [*program, *kinds, "--points", "4", "--twice", "1"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    *cases, last = [json.loads(line) for line in ended.stdout.splitlines()]
    assert last == {"done": True} and len(cases) == 15
    for case in cases:
        assert case["ends"][0] == -signal.SIGKILL, case
        assert (case["last"], case.get("different")) == (0, []), case
    amid = {case["points"][0] for case in cases} & {"amid torch.save", "amid shutil.rmtree"}
    assert len(amid) == 2


# The command ------------------------------------------------------------------------------------


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Commands]:
    monkeypatch.chdir(tmp_path)
    return lambda stage: Commands(stage, monkeypatch)


@pytest.mark.parametrize("stage", STAGES)
def test_signal_stops_after_the_step_and_saves_the_state(
    commands: Callable[[str], Commands], stage: str
) -> None:
    run = commands(stage)
    wanted = run.train("whole")
    assert len(wanted["metrics"]) == 3 and states("whole") == ["step-000000006.pt"]
    before = signal.getsignal(signal.SIGTERM)
    run.at = kill_at(3)
    line = run.stopped("out", code=130)
    assert line == "stopped after step 3; repeat the command with --resume to continue"
    assert states("out") == ["step-000000003.pt"]
    assert signal.getsignal(signal.SIGTERM) == before
    run.at = kill_at(4)
    assert "after step 4" in run.stopped("out", code=130, resume=True, given=False)
    steps: list[int] = []
    run.at = lambda progress: steps.append(progress.step)
    assert killed_runs.differences(wanted, run.train("out", "--resume")) == []
    # Step 4 is reported again at the end of its epoch, and step 6 at the end of the last epoch.
    assert steps == [4, 5, 6, 6]


def test_resuming_a_finished_run_changes_nothing(commands: Callable[[str], Commands]) -> None:
    run = commands("vq")
    wanted = run.train("out")
    kept = RunFolder(Path("out")).metrics.read_bytes()
    steps: list[int] = []
    run.at = lambda progress: steps.append(progress.step)
    output = command.succeed(*run.arguments("out", "--resume", given=False))
    assert "6 steps" in output and steps == []
    assert killed_runs.outcome(Path("out")) == wanted
    assert RunFolder(Path("out")).metrics.read_bytes() == kept


def test_more_epochs_can_be_requested_with_a_constant_learning_rate(
    commands: Callable[[str], Commands],
) -> None:
    run = commands("vq")
    plain = {"schedule": "constant", "warmup_steps": 0, "save_every_seconds": 1000.0}
    run.settings(**plain)
    wanted = run.train("whole")
    run.settings(**plain, epochs=1)
    assert len(run.train("out")["metrics"]) == 1
    run.settings(**plain)
    run.at = kill_at(4)
    run.stopped("out", code=130, resume=True)
    # The run keeps the new number of epochs.
    assert killed_runs.differences(wanted, run.train("out", "--resume", given=False)) == []


def test_changed_settings_data_or_stage_are_refused(commands: Callable[[str], Commands]) -> None:
    run = commands("vq")
    kept = run.train("out")
    for changes, message in (
        ({"epochs": 4}, "train_vq.epochs = 3, but now it is 4 (the cosine schedule depends on it)"),
        ({"learning_rate": 0.5}, "train_vq.learning_rate = 0.001, but now it is 0.5"),
        ({"batch_size": 3}, "train_vq.batch_size = 1, but now it is 3"),
        ({"ema_decay": 0.0}, "train_vq.ema_decay = 0.9, but now it is 0.0"),
    ):
        run.settings(**{"save_every_seconds": 1000.0, **changes})
        line = command.refuse(*run.arguments("out", "--resume"))
        assert line.startswith("--resume: the run was started with ") and message in line
    run.settings(save_every_seconds=1000.0)
    assert command.refuse(*run.arguments("out", "--resume", "--set", "vq.code_dim=4"))
    # Neither the data set ...
    other = tiny_data.prepared(Path("other"), lengths=(30, 24, 28, 25))
    arguments = [str(other.folder) if a == "data" else a for a in run.arguments("out", "--resume")]
    line = command.refuse(*arguments)
    assert "the run was started with data" in line and other.manifest.data_id in line
    # ... nor the stage.
    arguments = ["train-speech" if a == "train-vq" else a for a in run.arguments("out", "--resume")]
    line = command.refuse(*arguments, "--vq", "given")
    assert line.startswith("out: this run was started by train-vq; resume it with that")
    assert killed_runs.outcome(Path("out")) == kept
    # Settings that do not affect the result can be changed.
    run.settings(save_every_seconds=5.0, workers=0)
    assert run.train("out", "--resume") == kept


def test_changed_stage_1_is_refused(commands: Callable[[str], Commands]) -> None:
    run = commands("speech")
    run.at = kill_at(3)
    run.stopped("out", code=130)
    made = killed_runs.everything()
    model = tiny_data.model_of(made, with_speech=False, seed=7)
    checkpoint.save("given", model, mesh=run.data.mesh)
    line = command.refuse(*run.arguments("out", "--resume"))
    assert "started with stage 1 from given, but the weights of given are different" in line


def test_resume_without_a_run_starts_one(
    commands: Callable[[str], Commands], caplog: pytest.LogCaptureFixture
) -> None:
    run = commands("vq")
    wanted = run.train("whole")
    assert run.train("out", "--resume") == wanted
    assert "out-run/state: no state was saved yet; starting at step 0" in caplog.messages


def test_resume_does_not_replace_other_files(commands: Callable[[str], Commands]) -> None:
    run = commands("vq")
    Path("one-run").mkdir()
    Path("one-run/thesis.tex").write_text("years of work")
    assert "one-run: contains thesis.tex and is" in run.stopped("one", code=2, resume=True)
    assert Path("one-run/thesis.tex").read_text() == "years of work"
    Path("given").rename("two")
    kept = command.listing(Path("two"))
    assert "two already exists" in run.stopped("two", code=2, resume=True)
    assert command.listing(Path("two")) == kept


def test_overwrite_replaces_all_files_of_the_old_run(
    commands: Callable[[str], Commands],
) -> None:
    run = commands("vq")
    wanted = run.train("out")
    assert "a run was already started here; give --resume" in command.refuse(*run.arguments("out"))
    run.settings(save_every_seconds=1000.0, seed=1)
    run.at = kill_at(1)
    run.stopped("out", "--overwrite", code=130)
    assert states("out") == ["step-000000001.pt"]
    assert not RunFolder(Path("out")).metrics.exists()  # the old file is deleted
    run.settings(save_every_seconds=1000.0)
    assert run.train("out", "--overwrite") == wanted


def damage(content: bytes, kind: str) -> bytes:
    half = len(content) // 2
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # avoids the padding between members
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        place = content.index(archive.read(largest)) + largest.file_size // 2
    return {
        "empty": b"",
        "cut": content[:half],
        "a bit": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "other": b"not a state",
    }[kind]


def test_damaged_state_is_reported(commands: Callable[[str], Commands]) -> None:
    run = commands("vq")
    run.at = kill_at(3)
    run.stopped("out", code=130)
    path = Path("out-run/state/step-000000003.pt")
    content = path.read_bytes()
    for kind in ("empty", "cut", "a bit", "other"):
        path.write_bytes(damage(content, kind))
        line = run.stopped("out", resume=True)
        assert line.startswith(f"{path}: the state is damaged ("), kind
        assert line.endswith("; start again with --overwrite")


def test_flipped_bit_is_detected_or_harmless(tmp_path: Path) -> None:
    """A damaged file is either refused or contains the original weights."""
    weights = torch.arange(500.0)
    state.save(tmp_path, 7, {"weights": weights, "random": [state.random_state(weights.device)]})
    (path,) = tmp_path.iterdir()
    content, rng = path.read_bytes(), np.random.default_rng(0)
    n_refused = 0
    for place in rng.integers(len(content), size=200):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read = state.load(tmp_path)
        except CheckpointError as error:
            n_refused += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            assert read is not None and torch.equal(read["weights"], weights)
    assert n_refused > 100


# A full disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_files() -> Any:
    """Yield a function that limits the size of files in bytes."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("step", "what", "last_state", "n_rows"),
    [
        (3, r"state/step-000000003\.pt: the state of step 3", 2, 1),
        (4, r"out-last: the checkpoint of epoch 2", 4, 1),
    ],
    ids=["state", "checkpoint"],
)
def test_full_disk_keeps_earlier_files(
    commands: Callable[[str], Commands],
    small_files: Callable[[int], None],
    step: int,
    what: str,
    last_state: int,
    n_rows: int,
) -> None:
    run = commands("vq")
    run.settings()
    wanted = run.train("whole")
    weights = Path("whole/model.safetensors").stat().st_size

    save = state.save

    def saved(folder: Path, number: int, content: dict[str, Any]) -> None:
        if number == step == 3:
            small_files(weights // 2)
        save(folder, number, content)
        if number == step:
            small_files(weights // 2)

    with mock.patch.object(state, "save", saved):
        line = run.stopped("out")
    small_files(resource.RLIM_INFINITY)
    assert re.search(what + r" could not be saved \(File too large\); .* with --resume", line)
    assert states("out") == [f"step-{last_state:09d}.pt"]
    left = killed_runs.outcome(Path("out"))
    assert left["unfinished"] == [] and len(left["metrics"]) == n_rows
    assert checkpoint.load("out").meta["epoch"] == checkpoint.load("out-last").meta["epoch"] == 1
    assert killed_runs.differences(wanted, run.train("out", "--resume")) == []


# Values that are not finite ---------------------------------------------------------------------


def poison(patch: pytest.MonkeyPatch, clip: str, from_step: int) -> set[int]:
    """Make the motion of a clip NaN, and return the set of its positions in the batches."""
    places: set[int] = set()
    real = ClipSource.batch

    def batch(
        self: ClipSource, indices: Sequence[int], crop: int | None, rngs: Any = None, step: int = 0
    ) -> Batch:
        made = real(self, indices, crop, rngs, step)
        for k, index in enumerate(indices):
            if rngs is not None and step >= from_step and self.clip(index).entry.name == clip:
                made.vertices[k, 3] = float("nan")
                places.add(k)
        return made

    patch.setattr(ClipSource, "batch", batch)
    return places


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("crop_frames", [20, None], ids=["crops", "padded"])
def test_clip_with_non_finite_motion_is_named(
    commands: Callable[[str], Commands],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    crop_frames: int | None,
) -> None:
    run = commands(stage)
    places: set[int] = set()
    for clip in ("clip1", "clip2", "clip3"):
        run.settings(batch_size=3, accumulation=1, crop_frames=crop_frames)
        with monkeypatch.context() as patch:
            seen = poison(patch, clip, from_step=1)
            line = run.stopped(clip)
        assert f"epoch 2, step 2: the loss of {clip} is not finite" in line
        assert states(clip) == ["step-000000001.pt"]
        places |= seen
    assert places == {0, 1, 2}
    kept = killed_runs.outcome(Path("clip1"))
    assert len(kept["metrics"]) == 1 and kept["unfinished"] == []
    for folder in ("clip1", "clip1-last"):
        loaded = checkpoint.load(folder)
        assert loaded.meta["epoch"] == 1
        assert all(torch.isfinite(value).all() for value in loaded.model.state_dict().values())


@pytest.mark.parametrize("frozen", [True, False])
def test_clip_with_non_finite_speech_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    data = tiny_data.prepared(tmp_path / "data")
    made = tiny_data.settings(frozen=frozen, batch_size=2, crop_frames=None)
    real = Precomputed.speech

    def speech(self: Precomputed, source: ClipSource, batch: Batch, v: Any) -> Any:
        pieces = real(self, source, batch, v)
        names = [source.clip(clip).entry.name for clip in batch.clips]
        bad = float("nan")
        return tuple(p * bad if n == "clip2" else p for p, n in zip(pieces, names, strict=True))

    monkeypatch.setattr(Precomputed, "speech", speech)
    with pytest.raises(CodeTalkerError, match="the loss of clip2 is not finite"):
        killed_runs.train("speech", data, made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_non_finite_gradient_stops_training(
    commands: Callable[[str], Commands], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = commands("vq")
    run.settings()
    real = VQTraining.forward

    def forward(self: VQTraining, batch: Batch) -> dict[str, torch.Tensor]:
        losses = real(self, batch)
        if batch.step == 3:  # the derivative of a square root at 0 is infinite
            weight = next(p for p in self.parameters() if p.requires_grad)
            losses["loss"] = losses["loss"] + (weight.flatten()[0] * 0).sqrt()
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(VQTraining, "forward", forward)
        line = run.stopped("out")
    assert line.startswith("epoch 2, step 4: the gradient of clip")
    assert states("out") == ["step-000000003.pt"]
    wanted = run.train("whole")
    assert killed_runs.differences(wanted, run.train("out", "--resume")) == []
