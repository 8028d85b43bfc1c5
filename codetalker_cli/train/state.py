"""The saved state of a run, and the signals that end one.

A state is written whole or not at all, and read without running anything from it.

accelerate's own ``save_state`` is not used: it reads parts of a state by unpickling, and goes on
with other random numbers when theirs cannot be read.
"""

import os
import pickle
import random
import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

from codetalker_cli.errors import CheckpointError, CodeTalkerError
from codetalker_cli.files import atomic_path

FORMAT_VERSION = 1


def save(folder: Path, step: int, content: dict[str, Any]) -> None:
    """Write the state of a step into ``folder``; older ones go when this one is whole.

    Raises:
        CheckpointError: It cannot be written (a full disk, for one); the older state stays.
    """
    path = folder / f"step-{step:09d}.pt"
    # Into an open file: of a path, torch does not tell why it could not be written.
    with (
        report_save_errors(f"{path}: the state of step {step}"),
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
    ):
        torch.save({"format_version": FORMAT_VERSION, "step": step, **content}, file)
        file.flush()
        os.fsync(file.fileno())
    for state_file in _state_files(folder):
        if state_file != path:
            state_file.unlink(missing_ok=True)


@contextmanager
def report_save_errors(what: str) -> Iterator[None]:
    """Say in one line why something of a run could not be saved, and how to go on.

    Raises:
        CheckpointError: The disk refused, for want of room for one.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, OSError):  # torch hides it
            reason = reason.__cause__ or reason.__context__
        if reason is None:
            raise
        raise CheckpointError(
            f"{what} could not be saved ({reason.strerror or reason}); what was saved before is "
            "kept: make room and go on with `resume`"
        ) from error


def load(folder: Path) -> dict[str, Any] | None:
    """The newest state in ``folder``, on the CPU; None when there is none.

    Raises:
        CheckpointError: It is damaged, or of a newer format.
    """
    paths = _state_files(folder)
    if not paths:
        return None
    try:
        with zipfile.ZipFile(paths[-1]) as archive:  # torch looks at no checksum
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content = torch.load(paths[-1], map_location="cpu", weights_only=True)
        version = int(content["format_version"])
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{paths[-1]}: damaged state ({reason}); begin anew with `overwrite`"
        ) from error
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{paths[-1]}: format {version}, this codetalker reads up to {FORMAT_VERSION}; "
            "upgrade codetalker-cli"
        )
    return content


def random_state(device: torch.device) -> dict[str, Any]:
    """Of all generators that training draws from in this process."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the generators where ``random_state`` found them."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    if device.type == "mps" and state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])


def _state_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"))


# Interruption -------------------------------------------------------------------------------------


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(CodeTalkerError):
    """A run that was stopped from outside, its state saved."""

    exit_code = 130


class Interrupt:
    """While entered, the first signal is only noted; the second one ends the program as usual.

    Args:
        distributed: With several processes nothing is changed: they cannot agree on a step to stop
            at.

    Attributes:
        requested: Whether a signal came.
    """

    def __init__(self, *, distributed: bool) -> None:
        self.requested = False
        self._active = not distributed and threading.current_thread() is threading.main_thread()
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if self._active:
            self._previous_handlers = {
                number: signal.signal(number, self._handle_signal) for number in _SIGNALS
            }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def error(self, step: int) -> Interrupted:
        """What is said when the state is saved."""
        return Interrupted(
            f"stopped after step {step}; the same command with `resume` goes on there"
        )

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}
