"""The ``codetalker`` command.

Each command resolves its settings, makes one call and prints a report. Each module contains
one command or one group of commands. Heavy imports stay inside the command bodies, so that
``--help`` is fast.
"""

import errno
import sys
import time
from typing import Annotated

import typer

from codetalker_cli.cli import animate, console, import_checkpoint, metrics, prepare, render, train
from codetalker_cli.cli import eval as evaluation
from codetalker_cli.cli.commands import Command, Group
from codetalker_cli.devices import is_main_process
from codetalker_cli.errors import CodeTalkerError

PATIENCE_SECONDS = 5.0
"""Seconds a non-main process waits before exiting, so that only rank 0 prints the error."""

app = typer.Typer(
    name="codetalker",
    cls=Group,
    help="Speech-driven 3D facial animation: turn a recording into a talking head.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("animate", cls=Command)(animate.animate)
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
    """Run the command; print an expected error as one line and exit with code 1 or 2."""
    try:
        app()
    except CodeTalkerError as error:
        if not is_main_process():
            time.sleep(PATIENCE_SECONDS)
        console.fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk or a name that is too long is not a bug: no traceback
        full = "; free some space and run the command again" if error.errno == errno.ENOSPC else ""
        console.fail(f"{error}{full}")
        sys.exit(1)
