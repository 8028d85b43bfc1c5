"""How long work reports its progress: one signature for all of it."""

from collections.abc import Callable

Progress = Callable[[float, float], None]
"""Called with what is done so far and the total."""
Stages = Callable[[str], Progress]
"""From the name of a stage of the work to the progress of that stage."""


def silent_stages(name: str) -> Progress:
    """Stages whose progress nobody watches."""
    return lambda done, total: None
