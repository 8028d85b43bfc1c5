"""Run the ``codetalker`` command as a user would, but inside the test process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from codetalker_cli import cli

COMMANDS = [
    ("animate",),
    ("render",),
    ("prepare-data", "vocaset"),
    ("prepare-data", "biwi"),
    ("prepare-data", "custom"),
    ("prepare-data", "video"),
    ("prepare-data", "arkit"),
    ("prepare-data", "combine"),
    ("prepare-data", "check"),
    ("prepare-data", "demo"),
    ("train-vq",),
    ("train-speech",),
    ("eval",),
    ("metrics",),
    ("export",),
    ("live",),
    ("studio",),
    ("import-checkpoint",),
]
"""The words of every command."""


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Ended:
    """Run the command in the current folder; its errors end up in the result."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    given = mock.patch.object(sys, "argv", ["codetalker", *map(str, arguments)])
    n_threads = torch.get_num_threads()  # a command may change it, for its whole process
    with given, redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        finally:
            torch.set_num_threads(n_threads)
    return Ended(code, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> str:
    """Run the command, assert that it succeeds, and return its stdout."""
    ended = run(*arguments)
    assert ended.code == 0, ended.err
    return ended.out


def refuse(*arguments: object) -> str:
    """Assert that the command fails with one error line and changes no file; return the line."""
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
    """Return path → content of everything below a folder; folders have empty content."""
    folder = folder or Path()
    assert not (folder / "pyproject.toml").exists(), "run the command in a temporary folder"
    found = folder.rglob("*")
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in found}
