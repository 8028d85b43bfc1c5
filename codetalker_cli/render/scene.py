"""What is seen: the camera, the light baked into vertex colors, the backdrop.

Every renderer draws the same scene. World axes are those of the heads: +y up, +z the way the face
looks; any unit of length. The camera stands still over a clip. Pixel (0, 0) is at the upper left,
its center at (0.5, 0.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render.heat import heat_steps, heat_table
from codetalker_cli.render.light import Materials, VertexNormals, occlusion, shade, to_linear
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import BACKDROPS, TRANSPARENT
from codetalker_cli.topology import Topology, label_components

FIELD_OF_VIEW = 18.0
"""Vertical angle in degrees: a portrait lens; wider ones swell the nose."""
_MARGIN = 0.07
"""Part of the picture left free on each side of the whole head."""
_REGION_MARGIN = 0.22
"""The same around a framed region, so that its surroundings are seen too."""
_LIPS_MARGIN = 0.28
"""The same around the lips in the view of the mouth."""
_VIEWS = {"front": (0.0, 0.0), "three-quarter": (35.0, 4.0), "profile": (90.0, 0.0)}
"""Yaw and pitch of the views; all others are from the front."""
_VIGNETTE = 0.45
_TRANSPARENT_BRIGHTNESS = 0.6
"""Brightness, in parts of the face's, of what lies under transparent places: a codec mixes it into
the pixels at the edge, where a color like the face's is not seen."""
_FULL_HEAT_SHARE = 0.25
"""From this part of the hottest distance on, teeth and eyes have the color of heat alone."""
_BACK_SIDE = np.array([0.16, 0.10, 0.09], np.float32)
"""Linear color of the inner sides of open surfaces: hollow, dark and warm."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        rotation: (3, 3) rows are the view axes in the world: right, up, toward the viewer.
        eye: (3,) where it stands.
        focal: Focal length in pixels.
        width: Pixels in a row.
        height: Rows.
    """

    rotation: np.ndarray
    eye: np.ndarray
    focal: float
    width: int
    height: int

    def view(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) in the camera's axes: x right, y up, z toward the viewer (negative in front)."""
        x, y, z = (vertices.astype(np.float64) - self.eye).T
        # written out: a BLAS product may round differently from one process to another
        return np.stack([r[0] * x + r[1] * y + r[2] * z for r in self.rotation], axis=1)

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) float64: x and y in pixels (down), and 1/depth in the unit of the vertices."""
        return self.on_screen(self.view(vertices))

    def on_screen(self, view: np.ndarray) -> np.ndarray:
        """``project`` of what ``view`` gave."""
        x, y, z = view.T
        inverse = 1.0 / np.where(z == 0, -1e-12, -z)
        scale = self.focal * inverse
        return np.stack([self.width / 2 + scale * x, self.height / 2 - scale * y, inverse], axis=1)


def frame(
    points: np.ndarray,
    size: tuple[int, int],
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    zoom: float = 1.0,
    margin: float = 0.0,
) -> Camera:
    """A camera that holds all ``points`` (n, 3), as large as the margin allows.

    Args:
        points: What is to be seen.
        size: Width and height of the picture in pixels.
        yaw: Degrees round to the subject's left.
        pitch: Degrees up.
        zoom: Enlargement after framing.
        margin: Part of the picture left free on each side.

    Raises:
        RenderError: The points are not finite or all the same.
    """
    width, height = size
    if not len(points) or not np.isfinite(points).all() or np.ptp(points, axis=0).max() == 0:
        raise RenderError("the template has no extent or holds NaN: there is nothing to frame")
    a, b = np.radians([yaw, pitch])
    backward = np.array([np.cos(b) * np.sin(a), np.sin(b), np.cos(b) * np.cos(a)])
    right = np.array([np.cos(a), 0.0, -np.sin(a)])
    rotation = np.stack([right, np.cross(backward, right), backward])
    view = np.einsum("ij,nj->ni", rotation, points.astype(np.float64))
    center = (view.min(0) + view.max(0)) / 2
    x, y, z = (view - center).T
    extent = np.tan(np.radians(FIELD_OF_VIEW) / 2) * (1 - 2 * margin)
    # every point inside of the picture: |y| / (distance - z) <= extent, and x likewise
    distance = max((np.abs(x) * height / width / extent + z).max(), (np.abs(y) / extent + z).max())
    focal = height / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    eye = np.einsum("ji,j->i", rotation, center + np.array([0, 0, distance]))
    return Camera(rotation, eye, float(focal * zoom), width, height)


@dataclass(frozen=True)
class Scene:
    """All that stays the same over a clip. Arrays only, so that it can be sent to other processes.

    Attributes:
        triangles: (F, 3) int32.
        open_triangles: (F,) bool: part of a surface with a border, whose inner side can be seen.
        albedo: (V, 3) float32 linear colors.
        occlusion: (V,) float32, 1 where all of the ambient light arrives.
        gloss: (V, 2) float32 strength and exponent of the highlight.
        background: (height, width, 3) float32, 0 to 255.
        rotation, eye, focal: The camera's.
        samples: Sample points a pixel.
        transparent: Pictures have a fourth channel: how much of a pixel is covered.
        heat: Distance that has the hottest color, in the unit of the vertices; 0: none is shown.
        min_heat: (V,) float32, 1 where even no distance is shown as a color of heat.
    """

    triangles: np.ndarray
    open_triangles: np.ndarray
    albedo: np.ndarray
    occlusion: np.ndarray
    gloss: np.ndarray
    background: np.ndarray
    rotation: np.ndarray
    eye: np.ndarray
    focal: float
    samples: int
    transparent: bool
    heat: float
    min_heat: np.ndarray

    @property
    def camera(self) -> Camera:
        """The camera."""
        height, width = self.background.shape[:2]
        return Camera(self.rotation, self.eye, self.focal, width, height)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a picture."""
        height, width = self.background.shape[:2]
        return height, width, 4 if self.transparent else 3

    def back_colors(self) -> np.ndarray:
        """(V, 3) float32 sRGB, 0 to 255, of the inner side of open surfaces."""
        return 255 * np.sqrt(_BACK_SIDE * np.sqrt(self.albedo))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As plain arrays (inverse of ``from_arrays``)."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Scene":
        """From the arrays of ``to_arrays``."""
        values: dict[str, Any] = {f.name: arrays[f.name] for f in fields(cls)}
        return cls(**{k: v if v.ndim else v.item() for k, v in values.items()})


