"""The sentences of the report agree with the numbers that they contain."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_data
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.evaluate import report, words
from codetalker_cli.evaluate.diagnostics import (
    NOTHING_MOVES,
    ONLY_PREDICTION_MOVES,
    describe_energy,
    diagnose,
    motion_energy,
)
from codetalker_cli.evaluate.score import MEAN, MODEL, ORACLE, TEMPLATE, Scores
from codetalker_cli.evaluate.truth import of_data_set
from codetalker_cli.metrics import METRICS
from codetalker_cli.metrics.liveness import MAX_MOTION_ENERGY, MIN_MOTION_ENERGY
from codetalker_cli.settings import EvaluateSettings

SETTINGS = EvaluateSettings(resamples=50)
PROTOCOL: dict[str, Any] = {
    "stage": "speech to motion (stage 2)",
    "evaluate": SETTINGS.model_dump(),
    "frames_compared": 100,
    "frames_cut": 0,
}


def result(
    value: float | None, interval: tuple[float, float] | None = None, unit: str = "mm"
) -> dict[str, Any]:
    ends = None if interval is None else list(interval)
    return {"value": value, "interval": ends, "unit": unit, "clips": 3, "results": 3}


def values_of(lead: str = "lve_mm", **models: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = {"model": MODEL, "oracle": ORACLE, "mean": MEAN, "template": TEMPLATE}
    nothing = {name: result(None) for name in METRICS}
    return {names[name]: nothing | {lead: one} for name, one in models.items()}


def parsed(text: str) -> float:
    """Read a number that ``words.number`` wrote."""
    plain = text.replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(plain.replace(" × 10", "e"))


# numbers and comparisons -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (1.23456, "1.235"),
        (-0.5, "−0.5"),
        (1.2e-5, "1.2 × 10⁻⁵"),
        (-4e-12, "−4 × 10⁻¹²"),
        (13184.0, "1.318 × 10⁴"),
        (9999.9, "1 × 10⁴"),
        (2.5e7, "2.5 × 10⁷"),
    ],
)
def test_numbers_have_four_significant_digits(value: float | None, shown: str) -> None:
    assert words.number(value) == shown


@given(st.floats(-1e30, 1e30))
def test_a_shown_number_is_the_number_that_is_compared(value: float) -> None:
    assert parsed(words.number(value)) == pytest.approx(words.shown(value), rel=1e-12)


@pytest.mark.parametrize(
    ("value", "other", "expected"),
    [
        (1.0, 2.0, "50% less than"),
        (1.2, 1.0, "20% more than"),
        (3.2, 1.0, "3.2 times"),
        (3.2e6, 1.0, "3.2 × 10⁶ times"),
        (1.0, 1.0, "the same as"),
        (1.00001, 1.0, "the same as"),
        (1.23451, 1.23449, "about the same as"),
        (0.0, 1.0, "100% less than"),
        (1.0, 0.0, "more than"),
        (4.0, 2.2250738585072014e-308, "more than"),
        (1.001, 1.0, "0.1% more than"),
    ],
)
def test_values_are_compared_in_words(value: float, other: float, expected: str) -> None:
    assert words.compare_values(value, other) == expected


@pytest.mark.parametrize(
    ("first", "second", "how"),
    [
        (result(1.0), result(2.0), words.LESS),
        (result(2.0), result(1.0), words.MORE),
        (result(1.00001), result(1.00002), words.SAME),
        (result(1.0, (0.5, 1.5)), result(2.0, (1.6, 2.5)), words.LESS),
        (result(1.0, (0.5, 1.5)), result(2.0, (1.5, 2.5)), words.UNCLEAR),
        (result(2.0, (1.5, 2.5)), result(1.0, (0.5, 1.6)), words.UNCLEAR),
    ],
)
def test_overlapping_intervals_are_not_a_clear_difference(
    first: dict[str, Any], second: dict[str, Any], how: str
) -> None:
    assert words.relation(first, second) == how


def test_distances_from_0_are_compared_without_the_sign() -> None:
    near, far = result(-0.2, (-0.3, 0.1)), result(0.8, (0.6, 0.9))
    assert words.relation(near, far, distance_from_0=True) == words.LESS
    opposite = result(-0.8, (-0.9, -0.6))
    assert words.relation(far, opposite) == words.MORE
    assert words.relation(far, opposite, distance_from_0=True) == words.SAME


# the summary -------------------------------------------------------------------------------------


def test_the_summary_compares_the_lip_error_with_every_reference() -> None:
    values = values_of(
        model=result(3.0, (2.8, 3.2)),
        oracle=result(2.0, (1.9, 2.1)),
        mean=result(6.0, (5.0, 7.0)),
        template=result(3.3, (3.1, 3.5)),
    )
    assert words.summary(values, PROTOCOL, 1) == (
        "The mean lip error of the model over 3 clips from 1 subject is 3 mm (95% interval 2.8 to "
        "3.2). It is 50% less than that of the mean motion, a face that does not move (6 mm); not "
        "clearly different from that of the template, a face that does not move (3.3 mm; the "
        "intervals overlap); 50% more than that of the stage 1 reconstruction of the truth (2 mm)."
    )


def test_a_model_better_than_the_reconstruction_is_not_compared_with_a_limit() -> None:
    values = values_of(model=result(1.0, (0.9, 1.1)), oracle=result(2.0, (1.9, 2.1)))
    text = words.summary(values, PROTOCOL, 1)
    assert "50% less than that of the stage 1 reconstruction of the truth (2 mm)" in text
    assert "best" not in text and "upper bound" not in text


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        (result(4.0, (3.5, 4.5)), []),
        (result(3.1, (2.9, 3.3)), ["not clearly different from", "overlapping"]),
        (result(3.0, (2.8, 3.2)), ["the same as"]),
        (result(2.0, (1.9, 2.1)), ["worse than"]),
    ],
)
def test_a_model_that_is_not_better_than_a_baseline_causes_a_warning(
    mean: dict[str, Any], expected: list[str]
) -> None:
    values = values_of(model=result(3.0, (2.8, 3.2)), mean=mean)
    found = words.baseline_warnings(values)
    assert len(found) == bool(expected)
    assert all(text in found[0] for text in expected)
    assert diagnose(values, {}, PROTOCOL) == ({"baseline": found} if expected else {})


def test_only_a_clear_best_value_is_marked() -> None:
    def marked(**models: dict[str, Any]) -> list[bool]:
        row = report.metric_row("lve_mm", values_of(**models))
        return [cell["best"] for cell in row["cells"]]

    first, overlapping = result(1.0, (0.8, 1.2)), result(1.1, (0.9, 1.3))
    assert marked(model=first, mean=result(2.0, (1.8, 2.2))) == [True, False]
    assert marked(model=first, mean=overlapping) == [False, False]
    assert marked(model=first, mean=overlapping, template=result(9.0, (8, 10))) == [False] * 3
    assert marked(model=result(1.00001), mean=result(1.0)) == [False, False]
    assert marked(model=result(2.0), oracle=result(1.0), mean=result(3.0)) == [True, False, False]


def test_a_reason_names_the_models_that_lack_a_value() -> None:
    lacking = result(None) | {"lacking": "the lips never close"}
    values = values_of("lip_closure_precision", model=result(0.9), template=lacking)
    row = report.metric_row("lip_closure_precision", values)
    assert row["reasons"] == ["the lips never close (template)"]


def numbers(low: float = 0.0) -> st.SearchStrategy[dict[str, Any]]:
    """Generate results of 0 or more with an interval around the value, or without one."""
    size = st.one_of(
        st.floats(low, 10, allow_subnormal=False),
        st.floats(1e-9, 1e9),
        st.sampled_from([0.0, 1.0, 1.0001, 1.00004, 0.99996, 3.0]),
    )
    share = st.floats(0, 1)
    return st.builds(
        lambda value, down, up, known: result(
            value, (value * (1 - down), value * (1 + up)) if known else None
        ),
        size,
        share,
        share,
        st.booleans(),
    )


PART = re.compile(
    r"(?P<how>the same as|about the same as|not clearly different from|more than"
    r"|(?P<percent>\S+)% (?P<way>less|more) than|(?P<times>\S+(?: × \S+)?) times)"
    r" that of (?P<words>[^(]+) \((?P<other>[^;)]+?) mm(?:; the intervals overlap)?\)"
)


@given(model=numbers(), oracle=numbers(), mean=numbers(), template=numbers())
def test_comparatives_agree_with_the_numbers_shown(
    model: dict[str, Any], oracle: dict[str, Any], mean: dict[str, Any], template: dict[str, Any]
) -> None:
    values = values_of(model=model, oracle=oracle, mean=mean, template=template)
    text = words.summary(values, PROTOCOL, 3)
    head = re.search(r"is (\S+(?: × \S+)?) mm(?: \(95% interval (.+?) to (.+?)\))?\. It is", text)
    assert head is not None
    value = parsed(head[1])
    parts = list(PART.finditer(text))
    assert len(parts) == 3, text
    for part, reference in zip(parts, (mean, template, oracle), strict=True):
        other = parsed(part["other"])
        overlap = False
        if head[2] and reference["interval"]:
            ends = parsed(head[2]), parsed(head[3])
            low, high = (parsed(words.number(end)) for end in reference["interval"])
            overlap = ends[0] <= high and low <= ends[1]
        if part["how"] == "the same as":
            assert value == other
        elif part["how"] == "not clearly different from":
            assert value != other and overlap
        else:
            assert value != other and not overlap
            if part["how"] == "about the same as":
                assert value == pytest.approx(other, rel=2e-3)
            elif part["percent"]:
                share = float(part["percent"]) / 100
                sign = -1 if part["way"] == "less" else 1
                assert (value - other) * sign > 0
                assert value == pytest.approx(
                    other * (1 + sign * share), rel=0.01, abs=0.011 * other
                )
            elif part["times"]:
                assert value > other > 0
                assert value / other == pytest.approx(parsed(part["times"]), rel=2e-3)
            else:
                assert value > other and (other == 0 or value / other == float("inf"))
    check_warnings(values, value)
    check_marks(values)


def check_warnings(values: dict[str, dict[str, Any]], value: float) -> None:
    found = words.baseline_warnings(values)
    clear = [
        name
        for name in (MEAN, TEMPLATE)
        if words.relation(values[MODEL]["lve_mm"], values[name]["lve_mm"]) == words.LESS
    ]
    assert len(found) + len(clear) == 2
    for text in found:
        first, second = re.findall(r"(\S+(?: × \S+)?) mm", text)
        assert parsed(first) == value
        if "worse" in text:
            assert value > parsed(second)
        elif "the same" in text:
            assert value == parsed(second)
        else:
            assert "not clearly different" in text and "overlapping" in text


def check_marks(values: dict[str, dict[str, Any]]) -> None:
    cells = report.metric_row("lve_mm", values)["cells"]
    marked = [cell for cell in cells if cell["best"]]
    assert len(marked) <= 1
    if marked:
        others = [one for one in cells if one is not marked[0] and one["model"] != ORACLE]
        assert all(parsed(marked[0]["value"]) < parsed(one["value"]) for one in others)


# motion energy -----------------------------------------------------------------------------------


def energy_of(factor: float, true_size: float, folder: Path) -> dict[str, Any]:
    """Return the motion energy of predictions that move ``factor`` times as much as the truth."""
    truth = of_data_set(tiny_data.prepared(folder, n_val=2), "val")
    scores = Scores()
    for clip, path in truth.clips.items():
        still = truth.template(clip)
        motion = true_size * (np.load(path) - still)
        np.save(path, (still + motion).astype(np.float32))
        made = (still + factor * motion).astype(np.float32)
        scores.add(made, clip, "A", truth, SETTINGS)
    return motion_energy(scores, SETTINGS)


VALUES = values_of(model=result(1.0), mean=result(2.0))


@pytest.mark.parametrize(
    ("factor", "kind"),
    [
        (MIN_MOTION_ENERGY**0.5 * 0.99, "still"),
        (MIN_MOTION_ENERGY**0.5 * 1.01, None),
        (1.0, None),
        (MAX_MOTION_ENERGY**0.5 * 0.99, None),
        (MAX_MOTION_ENERGY**0.5 * 1.01, "restless"),
        (100.0, "restless"),
    ],
)
def test_too_much_and_too_little_motion_are_reported(
    tmp_path: Path, factor: float, kind: str | None
) -> None:
    energy = energy_of(factor, 1.0, tmp_path / "data")
    assert energy["lips"]["value"] == pytest.approx(factor**2, rel=1e-3)
    assert energy["face"]["value"] == pytest.approx(factor**2, rel=1e-3)
    found = diagnose(VALUES, energy, PROTOCOL)
    assert list(found) == ([kind] if kind else [])
    sentence = describe_energy(energy, 0.95)
    shown = words.number(energy["lips"]["value"])
    assert f"is {shown} times that of the truth (95% interval" in sentence
    if kind:
        (message,) = found[kind]
        limit = MIN_MOTION_ENERGY if kind == "still" else MAX_MOTION_ENERGY
        assert f"is {shown} times that of the truth" in message
        assert f"{'below' if kind == 'still' else 'above'} {limit:g} times" in message


def test_a_shaking_face_with_calm_lips_is_reported() -> None:
    energy = {"lips": result(1.0), "face": result(20.0)}
    (message,) = diagnose(VALUES, energy, PROTOCOL)["restless"]
    assert message.startswith("The whole face moves too much: its motion energy is 20 ")
    assert diagnose(VALUES, energy | {"face": result(0.01)}, PROTOCOL) == {}
    both = diagnose(VALUES, energy | {"lips": result(0.01)}, PROTOCOL)
    assert both["still"][0].startswith("The lip region hardly moves")


def test_without_lips_the_limits_hold_for_the_whole_face() -> None:
    assert list(diagnose(VALUES, {"face": result(0.1)}, PROTOCOL)) == ["still"]
    assert list(diagnose(VALUES, {"face": result(5.0)}, PROTOCOL)) == ["restless"]


def test_a_truth_without_motion_has_no_energy_to_compare_with(tmp_path: Path) -> None:
    energy = energy_of(1.0, 0.0, tmp_path / "data")
    assert energy["lips"]["value"] is None and energy["lips"]["lacking"] == NOTHING_MOVES
    assert diagnose(VALUES, energy, PROTOCOL) == {}
    assert NOTHING_MOVES in describe_energy(energy, 0.95)
    lacking = {"lips": result(None) | {"lacking": ONLY_PREDICTION_MOVES}}
    (message,) = diagnose(VALUES, lacking, PROTOCOL)["restless"]
    assert message == "The lip region of the model moves, but that of the truth does not."


@given(st.floats(1e-6, 1e6))
def test_the_energy_warning_agrees_with_its_number(value: float) -> None:
    found = diagnose(VALUES, {"lips": result(value, unit="times that of the truth")}, PROTOCOL)
    for kind, (message,) in found.items():
        number = re.search(r"is (\S+(?: × \S+)?) times", message)
        limit = re.search(r"(above|below) (\S+) times", message)
        assert number is not None and limit is not None
        assert (parsed(number[1]) > parsed(limit[2])) == (kind == "restless")
        assert (parsed(number[1]) < parsed(limit[2])) == (kind == "still")
    assert found or MIN_MOTION_ENERGY <= words.shown(value) <= MAX_MOTION_ENERGY
