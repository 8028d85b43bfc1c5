"""Terminal output: progress and messages on stderr, results on stdout."""

import json
import logging
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from codetalker_cli.cli import tables
from codetalker_cli.errors import MAX_NAME, printable

# Without this, rich would replace parts of text such as ``S01:x:`` with emoji.
stdout = Console(soft_wrap=True, emoji=False)
stderr = Console(stderr=True, soft_wrap=True, emoji=False)

_WIDE = 110
"""The terminal width in columns at which a long bar leaves room for the text next to it."""

_PARAMETERS = (
    "audio", "avatar", "avatar_map", "avatar_node", "channels", "csv", "curves", "data", "device",
    "engine", "file", "format", "fps", "gt", "heat", "json_lines", "livelink", "manifest", "mesh",
    "mic", "model", "osc", "out", "overwrite", "paced", "play", "pred", "preset", "rate", "regions",
    "resume", "seed", "serve", "set", "sheet", "split", "stdin", "strength", "style", "subject",
    "targets", "templates", "token", "transcript", "unit", "units", "voices_dir", "vq",
)  # fmt: skip
FLAGS = {name: "--" + name.replace("_", "-") for name in _PARAMETERS}
FLAGS |= {"labels": "--label", "lookahead_seconds": "--lookahead", "mesh_file": "--faces"}
"""Parameter name in a library message (in backticks) → flag of the command line."""
MAX_MESSAGE = 5000
"""The most characters of a printed message; a path can have 4096."""
_LONG_NAME = re.compile(rf"[^\s/]{{{MAX_NAME + 1},}}")
_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)`")
Report = Callable[..., None]
"""Updates the progress of one stage: report(done, total, note="")."""
PROGRESS_SECONDS = 10.0
"""The least time between two lines of progress, if stderr is not a terminal."""
UNITS = {
    "align": "recordings",
    "animate": "frames",
    "check": "clips",
    "combine": "clips",
    "curves": "takes",
    "export": "motions",
    "measure": "clips",
    "motion": "clips",
    "predict": "clips",
    "render": "frames",
    "report": "pictures",
    "sound": "takes",
    "speech": "s",
    "speech features": "clips",
    "track": "films",
    "train-speech": "steps",
    "train-vq": "steps",
}
"""Stage → what it counts, unless its name is what it counts."""
_quiet = False
_arguments: frozenset[str] = frozenset()
"""The parameters of the running command that are arguments, not flags."""


class _Lines(logging.Handler):
    """Prints log records as whole lines above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def set_up(*, verbose: bool = False, quiet: bool = False, arguments: Collection[str] = ()) -> None:
    """Log to stderr.

    Args:
        verbose: Also show debug messages and the warnings of other libraries.
        quiet: Show only warnings and errors, and no progress.
        arguments: The parameters of the command that are arguments, not flags.
    """
    global _quiet, _arguments
    _quiet, _arguments = quiet, frozenset(arguments)
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()], format="%(message)s")
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.getLogger("codetalker_cli").setLevel(level)
    for name in ("HF_HUB_VERBOSITY", "TRANSFORMERS_VERBOSITY"):  # both are read at import
        os.environ.setdefault(name, "warning" if verbose else "error")
    for name in ("transformers", "moviepy", "OpenGL", "pyglet"):
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.ERROR)
    if not verbose and not sys.warnoptions:  # such as NumPy's warning of an overflow
        warnings.simplefilter("ignore")


def with_flags(message: str) -> str:
    """Replace parameter names in backticks with command-line flags.

    The library does not know the command line: "give another `out`" becomes "give another --out",
    or "give another OUT" if it is an argument of the command.
    """

    def written(match: re.Match[str]) -> str:
        name = match[1]
        return name.upper() if name in _arguments else FLAGS.get(name, match[0])

    return _PARAMETER.sub(written, message)


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
    """Print a warning or another message on stderr."""
    stderr.print(safe(with_flags(message)), markup=False, highlight=False)


def inform(message: str) -> None:
    """Print a message on stderr that is neither a warning nor an error."""
    if not _quiet:
        say(message)


def fail(message: str) -> None:
    """Print an error as one line on stderr."""
    text = f"error: {safe(with_flags(message))}"
    stderr.print(text, style="bold red", markup=False, highlight=False)


def give(result: dict[str, Any], *, as_json: bool, line: str) -> None:
    """Print the result of a command on stdout, as one line of text or as JSON."""
    if as_json:
        give_json(result)
    else:
        stdout.print(safe(line), markup=False, highlight=False)


def described(entries: Sequence[tuple[str, str]]) -> None:
    """Print headings on stdout, each with its description below it."""
    safe_entries = [(safe(heading), safe(text)) for heading, text in entries]
    for line in tables.described_lines(safe_entries, stdout.width):
        stdout.print(line, markup=False, highlight=False)


def give_json(content: Any) -> None:
    """Print JSON on stdout, as one line."""
    sys.stdout.write(json.dumps(_finite(content)) + "\n")


def try_table(columns: list[str], rows: list[tuple[str, ...]], least: int) -> bool:
    """Print a table on stdout if its last column is at least ``least`` wide; return whether."""
    cells = [[safe(cell) for cell in row] for row in rows]
    if tables.rest(columns, cells, stdout.width) < least:
        return False
    stdout.print(tables.table("", columns, cells, stdout.width))
    return True


def table(title: str, columns: list[str], rows: list[tuple[str, ...]]) -> None:
    """Print a table on stdout; see ``tables.table``."""
    cells = [[safe(cell) for cell in row] for row in rows]
    stdout.print(tables.table(safe(title), [*map(safe, columns)], cells, stdout.width))


@contextmanager
def bars(shown: bool = True) -> Iterator[Callable[[str], Report]]:
    """Show the progress of stages. Yield a function that returns the report of a stage by its name.

    On a terminal, the progress is a bar. Otherwise (in a log file) it is a line on stderr at most
    every ``PROGRESS_SECONDS``, and a line at the end of a stage.
    """
    if not shown or _quiet:
        yield lambda name: _silent
        return
    if not stderr.is_terminal or stderr.is_dumb_terminal:
        yield _stage_lines
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=40 if stderr.width >= _WIDE else 8),
        TextColumn("{task.fields[amount]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=stderr, transient=False)
    tasks: dict[str, Any] = {}

    def stage(name: str) -> Report:
        def report(done: int | float, total: int | float, note: str = "") -> None:
            progress.start()  # only now, so that nothing precedes the message of an early error
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, note="", amount="")
            amount = _amount(name, done, total)
            progress.update(
                tasks[name], completed=done, total=total, note=printable(note), amount=amount
            )

        return report

    try:
        yield stage
    finally:
        if tasks:
            progress.stop()


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Show a line on stderr that changes. Yield a function that replaces its text.

    Nothing is shown unless stdout and stderr are both terminals.
    """
    are_terminals = stdout.is_terminal and stderr.is_terminal and not stderr.is_dumb_terminal
    if _quiet or not are_terminals:
        yield lambda text: None
        return
    with stderr.status("") as shown:
        yield lambda text: shown.update(Text(safe(text)))


def _silent(done: int | float, total: int | float, note: str = "") -> None:
    """Report nothing."""


def _stage_lines(name: str) -> Report:
    """Return the report of a stage that prints lines."""
    begun = printed = time.monotonic()
    last: float = -1

    def report(done: int | float, total: int | float, note: str = "") -> None:
        nonlocal begun, printed, last
        now = time.monotonic()
        if done < last:  # the same stage of the next recording
            begun = printed = now
        has_ended = done >= total and last != done
        last = done
        if has_ended or now - printed >= PROGRESS_SECONDS:
            printed = now
            parts = [_amount(name, done, total), duration(now - begun), printable(note)]
            say(f"{name}: {', '.join(filter(None, parts))}")

    return report


def _amount(name: str, done: float, total: float) -> str:
    """Return what a stage has done: 300/1800 frames."""
    return f"{done:.0f}/{total:.0f} {UNITS.get(name, '')}".rstrip()


def duration(seconds: float) -> str:
    """Return a length of time as text: 12 s, 3 min 5 s, or 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
