"""Whose way of speaking: names and blends of the training subjects' styles."""

from collections.abc import Mapping, Sequence

import numpy as np

from codetalker_cli.errors import InputError

Styles = str | Mapping[str, float]


def style_weights(style: Styles, names: Sequence[str]) -> np.ndarray:
    """(n_styles,) float32 weights of the styles ``names``, summing to 1.

    Raises:
        InputError: A name that is none of them, or weights that mean nothing.
    """
    blend = parse_styles(style) if isinstance(style, str) else dict(style)
    weights = np.zeros(len(names), dtype=np.float32)
    for name, weight in blend.items():
        if name not in names:
            raise InputError(f"--style {name}: unknown; this model has: {', '.join(names)}")
        weights[list(names).index(name)] += weight
    total = float(weights.sum())
    if not np.isfinite(total) or (weights < 0).any() or total <= 0:
        raise InputError(f"--style {style}: weights must be positive")
    return weights / total


def parse_styles(text: str) -> dict[str, float]:
    """``"S01"`` or ``"S01:0.3,S02:0.7"`` → weights by name.

    Raises:
        InputError: Not of that form, or a name stands there twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().rpartition(":")
        if not colon:
            name, number = number, "1"
        if name in weights:
            raise InputError(f"--style {text}: names {name} twice")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise InputError(
                f"--style {text}: expected a name, or name:weight,name:weight"
            ) from error
    return weights