class Painter:
    """Gives a scene's vertices their place before the camera and their colors, frame by frame.

    Args:
        scene: What stays the same over the clip.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._camera = scene.camera
        self._normals = VertexNormals(scene.triangles, len(scene.albedo))
        self._rotation = scene.rotation.astype(np.float32)
        self._heat_colors = to_linear(heat_table().astype(np.float32) / 255)

    def paint(
        self, vertices: np.ndarray, against: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places and colors of vertices.

        Args:
            vertices: (V, 3) float32 of one frame.
            against: (V, 3) float32 that a heat panel measures the distance to.

        Returns:
            (V, 3) float64 in the camera's axes, and (V, 3) float32 sRGB, 0 to 255.
        """
        scene = self._scene
        view = self._camera.view(vertices)
        normals = np.einsum("ij,vj->vi", self._rotation, self._normals.of(vertices))
        heat = np.zeros(len(vertices)) if against is None else _distance(vertices, against)
        albedo = self.heat_albedo(heat) if scene.heat > 0 else scene.albedo
        return view, shade(normals, view, albedo, scene.occlusion, scene.gloss)

    def heat_albedo(self, distance: np.ndarray) -> np.ndarray:
        """(V, 3) float32 linear colors of distances (V,) in the unit of the vertices."""
        scene = self._scene
        relative = distance / scene.heat
        weight = np.maximum(scene.min_heat, np.clip(relative / _FULL_HEAT_SHARE, 0, 1))[:, None]
        color = self._heat_colors[heat_steps(relative)]
        return (scene.albedo + weight * (color - scene.albedo)).astype(np.float32)


def _distance(vertices: np.ndarray, against: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(vertices.astype(np.float64) - against).sum(1))


