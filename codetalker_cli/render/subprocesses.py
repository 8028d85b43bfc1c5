"""Starting a fresh Python that finds this package, and reading why it failed."""

import os
import sys
from pathlib import Path

from codetalker_cli.errors import RenderError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ONE_THREAD["LP_NUM_THREADS"] = "0"  # Mesa's OpenGL without a card: no threads beside the caller's


def python_command(code: str, *arguments: str) -> list[str]:
    """The command of a fresh Python that runs ``code``, and imports nothing from its folder."""
    if not sys.executable:
        raise RenderError("this Python does not know its path; take renderer software, workers 1")
    return [sys.executable, "-P", "-c", code, *arguments]


def environment() -> dict[str, str]:
    """Environment of a fresh Python that finds this package and keeps to one thread."""
    package_folder = str(Path(__file__).resolve().parents[2])
    paths = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(paths)}


def last_line(text: bytes) -> str:
    """The last line with anything in it, for an error message."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
