"""Decode the pictures of a film, each with the time at which a player shows it.

ffmpeg decodes in its own process, and a thread reads ahead. Pictures are upright, have square
pixels, and are reduced to ``MAX_LINES``. Time 0 is the start of the sound as ``audio`` decodes it.
"""

import logging
import math
import queue
import re
import subprocess
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from codetalker_cli import media
from codetalker_cli.audio.decoding import time_zero
from codetalker_cli.errors import InputError, counted, printable
from codetalker_cli.settings import limits
from codetalker_cli.text_files import check_file

MAX_LINES = 720
"""The shorter side of the pictures in pixels; larger films are reduced to it."""
STALL_SECONDS = 120.0
"""The time after which a decoder that returns no picture is stopped."""
_AHEAD = 6
"""The pictures that are decoded ahead."""
_UNKNOWN_STEP = 0.04
"""The seconds from a first frame to a second one that has no time."""
_SHORT_BY = 1.0
"""The seconds by which the pictures may be shorter than the film says without a warning."""
_TICKS = 1_000_000
_SHOWN = re.compile(rb"\[Parsed_showinfo_\S+ @ \S+\] \[info\] n:\s*\d+ pts:\s*(-?\d+|NOPTS) ")
_SIZE = re.compile(rb" s:(\d+)x(\d+) ")
_COMPLAINT = re.compile(
    rb"^(?:\[[^\]]* @ [^\]]*\] )?\[(?:error|fatal|warning(?=.*corrupt))\] (.*)", re.IGNORECASE
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Film:
    """A film that can be decoded.

    Attributes:
        path: The file.
        size: The width and height of the pictures as they are decoded.
        start: The timestamp, in seconds, of time 0.
        seconds: The length that the file states, or None.
    """

    path: Path
    size: tuple[int, int]
    start: float
    seconds: float | None

    @classmethod
    def open(cls, path: Path) -> "Film":
        """Return a film after decoding its first picture.

        Raises:
            InputError: The file is missing, not a film, damaged, or longer than the limit.
        """
        check_file(path)
        if not path.stat().st_size:
            raise InputError(f"{printable(path)}: the file is empty (0 bytes)")
        container = media.container_of(path)
        facts = media.probe(path)
        if facts.reason:
            raise InputError(f"{printable(path)}: not a film that can be read ({facts.reason})")
        if container not in media.VIDEO_CONTAINERS or not facts.has_video:
            raise InputError(f"{printable(path)}: contains no pictures, only sound")
        _check_length(path, facts.seconds or 0.0)
        return cls(path, _first_size(path), time_zero(facts), facts.seconds)

    def frames(self) -> Generator[tuple[float, np.ndarray], None, None]:
        """Yield the time in seconds and the (height, width, 3) uint8 picture of each frame.

        Times increase strictly: a frame that is not later than the one before it is skipped.
        Damage is reported as a warning at the end.

        Raises:
            InputError: The film is longer than the limit, or no picture can be decoded.
        """
        decoder = _Decoder(self)
        last, step, n_skipped = -math.inf, _UNKNOWN_STEP, 0
        try:
            while (frame := decoder.next_frame()) is not None:
                ticks, picture = frame
                time = last + step if ticks is None else ticks / _TICKS - self.start
                if not math.isfinite(time):  # the first frame has no time
                    time = 0.0
                if time <= last:
                    n_skipped += 1
                    continue
                _check_length(self.path, time)
                if math.isfinite(last):
                    step = time - last
                last = time
                yield time, picture
        finally:
            decoder.close()
        if not math.isfinite(last):
            raise InputError(f"{printable(self.path)}: no picture can be decoded")
        self._report(decoder, last + step, n_skipped)

    def _report(self, decoder: "_Decoder", end: float, n_skipped: int) -> None:
        name = printable(self.path)
        if decoder.stalled:
            logger.warning("%s: decoding stopped at %.2f s; the rest is missing", name, end)
        elif self.seconds is not None and end < self.seconds - _SHORT_BY:
            logger.warning(
                "%s: the pictures end after %.2f s of the %.2f s that the film states",
                name,
                end,
                self.seconds,
            )
        elif decoder.complaints:
            logger.warning(
                "%s: parts of the film are damaged and were skipped (%s)",
                name,
                media.clean_message(decoder.complaints[0]),
            )
        if n_skipped:
            frames = counted(n_skipped, "frame")
            logger.warning("%s: skipped %s without a later time of its own", name, frames)


def _check_length(path: Path, seconds: float) -> None:
    hours = limits.active().audio_hours
    if seconds > hours * 3600:
        raise InputError(
            f"{printable(path)}: lasts longer than {hours:g} h; cut it, or raise the setting "
            "limits.audio_hours"
        )


def _command(path: Path, filters: str, *output: str) -> list[str]:
    command = [*media.ffmpeg_command(), "-nostats", "-v", "level+info", "-copyts"]
    command += [*media.ffmpeg_input(path), "-map", "0:V:0", "-fps_mode", "passthrough"]
    command += ["-enc_time_base", f"1:{_TICKS}"]  # in coarser ticks, times of frames may collide
    return [*command, "-vf", filters, *output, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]


_UPRIGHT = "scale=iw*sar:ih,setsar=1"
"""ffmpeg turns the pictures itself before this filter, which makes the pixels square."""


def _first_size(path: Path) -> tuple[int, int]:
    """Decode the first picture and return the size of all pictures."""
    command = _command(path, f"{_UPRIGHT},showinfo=checksum=0", "-frames:v", "1")
    try:
        done = subprocess.run(
            [*command[:-5], "-f", "null", "-"],
            capture_output=True,
            check=False,
            timeout=STALL_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{printable(path)}: no picture can be decoded within {STALL_SECONDS:g} s"
        ) from error
    lines = done.stderr.splitlines()
    shown = next((_SIZE.search(line) for line in lines if _SHOWN.match(line)), None)
    if shown is None:
        complaints = [found[1] for line in lines if (found := _COMPLAINT.match(line))]
        reason = media.clean_message(complaints[0]) if complaints else "ffmpeg returns none"
        raise InputError(f"{printable(path)}: no picture can be decoded ({reason})")
    width, height = int(shown[1]), int(shown[2])
    factor = min(1.0, MAX_LINES / min(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


class _Decoder:
    """ffmpeg and the two threads that read its pictures and its messages."""

    def __init__(self, film: Film) -> None:
        width, height = film.size
        # Pictures can change their size within a film; all are fitted into that of the first one.
        fitted = f"scale={width}:{height}:force_original_aspect_ratio=decrease"
        fitted += f",pad={width}:{height}:-1:-1,format=rgb24"
        timed = f"settb=1/{_TICKS},showinfo=checksum=0"
        self._process = subprocess.Popen(
            _command(film.path, f"{_UPRIGHT},{fitted},{timed}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._shape = height, width, 3
        self._times: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._frames: queue.Queue[tuple[int | None, np.ndarray] | None] = queue.Queue(_AHEAD)
        self.complaints: list[bytes] = []
        self.stalled = False
        assert self._process.stdout is not None and self._process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read_messages, args=[self._process.stderr], daemon=True),
            threading.Thread(target=self._read_pictures, args=[self._process.stdout], daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def next_frame(self) -> tuple[int | None, np.ndarray] | None:
        """Return the time of the next frame in microseconds and its picture; None at the end."""
        try:
            return self._frames.get(timeout=STALL_SECONDS)
        except queue.Empty:
            self.stalled = True
            return None

    def close(self) -> None:
        self._process.kill()
        while self._threads[1].is_alive():  # it may wait for space
            try:
                self._frames.get(timeout=0.01)
            except queue.Empty:
                continue
        self._threads[0].join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _read_messages(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            if shown := _SHOWN.match(line):
                self._times.put(None if shown[1] == b"NOPTS" else int(shown[1]))
            elif (complaint := _COMPLAINT.match(line)) and len(self.complaints) < 20:
                self.complaints.append(complaint[1])

    def _read_pictures(self, stdout: IO[bytes]) -> None:
        n_bytes = math.prod(self._shape)
        while len(content := stdout.read(n_bytes)) == n_bytes:
            # ffmpeg writes the message of a frame before its picture.
            time = self._times.get()
            self._frames.put((time, np.frombuffer(content, np.uint8).reshape(self._shape)))
        self._frames.put(None)
