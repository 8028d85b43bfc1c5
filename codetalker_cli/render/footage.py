"""Show filmed videos next to motions, resampled to the frame rate of the motions."""

import logging
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.audio import VIDEO_SUFFIXES
from codetalker_cli.errors import InputError, printable
from codetalker_cli.media import VIDEO_CONTAINERS, container_of, has_stream
from codetalker_cli.render.captions import label_strip
from codetalker_cli.render.subprocesses import last_line
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import BACKDROPS, TRANSPARENT

_SHORT_BY = 0.1
"""Seconds by which a video may be shorter than the motions without a warning."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footage:
    """A filmed video that starts at the same time as the motions.

    Attributes:
        path: The video file.
        label: Text above it; empty: none.
        column: Its column in the picture, counted from 0 on the left.
        has_sound: Whether it has a sound track.
    """

    path: Path
    label: str
    column: int
    has_sound: bool

    @classmethod
    def open(cls, path: Path, label: str = "", column: int = 0) -> "Footage":
        """Check that a file is a video and return it with its properties.

        Raises:
            InputError: The file is missing, empty, damaged, or not a video in a known container.
        """
        if not path.is_file() or not path.stat().st_size:
            raise InputError(f"{printable(path)}: no such file, or the file is empty")
        container = container_of(path)
        if container not in VIDEO_CONTAINERS or not has_stream(path, "V"):
            raise InputError(f"{printable(path)}: the file does not contain a readable video")
        return cls(path, label, column, has_stream(path, "a"))

    def frames(
        self, times: Sequence[float], fps: float, settings: RenderSettings, channels: int = 3
    ) -> Iterator[np.ndarray]:
        """Yield the (size, size, channels) uint8 picture at each of the given times.

        Each frame is scaled to fit into the panel. The last frame is repeated after the end of
        the video.

        Args:
            times: Times in seconds.
            fps: Frame rate of the motions.
            settings: The panel size and the background.
            channels: 3, or 4 for pictures with alpha.

        Raises:
            InputError: The video cannot be decoded or is cut short.
        """
        from moviepy import VideoFileClip

        panel = _empty_panel(settings, channels)
        with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
            even = self._make_even(Path(folder), settings.size, fps, max(times, default=0.0))
            with closing(VideoFileClip(str(even), audio=False)) as clip:
                last = clip.n_frames - 1
                if times and max(times) > clip.duration + _SHORT_BY:
                    logger.warning(
                        "%s: the video ends after %.1f s, the motions after %.1f s; the last "
                        "frame of the video is repeated",
                        printable(self.path),
                        clip.duration,
                        max(times),
                    )
                width, height = clip.size
                top, left = (settings.size - height) // 2, (settings.size - width) // 2
                inside = panel[top : top + height, left : left + width]
                for time in times:
                    index = min(last, round(time * fps))
                    inside[..., :3] = clip.get_frame((index + 0.5) / clip.fps)
                    inside[..., 3:] = 255
                    yield self._labeled(panel, settings)

    def _make_even(self, folder: Path, size: int, fps: float, seconds: float) -> Path:
        """Write a copy that moviepy supports; it ignores rotations and variable frame rates."""
        path = folder / "even.mkv"
        self.write_even(path, size, fps, seconds + 1, ["-preset", "ultrafast", "-crf", "10"])
        return path

    def write_even(
        self, path: Path, size: int, fps: float, seconds: float, quality: Sequence[str]
    ) -> None:
        """Write an upright H.264 copy without sound, with square pixels and an even frame rate.

        Args:
            path: The new video.
            size: The largest width and height in pixels.
            fps: The frame rate of the copy. Each frame shows what is visible at its time.
            seconds: The length to which the copy is cut.
            quality: Options of ffmpeg for its encoder libx264.

        Raises:
            InputError: The video cannot be decoded or is cut short.
        """
        import imageio_ffmpeg

        fitted = f"scale={size}:{size}:force_original_aspect_ratio=decrease:force_divisible_by=2"
        # Round up, so that the frame shown at a time is the latest one that started before it.
        filters = f"fps={fps}:start_time=0:round=up,scale=iw*sar:ih,{fitted},setsar=1"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
        command += ["-f", container_of(self.path), "-i", f"file:{self.path}", "-map", "0:V:0"]
        command += ["-t", f"{seconds:.3f}", "-vf", filters]
        command += ["-c:v", "libx264", *quality, "-pix_fmt", "yuv420p"]
        done = subprocess.run([*command, str(path)], capture_output=True, check=False)
        if done.returncode or not path.is_file():
            reason = last_line(done.stderr) or f"ffmpeg exit {done.returncode}"
            raise InputError(f"{printable(self.path)}: the video cannot be decoded ({reason})")
        if b"partial file" in done.stderr or b"truncated" in done.stderr:
            raise InputError(f"{printable(self.path)}: the video is cut short; copy it again")

    def _labeled(self, panel: np.ndarray, settings: RenderSettings) -> np.ndarray:
        picture = panel.copy()
        if self.label:
            label_strip(self.label, settings.size, 0, settings.background).blend_into(picture)
        return picture


def is_footage(path: Path) -> bool:
    """Return whether a file has the suffix of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def beside(
    pictures: Iterable[np.ndarray],
    footage: Sequence[Footage],
    times: Sequence[float],
    fps: float,
    settings: RenderSettings,
) -> Iterator[np.ndarray]:
    """Yield pictures of the motions with the frames of the videos inserted at their columns.

    Args:
        pictures: (size, size · panels, channels) uint8 pictures of the motions, one per time.
        footage: The filmed videos.
        times: Times in seconds, multiples of 1 / ``fps``.
        fps: Frame rate of the motions.
        settings: The panel size and the background.
    """
    if not footage:
        yield from pictures
        return
    readers: list[Iterator[np.ndarray]] = []
    for picture in pictures:
        readers = readers or [one.frames(times, fps, settings, picture.shape[2]) for one in footage]
        columns = np.split(picture, picture.shape[1] // settings.size, axis=1)
        for one, reader in sorted(zip(footage, readers, strict=True), key=lambda x: x[0].column):
            columns.insert(one.column, next(reader))
        yield np.concatenate(columns, axis=1)


def _empty_panel(settings: RenderSettings, channels: int) -> np.ndarray:
    panel = np.zeros((settings.size, settings.size, channels), np.uint8)
    if settings.background != TRANSPARENT:
        color = BACKDROPS.get(settings.background, settings.background)
        panel[:] = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return panel
