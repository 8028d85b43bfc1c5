"""The classes of all commands: shared options, and usage errors as one line.

Every command and every group of commands has ``--verbose`` and ``--quiet``. With
``--show-settings``, a command needs no required arguments.
"""

import sys
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from codetalker_cli.cli import console
from codetalker_cli.errors import printable, similar_name

NAME = "codetalker"
"""The name of the command in usage lines, also for ``python -m codetalker_cli``."""

_CHOSEN = "codetalker_cli.verbosity"
"""The key of a command's context under which the chosen verbosity options are stored."""

# Typer does not export the base classes of its errors, and they moved between its versions.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
_ERROR: Any = typer.BadParameter.__mro__[2]


def _choose(ctx: typer.Context, param: typer.CallbackParam, value: bool) -> bool:
    chosen = ctx.meta.setdefault(_CHOSEN, {})
    if value and not ctx.resilient_parsing:
        chosen[param.name] = True
    if len(chosen) > 1:
        raise _USAGE_ERROR("--verbose and --quiet exclude each other; give only one", ctx=ctx)
    return value


def _verbosity(
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show debug messages.", callback=_choose, expose_value=False
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Show only warnings, errors and the result.",
            callback=_choose,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Declare the options that all commands have."""


def _verbosity_parameters() -> list[Any]:
    declared = typer.Typer(add_completion=False)
    declared.command()(_verbosity)
    return typer.main.get_command(declared).params


class Command(typer.core.TyperCommand):
    """A command."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **options: Any) -> None:
        super().__init__(*args, params=[*(params or ()), *_verbosity_parameters()], **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; with ``--show-settings``, none is required."""
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        required = [one for one in self.params if one.required and given.get("show_settings")]
        for one in required:
            one.required = False
        try:
            return super().parse_args(ctx, args)
        finally:
            for one in required:
                one.required = True

    def invoke(self, ctx: Any) -> Any:
        """Set up the terminal output, and run the command."""
        chosen = ctx.meta.get(_CHOSEN, {})
        arguments = [one.name for one in self.params if one.param_type_name == "argument"]
        console.set_up(verbose="verbose" in chosen, quiet="quiet" in chosen, arguments=arguments)
        return super().invoke(ctx)


class Group(typer.core.TyperGroup):
    """A group of commands, or the whole program."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **options: Any) -> None:
        super().__init__(*args, params=[*(params or ()), *_verbosity_parameters()], **options)

    def main(self, args: Any = None, prog_name: str | None = None, *more: Any, **extra: Any) -> Any:
        """Run the program and exit; print a usage error as one line and exit with code 2."""
        extra["standalone_mode"] = False  # so that errors are raised
        try:
            code = super().main(args, prog_name or NAME, *more, **extra)
        except _ERROR as error:
            _report(error)
            sys.exit(error.exit_code)
        except typer.Abort:  # typer raises it for an EOFError
            console.fail("aborted")
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def _report(error: Any) -> None:
    """Print an error in the arguments as one line, with a similar name if there is one."""
    if type(error).__name__ == "NoArgsIsHelpError":  # it has printed the help
        return
    possible = getattr(error, "possibilities", None)
    if possible is not None:
        options = {option.lstrip("-"): option for option in possible}
        similar = similar_name(error.option_name.lstrip("-"), options)
        hint = "" if similar is None else f"; did you mean {options[similar]}?"
        message = f"{error.message.rstrip('.')}{hint}"
    else:
        message = error.format_message().replace(". Did you mean", "; did you mean")
    message = printable(" ".join(message.rstrip(".").split("\n\t")))
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    if context is not None:
        more = " " if message.endswith("?") else "; "
        message += f"{more}see {context.command_path} --help"
    console.fail(message)
