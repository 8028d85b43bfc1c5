"""Filmed videos beside motions, frame by frame at the motions' rate."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.audio import VIDEO_SUFFIXES, check_file
from codetalker_cli.errors import InputError
from codetalker_cli.media import container_of
from codetalker_cli.render.captions import label_strip
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import BACKDROPS, TRANSPARENT

_MAX_SIDE = 8192
"""Larger pictures take gigabytes each."""
_MAX_MISSING = 0.5
"""Seconds at the end of a video that a container may announce without having them."""
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
        seconds: Its length.
        size: Width and height in pixels, as it is shown.
        has_sound: Whether it has a sound track.
    """

    path: Path
    label: str
    column: int
    seconds: float
    size: tuple[int, int]
    has_sound: bool

    @classmethod
    def open(cls, path: Path, label: str = "", column: int = 0) -> "Footage":
        """Read the facts of a video.

        Raises:
            InputError: Missing, not a video of a known container, damaged, or too large.
        """
        check_file(path)
        container_of(path)
        from moviepy.video.io.ffmpeg_reader import ffmpeg_parse_infos

        try:
            # An absolute path cannot be taken for the address of a protocol.
            infos = ffmpeg_parse_infos(str(path.resolve()), check_duration=True)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise InputError(f"{path}: not a video that can be read") from error
        if not infos.get("video_found") or not infos.get("video_size"):
            raise InputError(f"{path}: holds no video")
        width, height = infos["video_size"]
        if abs(infos.get("video_rotation") or 0) in (90, 270):
            width, height = height, width
        if max(width, height) > _MAX_SIDE:
            raise InputError(
                f"{path}: {width}x{height} pixels, at most {_MAX_SIDE} a side are read; make it "
                "smaller"
            )
        seconds, has_sound = float(infos["video_duration"]), bool(infos.get("audio_found"))
        return cls(path, label, column, seconds, (width, height), has_sound)

    def frames(
        self, times: Sequence[float], settings: RenderSettings, channels: int = 3
    ) -> Iterator[np.ndarray]:
        """Yield the (size, size, channels) uint8 pictures of times in seconds.

        The whole frame is fitted into the panel. After its end the last frame stays.

        Raises:
            InputError: It cannot be decoded.
        """
        from moviepy import VideoFileClip

        if times and max(times) > self.seconds + _SHORT_BY:
            logger.warning(
                "%s: ends after %.1f s, the motions take %.1f s; its last frame stays",
                self.path,
                self.seconds,
                max(times),
            )
        scale = settings.size / max(self.size)
        fitted = tuple(max(2, min(settings.size, round(side * scale))) for side in self.size)
        panel = _empty_panel(settings, channels)
        top, left = ((settings.size - side) // 2 for side in fitted[::-1])
        inside = panel[top : top + fitted[1], left : left + fitted[0]]
        try:
            clip = VideoFileClip(str(self.path.resolve()), audio=False, target_resolution=fitted)
            with closing(clip):
                last = max(0.0, self.seconds - 0.5 / clip.fps)
                for time in times:
                    inside[..., :3] = self._read(clip, min(time, last))
                    inside[..., 3:] = 255
                    yield self._labelled(panel, settings)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: cannot be decoded ({_first_line(error)})") from error

    def _read(self, clip: Any, time: float) -> np.ndarray:
        with warnings.catch_warnings(record=True) as caught:  # moviepy only warns of missing frames
            warnings.simplefilter("always")
            frame = clip.get_frame(time)
        if caught and time < self.seconds - _MAX_MISSING:
            raise InputError(
                f"{self.path}: cut short after {time:.1f} of {self.seconds:.1f} s; copy it again"
            )
        return frame

    def _labelled(self, panel: np.ndarray, settings: RenderSettings) -> np.ndarray:
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
    settings: RenderSettings,
) -> Iterator[np.ndarray]:
    """Yield pictures of motions with the frames of videos put into their columns.

    Args:
        pictures: (size, size · panels, channels) uint8, one for each time.
        footage: The videos.
        times: Seconds, ascending.
        settings: How.
    """
    if not footage:
        yield from pictures
        return
    readers: list[Iterator[np.ndarray]] = []
    for picture in pictures:
        readers = readers or [one.frames(times, settings, picture.shape[2]) for one in footage]
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


def _first_line(error: Any) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
