"""One training step: batches, gradients, optimizer, schedule and averaged weights."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.settings import TrainSettings
from codetalker_cli.train.batches import Batch, Shard
from codetalker_cli.train.task import Task, Values

MAX_SKIPPED = 30
"""The maximum number of consecutive steps that the fp16 scaler may skip to find a scale."""


class Stepper:
    """Updates the weights of a stage.

    Args:
        task: The stage.
        settings: The optimizer, schedule, gradient clipping and averaging.
        accelerator: The device and the processes.
        steps_per_epoch: The number of steps per epoch, which the schedule needs.

    Attributes:
        module: The stage's module, wrapped for distributed training.
    """

    def __init__(
        self, task: Task, settings: TrainSettings, accelerator: Accelerator, steps_per_epoch: int
    ) -> None:
        self._task, self._accelerator = task, accelerator
        self._max_gradient_norm = settings.gradient_clip
        self._unwrapped = task.module.to(accelerator.device)
        if settings.compile:
            task.compile()
        self._parameters = [p for p in self._unwrapped.parameters() if p.requires_grad]
        decay = settings.ema_decay
        self._average = average_weights(self._parameters, decay) if decay else None
        optimizer = make_optimizer(
            self._parameters, settings, task.encoder_parameters(), task.encoder_rate
        )
        self._schedule = make_schedule(optimizer, settings, steps_per_epoch)
        self.module, self._optimizer = accelerator.prepare(self._unwrapped, optimizer)
        self._n_skipped = 0

    def step(self, shard: Shard, batches: Iterator[Batch], where: str) -> Values:
        """Update the weights once.

        Args:
            shard: The part of the step that this process computes.
            batches: The batches of the shard, on the CPU.
            where: The position of the step in the run, for error messages.

        Returns:
            The mean losses over the clips of all processes, the gradient norm before clipping, and
            the learning rate.

        Raises:
            CodeTalkerError: A loss or the gradient is not finite; the weights are unchanged.
        """
        accelerator = self._accelerator
        self._optimizer.zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        clip_losses: list[tuple[int, Tensor]] = []
        for k, part in enumerate(shard.parts):
            batch = replace(next(batches).to(accelerator.device), repeated=shard.repeated[k])
            # Gradients are usually exchanged only with the last part. If a part can leave weights
            # unused, every part is exchanged: otherwise gradients of an earlier part would stay in
            # this process when the last part does not use their weights.
            skip_sync = k + 1 < len(shard.parts) and not self._task.unused_parameters
            with accelerator.no_sync(self.module) if skip_sync else nullcontext():
                losses = self.module(batch)
                weight = 0.0 if shard.repeated[k] else 1.0 / shard.n_clips
                # Gradients are averaged over the processes, but a sum is needed.
                accelerator.backward(losses["loss"].sum() * weight * accelerator.num_processes)
            for key, value in losses.items():
                totals[key] = totals.get(key, 0.0) + value.detach().sum() * weight
            clip_losses += zip(part, losses["loss"].detach(), strict=True)
        means = accelerator.reduce(torch.stack(list(totals.values())), "sum").tolist()
        values = dict(zip(totals, means, strict=True))
        if not math.isfinite(values["loss"]):
            clips = [clip for clip, loss in clip_losses if not torch.isfinite(loss)]
            raise self._divergence_error(f"{where}: the loss", clips)
        gradient_norm = self._clip_gradient()
        self._n_skipped = 0 if math.isfinite(gradient_norm) else self._n_skipped + 1
        if self._n_skipped > (0 if accelerator.scaler is None else MAX_SKIPPED):
            raise self._divergence_error(
                f"{where}: the gradient", [clip for clip, _ in clip_losses]
            )
        if not self._n_skipped:
            values["gradient_norm"] = gradient_norm
        values["learning_rate"] = self._schedule.get_last_lr()[0]
        self._optimizer.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(nn.ParameterList(self._parameters))
        return values

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the module has its averaged weights, if there are any."""
        return applied(self._average, self._parameters)

    def _clip_gradient(self) -> float:
        """Clip the gradient and return its norm before clipping."""
        if self._max_gradient_norm:
            return float(
                self._accelerator.clip_grad_norm_(self._parameters, self._max_gradient_norm)
            )
        self._accelerator.unscale_gradients()
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _divergence_error(self, what: str, clips: list[int]) -> CodeTalkerError:
        names = [self._task.clip_name(clip) for clip in clips]
        clip_names = ", ".join(sorted(set(gather_object(names))))
        return CodeTalkerError(
            f"{what} of {clip_names} is not finite; inspect the data (`codetalker prepare-data "
            "check`), lower the learning rate or set gradient_clip; earlier checkpoints are kept"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that determines the next step, except the random state."""
        scaler = self._accelerator.scaler
        return {
            "model": self._unwrapped.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._unwrapped.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(upgrade_average(state["average"]))


# Optimizers and schedules -------------------------------------------------------------------------


def make_optimizer(
    parameters: list[nn.Parameter],
    s: TrainSettings,
    encoder: Iterable[nn.Parameter] = (),
    encoder_rate: float = 1.0,
) -> torch.optim.Optimizer:
    """Return Adam or AdamW, fused where the device supports it.

    Args:
        parameters: All trained parameters.
        s: The optimizer, learning rate and weight decay.
        encoder: The parameters of the speech encoder.
        encoder_rate: The learning rate of the encoder, as a multiple of ``s.learning_rate``.
    """
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    encoder_ids = {id(p) for p in encoder} if encoder_rate != 1.0 else set()
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if id(p) not in encoder_ids]}]
    if encoder_ids:
        encoder_parameters = [p for p in parameters if id(p) in encoder_ids]
        groups.append({"params": encoder_parameters, "lr": s.learning_rate * encoder_rate})
    groups = [group for group in groups if group["params"]]
    if s.optimizer == "adam":
        return torch.optim.Adam(groups, lr=s.learning_rate, fused=fused)
    return torch.optim.AdamW(groups, lr=s.learning_rate, weight_decay=s.weight_decay, fused=fused)


def make_schedule(
    optimizer: torch.optim.Optimizer, s: TrainSettings, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the learning rate schedule of a run."""
    n_steps = steps_per_epoch * s.epochs

    def factor(step: int) -> float:
        if s.schedule == "step":
            return float(s.step_factor ** (step // steps_per_epoch // s.step_epochs))
        if s.schedule == "cosine":
            if step < s.warmup_steps:
                return (step + 1) / s.warmup_steps
            progress = (step - s.warmup_steps) / max(1, n_steps - s.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


# Averaged weights ---------------------------------------------------------------------------------


def average_weights(parameters: Iterable[nn.Parameter], decay: float) -> AveragedModel:
    """Return torch's exponential moving average of weights, which starts at their current values.

    The decay of the nth update is at most (1 + n) / (10 + n). A constant decay would keep the
    random initial weights in the average for thousands of steps.
    """

    def update(averages: Any, values: Any, n_updates: Any) -> None:
        n = int(n_updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, values, n)

    average = AveragedModel(nn.ParameterList(parameters), multi_avg_fn=update)
    average.n_averaged.fill_(1)  # at 0, the first update would replace the initial weights
    return average


@contextmanager
def applied(average: AveragedModel | None, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Use the averaged weights inside a ``with`` block; without an average, change nothing."""
    if average is None:
        yield
        return
    originals = [p.detach().clone() for p in parameters]
    try:
        _copy_weights(average.parameters(), parameters)
        yield
    finally:
        _copy_weights(originals, parameters)


@torch.no_grad()
def _copy_weights(values: Iterable[Tensor], parameters: Iterable[nn.Parameter]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def upgrade_average(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Convert averaged weights from the format before ``AveragedModel`` to the current one."""
    if "values" not in saved:
        return dict(saved)
    values = {f"module.{k}": value for k, value in enumerate(saved["values"])}
    return {"n_averaged": torch.tensor(1 + saved["n_updates"]), **values}
