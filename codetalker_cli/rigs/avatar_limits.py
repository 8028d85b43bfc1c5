"""Change how strongly groups of ARKit's units move, and keep them from adding up too far."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from codetalker_cli.errors import InputError, printable
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.mouth_fit import NOT_IN_CLOSURES
from codetalker_cli.settings.export import EXCLUSIVE

GROUPS = {
    "jaw": ("jaw", "mouthClose"),
    "mouth": ("mouth", "lip", "cheekPuff", "noseSneer"),
    "tongue": ("tongue",),
    "eyes": ("eye", "cheekSquint"),
    "brows": ("brow",),
}
"""The beginnings of the names of the units in each group. A unit belongs to the first group that
matches: mouthClose shuts the lips of an open jaw, so it follows the jaw."""
MAX_STRENGTH = 5.0
"""The largest factor of a group."""
OPPOSITES = (
    *EXCLUSIVE,
    ("mouthSmileLeft", "mouthFrownLeft"),
    ("mouthSmileRight", "mouthFrownRight"),
    ("eyeBlinkLeft", "eyeWideLeft"),
    ("eyeBlinkRight", "eyeWideRight"),
)
"""Units that move a part in opposite directions, of which only the difference is shown."""
_ROUND = ("mouthFunnel", "mouthPucker")
_SPREAD = ("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight")


def strengthen(curves: RigCurves, strength: Mapping[str, float]) -> RigCurves:
    """Return curves with the weights of each group multiplied by its factor, up to 1.

    Args:
        curves: The weights of units.
        strength: The factors by the names of ``GROUPS``.

    Raises:
        InputError: A group is unknown, or a factor is not a number from 0 to ``MAX_STRENGTH``.
    """
    for group, factor in strength.items():
        if group not in GROUPS:
            raise InputError(
                f"strength: {printable(group)!r} is not a group of units; the groups are "
                f"{', '.join(GROUPS)}"
            )
        is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not is_number or not 0 <= factor <= MAX_STRENGTH:
            raise InputError(
                f"strength of {group} is {printable(factor)}; expected a number from 0 to "
                f"{MAX_STRENGTH:g}"
            )
    factors = [strength.get(group_of(name), 1.0) for name in curves.names]
    stronger = np.clip(curves.weights * np.array(factors, np.float32), 0, 1)
    return replace(curves, weights=stronger.astype(np.float32))


def group_of(unit: str) -> str:
    """Return the group of a unit, or an empty string."""
    return next((group for group, starts in GROUPS.items() if unit.startswith(starts)), "")


def limit(curves: RigCurves) -> RigCurves:
    """Return weights of ARKit's units without contradictions.

    - Of two ``OPPOSITES``, the stronger one remains, reduced by the weaker one.
    - mouthClose is at most jawOpen, because it shuts the lips of an open jaw.
    - Rounding (mouthFunnel and mouthPucker) and spreading (mouthSmile and mouthStretch) are scaled
      down to a sum of 1.
    - A blink leaves no room for eyeSquint beyond a sum of 1.
    """
    weights = curves.weights.copy()
    column = curves.names.index
    for one, other in OPPOSITES:
        pair = [column(one), column(other)]
        weights[:, pair] -= weights[:, pair].min(axis=1, keepdims=True)
    close, jaw = column("mouthClose"), column("jawOpen")
    weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])
    both = [column(name) for name in (*_ROUND, *_SPREAD)]
    rounded = weights[:, both[: len(_ROUND)]].max(axis=1)
    total = rounded + weights[:, both[len(_ROUND) :]].max(axis=1)
    weights[:, both] /= np.maximum(total, 1)[:, None]
    for side in ("Left", "Right"):
        squint, blink = column(f"eyeSquint{side}"), column(f"eyeBlink{side}")
        weights[:, squint] = np.minimum(weights[:, squint], 1 - weights[:, blink])
    return replace(curves, weights=weights)


def keep_closed(curves: RigCurves, opened: np.ndarray) -> RigCurves:
    """Return weights of ARKit's units that leave the lips shut where they should be.

    A character's own units differ in size, so those that part the lips and those that shut them do
    not cancel each other as they do on the bundled head.

    Args:
        curves: The weights of ARKit's units.
        opened: (T,) factors of the units that part the lips.
    """
    weights = curves.weights.copy()
    columns = [curves.names.index(name) for name in NOT_IN_CLOSURES]
    weights[:, columns] *= opened[:, None].astype(np.float32)
    return replace(curves, weights=weights)
