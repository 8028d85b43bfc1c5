"""Terminal output: progress and messages on stderr, results on stdout."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# Without this, rich would replace parts of text such as ``S01:x:`` with emoji.
stdout = Console(soft_wrap=True, emoji=False)
stderr = Console(stderr=True, soft_wrap=True, emoji=False)

_WIDE = 110
"""The terminal width in columns at which a long bar leaves room for the text next to it."""

_PARAMETERS = (
    "audio", "data", "device", "engine", "fps", "gt", "heat", "manifest", "mesh", "model", "out",
    "overwrite", "pred", "preset", "regions", "resume", "set", "sheet", "split", "style",
    "subject", "templates", "unit", "voices_dir", "vq",
)  # fmt: skip
FLAGS = {name: "--" + name.replace("_", "-") for name in _PARAMETERS}
FLAGS |= {"labels": "--label", "mesh_file": "--faces", "suffix": "--format"}
"""Parameter name in a library message (in backticks) → flag of the command line."""
_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)`")
Report = Callable[..., None]
"""Updates one progress bar: report(done, total, note="")."""


class _Lines(logging.Handler):
    """Prints log records as whole lines above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def set_up(verbose: bool) -> None:
    """Log to stderr; show debug messages and warnings of other libraries only if ``verbose``."""
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()], format="%(message)s")
    logging.getLogger("codetalker_cli").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in ("HF_HUB_VERBOSITY", "TRANSFORMERS_VERBOSITY"):  # both are read at import
        os.environ.setdefault(name, "warning" if verbose else "error")
    for name in ("transformers", "moviepy", "OpenGL", "pyglet"):
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.ERROR)


def with_flags(message: str) -> str:
    """Replace parameter names in backticks with command-line flags.

    The library does not know the command line: "give another `out`" becomes "give another --out".
    """
    return _PARAMETER.sub(lambda match: FLAGS.get(match[1], match[0]), message)


def say(message: str) -> None:
    """Print a message on stderr."""
    stderr.print(with_flags(message), markup=False, highlight=False)


def fail(message: str) -> None:
    """Print an error as one line on stderr."""
    text = f"error: {with_flags(message)}"
    stderr.print(text, style="bold red", markup=False, highlight=False)


def give(result: dict[str, Any], *, as_json: bool, line: str) -> None:
    """Print the result of a command on stdout, as one line of text or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        stdout.print(line, markup=False, highlight=False)


def table(title: str, columns: list[str], rows: list[tuple[str, ...]]) -> None:
    """Print a table on stdout."""
    grid = Table(title=title or None, title_justify="left")
    for column in columns:
        grid.add_column(column, overflow="fold")  # a truncated name could not be copied
    for row in rows:
        grid.add_row(*row)
    stdout.print(grid)


@contextmanager
def bars(shown: bool = True) -> Iterator[Callable[[str], Report]]:
    """Show progress bars. Yield a function that returns the report of a stage by its name."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=40 if stderr.width >= _WIDE else 8),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=stderr, transient=False)
    tasks: dict[str, Any] = {}

    def stage(name: str) -> Report:
        def report(done: int | float, total: int | float, note: str = "") -> None:
            if not shown:
                return
            progress.start()  # only now, so that nothing precedes the message of an early error
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, note="")
            progress.update(tasks[name], completed=done, total=total, note=note)

        return report

    try:
        yield stage
    finally:
        if tasks:
            progress.stop()
