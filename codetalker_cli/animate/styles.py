"""Speaking styles: names, blends and their weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from codetalker_cli.errors import InputError

Styles = str | Mapping[str, float]


def style_weights(style: Styles, names: Sequence[str]) -> np.ndarray:
    """Return (n_styles,) float32 weights of the styles in ``names``, which sum to 1.

    Args:
        style: A style, a blend such as ``"S01:0.3,S02:0.7"``, or a mapping of styles to weights.
        names: The styles of the model.

    Raises:
        InputError: A style is unknown, or a weight is negative or not finite, or all are 0.
    """
    blend = parse_styles(style) if isinstance(style, str) else dict(style)
    weights = np.zeros(len(names), dtype=np.float32)
    for name, weight in blend.items():
        if name not in names:
            raise InputError(f"`style` {name!r} is unknown; this model has: {', '.join(names)}")
        weights[list(names).index(name)] += weight
    total = float(weights.sum())
    if not np.isfinite(total) or (weights < 0).any() or total <= 0:
        raise InputError(
            f"`style` {style}: the weights must be finite, not negative, and not all 0"
        )
    return weights / total


def parse_styles(text: str) -> dict[str, float]:
    """Parse ``"S01"`` or ``"S01:0.3,S02:0.7"`` to the weight of each style.

    Raises:
        InputError: The text has another format, or contains a style twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().rpartition(":")
        if not colon:
            name, number = number, "1"
        if name in weights:
            raise InputError(f"`style` {text}: {name} is listed twice")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise InputError(
                f"`style` {text}: expected a name, or weights such as S01:0.3,S02:0.7"
            ) from error
    return weights
