"""The ``codetalker`` command: settings in, one call, report out.

One module a group of commands; heavy imports stay inside their bodies.
"""

import errno
import sys
import time
from typing import Annotated

import typer

from codetalker_cli.cli import animate, console, import_checkpoint, metrics, prepare, render, train
from codetalker_cli.cli import eval as evaluation
from codetalker_cli.devices import is_main_process
from codetalker_cli.errors import CodeTalkerError

PATIENCE_SECONDS = 5.0
"""Of several processes the main one tells an error; in this time its launcher ends the others."""

app = typer.Typer(
    name="codetalker",
    help="Speech-driven 3D facial animation: a recording in, a talking head out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("animate")(animate.animate)
app.command("render")(render.render)
app.add_typer(prepare.app)
app.command("train-vq")(train.train_vq_command)
app.command("train-speech")(train.train_speech_command)
app.command("eval")(evaluation.evaluate)
app.command("metrics")(metrics.metrics)
app.command("import-checkpoint")(import_checkpoint.import_checkpoint)


def _version(wanted: bool) -> None:
    if wanted:
        from codetalker_cli.resources import package_version

        console.stdout.print(f"codetalker-cli {package_version()}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    console.set_up(verbose)


def main() -> None:
    """Run the command; an error of the person's making is one line, exit code 1 or 2."""
    try:
        app()
    except CodeTalkerError as error:
        if not is_main_process():
            time.sleep(PATIENCE_SECONDS)
        console.fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a name that is too long: not the program's doing
        full = "; make room and run the same command again" if error.errno == errno.ENOSPC else ""
        console.fail(f"{error}{full}")
        sys.exit(1)
