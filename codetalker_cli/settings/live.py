"""Settings of live animation."""

from typing import Literal

from pydantic import Field

from codetalker_cli.settings.base import Positive, Section


class LiveSettings(Section):
    """How a live stream follows its sound, and what its receivers get."""

    lookahead_seconds: float = Field(
        0.2,
        ge=0,
        le=2,
        description="how much sound after a frame is used for it, in seconds; more sound gives a "
        "better face, which is later",
    )
    backlog_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="the most sound that may wait to be animated, in seconds; if there is more, "
        "frames are dropped",
    )
    pause_seconds: float = Field(
        0.3,
        ge=0.1,
        le=60,
        description="if no sound arrives for this time, in seconds, the face comes to rest, and "
        "nothing is sent until sound arrives again",
    )
    device_seconds: float = Field(
        3.0,
        ge=0.5,
        le=600,
        description="if a microphone gives no sound for this time, in seconds, it counts as "
        "removed and the stream ends",
    )
    spread_frames: bool = Field(
        True,
        description="whether frames that become known together are sent at the frame rate, and "
        "not at the same moment",
    )
    n_threads: Positive = Field(
        1, description="number of threads of the model; one is enough for the bundled voice"
    )
    osc_names: Literal["perfect-sync", "arkit"] = Field(
        "perfect-sync",
        description="spelling of the units in OSC messages: perfect-sync (JawOpen) or arkit "
        "(jawOpen)",
    )
    livelink_subject: str = Field(
        "codetalker",
        pattern=r"^[ -~]{1,64}$",
        description="name of the subject in Live Link packets, of up to 64 ASCII characters",
    )
