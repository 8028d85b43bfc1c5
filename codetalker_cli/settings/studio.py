"""Settings of the studio: how much a page may store and compute."""

from pydantic import Field

from codetalker_cli.settings.base import Positive, Section


class StudioSettings(Section):
    """Limits of the studio, a local page in the browser."""

    upload_mb: float = Field(
        500.0, gt=0, description="largest recording, in megabytes (10^6 bytes)"
    )
    upload_seconds: float = Field(
        600.0, gt=0, description="longest time in which a file is received, in seconds"
    )
    recording_minutes: float = Field(60.0, gt=0, description="longest recording, in minutes")
    takes: Positive = Field(500, description="maximum number of takes")
    characters: Positive = Field(20, description="maximum number of characters")
    character_mb: float = Field(
        200.0, gt=0, description="largest file of a character, in megabytes (10^6 bytes)"
    )
    exports: Positive = Field(
        20, description="maximum number of exported files per take; the oldest one is removed"
    )
    motion_mb: float = Field(
        256.0,
        ge=0,
        description="largest motion that stays in memory for further exports, in megabytes (10^6 "
        "bytes); others are computed again",
    )
    streams: Positive = Field(4, description="maximum number of live streams at the same time")
    requests_per_second: float = Field(
        100.0, gt=0, description="requests per second that the pages may make on average"
    )
