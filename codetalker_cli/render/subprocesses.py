"""Start the Python processes that draw."""

import sys

from codetalker_cli import subprocesses
from codetalker_cli.errors import RenderError
from codetalker_cli.subprocesses import environment, last_line

__all__ = ["environment", "last_line", "python_command"]


def python_command(code: str, *arguments: str) -> list[str]:
    """Return the command of a new Python that runs ``code``.

    Raises:
        RenderError: The path of the Python interpreter is unknown.
    """
    if not sys.executable:
        raise RenderError(
            "the path of the Python interpreter is unknown, so no drawing process can be started; "
            "set render.renderer to software and render.workers to 1"
        )
    return subprocesses.python_command(code, *arguments)
