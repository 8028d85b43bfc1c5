"""Settings of the server of live streams: who may connect, and how much a client may ask for."""

import re
from typing import Self

from pydantic import Field, model_validator

from codetalker_cli.settings.base import Positive, Section

_ORIGIN = re.compile(r"https?://[^/\s@?#*]+")


class ServeSettings(Section):
    """Limits of the server, and the clients that it accepts."""

    n_threads: Positive = Field(2, description="number of threads of the model")
    batch_size: Positive = Field(8, description="maximum number of streams decoded in one batch")
    streams: Positive = Field(16, description="maximum number of streams at the same time")
    streams_per_address: Positive = Field(
        8, description="maximum number of streams of one address at the same time"
    )
    connections_per_second: float = Field(
        10.0,
        gt=0,
        description="connections and requests per second that one address may make on average",
    )
    connection_burst: Positive = Field(
        40, description="number of connections and requests that one address may make at once"
    )
    message_mb: float = Field(
        2.0, gt=0, description="largest message of a client, in megabytes (10^6 bytes)"
    )
    messages_per_second: float = Field(
        200.0,
        gt=0,
        description="messages per second that a client may send on average; it may send those of "
        "two seconds at once",
    )
    sound_rate: float = Field(
        2.0,
        ge=1,
        description="sound that a client may send on average, in seconds of sound per second",
    )
    burst_seconds: float = Field(
        30.0, gt=0, description="sound that a client may send at once, in seconds"
    )
    backlog_seconds: float = Field(
        2.0,
        ge=0,
        description="sound of a stream that may wait for the decoder, in seconds; beyond it, "
        "frames are dropped. A client can choose another value",
    )
    max_backlog_seconds: float = Field(
        30.0, ge=0, description="largest backlog_seconds that a client can choose"
    )
    stream_hours: float = Field(
        4.0, gt=0, description="longest time that a stream may be open, in hours"
    )
    idle_seconds: float = Field(
        60.0, gt=0, description="longest time without a message from a client, in seconds"
    )
    ping_seconds: float = Field(
        20.0,
        gt=0,
        description="time between two pings of a connection, in seconds; a client that does not "
        "answer in this time is disconnected",
    )
    outgoing_mb: float = Field(
        8.0,
        gt=0,
        description="frames that may wait for a client that reads too slowly, in megabytes (10^6 "
        "bytes); beyond it, the client is disconnected",
    )
    recording_mb: float = Field(
        100.0, gt=0, description="largest recording that is posted, in megabytes (10^6 bytes)"
    )
    recording_minutes: float = Field(
        10.0, gt=0, description="longest recording that is posted, in minutes"
    )
    recordings: Positive = Field(
        4,
        description="maximum number of posted recordings that are received or wait; one at a time "
        "is animated",
    )
    upload_seconds: float = Field(
        60.0, gt=0, description="longest time in which a recording is received, in seconds"
    )
    allowed_hosts: list[str] = Field(
        [],
        description="names of the server that a request may contain as its host; localhost and "
        "IP addresses are always accepted",
    )
    allowed_origins: list[str] = Field(
        [],
        description="origins of web pages that may use the server, such as https://example.com; "
        "pages of the server's own host are always accepted",
    )
    proxies: list[str] = Field(
        [],
        description="addresses of reverse proxies whose X-Forwarded-For header is trusted",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.backlog_seconds > self.max_backlog_seconds:
            raise ValueError(
                f"backlog_seconds {self.backlog_seconds:g} must be at most max_backlog_seconds "
                f"{self.max_backlog_seconds:g}"
            )
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"allowed_origins: expected origins such as https://example.com:8443, without "
                    f"a path or a *, but got {origin!r}"
                )
        return self
