"""Errors with a one-line message for the user.

A message states what is wrong and where, what was expected and what was found, and what to do.
"""

from collections.abc import Iterable

_SIMILAR = 0.75
"""The least similarity (``difflib``) of a misspelled name and the name that it means."""
_LEAST_BEGINNING = 3
"""The least number of letters of an abbreviated name."""


class CodeTalkerError(Exception):
    """The base of all errors that the command line prints as one line, without a traceback."""

    exit_code = 1


class InputError(CodeTalkerError):
    """A file or a flag that the user gave cannot be used."""

    exit_code = 2


class OutputError(InputError):
    """An output cannot be written: it already exists, or its folder is not writable."""


class BusyError(OutputError):
    """Another run is writing the output."""


class SettingsError(CodeTalkerError):
    """A setting is unknown, of the wrong type, or contradicts another setting."""

    exit_code = 2


class DataError(CodeTalkerError):
    """A raw or prepared data set is incomplete or inconsistent."""


class CheckpointError(CodeTalkerError):
    """A checkpoint is missing, unreadable or incompatible."""


class MissingDependencyError(CodeTalkerError):
    """An optional package is not installed; the message contains the command that installs it."""


class RenderError(CodeTalkerError):
    """An image or a video could not be rendered."""


class UnexpectedError(CodeTalkerError):
    """A fault of the program; the message contains the path of a log file with the traceback."""

    exit_code = 70  # EX_SOFTWARE in sysexits.h


class OutOfMemoryError(CodeTalkerError):
    """Something needs more memory than there is."""


class FileError(CodeTalkerError):
    """The system could not read or write a file.

    Attributes:
        is_full: Whether the disk is full, so that nothing else can be written either.
    """

    is_full = False


MAX_NAME = 300
"""The most characters of a name or a value in a message."""


def printable(text: object, limit: int = MAX_NAME) -> str:
    """Return a name, path or value from a file as text that is safe to print on one line.

    Control characters, escape codes, lone surrogates and line breaks are shown escaped, and text
    of more than ``limit`` characters is cut.
    """
    try:
        name = str(text)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or deep nesting
        name = f"<{type(text).__name__}>"
    if name.isprintable() and len(name) <= limit:
        return name
    shown = name[: limit + 1]  # escaping makes text longer, so cut it first
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun in the singular or the plural: ``1 clip``, ``2 vertices``."""
    regular = f"{noun}s"
    if noun.endswith("vertex"):
        regular = noun.removesuffix("ex") + "ices"
    elif noun.endswith("entry"):
        regular = noun.removesuffix("y") + "ies"
    return f"{n} {noun if n == 1 else plural or regular}"


def verb(n: int, singular: str, plural: str) -> str:
    """Return the form of a verb whose subject is ``n`` things."""
    return singular if n == 1 else plural


def similar_name(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that a misspelled name probably means, or None.

    Such a choice begins with the same letter and has nearly the same letters, or one of the two is
    the beginning of the other.
    """
    from difflib import SequenceMatcher

    given, best, best_ratio = name.casefold(), None, 0.0
    for choice in choices:
        folded = choice.casefold()
        ratio = SequenceMatcher(None, given, folded).ratio()
        shorter, longer = sorted((given, folded), key=len)
        begins = len(shorter) >= _LEAST_BEGINNING and longer.startswith(shorter)
        is_similar = given[:1] == folded[:1] and ratio >= _SIMILAR
        if (begins or is_similar) and ratio > best_ratio:
            best, best_ratio = choice, ratio
    return best
