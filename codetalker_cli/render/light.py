"""Lighting and materials: ambient occlusion, surface properties, and shading of the vertices.

The lights are fixed to the camera, so that the face is well lit from any side. Colors are linear,
except those returned by ``shade``, which are sRGB.
"""

import hashlib
from dataclasses import dataclass
from threading import Lock

import numpy as np

from codetalker_cli.render.rasterizer import Rasterizer
from codetalker_cli.surface import to_linear, to_srgb, vertex_normals
from codetalker_cli.topology import Topology

_OCCLUSION_DIRECTIONS = 64
_OCCLUSION_SIZE = 192
"""Width and height of the depth maps from which occlusion is computed, in pixels."""
_N_KEPT = 8
"""Number of meshes whose occlusion is kept. A process often draws the same few heads again."""
_kept: dict[bytes, np.ndarray] = {}
_kept_lock = Lock()


@dataclass(frozen=True)
class _Lamp:
    """A directional light in camera space (x right, y up, z toward the viewer).

    Attributes:
        direction: Direction to the light.
        color: Linear RGB.
        wrap: How far the light extends past the shadow edge, as it does on soft skin.
    """

    direction: tuple[float, float, float]
    color: tuple[float, float, float]
    wrap: float

    @property
    def unit_direction(self) -> np.ndarray:
        """The (3,) float32 unit vector to the light."""
        vector = np.array(self.direction, np.float32)
        return vector / np.sqrt((vector**2).sum())


_KEY = _Lamp((-0.55, 0.55, 0.75), (1.62, 1.50, 1.36), 0.18)
_FILL = _Lamp((0.80, 0.10, 0.55), (0.34, 0.40, 0.48), 0.40)
_RIM = _Lamp((0.75, 0.45, -0.60), (0.75, 0.85, 1.00), 0.0)
_SKY, _GROUND = np.array([0.40, 0.43, 0.48], np.float32), np.array([0.20, 0.16, 0.14], np.float32)
# Light that extends past the shadow edge has passed through skin, so it is redder.
_SCATTER = np.array([1.35, 0.95, 0.80], np.float32)
# Hollows receive light that bounces between their walls instead of light from the sky.
_BOUNCE = np.array([0.085, 0.032, 0.026], np.float32)
_WHITE = 2.6
"""Linear brightness that is mapped to white."""


@dataclass(frozen=True)
class _Finish:
    """The surface properties of one part of the head.

    Attributes:
        highlight: Strength of the highlight.
        exponent: Exponent of the highlight; larger values give a smaller, sharper highlight.
        min_ambient: Fraction of the ambient light that always reaches the part. Occlusion is
            computed on the neutral face, where e.g. the teeth are hidden.
        clay: Linear albedo on a face without vertex colors.
    """

    highlight: float
    exponent: float
    min_ambient: float
    clay: tuple[float, float, float] = (0.38, 0.315, 0.275)


_SKIN = _Finish(0.10, 14.0, 0.16)
_LIPS = _Finish(0.22, 26.0, 0.16, (0.36, 0.255, 0.225))
_FINISHES = {
    "eye": _Finish(0.55, 60.0, 0.55, (0.55, 0.53, 0.50)),
    "teeth": _Finish(0.30, 40.0, 0.50, (0.60, 0.58, 0.54)),
    "tongue": _Finish(0.20, 24.0, 0.34, (0.30, 0.15, 0.13)),
    "brow": _Finish(0.02, 10.0, 0.60, (0.20, 0.16, 0.14)),
}


@dataclass(frozen=True)
class Materials:
    """The surface properties of each vertex.

    Attributes:
        albedo: (V, 3) float32 linear RGB.
        gloss: (V, 2) float32 strength and exponent of the highlight.
        min_ambient: (V,) float32 fraction of the ambient light that always reaches the vertex.
        is_skin: (V,) bool, false for eyes, teeth, tongue and brows.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    min_ambient: np.ndarray
    is_skin: np.ndarray

    @classmethod
    def of(cls, topology: Topology, colors: np.ndarray | None) -> "Materials":
        """Choose the materials by the names of the topology's parts.

        Args:
            topology: The mesh.
            colors: (V, 3) uint8 sRGB vertex colors, or None for clay.
        """
        finishes = [_SKIN, _LIPS, *_FINISHES.values()]
        finish = np.zeros(topology.n_vertices, int)  # the number of each vertex's finish
        finish[np.asarray(topology.regions.get("lips", ()), int)] = 1
        for part, (start, stop) in topology.parts.items():
            for number, prefix in enumerate(_FINISHES, start=2):
                if part.startswith(prefix):
                    finish[start:stop] = number
        if colors is None:
            albedo = np.array([f.clay for f in finishes], np.float32)[finish]
        else:
            albedo = to_linear(np.asarray(colors, np.float32) / 255)
        return cls(
            albedo=albedo,
            gloss=np.array([(f.highlight, f.exponent) for f in finishes], np.float32)[finish],
            min_ambient=np.array([f.min_ambient for f in finishes], np.float32)[finish],
            is_skin=finish < 2,
        )

    def lift(self, occlusion: np.ndarray) -> np.ndarray:
        """Return ``occlusion`` (V,) scaled from 0..1 to ``min_ambient``..1, as float32."""
        return (self.min_ambient + (1 - self.min_ambient) * occlusion).astype(np.float32)


def occlusion(template: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the (V,) float32 ambient occlusion, from 0 (fully occluded) to 1 (open).

    It is the cosine-weighted fraction of unblocked directions above each vertex. A depth map of
    the mesh is drawn from many directions; a direction is unblocked if nothing is in front of the
    vertex in its depth map. The result for the latest few meshes is kept; do not change it.
    """
    key = hashlib.blake2b(repr((template.dtype, triangles.dtype, template.shape)).encode())
    key.update(np.ascontiguousarray(template).data)
    key.update(np.ascontiguousarray(triangles).data)
    with _kept_lock:
        found = _kept.pop(key.digest(), None)
    if found is None:
        found = _compute_occlusion(template, triangles)
        found.setflags(write=False)
    with _kept_lock:
        _kept[key.digest()] = found
        while len(_kept) > _N_KEPT:
            del _kept[next(iter(_kept))]
    return found


