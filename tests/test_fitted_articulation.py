"""Test the fitted numbers of the articulation rules: the bundled file, and damaged files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timed_phones import phones_of

from codetalker_cli import resources
from codetalker_cli.errors import DataError
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.synthetic.articulation import mouth_curves, padded_phones
from codetalker_cli.synthetic.fitted import FittedArticulation, fitted_articulation
from codetalker_cli.synthetic.speech.phones import SILENCE
from codetalker_cli.synthetic.visemes import CHANNELS, PHONES

FPS = 30.0


def bundled() -> dict[str, Any]:
    return json.loads(resources.asset("articulation.json").read_text("utf-8"))


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
    else:
        yield value


# The bundled file ---------------------------------------------------------------------------------


def test_bundled_file_is_read_once_and_completely() -> None:
    numbers, stored = FittedArticulation.load(), bundled()
    assert fitted_articulation() is fitted_articulation()
    assert fitted_articulation() == numbers
    assert numbers.poses == stored["poses"]
    assert numbers.dominance == stored["dominance"]
    assert {c: vars(timing) for c, timing in numbers.timing.items()} == stored["timing"]
    assert vars(numbers.ready) == stored["ready"]
    assert list(numbers.silence_seconds) == stored["silence_seconds"]
    assert numbers.loudness_per_db == stored["loudness_per_db"]


def test_all_bundled_numbers_are_finite() -> None:
    values = list(numbers_in(bundled()))
    assert len(values) > 400
    assert all(math.isfinite(value) for value in values)


def test_bundled_poses_are_weights_of_units_of_the_head() -> None:
    numbers = fitted_articulation()
    sides = {name.removesuffix("Left").removesuffix("Right") for name in bundled_rig().unit_names}
    assert numbers.opening_mm.keys() <= sides
    poses = [pose for phases in numbers.poses.values() for pose in phases]
    assert len(poses) > 30
    for pose in (*poses, numbers.ready.pose):
        assert pose.keys() <= numbers.scale.keys() <= sides
        assert all(0.0 < weight <= 2.0 for weight in pose.values())
    dominances = [phase for phases in numbers.dominance.values() for phase in phases]
    assert len(dominances) == len(poses)
    for dominance in (*dominances, numbers.ready.dominance):
        assert dominance.keys() == set(CHANNELS)
        assert all(value > 0.0 for value in dominance.values())


def test_bundled_times_are_within_bounds() -> None:
    numbers = fitted_articulation()
    assert tuple(numbers.timing) == CHANNELS
    for timing in numbers.timing.values():
        assert 0.02 <= timing.attack <= 0.3
        assert 0.02 <= timing.release <= 0.3
        assert 0.05 <= timing.onset <= 0.5
        assert 0.05 <= timing.offset <= 0.4
        assert 0.0 < timing.ramp <= 0.6
        assert timing.silence > 0.0
    assert all(0.05 <= seconds <= 0.3 for seconds in numbers.silence_seconds)
    assert all(0.1 <= seconds <= 0.5 for seconds in (numbers.ready.lead, numbers.ready.rise))


# Poses --------------------------------------------------------------------------------------------

SPOKEN = [label for label in PHONES if label != SILENCE]


def center(label: str, numbers: FittedArticulation | None = None) -> np.ndarray:
    """Return the weights of the bundled head in the middle of a long phone."""
    phones = padded_phones(phones_of(f"SIL:1 {label}:0.6 SIL:1"), 2.6)
    weights = mouth_curves(phones, 78, FPS, bundled_rig(), SpeakingStyle(), numbers=numbers)
    return weights[39]


@pytest.mark.parametrize("label", SPOKEN)
def test_every_phone_has_a_pose(label: str) -> None:
    weights = center(label)
    assert np.isfinite(weights).all()
    assert weights.max() > 0.1


@pytest.mark.parametrize("label", SPOKEN)
def test_poses_do_not_need_a_fit(label: str, tmp_path: Path) -> None:
    path = tmp_path / "articulation.json"
    path.write_text(json.dumps(bundled() | {"poses": {}, "dominance": {}}), "utf-8")
    weights = center(label, FittedArticulation.load(path))
    assert np.isfinite(weights).all()
    assert weights.max() > 0.1
    # The phones that were not fitted have the same pose with and without the others.
    if label not in fitted_articulation().poses:
        np.testing.assert_array_equal(weights, center(label))


def test_some_phones_were_not_fitted() -> None:
    assert {"BH", "UE", "OE"} <= set(SPOKEN) - fitted_articulation().poses.keys()


# Damaged files ------------------------------------------------------------------------------------


def without(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def damage(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return damage


def replaced(value: Any, *keys: Any) -> Callable[[dict[str, Any]], None]:
    def damage(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return damage


DAMAGES = {
    **{f"without {key}": without(key) for key in bundled()},
    "a channel is missing": without("timing", "jaw"),
    "a time is missing": without("timing", "jaw", "attack"),
    "an unknown time": replaced(0.1, "timing", "jaw", "delay"),
    "a time is a text": replaced("long", "timing", "jaw", "attack"),
    "a time is missing (null)": replaced(None, "timing", "round", "release"),
    "three silences": replaced([0.1, 0.1, 0.1], "silence_seconds"),
    "an unknown phone": replaced([{"jawOpen": 0.1}], "poses", "QQ"),
    "a phase is missing": replaced([{"jawOpen": 0.1}], "poses", "AY"),
    "a phase too much": replaced([{}, {}], "poses", "B"),
    "poses are a list": replaced([0.1], "poses"),
    "a pose is a list": replaced([[0.1]], "poses", "B"),
    "a weight is a text": replaced("wide", "poses", "B", 0, "jawOpen"),
    "a dominance without a channel": without("dominance", "AA", 0, "tongue"),
    "a dominance is a number": replaced(1.0, "dominance", "AA"),
    "the ready pose is a list": replaced([], "ready", "pose"),
    "the ready pose has no lead": without("ready", "lead"),
    "scales are a number": replaced(1.0, "scale"),
    "openings are a list": replaced([13.0], "opening_mm"),
    "a number is a list": replaced([0.1], "loudness_per_db"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_content_is_one_clear_error(name: str, tmp_path: Path) -> None:
    path, content = tmp_path / "articulation.json", bundled()
    DAMAGES[name](content)
    assert content != bundled()
    path.write_text(json.dumps(content), "utf-8")
    assert_refused(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"text"', "[1, 2]", '{"scale": NaN}', "\0\0\0"],
)
def test_other_files_are_one_clear_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "articulation.json"
    path.write_text(text, "utf-8")
    assert_refused(path)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "articulation.json"
    text = resources.asset("articulation.json").read_text("utf-8")
    damaged = text.replace('"lead": 0.', f'"lead": {value}, "was": 0.')
    assert damaged != text
    path.write_text(damaged, "utf-8")
    assert_refused(path)


def test_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    assert_refused(tmp_path / "absent.json")


def assert_refused(path: Path) -> None:
    with pytest.raises(DataError) as caught:
        FittedArticulation.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not the numbers of an articulation")
    assert "\n" not in message
