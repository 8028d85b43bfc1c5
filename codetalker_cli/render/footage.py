"""Filmed videos beside motions, frame by frame at the motions' rate."""

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
"""Seconds by which a video may be shorter than the motions without a word."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footage:
    """A filmed video; its first frame belongs to the first frame of the motions.

    Attributes:
        path: The file.
        label: Text above it; empty: none.
        column: Its place among all columns of the picture, from 0 on the left.
        has_sound: Whether it has a sound track.
    """

    path: Path
    label: str
    column: int
    has_sound: bool

    @classmethod
    def open(cls, path: Path, label: str = "", column: int = 0) -> "Footage":
        """Check that a file is a video.

        Raises:
            InputError: Missing, not a video of a known container, or damaged.
        """
        if not path.is_file() or not path.stat().st_size:
            raise InputError(f"{printable(path)}: no such video, or an empty file")
        container = container_of(path)
        if container not in VIDEO_CONTAINERS or not has_stream(path, "V"):
            raise InputError(f"{printable(path)}: holds no video that can be read")
        return cls(path, label, column, has_stream(path, "a"))

    def frames(
        self, times: Sequence[float], fps: float, settings: RenderSettings, channels: int = 3
    ) -> Iterator[np.ndarray]:
        """Yield the (size, size, channels) uint8 pictures of times in seconds.

        The whole frame is fitted into the panel. After its end the last frame stays.

        Raises:
            InputError: It cannot be decoded, or is cut short.
        """
        from moviepy import VideoFileClip

        panel = _empty_panel(settings, channels)
        with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
            even = self._make_even(Path(folder), settings.size, fps, max(times, default=0.0))
            with closing(VideoFileClip(str(even), audio=False)) as clip:
                last = clip.n_frames - 1
                if times and max(times) > clip.duration + _SHORT_BY:
                    logger.warning(
                        "%s: ends after %.1f s, the motions take %.1f s; its last frame stays",
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
        """Write an upright copy with square pixels and an even frame rate, fitted into a panel.

        moviepy misreads the rotation and the varying frame rate that phones record with. ffmpeg
        handles both, and gets the container by name.
        """
        import imageio_ffmpeg

        path = folder / "even.mkv"
        fitted = f"scale={size}:{size}:force_original_aspect_ratio=decrease:force_divisible_by=2"
        # Rounded up: at each time the frame that began last is shown.
        filters = f"fps={fps}:start_time=0:round=up,scale=iw*sar:ih,{fitted},setsar=1"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
        command += ["-f", container_of(self.path), "-i", f"file:{self.path}", "-map", "0:V:0"]
        command += ["-t", f"{seconds + 1:.3f}", "-vf", filters]
        command += ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p"]
        done = subprocess.run([*command, str(path)], capture_output=True, check=False)
        if done.returncode or not path.is_file():
            reason = last_line(done.stderr) or f"ffmpeg exit {done.returncode}"
            raise InputError(f"{printable(self.path)}: cannot be decoded ({reason})")
        if b"partial file" in done.stderr or b"truncated" in done.stderr:
            raise InputError(f"{printable(self.path)}: the video is cut short; copy it again")
        return path

    def _labeled(self, panel: np.ndarray, settings: RenderSettings) -> np.ndarray:
        picture = panel.copy()
        if self.label:
            label_strip(self.label, settings.size, 0, settings.background).blend_into(picture)
        return picture


def is_footage(path: Path) -> bool:
    """Return whether a file is a video by its ending."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def beside(
    pictures: Iterable[np.ndarray],
    footage: Sequence[Footage],
    times: Sequence[float],
    fps: float,
    settings: RenderSettings,
) -> Iterator[np.ndarray]:
    """Yield pictures of motions with the frames of videos put into their columns.

    Args:
        pictures: (size, size · panels, channels) uint8, one for each time.
        footage: The videos.
        times: Seconds; multiples of the frame time.
        fps: Frame rate of the motions.
        settings: How.
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
