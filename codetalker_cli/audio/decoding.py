"""Decode the sound of an audio or video file in blocks.

soundfile decodes uncompressed formats and FLAC in this process. The ffmpeg of imageio-ffmpeg
decodes everything else. A file that soundfile cannot decode to its end is decoded by ffmpeg too,
and the longer result is used.
"""

import contextlib
import logging
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from codetalker_cli import media
from codetalker_cli.errors import InputError, printable
from codetalker_cli.settings import limits

RATES = (1_000, 768_000)
"""The lowest and the highest sample rate that is read, in hertz."""
PCM_CONTAINERS = ("wav", "w64", "aiff", "caf", "au", "flac")
"""Containers that soundfile decodes without a delay and without losses."""
_BLOCK_SAMPLES = 1 << 18
"""Samples of all channels in a block."""
FFMPEG_PATIENCE = (60.0, 10.0)
"""ffmpeg may take so many seconds, and so many times the length of the sound."""
_TOO_SLOW = f"decoding takes too long: more than {FFMPEG_PATIENCE[1]:g} times the sound's length"
_AU_HEADER = struct.Struct(">4s5I")
_WMA_BLOCKS = ((16_000, 512), (22_050, 1024), (48_000, 2048))
"""Highest sample rate → block size of Windows Media Audio."""

logger = logging.getLogger(__name__)


class DecodingError(Exception):
    """One decoder cannot read a file; another one may. The message states the reason."""


@dataclass
class Sound:
    """A file that is being decoded.

    Attributes:
        rate: Samples per second.
        channels: The number of channels.
        blocks: (n, channels) float32 blocks.
        stated_seconds: The length that the header states, or None.
        damage: What the decoder complained about, filled in while the blocks are read.
        choice: A sentence on the sound track that was chosen among several, or an empty string.
    """

    rate: int
    channels: int
    blocks: Iterator[np.ndarray]
    stated_seconds: float | None = None
    damage: list[str] | None = None
    choice: str = ""


@contextlib.contextmanager
def opened(path: Path, decoder: str) -> Iterator[Sound]:
    """Open a file with one decoder.

    Args:
        path: A regular file.
        decoder: ``soundfile`` or ``ffmpeg``.

    Raises:
        DecodingError: This decoder cannot read the file. The blocks raise it too.
        InputError: The file exceeds a limit.
    """
    context = _with_soundfile(path) if decoder == "soundfile" else _with_ffmpeg(path)
    with context as sound:
        _check_limits(path, sound)
        sound.blocks = _limited(path, sound.rate, sound.blocks)
        yield sound


def decoders(path: Path) -> tuple[str, ...]:
    """Return the decoders that can read a file, the preferred one first.

    Raises:
        InputError: The file is not a regular file, or its container is unknown.
    """
    if media.container_of(path) in PCM_CONTAINERS:
        return "soundfile", "ffmpeg"
    return ("ffmpeg",)


def _check_limits(path: Path, sound: Sound) -> None:
    if not RATES[0] <= sound.rate <= RATES[1]:
        raise InputError(
            f"{printable(path)}: the sample rate is {sound.rate} Hz; expected {RATES[0]} to "
            f"{RATES[1]}; export the recording again"
        )
    most = limits.active().audio_channels
    if not 1 <= sound.channels <= most:
        raise InputError(
            f"{printable(path)}: has {sound.channels} channels, but at most {most} are read; "
            "export fewer, or raise the setting limits.audio_channels"
        )


