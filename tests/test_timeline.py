"""Holes are filled or split the clip, and frames stay in sync with their audio."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.datasets import timeline
from codetalker_cli.datasets.timeline import ClipPart

RATES = [(60, 30), (30, 30), (25, 30), (60, 24), (60000 / 1001, 29.97), (59.94006, 23.97602)]
NUMBERS = st.sets(st.integers(0, 60), min_size=1, max_size=60).map(
    lambda chosen: np.array(sorted(chosen), dtype=np.int64)
)


def raw_numbers(
    numbers: np.ndarray, part: ClipPart, fps_in: float, fps_out: float, size: int = 7
) -> list:
    """Return the raw frame number of each frame, fractional if it is interpolated."""
    found: list[float] = []
    for picked in timeline.sample_blocks(numbers, part, fps_in, fps_out, size):
        before, after = numbers[picked.before], numbers[picked.after]
        found += (before * (1 - picked.share) + after * picked.share).tolist()
    return found


def test_the_example_in_the_module_docstring() -> None:
    numbers = np.array([4, 5, 6, 8, 9, 15, 16, 17])
    first, second = timeline.split_at_holes(numbers, 60, 0.05)
    assert (first, second) == (ClipPart(4, 9, (7,)), ClipPart(15, 17, ()))
    assert raw_numbers(numbers, first, 60, 30) == [4, 6, 8]
    assert raw_numbers(numbers, second, 60, 30) == [15, 17]


def test_half_the_frame_rate_uses_every_second_frame() -> None:
    numbers = np.arange(100)
    (part,) = timeline.split_at_holes(numbers, 60, 0.1)
    assert raw_numbers(numbers, part, 60, 30) == list(range(0, 100, 2))
    assert part.n_frames(60, 30) == len(numbers[::2])
    shares = [p.share for p in timeline.sample_blocks(numbers, part, 60, 30, 9)]
    assert not np.concatenate(shares).any()


def test_other_rates_are_interpolated() -> None:
    numbers = np.arange(49)  # 2 s at 24
    (part,) = timeline.split_at_holes(numbers, 24, 0.1)
    made = raw_numbers(numbers, part, 24, 30)
    np.testing.assert_allclose(made, np.arange(61) * 24 / 30, atol=1e-9)


@given(NUMBERS, st.sampled_from([0.0, 0.05, 0.1, 0.5]))
def test_no_frame_is_lost_and_no_long_hole_is_filled(
    numbers: np.ndarray, fill_seconds: float
) -> None:
    made = timeline.split_at_holes(numbers, 30, fill_seconds)
    inside = [set(range(p.first, p.last + 1)) - set(p.filled) for p in made]
    assert set().union(*inside) == set(numbers.tolist())
    assert sum(map(len, inside)) == len(numbers)
    longest = fill_seconds * 30 + 1e-6
    for part in made:
        runs = np.split(np.array(part.filled), np.flatnonzero(np.diff(part.filled) > 1) + 1)
        assert all(len(run) <= longest for run in runs)
    for before, after in pairwise(made):
        assert after.first - before.last - 1 > longest


@given(NUMBERS, st.integers(1, 9), st.sampled_from(RATES))
def test_the_block_size_does_not_change_the_frames(
    numbers: np.ndarray, size: int, rates: tuple[float, float]
) -> None:
    parts = timeline.split_at_holes(numbers, rates[0], 10.0)
    assert parts
    for part in parts:
        whole = raw_numbers(numbers, part, *rates, size=10_000)
        assert raw_numbers(numbers, part, *rates, size=size) == whole
        assert len(whole) == part.n_frames(*rates)
        wanted = part.first + np.arange(len(whole)) * rates[0] / rates[1]
        np.testing.assert_allclose(whole, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "n_audio_frames", "expected"),
    [
        (range(0, 50), 50, 0),
        (range(3, 50), 50, 0),  # three frames are missing, but their audio is not
        (range(100, 150), 50, 100),  # the numbering has an offset
        (range(3, 50), 47.4, 3),
        (range(3, 50), 60, 0),  # audio beyond the motion is kept
    ],
)
def test_speech_start_fits_the_length_of_the_speech(
    numbers: range, n_audio_frames: float, expected: int
) -> None:
    given = np.array(numbers)
    assert timeline.speech_start(given, 0, 60, n_audio_frames / 60) == expected
