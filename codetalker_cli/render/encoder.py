"""Encode pictures to a video file by piping them to ffmpeg (the binary of imageio-ffmpeg).

The default codec is H.264 in yuv420p with the index at the front of the file, which browsers and
QuickTime play. WebM files use VP9. Transparent videos use ProRes 4444 (.mov) or VP9 with alpha
(.webm). The sound is AAC (Opus in .webm), cut or padded with silence to the length of the video.
"""

import logging
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.media import container_of
from codetalker_cli.render.subprocesses import last_line
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import TRANSPARENT

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Suffixes of the supported video containers."""
_TRANSPARENT_CODECS = {".mov": "prores_ks", ".webm": "libvpx-vp9"}
"""Suffixes of containers that support transparency, with the encoder used for it."""
_SOUND_RATE = 48_000
"""Sample rate of the sound track, in Hz; every player supports it."""
_CRF_CODECS = ("libx264", "libx265")
_X264_PRESET = "veryfast"
# For about the same quality, VP9 needs a CRF this much higher than x264.
_VP9_CRF_OFFSET = 13

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoStream:
    """The properties of a video to encode.

    Attributes:
        shape: (height, width, channels) of the pictures; a fourth channel is straight alpha.
        rate: Frame rate.
        n_frames: Number of pictures.
        sound: File that contains the sound, or None.
    """

    shape: tuple[int, int, int]
    rate: Fraction
    n_frames: int
    sound: Path | None


def check_target(path: Path, settings: RenderSettings) -> None:
    """Check that a video with these settings can be written to a file.

    Raises:
        RenderError: The suffix is unknown, the container or codec does not support the requested
            transparency, or the path is a folder.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise RenderError(
            f"{path}: the file name of a video must end in one of {', '.join(SUFFIXES)}; that of "
            "a page with a viewer ends in .html"
        )
    if settings.background == TRANSPARENT:
        if suffix not in _TRANSPARENT_CODECS:
            raise RenderError(
                f"{path}: a {suffix} video cannot be transparent; use "
                f"{' or '.join(_TRANSPARENT_CODECS)}, or another background"
            )
        if settings.codec not in (None, _TRANSPARENT_CODECS[suffix]):
            raise RenderError(
                f"{path}: a transparent {suffix} video needs codec {_TRANSPARENT_CODECS[suffix]}, "
                f"not {settings.codec}; do not set render.codec"
            )
    if path.is_dir():
        raise RenderError(f"{path} is a folder; give the name of a video file")


def codec_of(path: Path, settings: RenderSettings) -> str:
    """Return ffmpeg's name of the encoder for a file."""
    suffix = path.suffix.lower()
    if settings.codec is not None:
        return settings.codec
    if settings.background == TRANSPARENT:
        return _TRANSPARENT_CODECS[suffix]
    return "libvpx-vp9" if suffix == ".webm" else "libx264"


class Encoder:
    """A context manager that encodes pictures with ffmpeg.

    On exit without an error, the file is complete.

    Args:
        path: The video file to write.
        stream: The properties of the video.
        settings: The codec and its quality.

    Raises:
        RenderError: ffmpeg cannot be started or fails.
    """

    def __init__(self, path: Path, stream: VideoStream, settings: RenderSettings) -> None:
        self._name = f"{codec_of(path, settings)} encoder"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        command = _ffmpeg_command(path, stream, settings)
        logger.debug("%s", command)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log
            )
        except OSError as error:
            self._log.close()
            raise RenderError(f"cannot start ffmpeg ({command[0]}): {error.strerror}") from error

    def __enter__(self) -> "Encoder":
        return self

    def write(self, picture: np.ndarray) -> None:
        """Append one (height, width, channels) uint8 picture."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).data)
        except OSError as error:
            raise self._failure() from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin is not None
        try:
            if kind is not None:
                self._process.kill()
            try:
                self._process.stdin.close()
            except OSError as error:
                if kind is None:
                    raise self._failure() from error
            if self._process.wait() and kind is None:
                raise self._failure()
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()

    def _failure(self) -> RenderError:
        code = self._process.wait()
        self._log.seek(0)
        message = last_line(self._log.read()) or f"exit code {code}"
        return RenderError(
            f"the {self._name} failed: {message}; check render.codec and the free disk space"
        )


def _ffmpeg_command(path: Path, stream: VideoStream, settings: RenderSettings) -> list[str]:
    import imageio_ffmpeg

    height, width, channels = stream.shape
    input_format = "rgba" if channels == 4 else "rgb24"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-v", "error"]
    command += ["-f", "rawvideo", "-pix_fmt", input_format, "-s", f"{width}x{height}"]
    command += ["-r", str(stream.rate), "-i", "pipe:0"]
    if stream.sound is not None:
        n_samples = round(stream.n_frames / stream.rate * _SOUND_RATE)
        length_filter = f"apad=whole_len={n_samples},atrim=end_sample={n_samples}"
        command += ["-f", container_of(stream.sound), "-i", f"file:{stream.sound}"]
        command += ["-map", "0:v:0", "-map", "1:a:0"]
        command += ["-c:a", "libopus" if path.suffix.lower() == ".webm" else "aac", "-b:a", "128k"]
        command += [
            "-af",
            f"aresample={_SOUND_RATE},{length_filter},aformat=channel_layouts=mono|stereo",
        ]
    codec = codec_of(path, settings)
    # Convert to BT.709 and also tag the file with it: without tags, players may assume a different
    # matrix and shift the colors.
    pixel_format = _pixel_format(codec, transparent=channels == 4)
    command += ["-vf", f"scale=out_color_matrix=bt709:out_range=tv,format={pixel_format}"]
    command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    command += ["-c:v", codec, *_quality_options(codec, settings, transparent=channels == 4)]
    if path.suffix.lower() not in (".mkv", ".webm"):
        command += ["-movflags", "+faststart"]
    return [*command, f"file:{path}"]


def _pixel_format(codec: str, *, transparent: bool) -> str:
    if codec == "prores_ks":
        return "yuva444p10le" if transparent else "yuv444p10le"
    return "yuva420p" if transparent else "yuv420p"


def _quality_options(codec: str, settings: RenderSettings, *, transparent: bool) -> list[str]:
    if codec in _CRF_CODECS:
        return ["-crf", str(settings.crf), "-preset", _X264_PRESET]
    if codec == "libvpx-vp9":
        speed_options = ["-deadline", "good", "-cpu-used", "5", "-row-mt", "1"]
        rate_options = ["-crf", str(min(63, settings.crf + _VP9_CRF_OFFSET)), "-b:v", "0"]
        return [*rate_options, *speed_options, *(["-auto-alt-ref", "0"] if transparent else [])]
    if codec == "prores_ks":
        return ["-profile:v", "4444", "-vendor", "apl0"]
    return []


def frame_rate(fps: float) -> Fraction:
    """Return a frame rate as a fraction; NTSC rates become exact, e.g. 29.97 is 30000/1001."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    return ntsc if abs(float(ntsc) - fps) < 5e-3 else Fraction(fps).limit_denominator(1001)
