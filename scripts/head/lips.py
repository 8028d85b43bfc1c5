"""Lip contact: closes the lips exactly, and makes the lip correctives.

Owns: the contact pairs, the sealing of a face shape, and the fields of the lip correctives
(`lipSeal`, `lipRound`, `lipTuckFV`, and what keeps shut lips shut under other units).
All lengths in millimeters; shapes are skin vertices (n, 3).
"""

from __future__ import annotations

import numpy as np
from skin import LipGrid, Skin

UPPER_A, LOWER_A = 4, 5
"""Loops that meet in front: the visible line between closed lips."""
UPPER_B, LOWER_B = 5, 6
"""Loops that meet behind it."""
N_PAIRED = 10
"""Columns -10 .. 10 of the two grids face each other."""
HALF_GAP = 0.06
"""Closed lips keep twice this distance, so that no surface crosses another."""
BACK_OVERLAP = 0.22
"""Behind that line each lip goes this far past the middle, so that no slit shows the teeth."""
CENTRAL = 5
"""Columns -5 .. 5 make up the region of paired inner-lip vertices (60 % of the mouth width)."""

# How far a displacement of the contact loops reaches into the loops around them.
UPPER_REACH = np.array([0.06, 0.16, 0.38, 0.72, 1.0, 1.0, 0.75, 0.35, 0.1])
LOWER_REACH = np.array([0.06, 0.16, 0.38, 0.66, 0.88, 1.0, 1.0, 0.5, 0.15])


BORDER_REACH = np.array([0.55, 0.85, 1.0, 1.0, 1.0, 1.0])
"""How much of its own ellipse each loop in front of the contact takes when the mouth is rounded."""


def pairs(grid: LipGrid, columns: int = CENTRAL) -> tuple[np.ndarray, np.ndarray]:
    """(upper, lower) contact vertices, from the subject's right (-x) to the left."""
    u, d = grid.upper.shape[1] // 2, grid.lower.shape[1] // 2
    span = np.arange(-columns, columns + 1)
    return grid.upper[UPPER_A, u + span], grid.lower[LOWER_A, d + span]


def _columns(grid: LipGrid) -> tuple[np.ndarray, np.ndarray]:
    """(9, 21) upper and lower vertices of the facing columns."""
    span = np.arange(-N_PAIRED, N_PAIRED + 1)
    return grid.upper[:, grid.upper.shape[1] // 2 + span], grid.lower[
        :, grid.lower.shape[1] // 2 + span
    ]


def spread(
    skin: Skin, upper_a: np.ndarray, upper_b: np.ndarray, lower_a: np.ndarray, lower_b: np.ndarray
) -> np.ndarray:
    """Displacement field from displacements (21, 3) of the four contact rows.

    Loops outside and inside follow with a falloff, so the lips keep a soft shape.
    """
    out = np.zeros((len(skin.support), 3))
    rows = (
        (*_columns(skin.lips)[:1], UPPER_REACH, UPPER_A, upper_a, upper_b),
        (*_columns(skin.lips)[1:], LOWER_REACH, LOWER_A, lower_a, lower_b),
    )
    # The innermost loop of the lower lip repeats columns: writing from loop 8 outwards is safe
    # because repeated entries carry nearly the same value.
    for grid, reach, front, move_a, move_b in rows:
        for loop in range(len(reach) - 1, -1, -1):
            move = move_a if loop <= front else move_b
            out[grid[loop]] = reach[loop] * move
    for loop in range(len(UPPER_REACH)):  # the column next to the corner: half its neighbor
        for step in (-1, 1):
            middle = skin.lips.upper.shape[1] // 2
            beside, last = (
                skin.lips.upper[loop, middle + step * 11],
                skin.lips.upper[loop, middle + step * 10],
            )
            out[beside] = 0.5 * out[last]
    return out


def seal(skin: Skin, shape: np.ndarray, bow: float = 0.0) -> np.ndarray:
    """Displacement that closes the lips of a face shape over the whole width.

    Args:
        skin: topology.
        shape: (n, 3) skin.
        bow: depth of the line's bow (the middle of the upper lip dips), millimeters.

    Returns:
        (n, 3) displacement; afterward the front contact pairs are 2 * HALF_GAP apart.
    """
    upper, lower = _columns(skin.lips)
    moves = []
    for u, d, half in (
        (UPPER_A, LOWER_A, HALF_GAP),
        (UPPER_B, LOWER_B, -BACK_OVERLAP),
    ):
        top, bottom = shape[upper[u]], shape[lower[d]]
        line = (top + bottom) / 2
        line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
        x = line[:, 0]
        line[:, 1] += bow * (
            1.1 * np.exp(-(((np.abs(x) - 8.5) / 4.0) ** 2)) - np.exp(-((x / 4.0) ** 2))
        )
        lift = np.array([0.0, half, 0.0])
        moves += [line + lift - top, line - lift - bottom]
    return spread(skin, moves[0], moves[2], moves[1], moves[3])


