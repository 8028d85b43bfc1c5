"""Minimize many small quadratic functions with bounds at once.

The method is block principal pivoting (Júdice and Pires, Computers & Operations Research 21, 1994;
Kim and Park, SIAM Journal on Scientific Computing 33, 2011). It guesses which variables are at a
bound, solves for the others, and corrects the guess for all variables that contradict it. The
result is exact. About five systems of equations are solved for each problem.
"""

import numpy as np

BATCH = 256
"""The most problems whose systems of equations are in memory at once."""
BATCH_NUMBERS = 1 << 23
"""The most numbers in these systems."""
_PATIENCE = 3
"""The number of corrections without progress before only one variable is corrected at a time, which
always ends (Kim and Park, section 3)."""
_MAX_CORRECTIONS = 1000
_TOLERANCE = 1e-9


def minimize(
    hessian: np.ndarray,
    linear: np.ndarray,
    upper: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (n, U) minimizers x of ½ xᵀHx − gᵀx with 0 ≤ x ≤ upper.

    Args:
        hessian: H, (U, U) positive definite float64, shared by all problems.
        linear: g, (n, U) float64.
        upper: (n, U) upper bounds, at least 0.
        start: (n, U) minimizers of similar problems, or None.
    """
    result = np.empty_like(linear)
    size = max(1, min(BATCH, BATCH_NUMBERS // hessian.size))
    for first in range(0, len(linear), size):
        part = slice(first, first + size)
        near = None if start is None else start[part]
        result[part] = _minimize(hessian, linear[part], upper[part], near)
    return result


def _minimize(
    hessian: np.ndarray, linear: np.ndarray, upper: np.ndarray, start: np.ndarray | None
) -> np.ndarray:
    n, n_units = linear.shape
    scale = np.sqrt(np.diag(hessian))
    x = np.zeros_like(linear)
    low = np.zeros((n, n_units), bool) if start is None else start <= _TOLERANCE
    high = np.zeros((n, n_units), bool) if start is None else start >= upper - _TOLERANCE
    high &= ~low
    fewest, patience = np.full(n, n_units + 1), np.full(n, _PATIENCE)
    left = np.arange(n)
    for _ in range(_MAX_CORRECTIONS):
        if not len(left):
            break
        is_low, is_high = low[left], high[left]
        x[left] = y = _with_fixed(hessian, linear[left], upper[left], is_low, is_high)
        # A gradient that points out of the bounds keeps a variable at its bound.
        descent = (linear[left] - y @ hessian) / scale
        is_free = ~(is_low | is_high)
        to_low, to_high = is_free & (y < -_TOLERANCE), is_free & (y > upper[left] + _TOLERANCE)
        slack = _TOLERANCE * scale.max()
        released = (is_low & (descent > slack)) | (is_high & (descent < -slack))
        released &= upper[left] > 0
        wrong = to_low | to_high | released
        count = wrong.sum(1)
        progress = count < fewest[left]
        fewest[left] = np.minimum(fewest[left], count)
        patience[left] = np.where(progress, _PATIENCE, patience[left] - 1)
        wrong &= (patience[left] >= 0)[:, None] | _last(wrong)
        low[left] = (is_low & ~wrong) | (wrong & to_low)
        high[left] = (is_high & ~wrong) | (wrong & to_high)
        left = left[count > 0]
    return np.clip(x, 0, upper)


def _with_fixed(
    hessian: np.ndarray, linear: np.ndarray, upper: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return the minimizers without bounds, with some variables fixed at theirs."""
    free = ~(low | high)
    fixed = np.where(high, upper, 0.0)
    systems = np.where(free[:, :, None] & free[:, None, :], hessian, 0.0)
    systems[:, np.arange(len(hessian)), np.arange(len(hessian))] += ~free
    right = np.where(free, linear - fixed @ hessian, fixed)
    return np.linalg.solve(systems, right[..., None])[..., 0]


def _last(flags: np.ndarray) -> np.ndarray:
    """Return flags of which only the last one that is set in each row remains."""
    return flags & (np.cumsum(flags[:, ::-1], axis=1)[:, ::-1] == 1)
