"""Tables and lists on the terminal that break neither a number nor a name."""

import re
import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_NUMBER = r"[-−+]?\d[\d.,]*(?:e[-−+]?\d+)?"
_QUANTITY = re.compile(rf"{_NUMBER}(?: … {_NUMBER})?(?: ?[^\s\d]+)?", re.IGNORECASE)
"""A number or an interval, and its unit."""
_BORDERS, _BORDER = 3, 1
"""The columns of the terminal that a column's padding and border take, and the last border."""


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """Return a table that fits into ``width`` if its numbers and words allow it.

    Text wraps between words. A number, an interval or a word never does, because a part of it could
    be misread and not be copied; the table becomes wider than ``width`` instead.
    """
    widths = _fit([list(cells) for cells in zip(columns, *rows, strict=True)], width)
    grid = Table(
        title=Text(title) if title else None,
        title_justify="left",
        width=sum(widths) + _BORDERS * len(widths) + _BORDER,
    )
    for name, n_columns in zip(columns, widths, strict=True):
        grid.add_column(Text(name), overflow="fold", width=n_columns)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def rest(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """Return the width that is left for the last column next to the widest words of the others."""
    cells = list(zip(columns, *rows, strict=True))[:-1]
    others = sum(max(map(_least_width, column)) + _BORDERS for column in cells)
    return width - others - _BORDERS - _BORDER


def _fit(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the width of each column of cells; narrow columns get what they need first."""
    whole = [max(map(cell_len, cells)) for cells in columns]
    least = [max(map(_least_width, cells)) for cells in columns]
    spare = max(width - _BORDERS * len(columns) - _BORDER - sum(least), 0)
    widths = least.copy()
    for left, index in enumerate(sorted(range(len(columns)), key=lambda k: whole[k] - least[k])):
        more = min(whole[index] - least[index], spare // (len(columns) - left))
        widths[index] += more
        spare -= more
    return widths


def _least_width(cell: str) -> int:
    """Return the width of the longest part of a cell that must not be broken."""
    if _QUANTITY.fullmatch(cell):
        return cell_len(cell)
    return max(map(cell_len, cell.split()), default=0)


def described_lines(entries: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Return lines of headings, each with its description below it, indented and wrapped."""
    lines = []
    for heading, description in entries:
        lines.append(heading)
        lines += textwrap.wrap(
            description,
            width,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
