"""Where the lips are, told by the motion alone: they part, while all other skin hangs together.

Two vertices of one surface that lie side by side in the template move nearly alike, unless a slit
runs between them. The slit in the midst of the motion is the mouth (the others are the eyes).
"""

from collections.abc import Iterator

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.topology import label_components

MIN_FRAMES = 10
"""Fewer frames tell no motion."""
_MAX_FRAMES = 240
"""More frames of a sample are thinned: they tell nothing new."""
_TINY = 5e-4
"""Root mean square motion, in parts of the template's diagonal, below which nothing is told."""
_QUIET = 0.25
"""Part of the largest motion below which a vertex does not count for where the motion is."""
_RADII = (0.12, 0.2, 0.3)
"""What counts as side by side, in parts of the spread of the motion (about 27 mm on a head: jaw and
mouth). The wider ones are for templates whose lips do not touch."""
_ENOUGH = 0.8
"""The narrowest radius is taken at which the parting is nearly as strong as at any."""
_PARTING = 0.4
"""Part of the largest motion by which the two sides of a slit part at least; skin stretches by less
than a fifth of it."""
_RIM = 0.4
"""Part of the strongest parting from which on a vertex belongs to the rim of the slit."""
_MAX_RIM_SHARE = 0.3
"""Where more of the vertices part from their neighbors, it is noise and not a mouth."""
_LIP_WIDTH = 0.18
"""How far the lips reach from the rim, in parts of the rim's length."""
_ALIGNED_BY = 2000
"""As many vertices tell how the head is turned."""
_POINTS_AT_ONCE = 512


def infer_lips(
    template: np.ndarray, offsets: np.ndarray, triangles: np.ndarray | None = None
) -> np.ndarray:
    """The vertices of the lips.

    Args:
        template: (V, 3) neutral face in any unit, of one subject or the mean of several.
        offsets: (N, V, 3) frames of speech minus the template of their subject, spread over the
            data; of one or several subjects.
        triangles: (F, 3) vertex indices. The mouth is looked for within one connected surface, so
            that teeth, tongue and eyeballs close to the skin are not taken for a lip. None: the
            mesh is one surface.

    Returns:
        (n,) int32 vertex indices, ascending.

    Raises:
        DataError: The motion tells no lips: too few frames, none or hardly any motion, NaN, nothing
            that parts, or all of it.
    """
    template = np.asarray(template, np.float64)
    motion = _principal_motion(template, np.asarray(offsets))
    energy = np.square(motion).sum(1)
    # what moves a little reaches far: the whole neck, or all of the head that was held still
    weights = energy * (energy > _QUIET**2 * energy.max())
    surface = np.zeros(len(template), int)
    if triangles is not None:
        weights *= vertex_areas(template, triangles)
        surface = surfaces(template, triangles)
    if not weights.any():
        raise DataError("lips cannot be told from the motion: no face of the mesh moves")
    center = weights @ template / weights.sum()
    squared_distances = np.square(template - center).sum(1)
    spread = float(np.sqrt(weights @ squared_distances / weights.sum()))
    limit = _PARTING * float(np.sqrt(np.quantile(energy[weights > 0], 0.99)))
    radii = [part * spread for part in _RADII]
    partings = [_parting_strength(template, motion, surface, radius) for radius in radii]
    strengths = [float(np.sort(parting)[-min(20, len(parting))]) for parting in partings]
    if max(strengths) < limit or limit == 0:
        raise DataError(
            "lips cannot be told from the motion: no two neighbors part, so no mouth opens in it; "
            "give a list of the lip vertices"
        )
    best = int(np.argmax(np.array(strengths) >= _ENOUGH * max(strengths)))
    parting, strongest, radius = partings[best], strengths[best], radii[best]
    proximity = np.exp(-0.5 * squared_distances / spread**2)
    rim = _best_slit(template, parting, proximity, _RIM * strongest, radius)
    length = 2 * float(np.sqrt(np.square(template[rim] - template[rim].mean(0)).sum(1).max()))
    return _grow(template, rim, surface, _LIP_WIDTH * length)


