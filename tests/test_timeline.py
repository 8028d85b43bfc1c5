"""Holes are filled or split by the stated rule, and every frame stays beside its sound."""

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


def taken(
    numbers: np.ndarray, piece: ClipPart, fps_in: float, fps_out: float, size: int = 7
) -> list:
    """Each frame's number at the raw rate, in fractions where it is blended."""
    found: list[float] = []
    for picked in timeline.sample_blocks(numbers, piece, fps_in, fps_out, size):
        before, after = numbers[picked.before], numbers[picked.after]
        found += (before * (1 - picked.share) + after * picked.share).tolist()
    return found


def test_the_drawn_example() -> None:
    numbers = np.array([4, 5, 6, 8, 9, 15, 16, 17])
    first, second = timeline.split_at_holes(numbers, 60, 0.05)
    assert (first, second) == (ClipPart(4, 9, (7,)), ClipPart(15, 17, ()))
    assert taken(numbers, first, 60, 30) == [4, 6, 8]
    assert taken(numbers, second, 60, 30) == [15, 17]


def test_every_second_frame_is_untouched() -> None:
    numbers = np.arange(100)
    (piece,) = timeline.split_at_holes(numbers, 60, 0.1)
    assert taken(numbers, piece, 60, 30) == list(range(0, 100, 2))
    assert piece.n_frames(60, 30) == len(numbers[::2])
    shares = [p.share for p in timeline.sample_blocks(numbers, piece, 60, 30, 9)]
    assert not np.concatenate(shares).any()


def test_other_rates_are_blended_in_time() -> None:
    numbers = np.arange(49)  # 2 s at 24
    (piece,) = timeline.split_at_holes(numbers, 24, 0.1)
    made = taken(numbers, piece, 24, 30)
    np.testing.assert_allclose(made, np.arange(61) * 24 / 30, atol=1e-9)


@given(NUMBERS, st.sampled_from([0.0, 0.05, 0.1, 0.5]))
def test_no_frame_is_lost_and_no_long_hole_is_bridged(
    numbers: np.ndarray, fill_seconds: float
) -> None:
    made = timeline.split_at_holes(numbers, 30, fill_seconds)
    inside = [set(range(p.first, p.last + 1)) - set(p.filled) for p in made]
    assert set().union(*inside) == set(numbers.tolist())
    assert sum(map(len, inside)) == len(numbers)
    longest = fill_seconds * 30 + 1e-6
    for piece in made:
        runs = np.split(np.array(piece.filled), np.flatnonzero(np.diff(piece.filled) > 1) + 1)
        assert all(len(run) <= longest for run in runs)
    for before, after in pairwise(made):
        assert after.first - before.last - 1 > longest


@given(NUMBERS, st.integers(1, 9), st.sampled_from(RATES))
def test_blocks_of_any_size_are_the_same_frames(
    numbers: np.ndarray, size: int, rates: tuple[float, float]
) -> None:
    pieces = timeline.split_at_holes(numbers, rates[0], 10.0)
    assert pieces
    for piece in pieces:
        whole = taken(numbers, piece, *rates, size=10_000)
        assert taken(numbers, piece, *rates, size=size) == whole
        assert len(whole) == piece.n_frames(*rates)
        wanted = piece.first + np.arange(len(whole)) * rates[0] / rates[1]
        np.testing.assert_allclose(whole, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "n_sound_frames", "expected"),
    [
        (range(0, 50), 50, 0),
        (range(3, 50), 50, 0),  # the first three are missing: the sound has them
        (range(100, 150), 50, 100),  # numbered from elsewhere
        (range(3, 50), 47.4, 3),
        (range(3, 50), 60, 0),  # longer sound is no reason to cut it
    ],
)
def test_the_length_of_the_sound_tells_where_it_starts(
    numbers: range, n_sound_frames: float, expected: int
) -> None:
    given = np.array(numbers)
    assert timeline.speech_start(given, 0, 60, n_sound_frames / 60) == expected
