"""Limits on what an input file can make a command do, checked before the work is done."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field

from codetalker_cli.settings.base import Positive, Section


class LimitSettings(Section):
    """Limits on input files. They are never read from a checkpoint."""

    audio_hours: float = Field(4.0, gt=0.0, description="longest recording, in hours")
    audio_channels: Positive = Field(64, description="maximum number of channels in a recording")
    mesh_triangles: Positive = Field(
        5_000_000, description="maximum number of triangles in a mesh file"
    )
    archive_gb: float = Field(
        200.0, gt=0.0, description="largest archive, unpacked, in gigabytes (10^9 bytes)"
    )
    zip_ratio: float = Field(
        200.0,
        gt=1.0,
        description="largest ratio of an archive entry's unpacked size to its compressed size",
    )


_active = LimitSettings()


def active() -> LimitSettings:
    """Return the limits that are in force in this process."""
    return _active


def activate(limits: LimitSettings) -> None:
    """Put limits in force for this process."""
    global _active
    _active = limits


@contextmanager
def at_most_hours(hours: float) -> Iterator[None]:
    """Lower the limit on the length of recordings inside the block, for all threads."""
    former = active()
    lowered = min(former.audio_hours, hours)
    activate(former.model_copy(update={"audio_hours": lowered}))
    try:
        yield
    finally:
        activate(former)
