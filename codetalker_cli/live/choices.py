"""The chosen source and sinks of a live stream: checked first, opened when the model is loaded."""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from codetalker_cli import audio
from codetalker_cli.animate.stream import Stream
from codetalker_cli.errors import InputError
from codetalker_cli.formats.live_link_packets import PORT as LIVE_LINK_PORT
from codetalker_cli.live.devices import open_microphone
from codetalker_cli.live.frames import Sink
from codetalker_cli.live.network import VMC_PORT, LiveLinkSink, OscSink, parse_address
from codetalker_cli.live.packages import import_pythonosc
from codetalker_cli.live.sinks import JsonLines, Sinks
from codetalker_cli.live.sources import RawFormat, ReadSource, Source, paced, raw_samples
from codetalker_cli.live.take import TakeFace, TakeFile, TakeSink
from codetalker_cli.settings import LiveSettings


@dataclass(frozen=True)
class SourceChoice:
    """Where the sound comes from.

    Attributes:
        mic: The name of a microphone, or an empty string for the default one.
        file: A recording.
        raw: The form of the samples on stdin.
        is_paced: Whether stdin is read no faster than its own time.

    Raises:
        InputError: Not exactly one of ``mic``, ``file`` and ``raw`` is given.
    """

    mic: str | None = None
    file: Path | None = None
    raw: RawFormat | None = None
    is_paced: bool = False

    def __post_init__(self) -> None:
        """Check that there is one source."""
        given = [one for one in (self.mic, self.file, self.raw) if one is not None]
        if len(given) != 1:
            problem = "no source of sound is given" if not given else "several sources are given"
            raise InputError(f"{problem}; give one of `mic`, `file` and `stdin`")

    def open(self, settings: LiveSettings) -> Source:
        """Open the source.

        Raises:
            InputError: The microphone or the file cannot be used.
            MissingDependencyError: The microphone needs a package that is not installed.
        """
        if self.mic is not None:
            return open_microphone(self.mic, settings.device_seconds)
        if self.file is not None:
            samples, rate = audio.read(self.file)
            return ReadSource(str(self.file), rate, paced(iter([samples]), rate))
        assert self.raw is not None
        if sys.stdin.isatty():
            raise InputError("stdin is a terminal; send it the sound of another program")
        # Not sys.stdin itself, whose lock a waiting thread would keep when the program exits.
        chunks = raw_samples(partial(os.read, sys.stdin.fileno()), self.raw)
        rate = self.raw.rate
        return ReadSource("stdin", rate, paced(chunks, rate) if self.is_paced else chunks)


@dataclass(frozen=True)
class SinkChoice:
    """Where the frames go.

    Attributes:
        osc: The address of a receiver of OSC messages, or None.
        livelink: The address of a receiver of Live Link packets, or None.
        lines: The file to which lines of JSON are written, or None.
        take: The file that is written at the end, or None.
    """

    osc: str | None = None
    livelink: str | None = None
    lines: TextIO | None = None
    take: TakeFile | None = None

    def check(self) -> None:
        """Refuse sinks that cannot work, before the model is loaded.

        Raises:
            InputError: There is no sink, an address is invalid, or the file cannot be written.
            MissingDependencyError: A sink needs a package that is not installed.
        """
        if (self.osc, self.livelink, self.lines, self.take) == (None,) * 4:
            raise InputError(
                "the frames go nowhere; give at least one of `osc`, `livelink`, `json_lines` and "
                "`out`"
            )
        if self.osc is not None:
            parse_address(self.osc, VMC_PORT, "osc")
            import_pythonosc()
        if self.livelink is not None:
            parse_address(self.livelink, LIVE_LINK_PORT, "livelink")
        if self.take is not None:
            self.take.check()

    def open(
        self, stream: Stream, face: TakeFace, settings: LiveSettings
    ) -> tuple[Sinks, TakeSink | None]:
        """Open the sinks; return all of them, and the one that writes a file.

        Raises:
            InputError: No sink is usable, or a sink needs weights but the units of the face are
                unknown.
        """
        take = None if self.take is None else TakeSink(self.take, face)
        sinks: list[Sink] = [] if take is None else [take]
        if self.osc is not None:
            sinks.append(OscSink(self.osc, settings))
        if self.livelink is not None:
            sinks.append(LiveLinkSink(self.livelink, settings, stream.fps))
        if self.lines is not None:
            sinks.append(JsonLines(self.lines))
        if not stream.units and any(sink is not take for sink in sinks):
            raise InputError("the face has no known units, whose weights are sent; give `units`")
        return Sinks(sinks), take


def warm_up(stream: Stream) -> None:
    """Decode some noise, so that the first frames are not late, and reset the stream."""
    noise = np.random.default_rng(0).standard_normal(audio.SAMPLE_RATE).astype(np.float32) / 10
    for frame in stream.feed(noise):
        _ = frame.weights if stream.units else frame.vertices
    stream.reset()
