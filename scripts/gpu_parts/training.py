"""Check training: gradients against the CPU, exact resume, half precision, torch.compile."""

import copy
import itertools
import math
import os
import shutil
from pathlib import Path
from typing import Any

import killed_runs
import tiny_data
import torch
import train as benchmark
from torch import nn

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.devices import make_accelerator
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.presets import settings_from_dict
from codetalker_cli.settings import Settings
from codetalker_cli.train.batches import ClipSource, Plan
from codetalker_cli.train.speech import SpeechTask
from codetalker_cli.train.steps import Stepper
from codetalker_cli.train.task import Task
from codetalker_cli.train.vq import VQTask
from gpu_parts.codes import count_differences, recorded, replayed
from gpu_parts.report import Report, Setup

STAGES = ("vq", "speech")
N_STEPS = 20
NO_DROPOUT = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}
"""Disables the random operations of the speech encoder, which differ between devices."""


class Workbench:
    """A factory for stages on synthetic clips, at full VOCASET size or tiny.

    Args:
        setup: The configuration of the part.
        n_clips: The number of training clips.
    """

    def __init__(self, setup: Setup, n_clips: int = 8) -> None:
        self.setup = setup
        os.environ["CODETALKER_CACHE"] = str(setup.folder / "cache")
        self.data = self._data(n_clips)
        self._models: dict[str, CodeTalker] = {}

    def _data(self, n_clips: int) -> PreparedDataSet:
        folder = self.setup.folder / "data"
        if self.setup.small:
            return tiny_data.prepared(folder)
        benchmark.generate(folder, benchmark.settings_of("vocaset", {}), n_clips, (50, 60))
        return PreparedDataSet(folder)

    def settings(self, **changes: Any) -> Settings:
        """Return the settings of both stages, without dropout."""
        changes = {"batch_size": 2, "learning_rate": 1e-4, **changes}
        if self.setup.small:
            values = tiny_data.settings(frozen=False, **changes).model_dump()
        else:
            values = benchmark.settings_of("vocaset", changes).model_dump()
        values["speech"]["dropout"] = 0.0
        values["speech"]["encoder"]["config"] |= NO_DROPOUT
        return settings_from_dict(values, "scripts/gpu_parts/training.py")

    def model(self, stage: str, settings: Settings) -> CodeTalker:
        """Return a new model with the same random weights on every call."""
        if stage not in self._models:
            torch.manual_seed(0)
            made = CodeTalker(settings, with_speech=stage == "speech")
            # With the default codebook of tiny uniform entries every choice is nearly tied, and a
            # head that is initialized with zeros passes no gradient to the layers below.
            nn.init.normal_(made.vq.quantizer.codebook)
            if made.speech is not None:
                nn.init.normal_(made.speech.head.weight, std=0.05)
            self._models[stage] = made
        kept = self._models[stage]
        made = CodeTalker(settings, with_speech=stage == "speech")
        made.load_state_dict(kept.state_dict())
        return made

    def task(self, stage: str, settings: Settings, device: str) -> Task:
        """Return the task of a stage, as used by the training loop."""
        model = self.model(stage, settings)
        if stage == "vq":
            return VQTask(self.data, model, ClipSource(self.data, "train"))
        model.vq.requires_grad_(False)
        stage1 = Checkpoint(model, settings, {"step": 0}, self.data.mesh, Path("random"))
        accelerator = make_accelerator(
            settings.train_speech.precision, device, unused_parameters=True
        )
        return SpeechTask(self.data, model, stage1, accelerator, None)


# Gradients ---------------------------------------------------------------------------------------


def gradients(report: Report, setup: Setup) -> None:
    """Compare loss, codes and gradients of one step on two padded clips with the CPU's."""
    bench = Workbench(setup)
    for stage in STAGES:
        with report.guarded(f"gradients of {stage}"):
            _compare_gradients(report, bench, stage)


def _compare_gradients(report: Report, bench: Workbench, stage: str) -> None:
    settings = bench.settings()
    task = bench.task(stage, settings, "cpu")
    module = task.module.eval()
    other = copy.deepcopy(module).to(bench.setup.device)
    order = sorted(range(len(task.lengths)), key=lambda k: task.lengths[k])
    batch = task.load([order[0], order[-1]], 0)
    with recorded(module.vq) as expected:
        loss = module(batch)["loss"].sum()
    loss.backward()
    with replayed(other.vq, expected) as made:
        loss_there = other(batch.to(torch.device(bench.setup.device)))["loss"].sum()
    loss_there.backward()

    error = abs(loss_there.item() / loss.item() - 1)
    report.at_most(f"{stage}: relative error of the loss", error, 1e-5)
    codebook = module.vq.quantizer.codebook.detach()
    calls = zip(expected.latents, expected.codes, made.codes, strict=True)
    counts = [count_differences(codebook, *call) for call in calls]
    different = sum(count[0] for count in counts)
    report.at_most(f"{stage}: training codes that differ from the CPU's", different, 0)
    squared, size, worst, worst_name = 0.0, 0.0, 0.0, ""
    there = dict(other.named_parameters())
    for name, parameter in module.named_parameters():
        if parameter.grad is None:
            continue
        a, b = parameter.grad.double(), there[name].grad.double().cpu()
        difference, norm = float((a - b).norm()), float(a.norm())
        squared, size = squared + difference**2, size + norm**2
        if norm and difference / norm > worst:
            worst, worst_name = difference / norm, name
    report.at_most(f"{stage}: relative error of the gradient", math.sqrt(squared / size), 5e-5)
    report.row("gradients", stage=stage, worst_tensor=worst_name, its_error=f"{worst:.2g}")


