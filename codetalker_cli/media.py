"""Detect the container of an audio or video file from its first bytes.

ffmpeg also reads playlists, which can open other files and URLs. Therefore it is run only on the
containers below, and the detected container is passed as its input format.
"""

import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.errors import InputError, printable
from codetalker_cli.text_files import content_fault

_START_BYTES = 400
_TS_PACKET, _TIMED_TS_PACKET = 188, 192
_MAGIC: dict[str, tuple[tuple[int, bytes], ...]] = {
    "wav": ((0, b"RIFF"), (8, b"WAVE")),
    "avi": ((0, b"RIFF"), (8, b"AVI ")),
    "w64": ((0, b"riff\x2e\x91\xcf\x11"),),
    "aiff": ((0, b"FORM"), (8, b"AIF")),
    "caf": ((0, b"caff"),),
    "au": ((0, b".snd"),),
    "flac": ((0, b"fLaC"),),
    "ogg": ((0, b"OggS"),),
    "amr": ((0, b"#!AMR"),),
    "ac3": ((0, b"\x0b\x77"),),
    "dts": ((0, b"\x7f\xfe\x80\x01"),),
    "wv": ((0, b"wvpk"),),
    "ape": ((0, b"MAC "),),
    "tta": ((0, b"TTA1"),),
    "voc": ((0, b"Creative Voice File"),),
    "mov": ((4, b"ftyp"),),
    "matroska": ((0, b"\x1a\x45\xdf\xa3"),),
    "flv": ((0, b"FLV\x01"),),
    "asf": ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),),
    "mpeg": ((0, b"\x00\x00\x01\xba"),),
    "mpegvideo": ((0, b"\x00\x00\x01\xb3"),),
    "mpegts": ((0, b"\x47"), (_TS_PACKET, b"\x47")),
    "mxf": ((0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01"),),
}
"""ffmpeg's name of a container → bytes at given offsets."""
_LARGE_WAV = (b"RF64", b"BW64")
"""The first bytes of WAV files above 4 GB."""
_OLD_MOV_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip")
"""The first atoms of old QuickTime files, which have no atom that names the format."""
VIDEO_CONTAINERS = {
    "mov",
    "matroska",
    "avi",
    "flv",
    "asf",
    "mpeg",
    "mpegvideo",
    "mpegts",
    "mxf",
    "ogg",
}


@dataclass(frozen=True)
class Track:
    """A sound track of a media file.

    Attributes:
        index: Its number among all streams of the file.
        codec: ffmpeg's name of the codec.
        rate: Samples per second; 0 if unknown.
        language: The language tag, or an empty string.
        is_default: Whether the container marks it as the default track.
    """

    index: int
    codec: str
    rate: int
    language: str
    is_default: bool


@dataclass(frozen=True)
class Facts:
    """What ffmpeg reports about a media file without decoding it.

    Attributes:
        sound_tracks: All sound tracks, in order.
        has_video: Whether the file has a video track other than a cover image.
        start: The timestamp, in seconds, at which the file starts.
        seconds: The length that the file states, or None.
        reason: Why the file cannot be opened, or an empty string.
        timecode: The timecode of the first picture (``HH:MM:SS:FF``), or an empty string.
        fps: The frame rate of the first video track, or 0 if it is unknown.
    """

    sound_tracks: tuple[Track, ...]
    has_video: bool
    start: float
    seconds: float | None
    reason: str
    timecode: str = ""
    fps: float = 0.0


def container_of(path: Path) -> str:
    """Return ffmpeg's name of the container of an audio or video file.

    Raises:
        InputError: The file cannot be read, is not a regular file, or its container is unknown.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise InputError(f"{printable(path)}: is {kind}, expected a regular file")
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
            if start.startswith(b"ID3"):  # a tag that may come before several formats
                file.seek(10 + _synchsafe(start[6:10]))
                start = file.read(_START_BYTES) or b"\xff\xfb"
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    for name, marks in _MAGIC.items():
        if all(start[at : at + len(mark)] == mark for at, mark in marks):
            return name
    if start[:4] in _LARGE_WAV and start[8:12] == b"WAVE":
        return "wav"
    if start[4:8] in _OLD_MOV_ATOMS:
        return "mov"
    if start[4:5] == start[4 + _TIMED_TS_PACKET : 5 + _TIMED_TS_PACKET] == b"\x47":
        return "mpegts"  # written by cameras, with a timestamp before each packet
    if len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:  # a frame of MPEG audio
        return "aac" if start[1] & 0xF6 == 0xF0 else "mp3"
    raise InputError(f"{printable(path)}: {_describe_unknown(start)}")


def _synchsafe(size: bytes) -> int:
    return sum((byte & 0x7F) << (7 * k) for k, byte in enumerate(reversed(size)))


_OTHER_KINDS = {
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x93NUMPY": "a NumPy array",
}
"""The first bytes of a file that is not a recording → what it is."""


def _describe_unknown(start: bytes) -> str:
    if not start:
        return "the file is empty (0 bytes)"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"#extm3u", b"ffconcat", b"[playlist]")):
        return "is a playlist; give the recording itself"
    if fault := content_fault(start):
        return fault
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            return f"it is {kind}, not a recording"
    if start and start.isascii() and b"\0" not in start:
        return "it is text, not a recording"
    return "unknown audio or video container"


def ffmpeg_command() -> list[str]:
    """Return the start of every ffmpeg command; it reads local files only."""
    import imageio_ffmpeg

    return [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-v", "error"]


def ffmpeg_input(path: Path) -> list[str]:
    """Return the ffmpeg arguments that open one local media file and no other file.

    Raises:
        InputError: The file is not a regular file, or its container is unknown.
    """
    container = container_of(path)
    whitelists = ["-protocol_whitelist", "file,pipe", "-format_whitelist", container]
    return [*whitelists, "-f", container, "-i", f"file:{path}"]


# ffmpeg indents the tracks of a group further, such as a video track and its timecodes.
_STREAM = re.compile(r"^ {2,6}Stream #0:(\d+)(?:\[\w+\])?(?:\((\w+)\))?: (Audio|Video): (\w+)(.*)$")
_DURATION = re.compile(r"^  Duration: (?:(\d+):(\d+):([\d.]+)|N/A)(?:, start: (-?[\d.]+))?")
_TIMECODE = re.compile(r"^ +timecode +: (\d+:\d+:\d+[:;.]\d+)")
_PROBE_SECONDS = 60


def probe(path: Path) -> Facts:
    """Return the tracks and the length of a media file.

    Raises:
        InputError: The file is not a regular file, or its container is unknown.
    """
    command = [*ffmpeg_command(), "-v", "info", *ffmpeg_input(path)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return Facts((), False, 0.0, None, f"reading takes more than {_PROBE_SECONDS} s")
    tracks: list[Track] = []
    has_video, start, seconds, reasons = False, 0.0, None, []
    timecode, fps = "", 0.0
    for line in done.stderr.decode(errors="replace").splitlines():
        if found := _STREAM.match(line):
            index, language, kind, codec, rest = found.groups()
            if kind == "Video":
                has_video |= "(attached pic)" not in rest
                rate = re.search(r"([\d.]+) fps", rest)
                fps = fps or (float(rate[1]) if rate else 0.0)
                continue
            rate = re.search(r"(\d+) Hz", rest)
            rate_hz = int(rate[1]) if rate else 0
            tracks.append(Track(int(index), codec, rate_hz, language or "", "(default)" in rest))
        elif found := _DURATION.match(line):
            hours, minutes, rest, first = found.groups()
            seconds = int(hours) * 3600 + int(minutes) * 60 + float(rest) if hours else None
            start = float(first or 0)
        elif found := _TIMECODE.match(line):
            timecode = timecode or found[1]
        elif not line.startswith((" ", "Input", "At least one output file")):
            reasons.append(clean_message(line.encode()))
    if b"Estimating duration" in done.stderr:  # a guess from the bit rate
        seconds = None
    is_open = bool(tracks or has_video)
    reason = "" if is_open else (reasons or ["it has no tracks"])[0]
    return Facts(tuple(tracks), has_video, start, seconds, reason, timecode, fps)


_PLAIN = {
    "moov atom not found": "it was cut short: the index at its end is missing",
    "Invalid data found when processing input": "its content is damaged or was cut short",
    "No such file or directory": "a file that it refers to is missing",
}
"""Part of a message of ffmpeg → the same in plain words."""


def clean_message(line: bytes) -> str:
    """Return a message of ffmpeg in plain words, or without its memory addresses, on one line."""
    text = re.sub(r"^\[[^\]]* @ 0x[0-9a-f]+\]\s*", "", line.decode(errors="replace").strip())
    for part, plain in _PLAIN.items():
        if part in text:
            return plain
    return printable(re.sub(r"0x[0-9a-f]{6,}", "…", text))[:200]


def has_stream(path: Path, kind: str) -> bool:
    """Return whether a media file has a readable stream.

    Args:
        path: The file.
        kind: ``a`` for audio, ``V`` for video other than a cover image.

    Raises:
        InputError: The container is unknown.
    """
    command = [*ffmpeg_command(), *ffmpeg_input(path), "-map", f"0:{kind}:0"]
    command += ["-t", "0.1", "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
