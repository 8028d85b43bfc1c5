"""Terminal output: progress and messages on stderr, results on stdout."""

import json
import logging
import math
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
from rich.text import Text

from codetalker_cli.errors import MAX_NAME, printable

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
MAX_MESSAGE = 5000
"""The most characters of a printed message; a path can have 4096."""
_LONG_NAME = re.compile(rf"[^\s/]{{{MAX_NAME + 1},}}")
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


def safe(message: str) -> str:
    """Return text that can be printed: without control characters, and not endless.

    A message contains names and values from files. Names are kept whole up to ``MAX_NAME``
    characters, and so are paths of such names.
    """
    short = _LONG_NAME.sub(lambda match: printable(match[0]), message[: 2 * MAX_MESSAGE])
    return printable(short, MAX_MESSAGE)


def _finite(content: Any) -> Any:
    """Replace NaN and infinite numbers, which JSON does not have, with None."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def say(message: str) -> None:
    """Print a message on stderr."""
    stderr.print(safe(with_flags(message)), markup=False, highlight=False)


def fail(message: str) -> None:
    """Print an error as one line on stderr."""
    text = f"error: {safe(with_flags(message))}"
    stderr.print(text, style="bold red", markup=False, highlight=False)


def give(result: dict[str, Any], *, as_json: bool, line: str) -> None:
    """Print the result of a command on stdout, as one line of text or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(_finite(result)) + "\n")
    else:
        stdout.print(safe(line), markup=False, highlight=False)


def table(title: str, columns: list[str], rows: list[tuple[str, ...]]) -> None:
    """Print a table on stdout."""
    grid = Table(title=Text(safe(title)) if title else None, title_justify="left")
    for column in columns:
        grid.add_column(Text(safe(column)), overflow="fold")  # a truncated name could not be copied
    for row in rows:
        grid.add_row(*(Text(safe(cell)) for cell in row))
    stdout.print(grid)


@contextmanager
def bars(shown: bool = True) -> Iterator[Callable[[str], Report]]:
    """Show progress bars. Yield a function that returns the report of a stage by its name."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=40 if stderr.width >= _WIDE else 8),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
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
            progress.update(tasks[name], completed=done, total=total, note=printable(note))

        return report

    try:
        yield stage
    finally:
        if tasks:
            progress.stop()