# Resume ------------------------------------------------------------------------------------------


STOP_STEP = 6
"""The step that raises; the last saved state is of the step before, within the second epoch."""


class Stop(Exception):
    """Raised to end a training run abruptly."""


def resume(report: Report, setup: Setup) -> None:
    """Check that a run resumed within an epoch writes the same bytes as an uninterrupted one."""
    os.environ["CODETALKER_CACHE"] = str(setup.folder / "cache")
    data = tiny_data.prepared(setup.folder / "data")
    settings = killed_runs.everything(accumulation=1)
    torch.use_deterministic_algorithms(True)
    try:
        for stage in STAGES:
            with report.guarded(f"{stage}: exact resume"):
                outcomes = [_outcome(setup, stage, data, settings, stop) for stop in (False, True)]
                different = killed_runs.differences(*outcomes)
                report.at_most(f"{stage}: files that differ after a resume", len(different), 0)
    finally:
        torch.use_deterministic_algorithms(False)


def _outcome(
    setup: Setup, stage: str, data: PreparedDataSet, settings: Settings, stop: bool
) -> dict[str, Any]:
    out = setup.folder / f"{stage}-{'resumed' if stop else 'whole'}" / "run"

    def report(progress: Any) -> None:
        if progress.step == STOP_STEP:
            raise Stop

    if stop:
        try:
            killed_runs.train(stage, data, settings, out, device=setup.device, report=report)
        except Stop:
            pass
        else:
            raise RuntimeError(f"the run has fewer than {STOP_STEP} steps, so it was not stopped")
    killed_runs.train(stage, data, settings, out, device=setup.device, resume=stop)
    return killed_runs.outcome(out)


# Precision and compilation -----------------------------------------------------------------------


def precision(report: Report, setup: Setup) -> None:
    """Check that 20 steps in bf16 and fp16 reach the loss of float32."""
    bench = Workbench(setup)
    for stage in STAGES:
        plain = _steps(bench, stage)
        report.row("precision, 20 steps", stage=stage, precision="float32", **_cells(plain))
        for kind in ("bf16", "fp16"):
            if kind == "fp16" and not setup.on_gpu:
                report.skip(f"{stage}, fp16", "needs a GPU")
                continue
            with report.guarded(f"{stage}, {kind}"):
                half = _steps(bench, stage, precision=kind)
                # A single loss is too noisy: code changes move it as much as a step does (4 %).
                error = abs(sum(half["losses"][-5:]) / sum(plain["losses"][-5:]) - 1)
                limit = 0.05 if kind == "bf16" else 0.1  # the scaler skips some steps
                report.at_most(f"{stage}, {kind}: error of the last 5 losses", error, limit)
                report.row("precision, 20 steps", stage=stage, precision=kind, **_cells(half))
                if kind == "fp16":
                    report.at_most(f"{stage}, fp16: steps skipped by scaler", half["skipped"], 5)
                    report.at_least(f"{stage}, fp16: final scale", half["scale"], 1)


def compiled(report: Report, setup: Setup) -> None:
    """Check that torch.compile changes the losses only by rounding."""
    if setup.on_gpu and shutil.which("cc") is None and shutil.which("gcc") is None:
        report.skip("torch.compile", "needs a C compiler, which this machine lacks")
        return
    bench = Workbench(setup)
    for stage in STAGES:
        with report.guarded(f"{stage}, compiled"):
            plain = _steps(bench, stage)
            # Compiling for the CPU takes minutes, so a dry run executes the code without it.
            with torch.compiler.set_stance("default" if setup.on_gpu else "force_eager"):
                fast = _steps(bench, stage, compile=True)
            # Later losses differ more, because rounding changes some codes.
            for which, limit in (("first", 1e-4), ("fourth", 1e-3)):
                step = 0 if which == "first" else 3
                error = abs(fast["losses"][step] / plain["losses"][step] - 1)
                report.at_most(f"{stage}, compiled: error of the {which} loss", error, limit)
            for how, made in (("eager", plain), ("compiled", fast)):
                report.row("torch.compile, 20 steps", stage=stage, layers=how, **_cells(made))


def _steps(bench: Workbench, stage: str, **changes: Any) -> dict[str, Any]:
    """Train for some steps, and return the losses and the state of the gradient scaler."""
    small, device = bench.setup.small, bench.setup.device
    n_steps = 4 if small else N_STEPS
    settings = bench.settings(**changes)
    how = settings.train_vq if stage == "vq" else settings.train_speech
    task = bench.task(stage, settings, device)
    accelerator = make_accelerator(how.precision, device, unused_parameters=task.unused_parameters)
    plan = Plan(task.lengths, how.batch_size, seed=how.seed)
    stepper = Stepper(task, how, accelerator, plan.steps_per_epoch)
    stepper.module.train()
    order = itertools.chain.from_iterable(plan.epoch(k) for k in itertools.count(1))
    losses, skipped = [], 0
    for step, clips in enumerate(itertools.islice(order, n_steps)):
        shard = plan.shard(clips, 0)
        batches = iter([task.load(part, step) for part in shard.parts])
        values = stepper.step(shard, batches, f"step {step + 1}")
        losses.append(values["loss"])
        skipped += "gradient_norm" not in values
    scaler = accelerator.scaler
    return {
        "losses": losses,
        "skipped": skipped,
        "scale": math.nan if scaler is None else float(scaler.get_scale()),
    }


def _cells(made: dict[str, Any]) -> dict[str, str]:
    return {
        "first loss": f"{made['losses'][0]:.5g}",
        "last loss": f"{made['losses'][-1]:.5g}",
    }
