"""Devices and distributed processes (`accelerate launch`): ranks, barriers, gathering."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from codetalker_cli.errors import InputError, SettingsError, printable

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

T = TypeVar("T")
Precision = Literal["float32", "bf16", "fp16"]
_DEVICE = "ACCELERATE_TORCH_DEVICE"
_MIXED_PRECISION = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}
_USABLE = ("cpu", "cuda", "mps", "xpu")
_TIMEOUT = timedelta(days=30)
"""The longest time that a finished process waits for the others."""


# Devices -----------------------------------------------------------------------------------------


def pick_device(name: str) -> "torch.device":
    """Return a device by name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises:
        InputError: The device is not usable on this machine.
    """
    import torch

    # cuDNN's convolutions would round float32 to TF32, and codes would differ from the CPU's.
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        mps = torch.backends.mps.is_available()
        return torch.device("mps" if mps else "cpu")
    try:
        device = torch.device(name)
        if device.type not in _USABLE:  # such as meta, which has no numbers
            raise RuntimeError(f"expected {', '.join(_USABLE)}")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, AttributeError, ImportError) as error:
        reason = printable(str(error).partition("\n")[0], 120)
        raise InputError(
            f"`device` {printable(name)}: not usable here ({reason}); use auto or cpu"
        ) from error
    return device


# Processes ---------------------------------------------------------------------------------------


def rank() -> int:
    """Return the rank of this process; the main process has rank 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return the number of processes that the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this process writes the shared output (rank 0)."""
    return rank() == 0


def join_processes(device: str) -> str:
    """Connect to the other processes, if there are any.

    Args:
        device: ``auto`` or a device name.

    Returns:
        The device of this process.
    """
    if world_size() == 1:
        return device
    if not is_main_process():
        # All processes log the same progress; only their own failures differ.
        logging.getLogger("codetalker_cli").setLevel(logging.WARNING)
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_TIMEOUT)
    return str(state.device) if device == "auto" else device


def barrier() -> None:
    """Wait until every process reaches this point."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def shard(items: Sequence[T], order: Callable[[T], Any]) -> list[T]:
    """Return the items of this process; all processes get about equally many, of similar sizes.

    Args:
        items: The items of all processes. A single process keeps their order.
        order: Sort key. It puts large items first and must be the same in every process.
    """
    if world_size() == 1:
        return list(items)
    return sorted(items, key=order)[rank() :: world_size()]


def gather(items: list[Any]) -> list[Any]:
    """Return the items of all processes, in rank order."""
    if world_size() == 1:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)


# Training ----------------------------------------------------------------------------------------


def make_accelerator(
    precision: Precision, device: str = "cpu", *, unused_parameters: bool = False
) -> "Accelerator":
    """Create the accelerator of one training run.

    Args:
        precision: The precision of the computation in a step.
        device: The device of a single process. With several processes (``accelerate
            launch``), accelerate assigns a device to each.
        unused_parameters: Whether a step may leave some weights without a gradient.

    Raises:
        SettingsError: The device does not support that precision, or accelerate is configured to
            shard models.
    """
    import torch
    from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
    from accelerate.state import AcceleratorState

    several = world_size() > 1
    # An earlier run in this process may have set up another precision or device.
    AcceleratorState._reset_state(reset_partial_state=not several)
    shared = DistributedDataParallelKwargs(
        find_unused_parameters=unused_parameters,
        broadcast_buffers=False,  # all buffers are constants
    )
    on_cpu = torch.device(device).type == "cpu"
    try:
        with _accelerate_device(None if several or on_cpu else device):
            accelerator = Accelerator(
                cpu=on_cpu,
                mixed_precision=_MIXED_PRECISION[precision],
                kwargs_handlers=[shared],
            )
        if precision == "fp16" and accelerator.scaler is None:  # accelerate does not check this
            raise ValueError("gradients cannot be scaled there")
    except (ValueError, NotImplementedError) as error:
        raise SettingsError(
            f"precision {precision}: not supported on {device} ({error}); use float32"
        ) from error
    kind = accelerator.distributed_type
    if kind != DistributedType.NO and not kind.value.startswith("MULTI_"):
        raise SettingsError(
            f"accelerate is configured for {kind.value}; only data-parallel training is "
            "supported: disable DeepSpeed, FSDP and Megatron in `accelerate config`"
        )
    if not accelerator.is_main_process:
        logging.getLogger("codetalker_cli").setLevel(logging.ERROR)
    return accelerator


@contextmanager
def _accelerate_device(device: str | None) -> Iterator[None]:
    """Set the device of accelerate within the block, through its environment variable."""
    before = os.environ.pop(_DEVICE, None)
    try:
        if device is not None:
            os.environ[_DEVICE] = device
        yield
    finally:
        os.environ.pop(_DEVICE, None)
        if before is not None:
            os.environ[_DEVICE] = before
