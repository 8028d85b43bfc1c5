"""Errors with a one-line message for the user.

A message states what is wrong and where, what was expected and what was found, and what to do.
"""


class CodeTalkerError(Exception):
    """The base of all errors that the command line prints as one line, without a traceback."""

    exit_code = 1


class InputError(CodeTalkerError):
    """A file or a flag that the user gave cannot be used."""

    exit_code = 2


class OutputError(InputError):
    """An output cannot be written: it already exists, or its folder is not writable."""


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


def printable(text: object) -> str:
    """Return a name or path as text that stays on one line of a message."""
    name = str(text)
    return name if name.isprintable() else ascii(name)[1:-1]
