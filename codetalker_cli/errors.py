"""Errors a user may cause or meet; each message is one line.

It says what, where, expected against got, and what to do.
"""


class CodeTalkerError(Exception):
    """Base of every error that the command line shows as one line (no traceback)."""

    exit_code = 1


class InputError(CodeTalkerError):
    """A file or a flag that the user gave cannot be used."""

    exit_code = 2


class OutputError(InputError):
    """What was to be written cannot be: it exists, or its folder refuses."""


class SettingsError(CodeTalkerError):
    """A setting is unknown, of the wrong type, or contradicts another one."""

    exit_code = 2


class DataError(CodeTalkerError):
    """A raw or prepared data set is incomplete or inconsistent."""


class CheckpointError(CodeTalkerError):
    """A checkpoint cannot be found, read, or does not fit."""


class MissingDependencyError(CodeTalkerError):
    """An optional package is not installed; the message says the command that installs it."""


class RenderError(CodeTalkerError):
    """A picture or a video could not be made."""
