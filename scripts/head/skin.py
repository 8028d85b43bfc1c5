"""Build the skin: crop the body mesh to the head and neck, and refine the lower lip.

The base mesh has half as many columns in the lower lip as in the upper lip, so an open mouth would
be V-shaped and some upper-lip vertices would have no partner. This module adds columns to the lower
lip. It also defines the triangles and texture coordinates, and the linear map from base-mesh fields
(positions, targets, masks) to skin vertices.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from source import N_BASE, Source

# The midline vertices (upper lip, lower lip) of the nine edge loops around the mouth, from the
# vermilion border inward to the vestibule, as indices in base.obj.
LOOP_MIDLINE = (
    (466, 496), (467, 495), (509, 513), (468, 494), (474, 493),
    (520, 523), (537, 540), (554, 557), (571, 574),
)  # fmt: skip
N_HALF = 20
"""The number of vertices of a half loop, from the upper to the lower midline."""
CORNER = 12
"""The position of the mouth corner in a half loop."""
SPLIT_GAPS = (18, 17, 16, 15)
"""The edges (k, k + 1) of a half loop that are split by a vertex in their middle."""


@dataclass(frozen=True)
class LipGrid:
    """The skin vertices of the lips on a regular grid.

    The inner columns of the two lips with the same number face each other.

    Attributes:
        upper: (9 loops, 25 columns), with columns from the right corner (-12) to the left (12).
        lower: (9 loops, 23 columns), with the corners at -11 and 11.
    """

    upper: np.ndarray
    lower: np.ndarray


@dataclass(frozen=True)
class Skin:
    """The topology of the skin.

    Attributes:
        support: (n, 4) base-mesh vertices that define each skin vertex.
        weights: (n, 4) weights of these vertices.
        triangles: (F, 3) vertex indices.
        uv: (N, 2) texture coordinates.
        uv_triangles: (F, 3) texture-coordinate indices.
        lips: The lip grid.
        mirror: (n,) index of each vertex's mirror image.
    """

    support: np.ndarray
    weights: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    uv_triangles: np.ndarray
    lips: LipGrid
    mirror: np.ndarray

    def field(self, base: np.ndarray) -> np.ndarray:
        """Return a (19158, ...) base-mesh field at the skin vertices."""
        picked = base[self.support]
        weights = self.weights.reshape(self.weights.shape + (1,) * (picked.ndim - 2))
        return (picked * weights).sum(1)


def crop(source: Source, neutral: np.ndarray) -> np.ndarray:
    """Return a (Q,) mask of the quads of head and neck, without the sockets behind the eyes."""
    base, quads = source.vertices, source.quads
    # The cut follows an edge loop from the nape (600 mm) down to the throat (560 mm).
    forward = np.clip((base[:, 2] + 30.0) / 120.0, 0.0, 1.0)
    keep = base[:, 1] > 600.0 - 40.0 * forward
    for side in "lr":
        eye = neutral[source.group(f"helper-{side}-eye")]
        center = (eye.max(0) + eye.min(0)) / 2
        near = np.linalg.norm(neutral - center, axis=1) < 16.5
        keep &= ~(near & (neutral[:, 2] - center[2] < 1.0))
    chosen = (source.quad_groups == "body") & keep[quads].all(1)
    a, b = quads[chosen].ravel(), np.roll(quads[chosen], -1, 1).ravel()
    _, label = connected_components(coo_array((np.ones(len(a), bool), (a, b)), (N_BASE, N_BASE)))
    # The head is the largest connected component.
    head = np.bincount(label[quads[chosen][:, 0]]).argmax()
    return chosen & (label[quads[:, 0]] == head)


def half_loops(quads: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the (9, 20) base-mesh vertices of the left half of each mouth loop."""
    by_edge = defaultdict(set)
    neighbors = defaultdict(set)
    for index, quad in enumerate(quads):
        for a, b in zip(quad, np.roll(quad, -1), strict=True):
            by_edge[frozenset((a, b))].add(index)
            neighbors[a].add(b)
            neighbors[b].add(a)
    rows = []
    for start, stop in LOOP_MIDLINE:
        second = next(n for n in neighbors[start] if positions[n, 0] > 0.1)
        path = [start, second]
        while path[-1] != stop:
            before, here = path[-2:]
            touched = by_edge[frozenset((before, here))]
            path.append(
                next(
                    n
                    for n in neighbors[here]
                    if n != before and not by_edge[frozenset((here, n))] & touched
                )
            )
        if len(path) != N_HALF:
            raise ValueError(
                f"the mouth loop from vertex {start} has {len(path)} vertices; expected {N_HALF}"
            )
        rows.append(path)
    return np.array(rows)


def _split_supports(loops: np.ndarray, mirror: np.ndarray) -> dict[frozenset[int], list[int]]:
    """Return the edges to split, each with the four loop vertices that interpolate its middle."""
    out = {}
    for row in loops[:-1]:
        around = np.r_[row, mirror[row[N_HALF - 2]]]
        for k in SPLIT_GAPS:
            four = around[k - 1 : k + 3]
            for side in (four, mirror[four]):
                out[frozenset((int(side[1]), int(side[2])))] = [int(v) for v in side]
    return out