def _limited(path: Path, rate: int, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the blocks until the longest recording is exceeded."""
    hours, n = limits.active().audio_hours, 0
    for block in blocks:
        n += len(block)
        if n > hours * 3600 * rate:
            raise InputError(
                f"{printable(path)}: lasts longer than {hours:g} h; cut it, or raise the setting "
                "limits.audio_hours"
            )
        yield block


# soundfile ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _with_soundfile(path: Path) -> Iterator[Sound]:
    import soundfile

    # soundfile refuses file names that are not valid Unicode, but reads them as bytes.
    name = path if sys.platform == "win32" else os.fsencode(path)
    try:
        file = soundfile.SoundFile(name)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless .raw
        raise DecodingError(_one_line(error)) from error
    with file:
        stated = max(file.frames, _stated_frames(path) or 0) / max(file.samplerate, 1)
        blocks = _soundfile_blocks(file)
        yield Sound(file.samplerate, file.channels, blocks, stated)


def _soundfile_blocks(file: object) -> Iterator[np.ndarray]:
    import soundfile

    assert isinstance(file, soundfile.SoundFile)
    size = max(1, _BLOCK_SAMPLES // file.channels)
    while True:
        try:
            block = file.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DecodingError(_one_line(error)) from error
        if len(block):
            yield block
        if len(block) < size:
            return


def _stated_frames(path: Path) -> int | None:
    """Return the frames that the header of a WAV file states, or None.

    soundfile reports only what the file can contain. Recorders that never close a file leave a size
    of 0 or of all ones, which states nothing.
    """
    with path.open("rb") as file:
        if file.read(4) not in (b"RIFF", b"RIFX") or file.seek(12) != 12:
            return None
        frame_bytes = 0
        while len(head := file.read(8)) == 8:
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"fmt ":
                frame_bytes = int.from_bytes(file.read(16)[12:14], "little")
                file.seek(size - 16 + size % 2, os.SEEK_CUR) if size >= 16 else None
            elif name == b"data":
                return size // frame_bytes if frame_bytes and 0 < size < 0xFFFFFF00 else None
            else:
                file.seek(size + size % 2, os.SEEK_CUR)
    return None


# ffmpeg -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _with_ffmpeg(path: Path) -> Iterator[Sound]:
    facts = media.probe(path)
    track, choice = _chosen_track(facts)
    command = [*media.ffmpeg_command(), "-copyts", *media.ffmpeg_input(path)]
    command += ["-map", f"0:{track.index}", "-af", _timing_filter(facts, track)]
    # The header of an AU stream contains the rate and the number of channels.
    command += ["-c:a", "pcm_f32be", "-f", "au", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watch = _Watch(process)
    try:
        assert process.stdout is not None
        head = process.stdout.read(_AU_HEADER.size)
        if len(head) < _AU_HEADER.size:
            process.wait()
            raise DecodingError(watch.reason())
        _, offset, _, _, rate, channels = _AU_HEADER.unpack(head)
        process.stdout.read(offset - _AU_HEADER.size)
        damage: list[str] = []
        blocks = _ffmpeg_blocks(process.stdout, watch, rate, channels, damage)
        stated = None if facts.has_video else facts.seconds
        yield Sound(rate, channels, blocks, stated, damage, choice)
    finally:
        process.kill()
        process.wait()
        watch.close()


def _ffmpeg_blocks(
    stdout: IO[bytes], watch: "_Watch", rate: int, channels: int, damage: list[str]
) -> Iterator[np.ndarray]:
    size = max(1, _BLOCK_SAMPLES // channels) * channels * 4
    n = 0
    while content := stdout.read(size):
        whole = len(content) // (4 * channels) * 4 * channels
        block = np.frombuffer(content[:whole], dtype=">f4").reshape(-1, channels)
        n += len(block)
        watch.decoded_seconds = n / rate
        yield block.astype(np.float32)
    if watch.process.wait() and not n:
        raise DecodingError(watch.reason())
    if watch.is_too_slow:
        raise DecodingError(_TOO_SLOW)
    damage += watch.complaints()


def _chosen_track(facts: media.Facts) -> tuple[media.Track, str]:
    """Return the default sound track or else the first one, and a sentence if there are several."""
    tracks = facts.sound_tracks
    if not tracks:
        raise DecodingError(facts.reason or "it has no sound track")
    chosen = next((track for track in tracks if track.is_default), tracks[0])
    if len(tracks) == 1:
        return chosen, ""
    language = f"{chosen.language}, " if chosen.language else ""
    reason = "the default" if chosen.is_default else "the first"
    number = tracks.index(chosen) + 1
    return chosen, f"has {len(tracks)} sound tracks; track {number} ({language}{reason}) is used"


def _timing_filter(facts: media.Facts, track: media.Track) -> str:
    """Return the filter that puts each sample at its time.

    In a video, time 0 is the start of the container: a sound track that starts later gets silence
    before it. Gaps between packets are filled with silence, too.
    """
    if not facts.has_video and not _encoder_delay(track):
        return "aresample=async=1"  # the sound starts with its first packet
    start = facts.start + _encoder_delay(track)
    return f"asetpts=PTS-({start:.6f})/TB,aresample=async=1:first_pts=0"


def time_zero(facts: media.Facts) -> float:
    """Return the timestamp, in seconds, of time 0 of the decoded sound in a file with pictures."""
    return facts.start + (_encoder_delay(_chosen_track(facts)[0]) if facts.sound_tracks else 0.0)


def _encoder_delay(track: media.Track) -> float:
    if not track.codec.startswith("wmav"):
        return 0.0
    # ffmpeg's timestamps of Windows Media Audio include the delay of its encoder, one block.
    return next((n for top, n in _WMA_BLOCKS if track.rate <= top), 0) / max(track.rate, 1)


class _Watch:
    """Reads ffmpeg's messages, and stops it when it takes too long."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.decoded_seconds = 0.0
        self.is_too_slow = False
        self._lines: list[str] = []
        self._end = threading.Event()
        self._start = time.monotonic()
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._read, self._time)]
        for thread in self._threads:
            thread.start()

    def reason(self) -> str:
        """Return why ffmpeg failed, in its words if it wrote any."""
        if self.is_too_slow:
            return _TOO_SLOW
        self._threads[0].join(1)
        lines = [line for line in self._lines if not line.startswith("Error opening")]
        return (lines or self._lines or [f"ffmpeg exit {self.process.returncode}"])[0]

    def complaints(self) -> list[str]:
        self._threads[0].join(1)
        return self._lines

    def close(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(2)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if len(self._lines) < 20:
                self._lines.append(media.clean_message(line))

    def _time(self) -> None:
        least, times = FFMPEG_PATIENCE
        while not self._end.wait(1):
            if time.monotonic() - self._start > max(least, times * self.decoded_seconds):
                self.is_too_slow = True
                self.process.kill()
                return


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
