"""Test the blend of the phones' poses: rest in silence, linearity in the poses, and tempo."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from timed_phones import phones_of

from codetalker_cli.synthetic.coarticulation import (
    RATE_HZ,
    SMOOTHING_SECONDS,
    blend,
    place_phases,
)
from codetalker_cli.synthetic.fitted import fitted_articulation
from codetalker_cli.synthetic.speech.phones import Phone
from codetalker_cli.synthetic.visemes import CHANNELS, PHONES

CHANNEL = np.array(CHANNELS)
"""One unit in each channel."""
NUMBERS = fitted_articulation()
SENTENCE = phones_of("SIL:1.2 P AY T UW SIL:0.3 OW B IY SIL:1.5", 0.1)


def times_of(seconds: float) -> np.ndarray:
    return np.arange(0.0, seconds, 1.0 / RATE_HZ)


def blended(
    phones: list[Phone],
    targets: np.ndarray,
    ready: np.ndarray | None = None,
    tempo: float = 1.0,
) -> np.ndarray:
    times = times_of(phones[-1].end_seconds)
    ready = np.zeros(len(CHANNELS)) if ready is None else ready
    return blend(place_phases(phones), targets, ready, CHANNEL, times, tempo, NUMBERS)


def random_targets(phones: list[Phone], seed: int = 0) -> np.ndarray:
    """Return a random pose for each phase; silences are at rest."""
    rng = np.random.default_rng(seed)
    phases = place_phases(phones)
    targets = rng.uniform(0.2, 1.0, (len(phases), len(CHANNELS)))
    targets[[phase.is_silent for phase in phases]] = 0.0
    return targets


def smoothing_reach(channel: int, tempo: float = 1.0) -> float:
    """Return the seconds by which the smoothing extends a curve: four standard deviations."""
    return 4.0 * SMOOTHING_SECONDS[CHANNELS[channel]] * tempo + 1.5 / RATE_HZ


# Phases -------------------------------------------------------------------------------------------


def test_phases_cover_the_phones_without_gaps() -> None:
    phases = place_phases(SENTENCE)
    assert len(phases) == sum(len(PHONES[phone.label].phases) for phone in SENTENCE)
    assert phases[0].start == SENTENCE[0].start_seconds
    assert phases[-1].end == SENTENCE[-1].end_seconds
    for before, after in pairwise(phases):
        assert before.end == pytest.approx(after.start)


def test_phases_next_to_silence_are_marked() -> None:
    phases = place_phases(phones_of("SIL:0.4 AY OW SIL:0.3", 0.1))
    assert [phase.number for phase in phases] == [0, 0, 1, 0, 1, 0]
    assert [phase.silence_before for phase in phases] == pytest.approx([0, 0.4, 0, 0, 0, 0])
    assert [phase.before_silence for phase in phases] == [False] * 4 + [True, False]


# Windows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(len(CHANNELS)), ids=CHANNELS)
def test_silence_beyond_the_reach_of_speech_is_exactly_at_rest(k: int) -> None:
    curve = blended(SENTENCE, random_targets(SENTENCE), np.full(len(CHANNELS), 0.3))[:, k]
    times = times_of(SENTENCE[-1].end_seconds)
    timing, start, end = (
        NUMBERS.timing[CHANNELS[k]],
        SENTENCE[1].start_seconds,
        SENTENCE[-1].start_seconds,
    )
    before = max(timing.attack, timing.onset, NUMBERS.ready.lead + NUMBERS.ready.rise)
    after = max(timing.release, timing.offset)
    reach = smoothing_reach(k)
    rest = (times < start - before - reach) | (times > end + after + reach)
    assert rest[times < start].sum() > 0.2 * RATE_HZ
    assert rest[times > end].sum() > 0.5 * RATE_HZ
    assert not curve[rest].any()
    # The reach is used: the mouth moves shortly before the speech and after it.
    assert curve[(times > start - 0.05) & (times < end + 0.05)].min() > 0.0


def test_short_pauses_are_not_at_rest() -> None:
    curves = blended(SENTENCE, random_targets(SENTENCE))
    pause = SENTENCE[5]
    assert pause.label == "SIL"
    inside = slice(int(pause.start_seconds * RATE_HZ), int(pause.end_seconds * RATE_HZ))
    assert curves[inside].max(axis=0).min() > 0.05


def test_rest_is_the_pose_of_silence_alone() -> None:
    silence = phones_of("SIL:2")
    assert not blended(silence, np.zeros((1, len(CHANNELS)))).any()
    curves = blended(silence, np.full((1, len(CHANNELS)), 0.4))
    np.testing.assert_allclose(curves[120:360], 0.4, atol=1e-5)


def test_pose_before_speech_fits_into_the_pause_before_it() -> None:
    for pause in (0.15, 0.4, 2.0):
        phones = phones_of(f"AA SIL:{pause} AA SIL:1", 0.1)
        n_phases = len(place_phases(phones))
        curves = blended(phones, np.zeros((n_phases, len(CHANNELS))), np.ones(len(CHANNELS)))
        times = times_of(phones[-1].end_seconds)
        start = phones[2].start_seconds - min(pause, NUMBERS.ready.lead + NUMBERS.ready.rise)
        for k in range(len(CHANNELS)):
            moves = times[curves[:, k] > 0.0]
            assert moves.min() == pytest.approx(start, abs=smoothing_reach(k) + 2 / RATE_HZ)
            assert moves.min() > start - smoothing_reach(k)


# Linearity ----------------------------------------------------------------------------------------


def test_curves_are_linear_in_the_poses() -> None:
    one, other = random_targets(SENTENCE, 1), random_targets(SENTENCE, 2)
    a, b = np.full(len(CHANNELS), 0.3), np.linspace(0.1, 0.5, len(CHANNELS))
    combined = blended(SENTENCE, 2.0 * one - 0.5 * other, 2.0 * a - 0.5 * b)
    expected = 2.0 * blended(SENTENCE, one, a) - 0.5 * blended(SENTENCE, other, b)
    np.testing.assert_allclose(combined, expected, atol=1e-12)
    assert np.abs(expected).max() > 0.5


def test_curves_stay_between_the_poses() -> None:
    targets = random_targets(SENTENCE)
    curves = blended(SENTENCE, targets, np.full(len(CHANNELS), 0.3))
    assert curves.min() >= 0.0
    assert (curves.max(axis=0) <= targets.max(axis=0) + 1e-12).all()
    # Equal poses of all phones give that pose, whatever their dominances.
    phones = [phone for phone in SENTENCE if phone.label != "SIL"]
    speech = phones_of(" ".join(phone.label for phone in phones), 0.1)
    same = blended(speech, np.full((len(place_phases(speech)), len(CHANNELS)), 0.7))
    np.testing.assert_allclose(same[24:-24], 0.7, atol=1e-3)


def test_channels_do_not_depend_on_each_other() -> None:
    targets = random_targets(SENTENCE)
    changed = targets.copy()
    changed[:, 1] = 0.0
    a, b = blended(SENTENCE, targets), blended(SENTENCE, changed)
    others = [k for k in range(len(CHANNELS)) if k != 1]
    np.testing.assert_array_equal(a[:, others], b[:, others])
    assert not b[:, 1].any()


# Tempo --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tempo", [0.5, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("k", range(len(CHANNELS)), ids=CHANNELS)
def test_reach_of_a_phone_scales_with_the_tempo(k: int, tempo: float) -> None:
    phones = [Phone("AA", 2.0, 2.1), Phone("IY", 2.1, 2.2), Phone("T", 2.2, 4.0)]
    targets = np.zeros((3, len(CHANNELS)))
    targets[1] = 0.6
    times = times_of(4.0)
    curves = blend(
        place_phases(phones), targets, np.zeros(len(CHANNELS)), CHANNEL, times, tempo, NUMBERS
    )
    moves = times[curves[:, k] > 0.0]
    timing, smoothing = NUMBERS.timing[CHANNELS[k]], 4.0 * SMOOTHING_SECONDS[CHANNELS[k]] * tempo
    assert moves.min() == pytest.approx(2.1 - timing.attack * tempo - smoothing, abs=3 / RATE_HZ)
    assert moves.max() == pytest.approx(2.2 + timing.release * tempo + smoothing, abs=3 / RATE_HZ)


def test_speech_of_half_the_speed_at_twice_the_tempo_is_the_same_motion() -> None:
    phones = phones_of("P AY T UW B OW M IY", 0.1)
    slow = [Phone(p.label, 2 * p.start_seconds, 2 * p.end_seconds) for p in phones]
    targets = random_targets(phones)
    fast_curves, slow_curves = blended(phones, targets), blended(slow, targets, tempo=2.0)
    inside = slice(30, len(fast_curves) - 30)
    np.testing.assert_allclose(slow_curves[::2][inside], fast_curves[inside], atol=3e-3)
    # The same tempo does not: slow speech reaches its poses better.
    assert np.abs(blended(slow, targets)[::2][inside] - fast_curves[inside]).max() > 0.05
