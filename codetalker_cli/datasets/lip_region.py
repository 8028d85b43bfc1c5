"""Infer the lip region from motion: only the lips separate from their neighbors.

Two vertices of one surface that are close to each other in the template move almost identically,
unless a slit runs between them. The slit closest to the center of the motion is the mouth. The
other slits are the eyes.
"""

from collections.abc import Iterator

import numpy as np

from codetalker_cli.errors import DataError, counted
from codetalker_cli.topology import label_components

MIN_FRAMES = 10
"""The minimum number of frames for inferring the lips."""
_MAX_FRAMES = 240
"""The maximum number of frames that are used; more frames do not improve the result."""
_TINY = 5e-4
"""The smallest usable motion (root mean square), as a fraction of the template's diagonal."""
_QUIET = 0.25
"""Vertices that move less than this fraction of the largest motion are ignored in the center."""
# The spread of the motion is about 27 mm on a head (jaw and mouth). The larger radii are needed
# for templates with open lips.
_RADII = (0.12, 0.2, 0.3)
"""The candidate radii of a vertex's neighborhood, as fractions of the spread of the motion."""
_ENOUGH = 0.8
"""The smallest radius that reaches this fraction of the strongest separation is chosen."""
# Elsewhere, skin stretches by less than a fifth of the largest motion.
_PARTING = 0.4
"""The minimum separation of the two sides of a slit, as a fraction of the largest motion."""
_RIM = 0.4
"""Vertices on the rim of a slit separate by at least this fraction of the strongest separation."""
_MAX_RIM_SHARE = 0.3
"""If a larger share of the vertices separates from its neighbors, the motion is noise."""
_LIP_WIDTH = 0.18
"""The width of the lips around the rim of the mouth, as a fraction of the rim's length."""
_ALIGNED_BY = 2000
"""The maximum number of vertices used to align a frame."""
_POINTS_AT_ONCE = 512


def infer_lips(
    template: np.ndarray, offsets: np.ndarray, triangles: np.ndarray | None = None
) -> np.ndarray:
    """Return the vertices of the lips.

    Args:
        template: (V, 3) neutral face in any unit, of one subject or averaged over several.
        offsets: (N, V, 3) frames of speech, as offsets from the template of their subject. They
            should be spread over the data and may come from several subjects.
        triangles: (F, 3) vertex indices. The mouth is searched for within one connected surface,
            so that teeth, tongue and eyeballs close to the skin are not mistaken for lips. None:
            the mesh is treated as one surface.

    Returns:
        (n,) int32 vertex indices, ascending.

    Raises:
        DataError: The lips cannot be inferred because there are too few frames or hardly any
            motion, the motion contains NaN, or no vertices or too many vertices separate.
    """
    template = np.asarray(template, np.float64)
    motion = _principal_motion(template, np.asarray(offsets))
    energy = np.square(motion).sum(1)
    # Small motion is spread widely, over the neck or the whole head, and would move the center.
    weights = energy * (energy > _QUIET**2 * energy.max())
    surface = np.zeros(len(template), int)
    if triangles is not None:
        weights *= vertex_areas(template, triangles)
        surface = surfaces(template, triangles)
    if not weights.any():
        raise DataError(
            "the lips cannot be inferred from the motion: no triangle of the mesh moves"
        )
    center = weights @ template / weights.sum()
    squared_distances = np.square(template - center).sum(1)
    spread = float(np.sqrt(weights @ squared_distances / weights.sum()))
    limit = _PARTING * float(np.sqrt(np.quantile(energy[weights > 0], 0.99)))
    radii = [part * spread for part in _RADII]
    partings = [_parting_strength(template, motion, surface, radius) for radius in radii]
    strengths = [float(np.sort(parting)[-min(20, len(parting))]) for parting in partings]
    if max(strengths) < limit or limit == 0:
        raise DataError(
            "the lips cannot be inferred from the motion: no neighboring vertices separate, so "
            "the mouth never opens; give a list of the lip vertices"
        )
    best = int(np.argmax(np.array(strengths) >= _ENOUGH * max(strengths)))
    parting, strongest, radius = partings[best], strengths[best], radii[best]
    proximity = np.exp(-0.5 * squared_distances / spread**2)
    rim = _best_slit(template, parting, proximity, _RIM * strongest, radius)
    length = 2 * float(np.sqrt(np.square(template[rim] - template[rim].mean(0)).sum(1).max()))
    return _grow(template, rim, surface, _LIP_WIDTH * length)