def _compute_occlusion(template: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    vertices = template.astype(np.float64)
    normals = vertex_normals(template, triangles).astype(np.float64)
    minimum, maximum = vertices[triangles].min((0, 1)), vertices[triangles].max((0, 1))
    surface = (vertices - (minimum + maximum) / 2) / (np.linalg.norm(maximum - minimum) / 2)
    # Offset the probes from the surface, so that a vertex is not hidden by its own triangles.
    probes = surface + 0.012 * normals
    half = _OCCLUSION_SIZE / 2
    raster = Rasterizer(np.zeros((_OCCLUSION_SIZE, _OCCLUSION_SIZE, 3)), 1)
    black = np.zeros((len(vertices), 3))
    unoccluded, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in _sphere(_OCCLUSION_DIRECTIONS):
        right = np.cross([0.0, 1.0, 0.0], direction)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(right, direction), direction])
        # The projection is parallel, so any positive linear function that grows toward the light
        # can take the role of 1/depth.
        to_map = [half, half, 1.0], [half, half, 2.0]
        raster.clear()
        raster.draw(np.einsum("ij,vj->vi", axes, surface) * to_map[0] + to_map[1], triangles, black)
        x, y, height = (np.einsum("ij,vj->vi", axes, probes) * to_map[0] + to_map[1]).T
        column, row = (np.clip(v, 0, _OCCLUSION_SIZE - 1).astype(int) for v in (x, y))
        weight = np.maximum(np.einsum("vi,i->v", normals, direction), 0)
        unoccluded += weight * (height >= raster.inverse_depth()[row, 0, column] - 0.004)
        total += weight
    return (unoccluded / np.maximum(total, 1e-9)).astype(np.float32)


def shade(
    normals: np.ndarray,
    view: np.ndarray,
    albedo: np.ndarray,
    occlusion: np.ndarray,
    gloss: np.ndarray,
) -> np.ndarray:
    """Return the (V, 3) float32 sRGB colors of lit vertices, 0 to 255.

    Args:
        normals: (V, 3) float32 unit normals in camera space.
        view: (V, 3) positions in camera space.
        albedo: (V, 3) linear RGB.
        occlusion: (V,) fraction of the ambient light that reaches each vertex.
        gloss: (V, 2) strength and exponent of the highlight.
    """
    to_eye = (-view / np.sqrt((view**2).sum(1, keepdims=True))).astype(np.float32)
    # The lamps are in front of the face, so occlusion dims them less than the ambient light.
    ambient, direct = occlusion[:, None], np.sqrt(occlusion)[:, None]
    up = (0.5 + 0.5 * normals[:, 1])[:, None]
    light = (_GROUND + (_SKY - _GROUND) * up) * ambient + _BOUNCE * (1 - ambient)
    highlight = np.zeros(len(normals), np.float32)
    for lamp in (_KEY, _FILL):
        direction = lamp.unit_direction
        cosine = (normals * direction).sum(1)
        hard = np.maximum(cosine, 0)
        soft = np.maximum((cosine + lamp.wrap) / (1 + lamp.wrap), 0) ** 1.5
        color = np.array(lamp.color, np.float32)
        scattered = np.maximum(soft - hard, 0)[:, None]
        light += color * (np.minimum(soft, hard)[:, None] + scattered * _SCATTER) * direct
        half = to_eye + direction
        half /= np.sqrt((half**2).sum(1, keepdims=True))
        alignment = np.maximum((normals * half).sum(1), 0)
        highlight += alignment ** gloss[:, 1] * gloss[:, 0] * (hard > 0) * color[1]
    fresnel = (1 - np.maximum((normals * to_eye).sum(1), 0)) ** 3
    rim = np.maximum((normals * _RIM.unit_direction).sum(1), 0) * fresnel * occlusion
    linear = albedo * (light + rim[:, None] * np.array(_RIM.color, np.float32))
    linear += (highlight * occlusion)[:, None]
    tone_mapped = linear * (1 + linear / _WHITE**2) / (1 + linear)
    return (255 * to_srgb(tone_mapped)).astype(np.float32)


def _sphere(n: int) -> np.ndarray:
    """Return (n, 3) unit vectors spread evenly over the sphere along a golden-angle spiral."""
    index = np.arange(n) + 0.5
    height = 1 - 2 * index / n
    angle = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], axis=1)
