"""Model the teeth, eyeballs and brows.

For teeth and eyes the base mesh contains only coarse helper bands and balls. They drive the parts
modeled here: an affine fit of the helper's displacement moves the part. Brows are strips that are
attached to the skin by barycentric coordinates. All lengths are in millimeters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d


@dataclass(frozen=True)
class Part:
    """A part of the head.

    Attributes:
        vertices: (n, 3) positions.
        triangles: (F, 3) vertex indices.
        uv: (n, 2) texture coordinates, 0 to 1.
        shade: (n, k) parameters for coloring.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    shade: np.ndarray


def _grid_triangles(n_rows: int, n_columns: int) -> np.ndarray:
    row, column = np.meshgrid(np.arange(n_rows - 1), np.arange(n_columns - 1), indexing="ij")
    a = (row * n_columns + column).ravel()
    b, c, d = a + 1, a + n_columns + 1, a + n_columns
    return np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])


def _toward(vertices: np.ndarray, triangles: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Flip all triangles if the chosen ones face away from +z on average."""
    t = vertices[triangles[chosen]]
    normal = np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])
    return triangles if normal[:, 2].mean() > 0 else triangles[:, ::-1]


# The outer arch as (|x|, z) from the midline to the molars. It follows the helper bands, but the
# incisors are moved forward until they nearly touch the lips, as in a real mouth (the bands leave
# a gap of 4 mm).
ARCH_UPPER = ((0, 140.8), (9.2, 139.0), (18.2, 133.2), (23.1, 126.2), (26.4, 118.5),
              (29.5, 110.2), (31.1, 104.1), (32.9, 98.0), (33.4, 91.4))  # fmt: skip
ARCH_LOWER = ((0, 138.4), (9.5, 136.8), (18.8, 130.6), (23.6, 123.4), (26.6, 115.8),
              (29.6, 108.2), (30.9, 103.3), (32.7, 97.4), (33.6, 90.9))  # fmt: skip
# The widths of the seven teeth of a half arch (anatomical averages), starting at the midline.
WIDTH_UPPER = (8.5, 6.6, 7.6, 7.0, 6.8, 10.0, 9.6)
WIDTH_LOWER = (5.3, 5.9, 6.8, 7.0, 7.1, 11.0, 10.4)
LENGTH_UPPER = (0.0, 0.5, -0.1, 0.6, 0.8, 1.0, 1.2)
LENGTH_LOWER = (0.0, 0.1, -0.2, 0.4, 0.6, 1.0, 1.1)
N_TOOTH_ROWS = 8
EDGE_ROWS = (4, 5)
"""The rows at the edge; rows are ordered from the front gum over the edge to the back gum."""
INCISAL_UPPER, INCISAL_LOWER = 667.9, 668.4
"""The heights of the incisor edges; the upper teeth are in front and overlap the lower slightly."""


def _arch(points: tuple[tuple[float, float], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arc length, x and z of the smoothed arch."""
    p = np.array(points, float)
    x = np.r_[-p[:0:-1, 0], p[:, 0]]
    z = np.r_[p[:0:-1, 1], p[:, 1]]
    length = np.r_[0.0, np.cumsum(np.hypot(np.diff(x), np.diff(z)))]
    fine = np.linspace(0.0, length[-1], 801)
    x = gaussian_filter1d(CubicSpline(length, x)(fine), 22, mode="nearest")
    z = gaussian_filter1d(CubicSpline(length, z)(fine), 22, mode="nearest")
    length = np.r_[0.0, np.cumsum(np.hypot(np.diff(x), np.diff(z)))]
    return length - np.interp(0.0, x, length), x, z


def _tooth_columns(widths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distribute the columns of vertices over the teeth.

    Returns:
        The position of each column along the arch, its relative position in the tooth (0 to 1), and
        the number of the tooth (0 to 6, from the midline).
    """
    edges = np.r_[-np.cumsum(widths)[::-1], 0.0, np.cumsum(widths)]
    at, place, number = [], [], []
    for k in range(14):
        tooth = 6 - k if k < 7 else k - 7
        n = 4 if tooth < 3 else 2
        for j in range(n):
            at.append(edges[k] + (edges[k + 1] - edges[k]) * j / n)
            place.append(j / n)
            number.append(tooth)
    return np.r_[at, edges[-1]], np.r_[place, 0.0], np.r_[number, 6]


def teeth(upper: bool) -> Part:
    """Return one dental arch of 14 teeth with gum.

    The shade is the whiteness (0 gum, 1 enamel) and the gap (1 at the border between teeth).
    """
    length, x, z = _arch(ARCH_UPPER if upper else ARCH_LOWER)
    widths = np.array(WIDTH_UPPER if upper else WIDTH_LOWER)
    widths *= min(1.0, (length[-1] - 0.5) / widths.sum())
    at, place, number = _tooth_columns(widths)
    px, pz = np.interp(at, length, x), np.interp(at, length, z)
    tx, tz = np.gradient(px, at), np.gradient(pz, at)
    size = np.hypot(tx, tz)
    nx, nz = -tz / size, tx / size  # outward
    up = 1.0 if upper else -1.0
    bulge = 1.0 - np.abs(2 * place - 1) ** 3
    border = (place == 0).astype(float)
    shift = np.array(LENGTH_UPPER if upper else LENGTH_LOWER)[number]
    curve = 0.045 * np.maximum(0.0, np.abs(at) - 15.0)
    edge = (INCISAL_UPPER if upper else INCISAL_LOWER) + curve + up * (shift + 0.35 * (1 - bulge))
    height = 9.6 if upper else 8.2
    gum = edge + up * (height - shift - 1.3 * (1 - bulge))
    front = number < 3
    thick = np.where(front, 1.5, 6.0)
    rows = [  # (height, outward offset, enamel)
        (gum + up * 7.0, -0.5 - 0.0 * at, 0.0),
        (gum + up * 0.7, 0.35 + 0.0 * at, 0.0),
        (gum, 0.2 * bulge - 0.15, 1.0),
        ((gum + edge) / 2 - up * 0.8, 0.7 * bulge - 0.5 * (1 - bulge), 1.0),
        (edge + up * 0.5, 0.35 * bulge - 0.6 * (1 - bulge), 1.0),
        (edge, -thick * 0.45, 1.0),
        (edge + up * np.where(front, 3.0, 0.6), -thick - 0.6, 0.8),
        (gum + up * 1.0, -thick - np.where(front, 3.0, 1.0), 0.0),
    ]
    vertices = np.concatenate([np.c_[px + nx * out, y, pz + nz * out] for y, out, _ in rows])
    shade = np.concatenate(
        [np.c_[np.full(len(at), enamel), border * (enamel > 0)] for _, _, enamel in rows]
    )
    triangles = _grid_triangles(len(rows), len(at))
    center = vertices[triangles].mean(1)
    level = triangles.min(1) // len(at)
    triangles = _toward(vertices, triangles, (np.abs(center[:, 0]) < 6) & (level == 3))
    u = np.tile((at - at[0]) / (at[-1] - at[0]), len(rows))
    v = np.repeat(np.linspace(0, 1, len(rows)), len(at))
    return Part(vertices, triangles, np.c_[u, v], shade)


EYE_RINGS = (0.0, 8.5, 9.2, 15.0, 21.5, 23.0, 28.0, 38.0, 52.0, 70.0, 95.0)
EYE_KINDS = (0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 3)
"""The kind of each ring: pupil, iris, limbus or white; double rings give sharp edges."""


def eyeball(helper: np.ndarray, n_segments: int = 18) -> Part:
    """Return a sphere fitted to the helper eye, with its pole at the front.

    The shade is the kind of the ring and its angle from the pole in degrees.
    """
    system = np.c_[2 * helper, np.ones(len(helper))]
    fit = np.linalg.lstsq(system, (helper**2).sum(1), rcond=None)[0]
    center = fit[:3]
    radius = np.sqrt(fit[3] + center @ center)
    angle = np.radians(EYE_RINGS[1:])[:, None]
    turn = 2 * np.pi * np.arange(n_segments) / n_segments
    rings = np.stack(
        [
            np.sin(angle) * np.cos(turn),
            np.sin(angle) * np.sin(turn),
            np.cos(angle) * np.ones_like(turn),
        ],
        -1,
    ).reshape(-1, 3)
    points = np.concatenate([[[0.0, 0.0, 1.0]], rings])
    after = (np.arange(n_segments) + 1) % n_segments
    first = np.arange(n_segments)
    triangles = [np.c_[np.zeros(n_segments, int), 1 + first, 1 + after]]
    for ring in range(len(EYE_RINGS) - 2):
        a = 1 + ring * n_segments
        b = a + n_segments
        triangles.append(np.c_[a + first, b + first, b + after])
        triangles.append(np.c_[a + first, b + after, a + after])
    kinds = np.r_[EYE_KINDS[0], np.repeat(EYE_KINDS[1:], n_segments)]
    angles = np.r_[0.0, np.repeat(EYE_RINGS[1:], n_segments)]
    radial = angles / EYE_RINGS[-1] * 0.5
    spin = np.r_[0.0, np.tile(turn, len(EYE_RINGS) - 1)]
    uv = 0.5 + np.c_[radial * np.cos(spin), radial * np.sin(spin)]
    return Part(center + radius * points, np.concatenate(triangles), uv, np.c_[kinds, angles])


@dataclass(frozen=True)
class Brow(Part):
    """A brow strip attached to the skin.

    Attributes:
        corners: (n, 3) indices of the skin triangle below each vertex.
        barycentric: (n, 3) barycentric coordinates in that triangle.
        lift: (n,) distance from the skin.
    """

    corners: np.ndarray
    barycentric: np.ndarray
    lift: np.ndarray


BROW_X = (12.5, 24.0, 38.0, 50.0, 59.0)
BROW_Y = (755.4, 758.4, 760.0, 757.6, 752.2)
BROW_HALF_HEIGHT = (3.9, 4.3, 3.7, 2.6, 0.9)
BROW_ROWS = (-1.0, -0.5, 0.0, 0.5, 1.0)
BROW_DENSITY = (0.0, 0.8, 1.0, 0.8, 0.0)


def brow(positions: np.ndarray, triangles: np.ndarray, side: float, n_along: int = 17) -> Brow:
    """Return a brow on the skin; `side` is 1 (left) or -1 (right), and the shade is the density."""
    knots, along = np.linspace(0, 1, 5), np.linspace(0, 1, n_along)
    x, y, half = (
        CubicSpline(knots, np.array(c))(along) for c in (BROW_X, BROW_Y, BROW_HALF_HEIGHT)
    )
    rows = np.array(BROW_ROWS)
    flat = np.c_[np.tile(x, 5) * side, (y + rows[:, None] * half * 1.2).ravel()]
    density = np.repeat(np.array(BROW_DENSITY), n_along).reshape(5, n_along)
    density = density * np.interp(along, [0, 0.07, 0.18, 0.75, 1.0], [0.0, 0.55, 0.95, 1.0, 0.0])
    corners, weights = _project(flat, positions, triangles)
    lift = 0.4 + 0.6 * density.ravel()
    t = positions[corners]
    normal = np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    vertices = (t * weights[..., None]).sum(1) + normal * lift[:, None]
    strip = _grid_triangles(5, n_along)
    strip = _toward(vertices, strip, np.ones(len(strip), bool))
    uv = np.c_[np.tile(along, 5), np.repeat(np.linspace(0, 1, 5), n_along)]
    return Brow(vertices, strip, uv, density.reshape(-1, 1), corners, weights, lift)


def _project(
    flat: np.ndarray, positions: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frontmost triangle at each (x, y), and the barycentric weights in it."""
    a, b, c = (positions[triangles[:, k], :2] for k in range(3))
    depth = positions[triangles, 2].mean(1)
    area = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    corners, weights = [], []
    for x, y in flat:
        dx, dy = x - c[:, 0], y - c[:, 1]
        first = ((b[:, 1] - c[:, 1]) * dx + (c[:, 0] - b[:, 0]) * dy) / area
        second = ((c[:, 1] - a[:, 1]) * dx + (a[:, 0] - c[:, 0]) * dy) / area
        three = np.stack([first, second, 1 - first - second], 1)
        inside = np.flatnonzero((three >= -1e-9).all(1))
        best = inside[depth[inside].argmax()]
        corners.append(triangles[best])
        weights.append(three[best])
    return np.array(corners), np.array(weights)


def affine_field(helper: np.ndarray, moved: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Fit an affine map to a helper's displacement, and evaluate it at other points."""
    system = np.c_[helper, np.ones(len(helper))]
    solution = np.linalg.lstsq(system, moved, rcond=1e-8)[0]
    return np.c_[points, np.ones(len(points))] @ solution
