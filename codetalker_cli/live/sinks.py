"""Several sinks at once, and lines of JSON."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from codetalker_cli.errors import InputError
from codetalker_cli.failures import doing
from codetalker_cli.live.frames import LiveFrame, Sink

_DIGITS = 5

logger = logging.getLogger(__name__)


class Sinks:
    """Sends each frame to several sinks.

    Args:
        sinks: The sinks.

    Raises:
        InputError: No sink is usable.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        if not self.is_usable:
            raise InputError("frames can be sent nowhere; check the addresses")

    @property
    def is_usable(self) -> bool:
        """Whether any sink is usable."""
        return any(sink.is_usable for sink in self._sinks)

    def send(self, frame: LiveFrame) -> None:
        """Send a frame to every usable sink.

        Raises:
            OSError: A sink cannot be written, for example because the disk is full.
        """
        for sink in self._sinks:
            if sink.is_usable:
                sink.send(frame)

    def close(self) -> None:
        """Close all sinks; if some fail, raise the error of the first one."""
        errors: list[Exception] = []
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # raised below, after the others are closed
                errors.append(error)
        if errors:
            raise errors[0]


class JsonLines:
    """Writes each frame as one line of JSON.

    Args:
        file: The file, usually stdout.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.is_usable = True

    def send(self, frame: LiveFrame) -> None:
        """Write a frame, and flush the file."""
        delay = frame.delay_seconds
        weights = [round(float(weight), _DIGITS) for weight in frame.weights]
        head = frame.head
        content = {
            "index": frame.index,
            "seconds": round(frame.seconds, _DIGITS),
            "delay": None if delay is None else round(delay, 4),
            "weights": dict(zip(frame.names, weights, strict=True)),
            "head": None if head is None else [round(float(angle), _DIGITS) for angle in head],
        }
        try:
            with doing("writing lines of JSON"):
                self._file.write(json.dumps(content) + "\n")
                self._file.flush()
        except BrokenPipeError:
            self.is_usable = False
            logger.warning("JSON lines: the program that reads them has ended")
            # Otherwise Python would try to write the rest when it exits.
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._file.fileno())
                os.close(null)

    def close(self) -> None:
        """Do nothing, because each line is written at once."""
