"""Numbers and comparisons in words.

Each sentence is chosen from the numbers that the reader sees: two values that are printed with the
same digits are the same, and two values with overlapping intervals are not clearly different.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from codetalker_cli.errors import counted
from codetalker_cli.evaluate.score import MEAN, MODEL, ORACLE, TEMPLATE
from codetalker_cli.metrics import METRICS

Result = Mapping[str, Any]
"""A value with its interval and unit, see ``score.describe``."""
Values = Mapping[str, Mapping[str, Result]]
"""Model → metric → value, interval and unit."""

LEAD_METRICS = {
    "lve_mm": "lip error",
    "lve": "squared lip error",
    "mve": "vertex error",
}
"""Metrics that summarize a result, in order of preference, with their names in sentences."""
SAME, UNCLEAR, LESS, MORE = "the same as", "not clearly different from", "less", "more"
"""How two values compare, see ``relation``."""
_REFERENCES = {
    MEAN: "the mean motion, a face that does not move",
    TEMPLATE: "the template, a face that does not move",
    ORACLE: "the stage 1 reconstruction of the truth",
}
_UNITS = {"unit": "units of the data set", "unit²": "squared units of the data set"}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


# numbers


def number(value: float | None) -> str:
    """Format a number with four significant digits, e.g. 12.34 or ``1.234 × 10⁻⁵``."""
    if value is None or not math.isfinite(value):
        return "–"
    value = shown(value)
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}".replace("-", "−")
    digits, power = f"{value:.3e}".split("e")
    mantissa = digits.rstrip("0").rstrip(".").replace("-", "−")
    return f"{mantissa} × 10{str(int(power)).translate(_SUPERSCRIPT)}"


def shown(value: float) -> float:
    """Return a value as ``number`` shows it."""
    return float(f"{value:.4g}")


def unit_words(unit: str) -> str:
    """Return a unit in words if the size of the data set's unit is not known."""
    return _UNITS.get(unit, unit)


def measured(result: Result) -> bool:
    """Return whether a result has a finite value."""
    return result["value"] is not None and math.isfinite(result["value"])


def with_interval(result: Result, confidence: float) -> str:
    """Return a value with its unit and its interval."""
    unit = unit_words(result["unit"])
    text = f"{number(result['value'])} {unit}"
    if result["interval"] is None:
        return text
    low, high = map(number, result["interval"])
    return f"{text} ({100 * confidence:g}% interval {low} to {high})"


# comparisons


def relation(result: Result, other: Result, *, distance_from_0: bool = False) -> str:
    """Return how a result compares with another one: ``SAME``, ``UNCLEAR``, ``LESS`` or ``MORE``.

    Args:
        result: A result with a value.
        other: Another result with a value.
        distance_from_0: Whether to compare the distances of the values from 0.
    """
    (value, ends), (other_value, other_ends) = (
        _shown_numbers(one, distance_from_0) for one in (result, other)
    )
    if value == other_value:
        return SAME
    if ends and other_ends and ends[0] <= other_ends[1] and other_ends[0] <= ends[1]:
        return UNCLEAR
    return LESS if value < other_value else MORE


def _shown_numbers(
    result: Result, distance_from_0: bool
) -> tuple[float, tuple[float, float] | None]:
    value, ends = shown(result["value"]), result["interval"]
    if ends is not None:
        low, high = map(shown, ends)
        if distance_from_0:
            low, high = max(0.0, low, -high), max(-low, high)
        ends = low, high
    return abs(value) if distance_from_0 else value, ends


def compare_values(value: float, other: float) -> str:
    """Compare two values in words, such as ``12% less than`` or ``3.1 times``."""
    if shown(value) == shown(other):
        return SAME
    if other <= 0 or not math.isfinite(value / other):
        return "more than" if value > other else "less than"
    share = value / other - 1
    if share >= 2:
        return f"{number(shown(value / other))} times"
    if abs(share) < 0.0005:
        return f"about {SAME}"
    percent = f"{100 * abs(share):.0f}%" if abs(share) >= 0.0095 else f"{100 * abs(share):.1g}%"
    return f"{percent} {'less than' if share < 0 else 'more than'}"


def lead_metric(results: Mapping[str, Result]) -> str:
    """Return the metric that summarizes the results of a model."""
    return next((n for n in LEAD_METRICS if n in results and measured(results[n])), "mve")


def summary(values: Values, protocol: Mapping[str, Any], n_subjects: int) -> str:
    """Return the main result in one or two sentences.

    Args:
        values: The values of each model.
        protocol: The protocol of the evaluation.
        n_subjects: Number of subjects of the measured clips.
    """
    lead = lead_metric(values[MODEL])
    result = values[MODEL][lead]
    if not measured(result):
        return "Nothing could be measured."
    is_stage1 = str(protocol["stage"]).startswith(ORACLE)
    text = (
        f"The mean {LEAD_METRICS[lead]} of "
        f"{'the stage 1 reconstruction' if is_stage1 else 'the model'} over "
        f"{counted(result['clips'], 'clip')} from {counted(n_subjects, 'subject')} is "
        f"{with_interval(result, protocol['evaluate']['confidence'])}"
    )
    parts = [
        _compare_results(result, values[name][lead], words)
        for name, words in _REFERENCES.items()
        if name in values and measured(values[name][lead])
    ]
    return f"{text}. It is {'; '.join(parts)}." if parts else f"{text}."


def _compare_results(result: Result, other: Result, words: str) -> str:
    shown_other = f"{number(other['value'])} {unit_words(other['unit'])}"
    if relation(result, other) == UNCLEAR:
        return f"{UNCLEAR} that of {words} ({shown_other}; the intervals overlap)"
    return f"{compare_values(result['value'], other['value'])} that of {words} ({shown_other})"


def baseline_warnings(values: Values) -> list[str]:
    """Return a sentence for each face without motion that the model is not better than."""
    lead = lead_metric(values[MODEL])
    result = values[MODEL][lead]
    messages = []
    for name in (MEAN, TEMPLATE):
        other = values.get(name, {}).get(lead)
        if other is None or not (measured(result) and measured(other)):
            continue
        how = relation(result, other)
        if how == LESS:
            continue
        unit = unit_words(result["unit"])
        numbers = f"{number(result['value'])} {unit} compared with {number(other['value'])} {unit}"
        words = "worse than" if how == MORE else how
        overlap = ", with overlapping intervals" if how == UNCLEAR else ""
        messages.append(
            f"In its mean {LEAD_METRICS[lead]}, the model is {words} {_REFERENCES[name]}: "
            f"{numbers}{overlap}."
        )
    return messages


def best_model(name: str, values: Values, models: Sequence[str]) -> str | None:
    """Return the model that is better than all the others in a metric, or None if none is.

    Args:
        name: Name of the metric.
        values: The values of each model.
        models: The models to compare; those without a value are ignored.
    """
    better = METRICS[name].better
    results = {model: values[model][name] for model in models if measured(values[model][name])}
    wanted = MORE if better == "high" else LESS
    for model, result in results.items():
        others = [other for key, other in results.items() if key != model]
        if others and all(
            relation(result, other, distance_from_0=better == "zero") == wanted for other in others
        ):
            return model
    return None
