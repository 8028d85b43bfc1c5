"""Describe a scene: the camera, the shading of the vertices and the background.

All renderers draw the same scene. In world space, +y is up and +z is the direction that the face
looks in; the unit of length is arbitrary. The camera does not move during a clip. Pixel (0, 0) is
at the upper left; its center is at (0.5, 0.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render.heat import heat_steps, heat_table
from codetalker_cli.render.light import Materials, occlusion, shade
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import BACKDROPS, TRANSPARENT
from codetalker_cli.surface import VertexNormals, to_linear
from codetalker_cli.topology import Topology, label_components

# The vertical field of view in degrees. It is that of a portrait lens; wider ones enlarge the nose.
FIELD_OF_VIEW = 18.0
_MARGIN = 0.07
"""Empty margin on each side of a whole head, as a fraction of the picture."""
_REGION_MARGIN = 0.22
"""Margin around a framed region; it is wider, so that the surroundings are visible."""
_LIPS_MARGIN = 0.28
"""Margin around the lips in the mouth view."""
_VIEWS = {"front": (0.0, 0.0), "three-quarter": (35.0, 4.0), "profile": (90.0, 0.0)}
"""Yaw and pitch of the views, in degrees; all other views are from the front."""
_VIGNETTE = 0.45
# The color of transparent pixels, relative to the mean albedo of the face. Codecs blend it into
# the edges of the face, where a color similar to the face is not noticeable.
_TRANSPARENT_BRIGHTNESS = 0.6
_FULL_HEAT_SHARE = 0.25
"""Fraction of the hottest distance above which teeth and eyes show only the heat color."""
_BACK_SIDE = np.array([0.16, 0.10, 0.09], np.float32)
"""Linear color of the inner sides of open surfaces: dark and warm."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        rotation: (3, 3) world-to-camera rotation; the rows are right, up and toward the viewer.
        eye: (3,) position in world space.
        focal: Focal length in pixels.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
    """

    rotation: np.ndarray
    eye: np.ndarray
    focal: float
    width: int
    height: int

    def view(self, vertices: np.ndarray) -> np.ndarray:
        """Transform vertices (V, 3) to camera space: x right, y up, z negative in front."""
        x, y, z = (vertices.astype(np.float64) - self.eye).T
        # No matrix product: BLAS may round differently in another process.
        return np.stack([r[0] * x + r[1] * y + r[2] * z for r in self.rotation], axis=1)

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """Return (V, 3) float64: x (right) and y (down) in pixels, and 1/depth."""
        return self.on_screen(self.view(vertices))

    def on_screen(self, view: np.ndarray) -> np.ndarray:
        """Project (V, 3) vertices already in camera space; return what ``project`` does."""
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
    """Return a camera that shows all points as large as the margin allows.

    Args:
        points: (n, 3) points in world space.
        size: Width and height of the picture in pixels.
        yaw: Rotation of the camera around the head in degrees, toward the subject's left.
        pitch: Elevation of the camera in degrees.
        zoom: Magnification after framing.
        margin: Empty margin on each side, as a fraction of the picture.

    Raises:
        RenderError: There are no points, a coordinate is not finite, or all points are equal.
    """
    width, height = size
    if not len(points) or not np.isfinite(points).all() or np.ptp(points, axis=0).max() == 0:
        raise RenderError(
            "cannot frame the template: its vertices must be finite and must not all be equal"
        )
    a, b = np.radians([yaw, pitch])
    backward = np.array([np.cos(b) * np.sin(a), np.sin(b), np.cos(b) * np.cos(a)])
    right = np.array([np.cos(a), 0.0, -np.sin(a)])
    rotation = np.stack([right, np.cross(backward, right), backward])
    view = np.einsum("ij,nj->ni", rotation, points.astype(np.float64))
    center = (view.min(0) + view.max(0)) / 2
    x, y, z = (view - center).T
    extent = np.tan(np.radians(FIELD_OF_VIEW) / 2) * (1 - 2 * margin)
    # All points are inside the picture if |y| / (distance - z) <= extent, and likewise for x.
    distance = max((np.abs(x) * height / width / extent + z).max(), (np.abs(y) / extent + z).max())
    focal = height / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    eye = np.einsum("ji,j->i", rotation, center + np.array([0, 0, distance]))
    return Camera(rotation, eye, float(focal * zoom), width, height)


@dataclass(frozen=True)
class Scene:
    """Everything that is constant over a clip of one panel.

    It consists of arrays and numbers only, so that it can be sent to other processes.

    Attributes:
        triangles: (F, 3) int32 vertex indices.
        open_triangles: (F,) bool, true on surfaces with a border, whose inner side is visible.
        albedo: (V, 3) float32 linear RGB.
        occlusion: (V,) float32 fraction of the ambient light that reaches each vertex.
        gloss: (V, 2) float32 strength and exponent of the highlight.
        background: (height, width, 3) float32 sRGB, 0 to 255.
        rotation: (3, 3) rotation of the camera, see ``Camera``.
        eye: (3,) position of the camera.
        focal: Focal length of the camera in pixels.
        samples: Number of sample points per pixel.
        transparent: Whether pictures have a fourth channel with straight alpha.
        heat: Distance shown in the hottest color, in the unit of the vertices; 0: no heat map.
        min_heat: (V,) float32 weight of the heat color at distance 0: 1 on skin, else 0.
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
        height, width = self.background.shape[:2]
        return Camera(self.rotation, self.eye, self.focal, width, height)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a picture: (height, width, channels)."""
        height, width = self.background.shape[:2]
        return height, width, 4 if self.transparent else 3

    def back_colors(self) -> np.ndarray:
        """Return the (V, 3) float32 sRGB colors of the inner side of surfaces, 0 to 255."""
        return 255 * np.sqrt(_BACK_SIDE * np.sqrt(self.albedo))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all attributes as arrays; ``from_arrays`` reverses it."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Scene":
        """Restore a scene from the result of ``to_arrays``."""
        values: dict[str, Any] = {f.name: arrays[f.name] for f in fields(cls)}
        return cls(**{k: v if v.ndim else v.item() for k, v in values.items()})


class Painter:
    """Per-frame computation of vertex positions in camera space and of vertex colors.

    Args:
        scene: Everything that is constant over the clip.
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
        """Return the positions and colors of the vertices in one frame.

        Args:
            vertices: (V, 3) float32 positions in world space.
            against: (V, 3) float32 reference positions for the distances of a heat map.

        Returns:
            (V, 3) float64 positions in camera space, and (V, 3) float32 sRGB colors, 0 to 255.
        """
        scene = self._scene
        view = self._camera.view(vertices)
        normals = np.einsum("ij,vj->vi", self._rotation, self._normals.of(vertices))
        heat = np.zeros(len(vertices)) if against is None else _distance(vertices, against)
        albedo = self.heat_albedo(heat) if scene.heat > 0 else scene.albedo
        return view, shade(normals, view, albedo, scene.occlusion, scene.gloss)

    def heat_albedo(self, distance: np.ndarray) -> np.ndarray:
        """Return (V, 3) float32 linear RGB for distances (V,) in the unit of the vertices."""
        scene = self._scene
        relative = distance / scene.heat
        weight = np.maximum(scene.min_heat, np.clip(relative / _FULL_HEAT_SHARE, 0, 1))[:, None]
        color = self._heat_colors[heat_steps(relative)]
        return (scene.albedo + weight * (color - scene.albedo)).astype(np.float32)


