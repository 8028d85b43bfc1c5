"""Render motions to a video file with sound.

Frames are piped to ffmpeg as they are drawn, so only a few are in memory. The file gets its final
name when it is complete.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.files import atomic_path
from codetalker_cli.motion import Motion, write_sound
from codetalker_cli.progress import Progress
from codetalker_cli.render.backends import choose_backend, draw
from codetalker_cli.render.encoder import SUFFIXES, Encoder, VideoStream, check_target, frame_rate
from codetalker_cli.render.footage import Footage, beside
from codetalker_cli.render.lip_charts import LipChart, with_chart
from codetalker_cli.render.panels import (
    Shown,
    as_panels,
    motion_with_sound,
    n_frames,
    set_stage,
)
from codetalker_cli.settings import RenderSettings

__all__ = ["SUFFIXES", "RenderReport", "check_target", "render_video"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenderReport:
    """A summary of a rendered video.

    Attributes:
        path: The video file.
        n_frames: Number of frames.
        fps: Frame rate of the video.
        seconds: Length in seconds.
        size: Width and height in pixels.
        renderer: Name of the renderer, with the OpenGL platform if there is one.
        has_sound: Whether the video has a sound track.
        drawing_fps: Speed of drawing and encoding, in frames per second.
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
    shown: Shown,
    path: Path | str,
    settings: RenderSettings,
    progress: Progress | None = None,
    *,
    footage: Sequence[Footage] = (),
    chart: LipChart | None = None,
    overwrite: bool = True,
) -> RenderReport:
    """Render one motion, or several side by side, to a video with sound.

    The sound track is that of the first motion with sound: the file ``audio_path`` if it exists,
    else ``audio``.

    Args:
        shown: A motion, or panels from left to right.
        path: The video file, with one of ``SUFFIXES``; a transparent background needs .mov or
            .webm.
        settings: The render settings; ``size`` is the width of one panel or filmed video.
        progress: Called with the number of frames done and the total.
        footage: Filmed videos to show between or next to the panels.
        chart: Lip curves below the picture.
        overwrite: Whether an existing file may be replaced.

    Raises:
        RenderError: The motions cannot be drawn (see ``as_panels``), the suffix does not fit the
            settings, or the encoder fails.
        InputError: The file exists and ``overwrite`` is false, or its folder cannot be written.
    """
    path = Path(path)
    check_target(path, settings)
    panels = as_panels(shown)
    start = time.perf_counter()
    count, rate = n_frames(panels), frame_rate(panels[0].motion.fps)
    backend = choose_backend(settings, count)
    with atomic_path(path, overwrite) as temporary, _sound_file(motion_with_sound(panels)) as sound:
        stage, sources = set_stage(panels, settings)
        height, width, channels = stage.shape
        total_height = height + (0 if chart is None else chart.height)
        shape = total_height, width + height * len(footage), channels
        stream = VideoStream(shape, rate, count, sound)
        drawn = draw(stage, sources, backend, range(count))
        times = [frame / float(rate) for frame in range(count)]
        pictures = beside(drawn, footage, times, float(rate), settings)
        with closing(drawn), Encoder(temporary, stream, settings) as encoder:
            for done, picture in enumerate(with_chart(pictures, chart, times), start=1):
                encoder.write(picture)
                if progress is not None:
                    progress(done, count)
    return RenderReport(
        path=path,
        n_frames=count,
        fps=float(rate),
        seconds=count / float(rate),
        size=(shape[1], shape[0]),
        renderer=str(backend),
        has_sound=sound is not None,
        drawing_fps=count / (time.perf_counter() - start),
    )


@contextmanager
def _sound_file(motion: Motion) -> Iterator[Path | None]:
    """Yield a file that contains the motion's sound, or None if the motion has no sound."""
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        path = Path(folder) / "sound.wav"
        yield path if write_sound(motion, path) else None
