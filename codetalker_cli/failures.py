"""Turn any exception into an error with a one-line message.

An exception that the program does not expect is a fault of the program. Its traceback is written to
a log file, and its message contains the path. Too little memory is not such a fault: its message
describes what was too large.
"""

import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codetalker_cli.errors import (
    CodeTalkerError,
    FileError,
    OutOfMemoryError,
    UnexpectedError,
    printable,
)

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""The texts by which PyTorch reports that an allocation failed."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAX_REASON = 300


@contextmanager
def doing(activity: str) -> Iterator[None]:
    """Describe an activity, for the message of an unexpected error inside the ``with`` block.

    Args:
        activity: What is done and how large it is, such as ``reading speech.wav``.
    """
    try:
        yield
    except CodeTalkerError:
        raise
    except Exception as error:
        error.add_note(activity)
        raise


def to_error(error: Exception) -> CodeTalkerError:
    """Return the error to report for an exception; for an unexpected one, write a log file."""
    if isinstance(error, CodeTalkerError):
        return error
    activity = f" while {printable(error.__notes__[0])}" if hasattr(error, "__notes__") else ""
    reason = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(text in reason.lower() for text in _OUT_OF_MEMORY):
        detail = f" ({printable(reason, _MAX_REASON)})" if reason else ""
        result: CodeTalkerError = OutOfMemoryError(f"not enough memory{activity}{detail}")
    elif isinstance(error, OSError) and error.strerror:
        names = [printable(os.fsdecode(n)) for n in (error.filename,) if isinstance(n, str | bytes)]
        full = "; free some space and run the command again" * (error.errno in _FULL)
        place = "" if names else activity
        result = FileError(": ".join([*names, f"{error.strerror}{place}{full}"]))
        result.is_full = error.errno in _FULL
    else:
        kind = type(error).__name__
        text = f"{kind}: {printable(reason, _MAX_REASON)}" if reason else kind
        result = UnexpectedError(f"unexpected error{activity} ({text}); {_log(error)}")
    result.__cause__ = error
    return result


def error_of_item(error: Exception) -> CodeTalkerError:
    """Return the error to report for one of several items, so that the others can continue.

    Raises:
        Exception: The error itself, if the disk is full, because it would fail every item.
    """
    result = to_error(error)
    if isinstance(result, FileError) and result.is_full:
        raise error
    return result


def _log(error: Exception) -> str:
    """Write the traceback to a log file; return where it is, as a part of a message."""
    from codetalker_cli.resources import package_version

    lines = [
        f"codetalker-cli {package_version()}, Python {platform.python_version()}, "
        f"{platform.platform()}\n",
        f"command: {[printable(argument) for argument in sys.argv]}\n\n",
        *traceback.format_exception(error),
    ]
    try:
        number, name = tempfile.mkstemp(prefix="codetalker-error-", suffix=".log")
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(lines)
    except OSError as problem:
        return f"the details could not be written ({problem.strerror})"
    return f"this is a fault of codetalker; the details are in {Path(name)}"
