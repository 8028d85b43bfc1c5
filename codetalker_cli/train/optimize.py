"""Optimisers, learning rates, the moving average of weights."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from codetalker_cli.settings import TrainSettings


def make_optimizer(
    parameters: list[nn.Parameter], s: TrainSettings, encoder: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Adam or AdamW, in one pass over the weights where the device can.

    Args:
        parameters: All that are trained.
        s: How.
        encoder: Those of them that have ``encoder_rate`` times the learning rate.
    """
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    slow = {id(p) for p in encoder} if s.encoder_rate != 1.0 else set()
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if id(p) not in slow]}]
    if slow:
        chosen = [p for p in parameters if id(p) in slow]
        groups.append({"params": chosen, "lr": s.learning_rate * s.encoder_rate})
    groups = [group for group in groups if group["params"]]
    if s.optimizer == "adam":
        return torch.optim.Adam(groups, lr=s.learning_rate, fused=fused)
    return torch.optim.AdamW(groups, lr=s.learning_rate, weight_decay=s.weight_decay, fused=fused)


def make_schedule(
    optimizer: torch.optim.Optimizer, s: TrainSettings, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate of each step."""
    n_steps = steps_per_epoch * s.epochs

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


class MovingAverage:
    """Exponential moving average of weights; with decay 0 it is the weights themselves.

    The first n updates have a decay of (1 + n) / (10 + n) at most, or the random weights of the
    beginning would stay in it for thousands of steps.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self.n_updates = 0
        self.values: list[Tensor] = [p.detach().clone() for p in self._parameters] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in."""
        if not self._decay:
            return
        self.n_updates += 1
        decay = min(self._decay, (1 + self.n_updates) / (10 + self.n_updates))
        update = get_ema_multi_avg_fn(decay)
        update(self.values, [p.detach() for p in self._parameters], 0)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        if not self._decay:
            yield
            return
        kept = [p.detach().clone() for p in self._parameters]
        self._set(self.values)
        try:
            yield
        finally:
            self._set(kept)

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` takes."""
        return {"values": self.values, "n_updates": self.n_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up saved values."""
        self.n_updates = state["n_updates"]
        for own, given in zip(self.values, state["values"], strict=True):
            own.copy_(given)

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
