"""Choose the renderer and the number of processes, and draw frames with them."""

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

# Starting a process takes about as long as drawing this many frames.
_MIN_FRAMES_PER_PROCESS = 8

logger = logging.getLogger(__name__)


class Renderer(Protocol):
    """A renderer that draws the frames of one scene."""

    def render(self, vertices: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
        """Return a (height, width, 3 or 4) uint8 picture of one frame.

        Args:
            vertices: (V, 3) vertex positions.
            against: (V, 3) positions whose distance to ``vertices`` a heat map shows.
        """
        ...

    def close(self) -> None:
        """Free the renderer's resources."""
        ...


@dataclass(frozen=True)
class Backend:
    """The chosen renderer and how it runs.

    Attributes:
        name: ``software`` or ``pyrender``.
        n_processes: Number of drawing processes; 0: draw in this process.
        platform: OpenGL platform for pyrender.
    """

    name: str
    n_processes: int
    platform: str | None = None

    def __str__(self) -> str:
        return self.name if self.platform is None else f"{self.name} ({self.platform})"


def make_renderer(name: str, scene: Scene) -> Renderer:
    """Create the renderer ``software`` or ``pyrender`` for a scene."""
    if name == "pyrender":
        from codetalker_cli.render.gl import GLRenderer

        return GLRenderer(scene)
    return SoftwareRenderer(scene)


class StageRenderer:
    """A renderer that draws all panels, labels and color bars into one picture.

    Args:
        stage: Everything that is constant over the clip.
        name: ``software`` or ``pyrender``.
    """

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._renderers = [make_renderer(name, scene) for scene in stage.scenes]

    def render(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        """Return a (height, width, 3 or 4) uint8 picture of one frame.

        Args:
            motions: (V, 3) vertices of each motion.
        """
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
        """Free the renderers' resources."""
        for renderer in self._renderers:
            renderer.close()


def choose_backend(settings: RenderSettings, n_frames: int) -> Backend:
    """Choose the renderer and the number of processes for ``n_frames`` frames.

    Raises:
        RenderError: The settings require pyrender, and OpenGL does not work on this machine.
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
                f"renderer pyrender: OpenGL does not work on this machine ({gl_probe.reason}); "
                "install libegl1, libopengl0 and libgl1 (or libosmesa6), or use the software "
                "renderer"
            )
        logger.info("using the software renderer: OpenGL does not work (%s)", gl_probe.reason)
    return Backend("software", n_workers if n_workers > 1 else 0)


def n_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def draw(
    stage: Stage, sources: Sequence[Source], backend: Backend, frames: Sequence[int]
) -> Generator[np.ndarray, None, None]:
    """Yield the (height, width, 3 or 4) uint8 pictures of the given frames, in order."""
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
    """Yield the pictures of the given frames, in the given order.

    Each picture is (size, size · panels, 3) uint8. With a transparent background it has a fourth
    channel, straight (not premultiplied) alpha.

    Args:
        shown: A motion, or panels from left to right.
        settings: The render settings.
        frames: Frame indices; negative ones count from the end.

    Raises:
        RenderError: A frame is out of range, or the motions cannot be drawn (see ``as_panels``).
    """
    panels = as_panels(shown)
    n = n_frames(panels)
    for frame in frames:
        if not -n <= frame < n:
            raise RenderError(f"frame {frame} is out of range: the motion has frames 0 to {n - 1}")
    indices = [int(frame) % n for frame in frames]
    stage, sources = set_stage(panels, settings)
    yield from draw(stage, sources, choose_backend(settings, len(indices)), indices)
