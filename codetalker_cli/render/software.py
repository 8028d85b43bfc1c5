"""Drawing with NumPy alone: the renderer that works everywhere."""

import numpy as np

from codetalker_cli.render.rasterizer import Rasterizer
from codetalker_cli.render.scene import Painter, Scene


class SoftwareRenderer:
    """Draws a scene, frame by frame.

    Args:
        scene: What stays the same over the clip.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._camera = scene.camera
        self._painter = Painter(scene)
        self._raster = Rasterizer(scene.background, scene.samples)
        self._back_colors = scene.back_colors()

    def render(self, vertices: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
        """(height, width, 3 or 4) uint8 picture of vertices (V, 3); see ``Painter.paint``."""
        scene, raster = self._scene, self._raster
        view, colors = self._painter.paint(vertices, against)
        points = self._camera.on_screen(view)
        front = _front_facing_mask(points, scene.triangles)
        raster.clear()
        raster.draw(points, scene.triangles[front], colors)
        inner = scene.triangles[scene.open_triangles & ~front]
        raster.draw(points, inner[~raster.hidden(points, inner)], self._back_colors)
        return raster.resolve(transparent=scene.transparent)

    def close(self) -> None:
        """Nothing to free."""


def _front_facing_mask(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(F,) bool: seen from outside (counter-clockwise, with y down: a negative area)."""
    (x0, x1, x2), (y0, y1, y2) = points[:, :2][triangles].transpose(2, 1, 0)
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) < 0