def build_scene(motion: Motion, settings: RenderSettings, heat: float = 0.0) -> Scene:
    """Frame the subject's neutral face, measure its occlusion, paint the backdrop.

    Args:
        motion: Its template, topology and colors count, not its vertices.
        settings: How.
        heat: Distance that has the hottest color, in the topology's unit; 0: the face's own
            colors are shown.

    Raises:
        RenderError: The template does not fit the topology, or cannot be framed.
        DataError: ``settings.framing`` names no region of the topology, or the view of the mouth is
            asked for and no region tells where it is.
    """
    topology, template = motion.topology, np.asarray(motion.template, np.float32)
    if template.shape != (topology.n_vertices, 3):
        raise RenderError(
            f"subject {motion.subject}: the template is {template.shape}, "
            f"topology {topology.name} needs ({topology.n_vertices}, 3)"
        )
    camera = _camera(template, topology, settings)
    materials = Materials.of(topology, None if heat > 0 else motion.colors)
    transparent = settings.background == TRANSPARENT
    return Scene(
        triangles=np.asarray(topology.triangles, np.int32),
        open_triangles=_open_triangles(np.asarray(topology.triangles), topology.n_vertices),
        albedo=materials.albedo,
        occlusion=materials.lift(occlusion(template, topology.triangles)),
        gloss=materials.gloss,
        background=_background(settings, materials.albedo),
        rotation=camera.rotation,
        eye=camera.eye,
        focal=camera.focal,
        samples=settings.samples,
        transparent=transparent,
        heat=heat,
        min_heat=materials.is_skin.astype(np.float32),
    )


def _camera(template: np.ndarray, topology: Topology, settings: RenderSettings) -> Camera:
    framing = settings.framing
    margin = _REGION_MARGIN
    if framing is None and settings.view == "mouth":
        framing = next((name for name in ("lips", "mouth") if name in topology.regions), None)
        if framing is None:
            known = ", ".join(sorted(topology.regions)) or "none"
            raise DataError(
                f"view mouth: topology {topology.name} has neither a region lips nor mouth (it "
                f"has: {known}); take another view, or set framing and zoom"
            )
        margin = _LIPS_MARGIN if framing == "lips" else margin
    if framing in (None, "head"):
        vertices, margin = np.unique(topology.triangles), _MARGIN
    else:
        vertices = topology.region(framing)
    yaw, pitch = _VIEWS.get(settings.view, (0.0, 0.0))
    return frame(
        template[vertices],
        (settings.size, settings.size),
        yaw=yaw if settings.yaw is None else settings.yaw,
        pitch=pitch if settings.pitch is None else settings.pitch,
        zoom=settings.zoom,
        margin=margin,
    )


def _background(settings: RenderSettings, albedo: np.ndarray) -> np.ndarray:
    size, color, vignette = settings.size, settings.background, settings.vignette
    if color == TRANSPARENT:
        fill = 255 * np.sqrt(_TRANSPARENT_BRIGHTNESS * albedo.mean(0))
        return np.broadcast_to(fill.astype(np.float32), (size, size, 3)).copy()
    if vignette is None:
        vignette = 0.0 if color in BACKDROPS else _VIGNETTE
    return backdrop(size, size, BACKDROPS.get(color, color), vignette)


def backdrop(width: int, height: int, color: str, vignette: float) -> np.ndarray:
    """(height, width, 3) float32, 0 to 255: ``color`` (#rrggbb), fading darker to the corners."""
    base = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    x = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
    y = (np.arange(height, dtype=np.float32) + 0.5) / height - 0.42
    radius = np.minimum((x[None] ** 2 + y[:, None] ** 2) / 0.5, 1)
    fade = 1 - np.float32(vignette) * radius * (2 - radius)
    return base * fade[:, :, None]


def _open_triangles(triangles: np.ndarray, n_vertices: int) -> np.ndarray:
    """(F,) bool: whether the face belongs to a connected surface that has a border."""
    edges = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    label = label_components(n_vertices, edges)
    edges = np.sort(edges, axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    open_labels = np.unique(label[unique[counts == 1]])
    return np.isin(label[triangles[:, 0]], open_labels)
