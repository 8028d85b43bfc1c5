"""Detect the container of an audio or video file from its first bytes.

ffmpeg also reads playlists, which can open other files and URLs. Therefore it is run only on the
containers below, and the detected container is passed as its input format.
"""

import subprocess
from pathlib import Path

from codetalker_cli.errors import InputError, printable

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
    "mp3": ((0, b"ID3"),),
    "amr": ((0, b"#!AMR"),),
    "ac3": ((0, b"\x0b\x77"),),
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


def container_of(path: Path) -> str:
    """Return ffmpeg's name of the container of an audio or video file.

    Raises:
        InputError: The file cannot be read, or its container is unknown.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    for name, marks in _MAGIC.items():
        if all(start[at : at + len(mark)] == mark for at, mark in marks):
            return name
    if start[4:8] in _OLD_MOV_ATOMS:
        return "mov"
    if start[4:5] == start[4 + _TIMED_TS_PACKET : 5 + _TIMED_TS_PACKET] == b"\x47":
        return "mpegts"  # written by cameras, with a timestamp before each packet
    if len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:  # a frame of MPEG audio
        return "aac" if start[1] & 0xF6 == 0xF0 else "mp3"
    raise InputError(f"{printable(path)}: unknown audio or video container")


def has_stream(path: Path, kind: str) -> bool:
    """Return whether a media file has a readable stream.

    Args:
        path: The file.
        kind: ``a`` for audio, ``V`` for video other than a cover image.

    Raises:
        InputError: The container is unknown.
    """
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
    command += ["-f", container_of(path), "-i", f"file:{path}", "-map", f"0:{kind}:0"]
    command += ["-t", "0.1", "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
