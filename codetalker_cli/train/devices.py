"""Where training runs: accelerate finds the devices and the other processes."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.state import AcceleratorState

from codetalker_cli.errors import SettingsError
from codetalker_cli.settings import TrainSettings

_DEVICE = "ACCELERATE_TORCH_DEVICE"
_PRECISION = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(
    settings: TrainSettings, device: str = "cpu", *, unused_parameters: bool = False
) -> Accelerator:
    """An accelerator for one run.

    Args:
        settings: ``precision`` is used.
        device: What one process runs on; several (``accelerate launch``) share the devices out
            themselves.
        unused_parameters: Whether a step may leave some weights without a gradient.

    Raises:
        SettingsError: The device cannot compute in that precision.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # What an earlier run in this process asked for is not this run's matter.
    AcceleratorState._reset_state(reset_partial_state=not several)
    shared = DistributedDataParallelKwargs(
        find_unused_parameters=unused_parameters,
        broadcast_buffers=False,  # they are constants
    )
    try:
        with _named(None if several or torch.device(device).type == "cpu" else device):
            made = Accelerator(
                cpu=torch.device(device).type == "cpu",
                mixed_precision=_PRECISION[settings.precision],
                kwargs_handlers=[shared],
            )
        if settings.precision == "fp16" and made.scaler is None:  # which accelerate lets pass
            raise ValueError("its gradients are not scaled")
    except (ValueError, NotImplementedError) as error:
        raise SettingsError(
            f"precision {settings.precision}: not possible on {device} ({error}); use float32"
        ) from error
    kind = made.distributed_type
    if kind != DistributedType.NO and not kind.value.startswith("MULTI_"):
        raise SettingsError(
            f"accelerate is configured for {kind.value}; training shares batches out over whole "
            "models only: choose no DeepSpeed, FSDP or Megatron in `accelerate config`"
        )
    if not made.is_main_process:
        logging.getLogger("codetalker_cli").setLevel(logging.ERROR)
    return made


@contextmanager
def _named(device: str | None) -> Iterator[None]:
    """Inside, accelerate takes that device: it reads it from the environment."""
    before = os.environ.pop(_DEVICE, None)
    try:
        if device is not None:
            os.environ[_DEVICE] = device
        yield
    finally:
        os.environ.pop(_DEVICE, None)
        if before is not None:
            os.environ[_DEVICE] = before
