"""Motion → video file with sound. Frames stream into ffmpeg as they are drawn; few are ever held.

The ffmpeg is the one that comes with moviepy (imageio-ffmpeg). Pictures are H.264 in yuv420p with
their index in front, which browsers and QuickTime play; the sound is AAC, cut or filled up with
silence to exactly the length of the picture. The file appears under its name when it is whole.
"""

import logging
import subprocess
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render.backends import check_motion, choose_backend, draw
from codetalker_cli.render.processes import last_line
from codetalker_cli.render.scene import build_scene
from codetalker_cli.resources import atomic_path
from codetalker_cli.settings import RenderSettings

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
"""Containers a video can be written to."""
_SOUND_RATE = 48_000
"""Hertz of the video's sound: the rate that every player takes."""
_CRF_CODECS = ("libx264", "libx265")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenderReport:
    """What was made.

    Attributes:
        path: The video.
        n_frames: Pictures in it.
        fps: Frames a second of the video.
        seconds: Its length.
        size: Width and height in pixels.
        renderer: Who drew it.
        has_sound: Whether it has a sound track.
        drawing_fps: Frames drawn and encoded in a second of this run.
    """

    path: Path
    n_frames: int
    fps: float
    seconds: float
    size: tuple[int, int]
    renderer: str
    has_sound: bool
    drawing_fps: float


def render_video(
    motion: Motion,
    path: Path | str,
    settings: RenderSettings,
    progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = True,
) -> RenderReport:
    """Draw a motion into a video, with its sound if it has any.

    Args:
        motion: What to show; its ``audio_path`` is heard where that exists, else ``audio``.
        path: One of :data:`SUFFIXES`.
        settings: How.
        progress: Called with the frames done and all frames.
        overwrite: Replace a file of this name.

    Raises:
        RenderError: A motion that cannot be drawn, an unknown suffix, a failing encoder.
        InputError: The file exists and ``overwrite`` is false, or its folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise RenderError(
            f"{path}: a video is written as {', '.join(SUFFIXES)}, not {path.suffix or 'nothing'!r}"
        )
    if path.is_dir():
        raise RenderError(f"{path} is a folder; give the name of a video file")
    check_motion(motion)
    start = time.perf_counter()
    backend = choose_backend(settings, motion.n_frames)
    with atomic_path(path, overwrite) as temporary, _sound_file(motion) as sound:
        scene = build_scene(motion, settings)
        pictures = draw(motion, scene, backend, range(motion.n_frames))
        with closing(pictures), _Encoder(temporary, motion, settings, sound) as encoder:
            for done, picture in enumerate(pictures, start=1):
                encoder.write(picture)
                if progress is not None:
                    progress(done, motion.n_frames)
    took = time.perf_counter() - start
    return RenderReport(
        path=path,
        n_frames=motion.n_frames,
        fps=float(_rate(motion.fps)),
        seconds=motion.n_frames / float(_rate(motion.fps)),
        size=(settings.size, settings.size),
        renderer=str(backend),
        has_sound=sound is not None,
        drawing_fps=motion.n_frames / took,
    )


class _Encoder:
    """An ffmpeg that takes pictures; ends well (the file is whole) or raises."""

    def __init__(
        self, path: Path, motion: Motion, settings: RenderSettings, sound: Path | None
    ) -> None:
        self._name = f"{settings.codec} encoder"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        command = _ffmpeg_command(path, motion, settings, sound)
        logger.debug("%s", command)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log
            )
        except OSError as error:
            self._log.close()
            raise RenderError(f"ffmpeg ({command[0]}) does not start: {error.strerror}") from error

    def __enter__(self) -> "_Encoder":
        return self

    def write(self, picture: np.ndarray) -> None:
        """Append one (height, width, 3) uint8 picture."""
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
        said = last_line(self._log.read()) or f"exit code {code}"
        return RenderError(f"the {self._name} failed: {said}; check codec and free disk space")


def _ffmpeg_command(
    path: Path, motion: Motion, settings: RenderSettings, sound: Path | None
) -> list[str]:
    import imageio_ffmpeg

    rate = _rate(motion.fps)
    size = f"{settings.size}x{settings.size}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-v", "error"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(rate), "-i", "pipe:0"]
    if sound is not None:
        n_samples = round(motion.n_frames / rate * _SOUND_RATE)
        fit = f"apad=whole_len={n_samples},atrim=end_sample={n_samples}"
        command += [
            "-i",
            f"file:{sound}",
            "-map",
            "0:v:0",
            "-map",
            "1:a:0",
            "-c:a",
            "aac",
            "-b:a",
            "128k",
        ]
        command += ["-af", f"aresample={_SOUND_RATE},{fit},aformat=channel_layouts=mono|stereo"]
    # said and done in BT.709, so that no player guesses another matrix and shifts the colours
    command += ["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"]
    command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    command += ["-c:v", settings.codec]
    if settings.codec in _CRF_CODECS:
        command += ["-crf", str(settings.crf)]
    if path.suffix.lower() != ".mkv":
        command += ["-movflags", "+faststart"]
    return [*command, f"file:{path}"]


def _rate(fps: float) -> Fraction:
    """Frames a second as a fraction, so that 29.97 means 30000/1001."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    return ntsc if abs(float(ntsc) - fps) < 5e-3 else Fraction(fps).limit_denominator(1001)


@contextmanager
def _sound_file(motion: Motion) -> Iterator[Path | None]:
    """A file with the motion's sound, or None if it has none."""
    if motion.audio_path is not None:
        if motion.audio_path.is_file():
            yield motion.audio_path
            return
        if motion.audio is not None:
            logger.info("%s is gone; the motion's own 16 kHz sound is used", motion.audio_path)
        else:
            raise RenderError(f"{motion.audio_path}: the motion's recording is gone; put it back")
    if motion.audio is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        path = Path(folder) / "sound.wav"
        samples = np.rint(np.clip(motion.audio, -1, 1) * 32767).astype("<i2")
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", "not compressed"))
            file.writeframes(samples.tobytes())
        yield path
