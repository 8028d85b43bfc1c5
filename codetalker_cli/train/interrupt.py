"""Ctrl-C and a cluster's SIGTERM: the step is ended and its state saved."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from codetalker_cli.errors import CodeTalkerError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(CodeTalkerError):
    """A run that was stopped from outside, its state saved."""

    exit_code = 130


class Interrupt:
    """While entered, the first signal is only noted; the second one ends the program as usual.

    Args:
        several: With several processes nothing is changed: they cannot agree on a step to stop at.

    Attributes:
        asked: Whether a signal came.
    """

    def __init__(self, *, several: bool) -> None:
        self.asked = False
        self._active = not several and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if self._active:
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def error(self, step: int) -> Stopped:
        """What is said when the state is saved."""
        return Stopped(f"stopped after step {step}; the same command with --resume goes on there")

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
