"""The ``codetalker`` command.

Each command resolves its settings, makes one call and prints a report. Each module contains
one command or one group of commands. Heavy imports stay inside the command bodies, so that
``--help`` is fast.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from types import FrameType
from typing import Annotated, Any

import typer

from codetalker_cli.cli import (
    animate,
    console,
    export,
    import_checkpoint,
    live,
    metrics,
    prepare,
    render,
    studio,
    train,
)
from codetalker_cli.cli import eval as evaluation
from codetalker_cli.cli.commands import Command, Group
from codetalker_cli.devices import is_main_process
from codetalker_cli.failures import to_error

PATIENCE_SECONDS = 30.0
"""Seconds a non-main process waits before exiting, so that only rank 0 prints the error."""
_STOPPING = ("SIGTERM", "SIGHUP")


class _Program(typer.Typer):
    """The program. A process that runs it again keeps the commands that it built."""

    @cached_property
    def _built(self) -> Any:
        return typer.main.get_command(self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._built(*arguments, **options)


app = _Program(
    name="codetalker",
    cls=Group,
    help="Speech-driven 3D facial animation: turn a recording into a talking head.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("animate", cls=Command)(animate.animate)
app.command("live", cls=live.LiveCommand)(live.live)
app.command("studio", cls=Command)(studio.studio)
app.command("export", cls=Command)(export.export)
app.command("render", cls=Command)(render.render)
app.add_typer(prepare.app)
app.command("train-vq", cls=Command)(train.train_vq_command)
app.command("train-speech", cls=Command)(train.train_speech_command)
app.command("eval", cls=Command)(evaluation.evaluate)
app.command("metrics", cls=Command)(metrics.metrics)
app.command("import-checkpoint", cls=Command)(import_checkpoint.import_checkpoint)


def _version(wanted: bool) -> None:
    if wanted:
        from codetalker_cli.resources import package_version

        console.stdout.print(f"codetalker-cli {package_version()}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Declare the options of the program."""


def main() -> None:
    """Run the command; print any error as one line, and exit with its code.

    The exit codes are 1 for bad data, 2 for wrong arguments, 70 for a fault of the program, and
    128 plus its number for a signal.
    """
    _reopen_closed_streams()
    try:
        with _stopped_by_signals():
            app()
    except Exception as error:
        failure = to_error(error)
        if not is_main_process():
            time.sleep(PATIENCE_SECONDS)
        console.fail(str(failure))
        sys.exit(failure.exit_code)


def _reopen_closed_streams() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise the next file that is opened would take the number of a closed stream, and what other
    programs print would end up in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            if getattr(sys, name) is None:
                mode = "r" if name == "stdin" else "w"
                setattr(sys, name, open(opened, mode, closefd=False))  # noqa: SIM115


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Inside a ``with`` block, end the program on SIGTERM and SIGHUP as Ctrl-C does.

    Batch systems, ``timeout`` and containers stop a program with SIGTERM, whose default action
    would leave unfinished files.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    # A signal that the caller ignores stays ignored, as nohup does with SIGHUP.
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
