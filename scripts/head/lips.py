"""Close the lips exactly, and compute the lip correctives.

This module defines the pairs of contact vertices, and computes the displacement fields of
`lipSeal`, `lipRound` and `lipTuckFV` and of the corrections that keep closed lips closed under
other units. Lengths are in millimeters, and shapes are (n, 3) skin vertices.
"""

from __future__ import annotations

import numpy as np
from skin import LipGrid, Skin

UPPER_A, LOWER_A = 4, 5
"""The front contact loops, which form the visible line between closed lips."""
UPPER_B, LOWER_B = 5, 6
"""The contact loops directly behind them."""
N_PAIRED = 10
"""Columns -10 to 10 of the two grids face each other."""
# Closed lips are twice HALF_GAP apart, so the surfaces never intersect.
HALF_GAP = 0.06
# Behind the front line each lip overlaps the middle by this much, so the teeth are never visible.
BACK_OVERLAP = 0.22
CENTRAL = 5
"""Columns -5 to 5 form the regions of paired inner-lip vertices (60 % of the mouth width)."""

# The share of the contact loops' displacement that each loop follows, from the outermost loop in.
UPPER_REACH = np.array([0.06, 0.16, 0.38, 0.72, 1.0, 1.0, 0.75, 0.35, 0.1])
LOWER_REACH = np.array([0.06, 0.16, 0.38, 0.66, 0.88, 1.0, 1.0, 0.5, 0.15])


BORDER_REACH = np.array([0.55, 0.85, 1.0, 1.0, 1.0, 1.0])
"""The weight of the elliptical rounding in each loop in front of the contact."""


def pairs(grid: LipGrid, columns: int = CENTRAL) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper and lower contact vertices, from the subject's right (-x) to the left."""
    u, d = grid.upper.shape[1] // 2, grid.lower.shape[1] // 2
    span = np.arange(-columns, columns + 1)
    return grid.upper[UPPER_A, u + span], grid.lower[LOWER_A, d + span]


def _columns(grid: LipGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return the (9, 21) upper and the (9, 21) lower vertices of the facing columns."""
    span = np.arange(-N_PAIRED, N_PAIRED + 1)
    return grid.upper[:, grid.upper.shape[1] // 2 + span], grid.lower[
        :, grid.lower.shape[1] // 2 + span
    ]


def spread(
    skin: Skin, upper_a: np.ndarray, upper_b: np.ndarray, lower_a: np.ndarray, lower_b: np.ndarray
) -> np.ndarray:
    """Return the (n, 3) displacement field for (21, 3) displacements of the four contact rows.

    The other loops follow with a falloff, so the lips stay smooth.
    """
    out = np.zeros((len(skin.support), 3))
    rows = (
        (*_columns(skin.lips)[:1], UPPER_REACH, UPPER_A, upper_a, upper_b),
        (*_columns(skin.lips)[1:], LOWER_REACH, LOWER_A, lower_a, lower_b),
    )
    # The innermost loop of the lower lip contains repeated columns. Writing from loop 8 outward is
    # safe, because repeated entries have nearly the same value.
    for grid, reach, front, move_a, move_b in rows:
        for loop in range(len(reach) - 1, -1, -1):
            move = move_a if loop <= front else move_b
            out[grid[loop]] = reach[loop] * move
    for loop in range(len(UPPER_REACH)):  # the column next to the corner follows half as far
        for step in (-1, 1):
            middle = skin.lips.upper.shape[1] // 2
            beside, last = (
                skin.lips.upper[loop, middle + step * 11],
                skin.lips.upper[loop, middle + step * 10],
            )
            out[beside] = 0.5 * out[last]
    return out


def seal(skin: Skin, shape: np.ndarray, bow: float = 0.0) -> np.ndarray:
    """Return the displacement that closes the lips of a face over their whole width.

    Args:
        skin: The skin topology.
        shape: (n, 3) skin vertices.
        bow: The depth of the lip line's bow (the dip in the middle), in millimeters.

    Returns:
        (n, 3) displacement, after which the front contact pairs are 2 * HALF_GAP apart.
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
    """Return a correction with which a unit keeps closed lips closed.

    Args:
        skin: The skin topology.
        delta: (n, 3) displacement of the unit.
        partner: (n, 3) displacement of a unit that is always active together with this one
            (jawOpen for mouthClose), or None.

    Returns:
        (n, 3) displacement to add to `delta`. Each lip covers half the distance; with a partner,
        the lower lip covers all of it.
    """
    whole = delta if partner is None else delta + partner
    upper, lower = _columns(skin.lips)
    front = whole[upper[UPPER_A]] - whole[lower[LOWER_A]]
    back = whole[upper[UPPER_B]] - whole[lower[LOWER_B]]
    if partner is None:
        return spread(skin, -front / 2, -back / 2, front / 2, back / 2)
    # mouthClose raises the lower lip, so the whole correction is applied there.
    return spread(skin, 0 * front, 0 * back, front, back)


def round_opening(skin: Skin, shape: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Return the (n, 3) displacement that makes the mouth opening and the lips elliptical.

    The corners hardly move; the columns between them move up or down. Each loop in front of the
    contact gets its own ellipse, because a round opening in a pointed lip looks like a beak.

    Args:
        skin: The skin topology.
        shape: (n, 3) skin vertices with an open mouth.
        upper, lower: The share of its height above or below the corners that the middle of each
            lip retains. 0 leaves that lip unchanged.
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
        for loop in range(len(reach)):  # loops behind the contact follow the contact loop
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
    """Smooth a displacement field over the mesh with `steps` Laplacian steps."""
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
    """Return the displacement that moves the lower lip's contact row to the upper incisors.

    Args:
        skin: The skin topology.
        shape: (n, 3) skin vertices in the pose to correct.
        edge: (m, 3) edge of the upper teeth along the arch.

    Returns:
        (n, 3) displacement.
    """
    middle = skin.lips.lower.shape[1] // 2
    span = np.arange(-N_PAIRED, N_PAIRED + 1)
    row = skin.lips.lower[LOWER_A, middle + span]
    x = shape[row, 0]
    rim = np.c_[np.interp(x, edge[:, 0], edge[:, 1]), np.interp(x, edge[:, 0], edge[:, 2])]
    # The scalloped edge would leave an imprint on the lip, so a smooth fit is used.
    inner = np.abs(x) < 17.0
    rim = np.stack([np.polyval(np.polyfit(x[inner], c[inner], 4), x) for c in rim.T], 1)
    fade = np.exp(-((np.abs(x) / 17.5) ** 8))
    move = np.zeros((len(span), 3))
    move[:, 1] = (rim[:, 0] - shape[row, 1]) * fade
    move[:, 2] = (rim[:, 1] - shape[row, 2]) * fade

    # The field falls off with the distance from the row, only on the lower lip and chin.
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
    """Return an (n,) mask of the vertices whose nearest lip along the mesh is the lower one."""
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