def surfaces(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V,) a number for each vertex, the same for all that faces connect.

    Vertices at the very same place count as one: exporters split them along texture seams.
    """
    _, first, group = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    duplicates = np.stack([np.arange(len(vertices)), first[group.ravel()]], axis=1)
    return label_components(
        len(vertices), np.concatenate([triangles[:, :2], triangles[:, 1:], duplicates])
    )


def vertex_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V,) area that belongs to each vertex: a third of every face around it."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(triangles.ravel(), np.repeat(third, 3), minlength=len(vertices))


def remove_head_motion(template: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(N, V, 3) float32 offsets of frames that are turned and moved onto the template (V, 3).

    Least-squares rotations (Kabsch 1976): first by all vertices, then by the half of them that is
    left with the least motion, so that the jaw does not drag the head along.
    """
    rest = (template - template.mean(0)).astype(np.float32)
    all_vertices = np.arange(len(rest))
    energy = np.square(_align_frames(rest, offsets, all_vertices)).sum((0, 2))
    quiet = np.argsort(energy, kind="stable")[: max(4, len(rest) // 2)]
    return _align_frames(rest, offsets, np.sort(quiet))


def _align_frames(rest: np.ndarray, offsets: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Offsets of frames that are turned and moved so that the vertices ``anchors`` fit best."""
    anchors = anchors[:: -(-len(anchors) // _ALIGNED_BY)]
    mean = np.full(
        len(anchors), 1 / len(anchors), np.float32
    )  # a product is much faster than mean(0)
    rest = rest - mean @ rest[anchors]
    aligned = np.empty(offsets.shape, np.float32)
    for frame, offset in enumerate(offsets):
        moved = (rest + offset).astype(np.float32)
        moved -= mean @ moved[anchors]
        u, _, v = np.linalg.svd((moved[anchors].T @ rest[anchors]).astype(np.float64))
        u[:, -1] *= np.sign(np.linalg.det(u @ v))
        np.subtract(moved @ (u @ v).astype(np.float32), rest, out=aligned[frame])
    return aligned


def _principal_motion(template: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(V, 3k) float32: distances between its rows are those of the motions, as root mean square.

    The few leading principal components stand for the frames.
    """
    n_vertices = len(template)
    if offsets.ndim != 3 or offsets.shape[1:] != (n_vertices, 3):
        raise DataError(f"offsets are {offsets.shape}, expected (frames, {n_vertices}, 3)")
    n_frames = len(offsets)
    if n_frames < MIN_FRAMES:
        raise DataError(
            f"lips cannot be told from {n_frames} frames of motion, at least {MIN_FRAMES} are "
            "needed; give a list of the lip vertices"
        )
    if n_frames > _MAX_FRAMES:
        offsets = offsets[np.linspace(0, n_frames - 1, _MAX_FRAMES).astype(int)]
    if not np.isfinite(offsets.sum(dtype=np.float64)):
        raise DataError("lips cannot be told from the motion: it holds NaN or infinite numbers")
    frames = remove_head_motion(template, offsets).reshape(len(offsets), -1)
    frames -= frames.mean(0)
    gram = (frames @ frames.T).astype(np.float64) / len(frames)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    n_components = min(24, 1 + int(np.searchsorted(np.cumsum(values), 0.999 * values.sum())))
    components = (
        vectors[:, :n_components].T.astype(np.float32) @ frames / np.float32(np.sqrt(len(frames)))
    )
    motion = (
        components.reshape(n_components, n_vertices, 3).transpose(1, 0, 2).reshape(n_vertices, -1)
    )
    largest = float(np.sqrt(np.square(motion).sum(1).max()))
    size = float(np.linalg.norm(np.ptp(template, axis=0)))
    if largest < _TINY * size:
        raise DataError(
            f"lips cannot be told from the motion: nothing moves by more than {largest:.2g} "
            f"(the face is {size:.2g} large); give a list of the lip vertices"
        )
    return np.ascontiguousarray(motion)


def _parting_strength(
    template: np.ndarray, motion: np.ndarray, surface: np.ndarray, radius: float
) -> np.ndarray:
    """(V,) the largest relative motion of each vertex and one within ``radius`` of its surface."""
    parting = np.zeros(len(template))
    for a, b in _pairs(template, template, radius):
        same = surface[a] == surface[b]
        a, b = a[same], b[same]
        distances = np.linalg.norm(motion[a] - motion[b], axis=1)
        np.maximum.at(parting, a, distances)
    return parting


def _best_slit(
    template: np.ndarray, parting: np.ndarray, proximity: np.ndarray, limit: float, radius: float
) -> np.ndarray:
    """Vertices of the slit that parts most, in the midst of the motion."""
    rim = np.flatnonzero(parting > limit)
    if len(rim) > _MAX_RIM_SHARE * len(template):
        raise DataError(
            "lips cannot be told from the motion: neighbors part everywhere, as in noise; "
            "give a list of the lip vertices"
        )
    edges = [np.stack(pair, axis=1) for pair in _pairs(template[rim], template[rim], 2 * radius)]
    label = label_components(len(rim), np.concatenate(edges))
    score = np.bincount(label, parting[rim] * proximity[rim])
    return rim[label == score.argmax()]


def _grow(template: np.ndarray, rim: np.ndarray, surface: np.ndarray, reach: float) -> np.ndarray:
    """Ascending vertices of the rim's surface within ``reach`` of it."""
    selected = np.zeros(len(template), bool)
    for a, _ in _pairs(template, template[rim], reach):
        selected[a] = True
    return np.flatnonzero(selected & np.isin(surface, surface[rim])).astype(np.int32)


def _pairs(
    points: np.ndarray, others: np.ndarray, radius: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all (i, j) with points[i] within ``radius`` of others[j], a block of points at a time.

    A block at a time bounds the memory: a dense mesh has thousands of neighbors for each vertex.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(others)
    for start in range(0, len(points), _POINTS_AT_ONCE):
        block = cKDTree(points[start : start + _POINTS_AT_ONCE])
        pairs = block.sparse_distance_matrix(tree, radius, output_type="ndarray")
        yield start + pairs["i"], pairs["j"]
