"""Which renderer draws, in how many processes; pictures of single frames and contact sheets."""

import logging
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.render.panels import Shown, Source, Stage, as_panels, n_frames, set_stage
from codetalker_cli.render.processes import draw_in_processes
from codetalker_cli.render.scene import Scene
from codetalker_cli.render.software import SoftwareRenderer
from codetalker_cli.settings import RenderSettings

_MIN_FRAMES_PER_PROCESS = 8
"""A process takes about as long to start as it takes to draw so many frames."""

logger = logging.getLogger(__name__)


class Renderer(Protocol):
    """What draws frames of one scene."""

    def render(self, vertices: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
        """(height, width, 3 or 4) uint8 picture of vertices (V, 3), colored by their distance to
        ``against`` (V, 3) where the scene shows heat.
        """
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


class StageRenderer:
    """Draws all panels of a stage into one picture, with what lies over it.

    Args:
        stage: What stays the same over the clip.
        name: ``software`` or ``pyrender``.
    """

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._renderers = [make_renderer(name, scene) for scene in stage.scenes]

    def render(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        """(height, width, 3 or 4) uint8 picture of one frame of each motion, (V, 3) each."""
        stage = self._stage
        picture = np.empty(stage.shape, np.uint8)
        width = stage.shape[1] // len(stage.scenes)
        for index, renderer in enumerate(self._renderers):
            other = stage.against[index]
            against = None if other < 0 else motions[other]
            panel = renderer.render(motions[stage.shown[index]], against)
            picture[:, index * width : (index + 1) * width] = panel
        for strip in stage.strips:
            strip.blend_into(picture)
        return picture

    def close(self) -> None:
        """Free what the renderers hold."""
        for renderer in self._renderers:
            renderer.close()


def choose_backend(settings: RenderSettings, n_frames: int) -> Backend:
    """Decide who draws ``n_frames`` frames.

    Raises:
        RenderError: pyrender was asked for and OpenGL does not work here.
    """
    n_workers = settings.workers or n_cores()
    n_workers = max(1, min(n_workers, -(-n_frames // _MIN_FRAMES_PER_PROCESS)))
    if settings.renderer != "software":
        from codetalker_cli.render.gl import probe

        gl_probe = probe()
        if gl_probe.platform is not None:
            return Backend("pyrender", n_workers, gl_probe.platform)
        if settings.renderer == "pyrender":
            raise RenderError(
                f"renderer pyrender: OpenGL does not work here ({gl_probe.reason}); install "
                "libegl1, libopengl0 and libgl1 (or libosmesa6), or take renderer software"
            )
        logger.info("drawing in software: no OpenGL here (%s)", gl_probe.reason)
    return Backend("software", n_workers if n_workers > 1 else 0)


def n_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def draw(
    stage: Stage, sources: Sequence[Source], backend: Backend, frames: Sequence[int]
) -> Generator[np.ndarray, None, None]:
    """(height, width, 3 or 4) uint8 pictures of some frames, in their order."""
    if backend.n_processes:
        yield from draw_in_processes(
            stage,
            sources,
            frames,
            renderer=backend.name,
            n_workers=backend.n_processes,
            platform=backend.platform,
        )
        return
    renderer = StageRenderer(stage, backend.name)
    for frame in frames:
        yield renderer.render([source.read([frame])[0] for source in sources])


def render_frames(
    shown: Shown, settings: RenderSettings, frames: Sequence[int]
) -> Generator[np.ndarray, None, None]:
    """Pictures of some frames in the order asked for.

    Each is (size, size · panels, 3) uint8, with a fourth channel where the background is
    transparent: how much of a pixel is covered, the colors not multiplied by it.

    Args:
        shown: A motion, or panels from left to right.
        settings: How.
        frames: Frame indices; negative ones count from the end.

    Raises:
        RenderError: A frame the motions do not have, or motions that cannot be drawn, see
            ``as_panels``.
    """
    panels = as_panels(shown)
    n = n_frames(panels)
    for frame in frames:
        if not -n <= frame < n:
            raise RenderError(f"frame {frame}: the motion has frames 0 to {n - 1}")
    indices = [int(frame) % n for frame in frames]
    stage, sources = set_stage(panels, settings)
    yield from draw(stage, sources, choose_backend(settings, len(indices)), indices)