def _polygons(
    quads: np.ndarray, uv_quads: np.ndarray, uv: np.ndarray, middle: dict[frozenset[int], int]
) -> tuple[list[list[tuple[int, int]]], np.ndarray]:
    """Convert quads to lists of (vertex, uv) corners, and insert the vertices of split edges."""
    uv_list = [tuple(p) for p in uv]
    uv_middle: dict[frozenset[int], int] = {}
    out = []
    for quad, uv_quad in zip(quads, uv_quads, strict=True):
        corners = []
        for k in range(4):
            a, b = int(quad[k]), int(quad[(k + 1) % 4])
            s, t = int(uv_quad[k]), int(uv_quad[(k + 1) % 4])
            corners.append((a, s))
            vertex = middle.get(frozenset((a, b)))
            if vertex is not None:
                key = frozenset((s, t))
                if key not in uv_middle:
                    uv_middle[key] = len(uv_list)
                    uv_list.append(tuple((uv[s] + uv[t]) / 2))
                corners.append((vertex, uv_middle[key]))
        out.append(corners)
    return out, np.array(uv_list)


def _cut_quad(p: list[tuple[int, int]], positions: np.ndarray) -> list[list[tuple[int, int]]]:
    """Split a quad into two triangles along the shorter diagonal."""
    at = [positions[v] for v, _ in p]
    if np.linalg.norm(at[0] - at[2]) <= np.linalg.norm(at[1] - at[3]) + 1e-6:
        return [[p[0], p[1], p[2]], [p[0], p[2], p[3]]]
    return [[p[0], p[1], p[3]], [p[1], p[2], p[3]]]


def _triangulate(
    polygon: list[tuple[int, int]], positions: np.ndarray, first_new: int
) -> list[list[tuple[int, int]]]:
    new = [k for k, (v, _) in enumerate(polygon) if v >= first_new]
    if not new:
        return _cut_quad(polygon, positions)
    p = polygon[new[0] :] + polygon[: new[0]]
    if len(new) == 2:  # the new vertices divide the polygon into two quads
        far = new[1] - new[0]
        return _cut_quad(p[: far + 1], positions) + _cut_quad([*p[far:], p[0]], positions)
    return [[p[0], p[k], p[k + 1]] for k in range(1, len(p) - 1)]


def build(source: Source, neutral: np.ndarray) -> Skin:
    """Crop and refine the skin.

    Args:
        source: The CC0 data.
        neutral: (19158, 3) mean head in millimeters.
    """
    chosen = crop(source, neutral)
    quads, uv_quads = source.quads[chosen], source.uv_quads[chosen]
    loops = half_loops(quads, neutral)
    splits = _split_supports(loops, source.mirror)
    middle = {edge: N_BASE + k for k, edge in enumerate(splits)}
    polygons, uv = _polygons(quads, uv_quads, source.uv, middle)

    kept = np.unique(quads)
    support = np.concatenate([np.repeat(kept[:, None], 4, 1), np.array(list(splits.values()))])
    weights = np.tile([1.0, 0.0, 0.0, 0.0], (len(support), 1))
    weights[len(kept) :] = np.array([-1.0, 9.0, 9.0, -1.0]) / 16.0  # four-point interpolation
    index = np.full(N_BASE + len(splits), -1)
    index[kept] = np.arange(len(kept))
    index[N_BASE:] = len(kept) + np.arange(len(splits))

    new_positions = (neutral[support[len(kept) :]] * weights[len(kept) :, :, None]).sum(1)
    positions = np.concatenate([neutral, new_positions])
    triangles = np.array([t for p in polygons for t in _triangulate(p, positions, N_BASE)])
    used, uv_triangles = np.unique(triangles[..., 1], return_inverse=True)

    mirror = np.empty(len(support), int)
    mirror[: len(kept)] = index[source.mirror[kept]]
    for edge, vertex in middle.items():
        other = frozenset(int(source.mirror[v]) for v in edge)
        mirror[index[vertex]] = index[middle[other]]
    return Skin(
        support=support,
        weights=weights,
        triangles=index[triangles[..., 0]],
        uv=uv[used],
        uv_triangles=uv_triangles.reshape(-1, 3),
        lips=_lip_grid(loops, middle, index, mirror),
        mirror=mirror,
    )


def _lip_grid(
    loops: np.ndarray, middle: dict[frozenset[int], int], index: np.ndarray, mirror: np.ndarray
) -> LipGrid:
    upper, lower = [], []
    for row in loops:
        top = index[row[: CORNER + 1]]
        bottom: list[int] = []
        for k in range(N_HALF - 1, CORNER - 1, -1):
            bottom.append(int(index[row[k]]))
            vertex = middle.get(frozenset((int(row[k]), int(row[k - 1]))))
            if vertex is None and k - 1 in SPLIT_GAPS:
                vertex = row[k]  # the innermost loop is not split, so its column is repeated
            if vertex is not None:
                bottom.append(int(index[vertex]))
        low = np.array(bottom)
        upper.append(np.r_[mirror[top[:0:-1]], top])
        lower.append(np.r_[mirror[low[:0:-1]], low])
    return LipGrid(np.array(upper), np.array(lower))
