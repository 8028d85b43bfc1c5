"""Save and load the state of a run, and stop a run cleanly on a signal.

A state is written atomically, and loading it executes no code from the file.

accelerate's own ``save_state`` is not used: it unpickles parts of a state, and if it cannot read
the random state, it continues with different random numbers.
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
    """Write the state after a step to ``folder``, then delete older states.

    Raises:
        CheckpointError: The state cannot be written, for example on a full disk; the older state
            is kept.
    """
    path = folder / f"step-{step:09d}.pt"
    # An open file, because torch hides the cause of a failed write when it opens a path itself.
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
    """Turn errors of the file system inside a ``with`` block into one line that names ``what``.

    Raises:
        CheckpointError: A file cannot be written, for example on a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason: BaseException | None = error
        # torch wraps the OSError in a RuntimeError.
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__cause__ or reason.__context__
        if reason is None:
            raise
        raise CheckpointError(
            f"{what} could not be saved ({reason.strerror or reason}); everything saved before is "
            "kept; free some space and continue with `resume`"
        ) from error


def load(folder: Path) -> dict[str, Any] | None:
    """Load the newest state in ``folder`` to the CPU; return None if there is none.

    Raises:
        CheckpointError: The state is damaged, or a newer version of this package wrote it.
    """
    paths = _state_files(folder)
    if not paths:
        return None
    try:
        with zipfile.ZipFile(paths[-1]) as archive:  # torch does not verify checksums
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
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
            f"{paths[-1]}: the state is damaged ({reason}); start again with `overwrite`"
        ) from error
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{paths[-1]}: the format version is {version}, but this version of codetalker reads "
            f"only up to {FORMAT_VERSION}; upgrade codetalker-cli"
        )
    return content


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of every random generator that training uses in this process."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the generators to a state that ``random_state`` returned."""
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
    """A run was stopped by a signal after its state was saved."""

    exit_code = 130


class Interrupt:
    """Inside a ``with`` block, record the first SIGINT or SIGTERM; a second one ends the program.

    Args:
        distributed: Whether there are several processes. Signals then keep their usual effect,
            because the processes cannot agree on a step at which to stop.

    Attributes:
        requested: Whether a signal was received.
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
        """Return the error to raise once the state after ``step`` is saved."""
        return Interrupted(
            f"stopped after step {step}; repeat the command with `resume` to continue"
        )

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}
