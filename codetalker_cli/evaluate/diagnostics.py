"""Warnings about an evaluation: an unusual amount of motion, and results that mean little."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from codetalker_cli.errors import counted, verb
from codetalker_cli.evaluate.score import ENERGIES, Scores
from codetalker_cli.evaluate.words import (
    Result,
    Values,
    baseline_warnings,
    measured,
    number,
    shown,
    with_interval,
)
from codetalker_cli.metrics.liveness import MAX_MOTION_ENERGY, MIN_MOTION_ENERGY
from codetalker_cli.settings import EvaluateSettings

ENERGY_UNIT = "times that of the truth"
ONLY_PREDICTION_MOVES = "the truth does not move, but the prediction does"
NOTHING_MOVES = "neither the truth nor the prediction moves"
# The fraction of true frames without a prediction above which there is a warning. Below it, the
# speech is only slightly shorter than the motion; the protocol has the number.
_CUT_WARNING_SHARE = 0.01


def motion_energy(scores: Scores, settings: EvaluateSettings) -> dict[str, dict[str, Any]]:
    """Return the motion energy of each region relative to the truth, as data for JSON.

    Args:
        scores: The results of the model.
        settings: The evaluation settings.

    Returns:
        ``lips``, if there is such a region, and ``face``: the value, its interval and its unit.
        ``lacking`` is the reason if there is no value.
    """
    found = {}
    for name, region in ENERGIES.items():
        parts = [one.fractions[name] for one in scores.results() if name in one.fractions]
        if not parts:
            continue
        value = scores.value(name, settings)
        predicted, _ = np.sum(parts, 0)
        found[region] = {
            "value": value.value,
            "interval": None if value.low is None else [value.low, value.high],
            "unit": ENERGY_UNIT,
            "clips": value.n_clips,
        }
        if value.value is None:
            found[region]["lacking"] = ONLY_PREDICTION_MOVES if predicted > 0 else NOTHING_MOVES
    return found


def describe_energy(energy: Mapping[str, Result], confidence: float) -> str:
    """Return the motion energy of the lips, or of the face without lips, in a sentence."""
    region = next(iter(energy), None)
    if region is None:
        return ""
    if not measured(energy[region]):
        return f"The motion energy of {_words(region)} is not known: {energy[region]['lacking']}."
    text = with_interval(energy[region], confidence)
    return f"The motion energy of {_words(region)} is {text}."


def diagnose(
    values: Values, energy: Mapping[str, Result], protocol: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Return one-line warnings by kind.

    The kinds are ``still`` (the lips hardly move), ``restless`` (they or the face move too much),
    ``baseline`` (the model is not better than a face without motion) and ``cut`` (predictions are
    too short).

    Args:
        values: The values of each model.
        energy: The result of ``motion_energy``.
        protocol: The protocol of the evaluation.
    """
    confidence = protocol["evaluate"]["confidence"]
    messages: dict[str, list[str]] = {}
    for region, result in energy.items():
        kind = _unusual(result, is_main=region == next(iter(energy)))
        if kind and kind not in messages:  # the lips are a part of the face
            messages[kind] = [_energy_warning(kind, region, result, confidence)]
    if baselines := baseline_warnings(values):
        messages["baseline"] = baselines
    n_cut = int(protocol.get("frames_cut", 0))
    n_frames = n_cut + int(protocol["frames_compared"])
    if n_cut > _CUT_WARNING_SHARE * n_frames:
        messages["cut"] = [
            f"{n_cut} of {counted(n_frames, 'true frame')} {verb(n_cut, 'is', 'are')} not "
            "compared, because predictions are shorter than their clips."
        ]
    return messages


def _unusual(result: Result, *, is_main: bool) -> str | None:
    """Return the kind of problem with the motion energy of a region, or None."""
    if not measured(result):
        return "restless" if result["lacking"] == ONLY_PREDICTION_MOVES else None
    value = shown(result["value"])
    if value > MAX_MOTION_ENERGY:
        return "restless"
    # Much of a face may be still, so only the lips have a lower limit, as in training.
    return "still" if is_main and value < MIN_MOTION_ENERGY else None


def _energy_warning(kind: str, region: str, result: Result, confidence: float) -> str:
    words = _words(region).capitalize()
    if not measured(result):
        return f"{words} of the model moves, but that of the truth does not."
    text = with_interval(result, confidence)
    if kind == "still":
        return (
            f"{words} hardly moves: its motion energy is {text}, which is below "
            f"{number(MIN_MOTION_ENERGY)} times."
        )
    return (
        f"{words} moves too much: its motion energy is {text}, which is above "
        f"{number(MAX_MOTION_ENERGY)} times; look for shaking in the videos and the training data."
    )


def _words(region: str) -> str:
    return {"lips": "the lip region", "face": "the whole face"}[region]
