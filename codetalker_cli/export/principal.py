"""As few principal shapes as a largest vertex error allows, found in passes over the frames."""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export.take import Take

MAX_TARGETS = 2000
"""The most morph targets of a mesh: three.js stores each one as a layer of a texture, and graphics
cards allow 2,048 layers."""
_SPAN_TOLERANCE = 0.25
"""The part of the allowed error that the space in which shapes are searched may contribute."""


@dataclass(frozen=True)
class Shapes:
    """A mesh with morph targets whose weights stay from 0 to 1, as Blender and Unity require.

    Attributes:
        base: (V, 3) float32 vertices at zero weights; usually not a face.
        offsets: (R, V, 3) float32 offsets at weight 1.
        neutral: (R,) float32 weights of the neutral face.
        weights: (T, R) float32 weights of each frame.
    """

    base: np.ndarray
    offsets: np.ndarray
    neutral: np.ndarray
    weights: np.ndarray


def principal_shapes(take: Take, error_m: float) -> Shapes:
    """Return the smallest number of principal shapes for an error, which is measured.

    Args:
        take: The motion.
        error_m: The largest allowed distance of any vertex in any frame, in meters.

    Raises:
        InputError: The error is below the precision of float32, or needs too many shapes.
        DataError: The motion contains NaN or infinite values.
    """
    directions = _span(take, error_m * _SPAN_TOLERANCE)
    coordinates = np.concatenate([_rows(take, block) @ directions.T for block in take.blocks()])
    if not np.isfinite(coordinates).all():
        raise DataError("the motion contains NaN or infinite values")
    gram = coordinates.T.astype(np.float64) @ coordinates
    order = np.linalg.eigh(gram)[1][:, ::-1].astype(np.float32)
    coordinates, directions = coordinates @ order, order.T @ directions

    low, high = 0, len(directions)
    chosen = _scaled(take, coordinates, directions)
    if not _fits(take, chosen, error_m):
        raise InputError(
            f"the setting export.basis_error_mm is {error_m * 1e3:g}, which is below the precision "
            "of float32 vertices; give a larger value"
        )
    while high - low > 1:  # ``high`` shapes fit, ``low`` shapes do not (or are none)
        middle = (low + high) // 2
        shapes = _scaled(take, coordinates[:, :middle], directions[:middle])
        if _fits(take, shapes, error_m):
            high, chosen = middle, shapes
        else:
            low = middle
    return chosen


def _rows(take: Take, block: np.ndarray) -> np.ndarray:
    return (block - take.template).reshape(len(block), -1)


def _span(take: Take, error: float) -> np.ndarray:
    """Return orthonormal (R, 3 V) directions such that no vertex is off by more than ``error``."""
    directions = np.zeros((1, take.template.size), np.float32)
    for block in take.blocks():
        rest = _rows(take, block)
        rest = rest - (rest @ directions.T) @ directions
        off = np.square(rest).reshape(len(rest), -1, 3).sum(2).max(1) > error**2
        if not off.any():
            continue
        rest = rest[off].astype(np.float64)
        values, vectors = np.linalg.eigh(rest @ rest.T)
        # Without the other directions, no frame is off by more than the largest of their singular
        # values, summed over all vertices.
        added = (vectors[:, values > error**2].T @ rest)[::-1]
        for _ in range(2):  # the second time removes what rounding left of the old directions
            added -= (added @ directions.T) @ directions
        added = np.linalg.qr(added.T)[0].T
        directions = np.concatenate([directions, added.astype(np.float32)])
        if len(directions) > MAX_TARGETS:
            raise InputError(
                f"a basis of this motion has more than {MAX_TARGETS} shapes; give a setting "
                "export.basis_error_mm that is larger than the noise of the vertices"
            )
    return directions[1:] if len(directions) > 1 else directions


def _scaled(take: Take, coordinates: np.ndarray, directions: np.ndarray) -> Shapes:
    """Move the base, and scale each shape, such that the weights are from 0 to 1."""
    low = np.minimum(coordinates.min(0), 0)
    size = np.maximum(coordinates.max(0), 0) - low
    size[size == 0] = 1
    base = take.template.astype(np.float64) + (low @ directions).reshape(-1, 3)
    offsets = (size[:, None] * directions).reshape(len(directions), -1, 3)
    weights = np.clip((coordinates - low) / size, 0, 1)
    return Shapes(base.astype(np.float32), offsets, -low / size, weights)


def _fits(take: Take, shapes: Shapes, error: float) -> bool:
    flat = shapes.offsets.reshape(len(shapes.offsets), -1)
    start = 0
    for block in take.blocks():
        made = shapes.weights[start : start + len(block)] @ flat
        made += shapes.base.reshape(-1)
        distance = np.square(made - block.reshape(len(block), -1)).reshape(len(block), -1, 3)
        if distance.sum(2).max() > error**2:
            return False
        start += len(block)
    return True
