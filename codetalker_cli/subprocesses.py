"""Start a new Python process that can import this package, and report why one failed."""

import os
import sys
from pathlib import Path

from codetalker_cli.errors import CodeTalkerError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Mesa's software OpenGL: 0 means that the calling thread does all the work.
_ONE_THREAD["LP_NUM_THREADS"] = "0"


def python_command(code: str, *arguments: str) -> list[str]:
    """Return the command of a new Python that runs ``code``.

    The working directory is not on its import path.

    Raises:
        CodeTalkerError: The path of the Python interpreter is unknown.
    """
    if not sys.executable:
        raise CodeTalkerError(
            "the path of the Python interpreter is unknown, so no process can be started"
        )
    return [sys.executable, "-P", "-c", code, *arguments]


def environment() -> dict[str, str]:
    """Return an environment in which Python finds this package and uses a single thread."""
    package_folder = str(Path(__file__).resolve().parents[1])
    paths = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(paths)}


def last_line(text: bytes) -> str:
    """Return the last line that is not blank, for an error message."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
