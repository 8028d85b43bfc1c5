"""The only training loop; both stages go through it."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.models.checkpoint import LAST
from codetalker_cli.settings import TrainSettings

logger = logging.getLogger(__name__)

Values = dict[str, float]


class Task(Protocol):
    """A stage in training."""

    n_clips: int

    @property
    def module(self) -> nn.Module:
        """Whose parameters are trained."""
        ...

    def step(self, clips: list[int], rng: np.random.Generator) -> tuple[Tensor, Values]:
        """Loss of a batch, and values to show."""
        ...

    def validate(self) -> Values:
        """Values of the validation split; ``score`` (lower is better) chooses the best.

        Without one, the training loss does.
        """
        ...

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write a checkpoint."""
        ...


@dataclass
class Progress:
    """State of a run, for whoever shows it.

    Attributes:
        epoch: Current epoch, from 1.
        step: Steps done.
        n_steps: Steps in all.
        values: Latest values by name.
        best: Best validation score so far.
    """

    epoch: int = 0
    step: int = 0
    n_steps: int = 0
    values: Values = field(default_factory=dict)
    best: float = math.inf


def fit(
    task: Task,
    settings: TrainSettings,
    out: Path,
    report: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train; the best checkpoint by validation score goes to ``out``, the last to ``out``-last.

    ``out``-metrics.jsonl gets a line each epoch.

    Raises:
        CodeTalkerError: The loss became NaN or infinite; the last good checkpoint stays.
    """
    rng = np.random.default_rng(settings.seed)
    parameters = [p for p in task.module.parameters() if p.requires_grad]
    optimizer = _optimizer(parameters, settings)
    steps_per_epoch = math.ceil(task.n_clips / settings.batch_size)
    progress = Progress(n_steps=steps_per_epoch * settings.epochs)
    schedule = _schedule(optimizer, settings, steps_per_epoch, progress.n_steps)
    log = out.with_name(f"{out.name}-metrics.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    started = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        progress.epoch = epoch
        sums: dict[str, list[float]] = {}
        task.module.train()
        order = [int(i) for i in rng.permutation(task.n_clips)]
        for at in range(0, len(order), settings.batch_size):
            loss, values = task.step(order[at : at + settings.batch_size], rng)
            _check_finite(loss, epoch, order[at : at + settings.batch_size])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.gradient_clip > 0:
                nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
            optimizer.step()
            schedule.step()
            progress.step += 1
            for key, value in {"loss": float(loss.detach()), **values}.items():
                sums.setdefault(key, []).append(value)
            progress.values |= {key: value[-1] for key, value in sums.items()}
            if report:
                report(progress)
        means = {key: float(np.mean(value)) for key, value in sums.items()}
        if epoch % settings.validate_every == 0 or epoch == settings.epochs:
            task.module.eval()
            with torch.no_grad():
                means |= task.validate()
            if "score" not in means:
                means["score"] = means["loss"]
                logger.warning("no validation clips: the best checkpoint is by training loss")
            _keep(task, out, progress, means)
        progress.values |= means
        row = {"epoch": epoch, "step": progress.step, "seconds": time.monotonic() - started}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **means}) + "\n")
        logger.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.4g}" for k, v in means.items()))
        if report:
            report(progress)
    return progress


def _keep(task: Task, out: Path, progress: Progress, means: Values) -> None:
    meta = {"step": progress.step, "epoch": progress.epoch, "metrics": means}
    if not math.isfinite(means["score"]):
        raise CodeTalkerError(
            f"epoch {progress.epoch}: the validation score is {means['score']}; lower the learning "
            "rate or set gradient_clip; the last good checkpoint is kept"
        )
    task.save(out.with_name(out.name + LAST), meta)
    if means["score"] < progress.best:
        progress.best = means["score"]
        task.save(out, meta)


def _check_finite(loss: Tensor, epoch: int, clips: list[int]) -> None:
    if not torch.isfinite(loss):
        raise CodeTalkerError(
            f"epoch {epoch}: the loss of clips {clips} is {loss.item()}; lower the learning rate "
            "or set gradient_clip; the last good checkpoint is kept"
        )


def _optimizer(parameters: list[nn.Parameter], s: TrainSettings) -> torch.optim.Optimizer:
    if s.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=s.learning_rate)
    return torch.optim.AdamW(parameters, lr=s.learning_rate, weight_decay=s.weight_decay)


def _schedule(
    optimizer: torch.optim.Optimizer, s: TrainSettings, steps_per_epoch: int, n_steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    def factor(step: int) -> float:
        if s.schedule == "step":
            return float(s.step_factor ** (step // steps_per_epoch // s.step_epochs))
        if s.schedule == "cosine":
            if step < s.warmup_steps:
                return (step + 1) / s.warmup_steps
            done = (step - s.warmup_steps) / max(1, n_steps - s.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