def surfaces(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the (V,) index of the connected surface that each vertex belongs to.

    Vertices at the same position count as connected, because exporters split vertices along
    texture seams.
    """
    _, first, group = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    duplicates = np.stack([np.arange(len(vertices)), first[group.ravel()]], axis=1)
    return label_components(
        len(vertices), np.concatenate([triangles[:, :2], triangles[:, 1:], duplicates])
    )


def vertex_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the (V,) area of each vertex: a third of the area of its triangles."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(triangles.ravel(), np.repeat(third, 3), minlength=len(vertices))


def remove_head_motion(template: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Align frames rigidly to the template (V, 3); return their (N, V, 3) float32 offsets from it.

    The rotations are least-squares fits (Kabsch 1976). The first fit uses all vertices. The second
    fit uses the half that then moves least, so that the motion of the jaw does not bias it.
    """
    rest = (template - template.mean(0)).astype(np.float32)
    all_vertices = np.arange(len(rest))
    energy = np.square(_align_frames(rest, offsets, all_vertices)).sum((0, 2))
    quiet = np.argsort(energy, kind="stable")[: max(4, len(rest) // 2)]
    return _align_frames(rest, offsets, np.sort(quiet))


def _align_frames(rest: np.ndarray, offsets: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return the offsets of frames after aligning their ``anchors`` to those of the rest face."""
    anchors = anchors[:: -(-len(anchors) // _ALIGNED_BY)]
    # A matrix product is much faster than mean(0).
    mean = np.full(len(anchors), 1 / len(anchors), np.float32)
    rest = rest - mean @ rest[anchors]
    aligned = np.empty(offsets.shape, np.float32)
    for frame, offset in enumerate(offsets):
        moved = (rest + offset).astype(np.float32)
        moved -= mean @ moved[anchors]
        product = (moved[anchors].T @ rest[anchors]).astype(np.float64)
        if not np.isfinite(product).all():  # LAPACK can search forever
            np.subtract(moved, rest, out=aligned[frame])
            continue
        u, _, v = np.linalg.svd(product)
        u[:, -1] *= np.sign(np.linalg.det(u @ v))
        np.subtract(moved @ (u @ v).astype(np.float32), rest, out=aligned[frame])
    return aligned


def _principal_motion(template: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the (V, 3k) float32 motion of each vertex in k principal components.

    The distance between two rows is the RMS distance between the offsets of the two vertices over
    all frames. The k leading components replace the frames to save memory.
    """
    n_vertices = len(template)
    if offsets.ndim != 3 or offsets.shape[1:] != (n_vertices, 3):
        raise DataError(f"offsets have shape {offsets.shape}, expected (frames, {n_vertices}, 3)")
    n_frames = len(offsets)
    if n_frames < MIN_FRAMES:
        raise DataError(
            f"the lips cannot be inferred from {counted(n_frames, 'frame')} of motion; at least "
            f"{MIN_FRAMES} are needed; give a list of the lip vertices"
        )
    if n_frames > _MAX_FRAMES:
        offsets = offsets[np.linspace(0, n_frames - 1, _MAX_FRAMES).astype(int)]
    if not np.isfinite(offsets.sum(dtype=np.float64)):
        raise DataError(
            "the lips cannot be inferred from the motion: it contains NaN or infinite numbers"
        )
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
            f"the lips cannot be inferred from the motion: no vertex moves by more than "
            f"{100 * largest / size:.1g} % of the size of the face; give a list of the lip vertices"
        )
    return np.ascontiguousarray(motion)


def _parting_strength(
    template: np.ndarray, motion: np.ndarray, surface: np.ndarray, radius: float
) -> np.ndarray:
    """Return the (V,) largest motion of each vertex relative to a neighbor on its surface.

    Vertices within ``radius`` of each other in the template are neighbors.
    """
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
    """Return the rim vertices of the slit that opens the most, weighted by nearness to the motion.

    The weight of a vertex is its ``proximity`` to the center of the motion.
    """
    rim = np.flatnonzero(parting > limit)
    if len(rim) > _MAX_RIM_SHARE * len(template):
        raise DataError(
            "the lips cannot be inferred from the motion: neighboring vertices separate "
            "everywhere, as in noise; give a list of the lip vertices"
        )
    edges = [np.stack(pair, axis=1) for pair in _pairs(template[rim], template[rim], 2 * radius)]
    label = label_components(len(rim), np.concatenate(edges))
    score = np.bincount(label, parting[rim] * proximity[rim])
    return rim[label == score.argmax()]


def _grow(template: np.ndarray, rim: np.ndarray, surface: np.ndarray, reach: float) -> np.ndarray:
    """Return the vertices within ``reach`` of the rim that are on the rim's surface, ascending."""
    selected = np.zeros(len(template), bool)
    for a, _ in _pairs(template, template[rim], reach):
        selected[a] = True
    return np.flatnonzero(selected & np.isin(surface, surface[rim])).astype(np.int32)


def _pairs(
    points: np.ndarray, others: np.ndarray, radius: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all (i, j) with points[i] within ``radius`` of others[j], in blocks of points.

    The blocks bound the memory, because each vertex of a dense mesh has thousands of neighbors.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(others)
    for start in range(0, len(points), _POINTS_AT_ONCE):
        block = cKDTree(points[start : start + _POINTS_AT_ONCE])
        pairs = block.sparse_distance_matrix(tree, radius, output_type="ndarray")
        yield start + pairs["i"], pairs["j"]
