"""What is seen: the camera, the light baked into vertex colours, the backdrop.

Every renderer draws the same scene. World axes are those of the heads: +y up, +z the way the face
looks; any unit of length. The camera stands still over a clip. Pixel (0, 0) is at the upper left,
its centre at (0.5, 0.5).
"""

import io
from dataclasses import dataclass, fields

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render.light import Materials, occlusion, shade, vertex_normals
from codetalker_cli.settings import RenderSettings

FIELD_OF_VIEW = 18.0
"""Vertical angle in degrees: a portrait lens; wider ones swell the nose."""
_MARGIN = 0.07
"""Part of the picture left free on each side of the whole head."""
_REGION_MARGIN = 0.22
"""The same around a framed region, so that its surroundings are seen too."""
_BACK_SIDE = np.array([0.16, 0.10, 0.09], np.float32)
"""Linear colour of the inner sides of open surfaces: hollow, dark and warm."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        rotation: (3, 3) rows are the view axes in the world: right, up, towards the viewer.
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
        """(V, 3) in the camera's axes: x right, y up, z towards the viewer (negative in front)."""
        x, y, z = (vertices.astype(np.float64) - self.eye).T
        # written out: a BLAS product may round differently from one process to another
        return np.stack([r[0] * x + r[1] * y + r[2] * z for r in self.rotation], axis=1)

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) float64: x and y in pixels (down), and 1/depth in the unit of the vertices."""
        x, y, z = self.view(vertices).T
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
    towards = np.array([np.cos(b) * np.sin(a), np.sin(b), np.cos(b) * np.cos(a)])
    right = np.array([np.cos(a), 0.0, -np.sin(a)])
    rotation = np.stack([right, np.cross(towards, right), towards])
    view = np.einsum("ij,nj->ni", rotation, points.astype(np.float64))
    centre = (view.min(0) + view.max(0)) / 2
    x, y, z = (view - centre).T
    half = np.tan(np.radians(FIELD_OF_VIEW) / 2) * (1 - 2 * margin)
    # every point inside of the picture: |y| / (distance - z) <= half, and x likewise
    distance = max((np.abs(x) * height / width / half + z).max(), (np.abs(y) / half + z).max())
    focal = height / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    eye = np.einsum("ji,j->i", rotation, centre + np.array([0, 0, distance]))
    return Camera(rotation, eye, float(focal * zoom), width, height)


@dataclass(frozen=True)
class Scene:
    """All that stays the same over a clip. Arrays only, so that it can be sent to other processes.

    Attributes:
        faces: (F, 3) int32.
        open_faces: (F,) bool: part of a surface with a border, whose inner side can be seen.
        albedo: (V, 3) float32 linear colours.
        occlusion: (V,) float32, 1 where all of the ambient light arrives.
        gloss: (V, 2) float32 strength and exponent of the highlight.
        background: (height, width, 3) float32, 0 to 255.
        rotation, eye, focal: The camera's.
        samples: Sample points a pixel.
    """

    faces: np.ndarray
    open_faces: np.ndarray
    albedo: np.ndarray
    occlusion: np.ndarray
    gloss: np.ndarray
    background: np.ndarray
    rotation: np.ndarray
    eye: np.ndarray
    focal: float
    samples: int

    @property
    def camera(self) -> Camera:
        """The camera."""
        height, width = self.background.shape[:2]
        return Camera(self.rotation, self.eye, float(self.focal), width, height)

    def colours(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) float32 sRGB, 0 to 255, of the vertices in their present place."""
        camera = self.camera
        normals = vertex_normals(vertices, self.faces)
        turned = np.einsum("ij,vj->vi", camera.rotation.astype(np.float32), normals)
        return shade(turned, camera.view(vertices), self.albedo, self.occlusion, self.gloss)

    def back_colours(self) -> np.ndarray:
        """(V, 3) float32 sRGB, 0 to 255, of the inner side of open surfaces."""
        return 255 * np.sqrt(_BACK_SIDE * np.sqrt(self.albedo))

    def to_bytes(self) -> bytes:
        """As one block of bytes (inverse of :meth:`from_bytes`)."""
        buffer = io.BytesIO()
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, block: bytes) -> "Scene":
        """Read back what :meth:`to_bytes` gave."""
        with np.load(io.BytesIO(block), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        arrays["focal"], arrays["samples"] = float(arrays["focal"]), int(arrays["samples"])
        return cls(**arrays)


def build_scene(motion: Motion, settings: RenderSettings) -> Scene:
    """Frame the subject's neutral face, measure its occlusion, paint the backdrop.

    Raises:
        RenderError: The template does not fit the topology, or cannot be framed.
        DataError: ``settings.framing`` names no region of the topology.
    """
    topology, template = motion.topology, np.asarray(motion.template, np.float32)
    if template.shape != (topology.n_vertices, 3):
        raise RenderError(
            f"subject {motion.subject}: the template is {template.shape}, "
            f"topology {topology.name} needs ({topology.n_vertices}, 3)"
        )
    used = np.unique(topology.faces)
    shown = used if settings.framing == "head" else topology.region(settings.framing)
    camera = frame(
        template[shown],
        (settings.size, settings.size),
        yaw=settings.yaw,
        pitch=settings.pitch,
        zoom=settings.zoom,
        margin=_MARGIN if settings.framing == "head" else _REGION_MARGIN,
    )
    materials = Materials.of(topology, motion.colours)
    return Scene(
        faces=np.asarray(topology.faces, np.int32),
        open_faces=_open_faces(np.asarray(topology.faces), topology.n_vertices),
        albedo=materials.albedo,
        occlusion=materials.lift(occlusion(template, topology.faces)),
        gloss=materials.gloss,
        background=backdrop(settings.size, settings.size, settings.background, settings.vignette),
        rotation=camera.rotation,
        eye=camera.eye,
        focal=camera.focal,
        samples=settings.samples,
    )


def backdrop(width: int, height: int, colour: str, vignette: float) -> np.ndarray:
    """(height, width, 3) float32, 0 to 255: ``colour`` (#rrggbb), fading darker to the corners."""
    middle = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    x = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
    y = (np.arange(height, dtype=np.float32) + 0.5) / height - 0.42
    radius = np.minimum((x[None] ** 2 + y[:, None] ** 2) / 0.5, 1)
    fade = 1 - np.float32(vignette) * radius * (2 - radius)
    return middle * fade[:, :, None]


def _open_faces(faces: np.ndarray, n_vertices: int) -> np.ndarray:
    """(F,) bool: whether the face belongs to a connected surface that has a border."""
    label = np.arange(n_vertices)
    while True:  # every vertex takes the smallest label of its surface
        least = label[faces].min(1)
        new = label.copy()
        np.minimum.at(new, faces, least[:, None])
        new = new[new]
        if (new == label).all():
            break
        label = new
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    open_labels = np.unique(label[unique[counts == 1]])
    return np.isin(label[faces[:, 0]], open_labels)