def keep_shut(skin: Skin, delta: np.ndarray, partner: np.ndarray | None = None) -> np.ndarray:
    """Correction that makes a unit leave shut lips shut.

    Args:
        skin: topology.
        delta: (n, 3) the unit's displacement.
        partner: displacement that the unit always goes with (jawOpen for mouthClose).

    Returns:
        (n, 3) displacement to add to `delta`: each lip goes half the way.
    """
    whole = delta if partner is None else delta + partner
    upper, lower = _columns(skin.lips)
    front = whole[upper[UPPER_A]] - whole[lower[LOWER_A]]
    back = whole[upper[UPPER_B]] - whole[lower[LOWER_B]]
    if partner is None:
        return spread(skin, -front / 2, -back / 2, front / 2, back / 2)
    # mouthClose lifts the lower lip: all of the correction belongs there.
    return spread(skin, 0 * front, 0 * back, front, back)


def round_opening(skin: Skin, shape: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Displacement that turns the opening between the lips, and the lips around it, into ellipses.

    The corners nearly stay; the columns between move up or down. Every loop in front gets an
    ellipse of its own: a round opening in a pointed lip looks like a beak.

    Args:
        skin: topology.
        shape: (n, 3) skin with the mouth open.
        upper, lower: share of the lip's height over the corners that its middle keeps (giving
            the rest to the sides); 0 leaves that lip as it is.
    """
    field = np.zeros((len(skin.support), 3))
    span = np.arange(-N_PAIRED, N_PAIRED + 1)
    for grid, front, share, reach in (
        (skin.lips.upper, UPPER_A, upper, UPPER_REACH),
        (skin.lips.lower, LOWER_A, lower, LOWER_REACH),
    ):
        if not share:
            continue
        middle = grid.shape[1] // 2
        move = np.zeros((len(span), 3))
        for loop in range(len(reach)):  # those behind the contact follow its move
            if loop <= front:
                row = shape[grid[loop]]
                corner_y = (row[0, 1] + row[-1, 1]) / 2
                half_width = (row[-1, 0] - row[0, 0]) / 2
                t = np.clip(np.abs(row[middle + span, 0]) / half_width, 0.0, 1.0)
                wanted = corner_y + share * (row[middle, 1] - corner_y) * np.sqrt(1.0 - t**2)
                move[:, 1] = wanted - row[middle + span, 1]
            weight = BORDER_REACH[loop] if loop <= front else reach[loop]
            field[grid[loop, middle + span]] = weight * move
    return relax(skin, field, 3)


def relax(skin: Skin, field: np.ndarray, steps: int) -> np.ndarray:
    """Laplacian smoothing of a displacement field over the mesh."""
    ends = np.concatenate([skin.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    n = len(field)
    degree = np.bincount(ends[:, 0], minlength=n) + np.bincount(ends[:, 1], minlength=n)
    for _ in range(steps):
        total = np.zeros_like(field)
        for axis in range(3):
            total[:, axis] = np.bincount(ends[:, 0], field[ends[:, 1], axis], n) + np.bincount(
                ends[:, 1], field[ends[:, 0], axis], n
            )
        field = 0.5 * field + 0.5 * total / degree[:, None]
    return field


def tuck(skin: Skin, shape: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Displacement that brings the lower lip's contact row to the edge of the upper incisors.

    Args:
        skin: topology.
        shape: (n, 3) skin in the pose to correct.
        edge: (m, 3) the front rim of the upper teeth, along the arch.

    Returns:
        (n, 3) displacement.
    """
    middle = skin.lips.lower.shape[1] // 2
    span = np.arange(-N_PAIRED, N_PAIRED + 1)
    row = skin.lips.lower[LOWER_A, middle + span]
    x = shape[row, 0]
    rim = np.c_[np.interp(x, edge[:, 0], edge[:, 1]), np.interp(x, edge[:, 0], edge[:, 2])]
    # A scalloped rim would print itself on the lip: take its smooth trend.
    inner = np.abs(x) < 17.0
    rim = np.stack([np.polyval(np.polyfit(x[inner], c[inner], 4), x) for c in rim.T], 1)
    fade = np.exp(-((np.abs(x) / 17.5) ** 8))
    move = np.zeros((len(span), 3))
    move[:, 1] = (rim[:, 0] - shape[row, 1]) * fade
    move[:, 2] = (rim[:, 1] - shape[row, 2]) * fade

    # Around the row the field falls off with distance, on the lower lip and chin only.
    lower = _lower_side(skin, shape)
    distance = np.linalg.norm(shape[:, None] - shape[row][None], axis=2)
    weight = np.exp(-((distance / 2.5) ** 2)) + 1e-12
    carried = (weight @ move) / weight.sum(1, keepdims=True)
    reach = np.exp(-((np.maximum(distance.min(1) - 2.0, 0.0) / 8.0) ** 2))
    field = np.where(lower[:, None], carried * reach[:, None], 0.0)
    field = relax(skin, field, 3)
    field[row] = move
    return field


def _lower_side(skin: Skin, shape: np.ndarray) -> np.ndarray:
    """(n,) true for the vertices nearer, along the mesh, to the lower lip than to the upper."""
    ends = np.concatenate([skin.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    length = np.linalg.norm(shape[ends[:, 0]] - shape[ends[:, 1]], axis=1)
    to = []
    for grid in (skin.lips.upper, skin.lips.lower):
        distance = np.full(len(shape), 1e6)
        middle = grid.shape[1] // 2
        distance[grid[:, middle - 10 : middle + 11]] = 0.0
        for _ in range(40):
            offered = distance[ends[:, 0]] + length
            np.minimum.at(distance, ends[:, 1], offered)
        to.append(distance)
    return to[1] < to[0]
