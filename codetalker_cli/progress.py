"""The callbacks that long tasks call to report their progress."""

from collections.abc import Callable

Progress = Callable[[float, float], None]
"""Called with the amount done so far and the total."""
Stages = Callable[[str], Progress]
"""Returns the progress callback of a stage, by the name of the stage."""


def silent(done: float, total: float) -> None:
    """Do nothing: a progress callback that reports nothing."""


def silent_stages(name: str) -> Progress:
    """Return a progress callback that does nothing."""
    return silent
