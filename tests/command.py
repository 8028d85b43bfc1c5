"""The ``codetalker`` command as a person runs it, within the test's own process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from codetalker_cli import cli


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code and what it wrote."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Ended:
    """Run the command in the current folder; never raises what it shows to people."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    given = mock.patch.object(sys, "argv", ["codetalker", *map(str, arguments)])
    with given, redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Ended(code, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> str:
    """Run the command, which has to succeed; what it wrote on stdout."""
    ended = run(*arguments)
    assert ended.code == 0, ended.err
    return ended.out


def refuse(*arguments: object) -> str:
    """Run the command, which has to refuse: its one error line. Nothing may appear or change."""
    before = listing()
    ended = run(*arguments)
    assert listing() == before
    assert ended.code in (1, 2), ended
    assert ended.out == ""
    *others, last = ended.err.strip().splitlines()
    assert last.startswith("error: "), ended.err
    assert not any("error" in line.lower() or "Traceback" in line for line in others), ended.err
    return last.removeprefix("error: ")


def listing(folder: Path | None = None) -> dict[str, bytes]:
    """Content of every file below a folder, and its folders."""
    found = (folder or Path()).rglob("*")
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in found}