def _distance(vertices: np.ndarray, against: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(vertices.astype(np.float64) - against).sum(1))


def check_template(motion: Motion) -> None:
    """Refuse a motion whose template does not fit its topology.

    Raises:
        RenderError: The template has another number of vertices.
    """
    topology, shape = motion.topology, np.shape(motion.template)
    if shape != (topology.n_vertices, 3):
        raise RenderError(
            f"subject {motion.subject}: the template has shape {shape}; "
            f"topology {topology.name} needs ({topology.n_vertices}, 3)"
        )


def build_scene(motion: Motion, settings: RenderSettings, heat: float = 0.0) -> Scene:
    """Build the scene of a motion: frame the template, compute its occlusion, draw the background.

    Args:
        motion: Only its template, topology and colors are used, not its vertices.
        settings: The render settings.
        heat: Distance shown in the hottest color, in the topology's unit; 0: no heat map, the
            face is shown in its own colors.

    Raises:
        RenderError: The template does not fit the topology or cannot be framed.
        DataError: The region ``settings.framing`` does not exist in the topology, or the view is
            ``mouth`` and the topology has neither a region ``lips`` nor ``mouth``.
    """
    topology, template = motion.topology, np.asarray(motion.template, np.float32)
    check_template(motion)
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
                f"view mouth: topology {topology.name} has no region lips or mouth (regions: "
                f"{known}); choose another view, or set render.framing and render.zoom"
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
    """Return a background of one color that gets darker toward the corners.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        color: sRGB color as #rrggbb.
        vignette: How much darker the corners are, from 0 (not at all) to 1 (black).

    Returns:
        (height, width, 3) float32 sRGB, 0 to 255.
    """
    base = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    x = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
    y = (np.arange(height, dtype=np.float32) + 0.5) / height - 0.42
    radius = np.minimum((x[None] ** 2 + y[:, None] ** 2) / 0.5, 1)
    fade = 1 - np.float32(vignette) * radius * (2 - radius)
    return base * fade[:, :, None]


def _open_triangles(triangles: np.ndarray, n_vertices: int) -> np.ndarray:
    """Return (F,) bool: whether each triangle belongs to a connected surface with a border."""
    edges = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    label = label_components(n_vertices, edges)
    edges = np.sort(edges, axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    open_labels = np.unique(label[unique[counts == 1]])
    return np.isin(label[triangles[:, 0]], open_labels)
