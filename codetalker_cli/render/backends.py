"""Which renderer draws, in how many processes; pictures of single frames and contact sheets."""

import logging
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render.processes import checked, draw_in_processes
from codetalker_cli.render.scene import Scene, build_scene
from codetalker_cli.render.software import SoftwareRenderer
from codetalker_cli.settings import RenderSettings

_FRAMES_WORTH_A_PROCESS = 8
"""A process takes about as long to start as it takes to draw so many frames."""

logger = logging.getLogger(__name__)


class Renderer(Protocol):
    """What draws frames of one scene."""

    def render(self, vertices: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 picture of vertices (V, 3)."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True)
class Backend:
    """The renderer chosen, and in how many processes it draws (0: in this one)."""

    name: str
    n_processes: int
    platform: str | None = None

    def __str__(self) -> str:
        return self.name if self.platform is None else f"{self.name} ({self.platform})"


def make_renderer(name: str, scene: Scene) -> Renderer:
    """The renderer ``software`` or ``pyrender`` for a scene."""
    if name == "pyrender":
        from codetalker_cli.render.gl import GLRenderer

        return GLRenderer(scene)
    return SoftwareRenderer(scene)


def choose_backend(settings: RenderSettings, n_frames: int) -> Backend:
    """Decide who draws ``n_frames`` frames.

    Raises:
        RenderError: pyrender was asked for and OpenGL does not work here.
    """
    n_workers = settings.workers or n_cores()
    n_workers = max(1, min(n_workers, -(-n_frames // _FRAMES_WORTH_A_PROCESS)))
    if settings.renderer != "software":
        from codetalker_cli.render.gl import probe

        found = probe()
        if found.platform is not None:
            return Backend("pyrender", n_workers, found.platform)
        if settings.renderer == "pyrender":
            raise RenderError(
                f"renderer pyrender: OpenGL does not work here ({found.reason}); install libegl1 "
                "and libopengl0 (or libosmesa6), or take renderer software"
            )
        logger.info("drawing in software: no OpenGL here (%s)", found.reason)
    return Backend("software", n_workers if n_workers > 1 else 0)


def n_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_motion(motion: Motion) -> None:
    """Refuse a motion that cannot be drawn.

    Raises:
        RenderError: No frames, vertices that do not fit the topology, a frame rate that is no rate.
    """
    expected = (motion.topology.n_vertices, 3)
    if motion.vertices.ndim != 3 or motion.vertices.shape[1:] != expected:
        raise RenderError(
            f"subject {motion.subject}: the motion's vertices are {motion.vertices.shape}, "
            f"topology {motion.topology.name} needs (frames, {expected[0]}, 3)"
        )
    if not motion.n_frames:
        raise RenderError(f"subject {motion.subject}: the motion has no frames to draw")
    if not (np.isfinite(motion.fps) and motion.fps > 0):
        raise RenderError(f"subject {motion.subject}: {motion.fps} frames a second is no rate")


def draw(
    motion: Motion, scene: Scene, backend: Backend, frames: Sequence[int]
) -> Generator[np.ndarray, None, None]:
    """(height, width, 3) uint8 pictures of some frames, in their order."""
    if backend.n_processes:
        yield from draw_in_processes(
            scene,
            motion.vertices,
            frames,
            renderer=backend.name,
            n_workers=backend.n_processes,
            platform=backend.platform,
        )
        return
    renderer = make_renderer(backend.name, scene)
    for frame in frames:
        yield renderer.render(checked(motion.vertices, [frame])[0])


def render_frames(
    motion: Motion, settings: RenderSettings, frames: Sequence[int]
) -> Generator[np.ndarray, None, None]:
    """Pictures of some frames, each (size, size, 3) uint8, in the order asked for.

    Args:
        motion: What to draw.
        settings: How.
        frames: Frame indices; negative ones count from the end.

    Raises:
        RenderError: A frame the motion does not have, or a motion that cannot be drawn.
    """
    check_motion(motion)
    n = motion.n_frames
    for frame in frames:
        if not -n <= frame < n:
            raise RenderError(f"frame {frame}: the motion has frames 0 to {n - 1}")
    indices = [int(frame) % n for frame in frames]
    yield from draw(
        motion, build_scene(motion, settings), choose_backend(settings, len(indices)), indices
    )


def contact_sheet(
    motion: Motion,
    settings: RenderSettings,
    frames: Sequence[int],
    labels: Sequence[str] | None = None,
    n_columns: int | None = None,
) -> np.ndarray:
    """Several frames in one (H, W, 3) uint8 picture, each with its label (else its time) below.

    Args:
        motion: What to draw.
        settings: How; ``size`` is that of one frame.
        frames: Frame indices.
        labels: One a frame.
        n_columns: Frames in a row; by default about as many as there are rows.

    Raises:
        RenderError: As for :func:`render_frames`, or labels that do not fit the frames.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not len(frames):
        raise RenderError("a contact sheet needs at least one frame")
    texts = (
        [f"{f % motion.n_frames / motion.fps:.2f} s" for f in frames] if labels is None else labels
    )
    if len(texts) != len(frames):
        raise RenderError(f"contact sheet: {len(texts)} labels for {len(frames)} frames")
    n_columns = min(len(frames), n_columns or -int(-(len(frames) ** 0.5) // 1))
    n_rows = -(-len(frames) // n_columns)
    size, strip = settings.size, max(16, settings.size // 14)
    sheet = Image.new("RGB", (n_columns * size, n_rows * (size + strip)), "#20242a")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=strip * 0.62)
    for index, picture in enumerate(render_frames(motion, settings, frames)):
        x, y = index % n_columns * size, index // n_columns * (size + strip)
        sheet.paste(Image.fromarray(picture), (x, y))
        middle = (x + size / 2, y + size + strip / 2)
        pen.text(middle, texts[index], fill="#e8eaee", font=font, anchor="mm")
    return np.asarray(sheet)
