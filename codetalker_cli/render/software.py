"""Draw with NumPy only, without OpenGL or a graphics card."""

import numpy as np

from codetalker_cli.render.rasterizer import Rasterizer
from codetalker_cli.render.scene import Painter, Scene


class SoftwareRenderer:
    """A renderer that draws the frames of one scene in NumPy.

    Args:
        scene: Everything that is constant over the clip.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._camera = scene.camera
        self._painter = Painter(scene)
        self._raster = Rasterizer(scene.background, scene.samples)
        self._back_colors = scene.back_colors()

    def render(self, vertices: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
        """Return a (height, width, 3 or 4) uint8 picture; for the inputs see ``Painter.paint``."""
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
        """Do nothing: there are no resources to free."""


def _front_facing_mask(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (F,) bool: whether the outer side of each triangle faces the camera."""
    # Counter-clockwise triangles have a negative area here, because y points down.
    (x0, x1, x2), (y0, y1, y2) = points[:, :2][triangles].transpose(2, 1, 0)
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) < 0
