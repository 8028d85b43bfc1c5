"""Test the non-speech sounds: they are never silent or clipped, and reproducible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetalker_cli import audio
from codetalker_cli.synthetic import noise
from codetalker_cli.synthetic.noise import KINDS, sound

RATE = 16_000


@given(
    n=st.integers(1, 60_000), seed=st.integers(0, 2**32 - 1), kind=st.sampled_from((None, *KINDS))
)
@settings(max_examples=60, deadline=None)
def test_sounds_are_audible_unclipped_and_reproducible(n: int, seed: int, kind: str | None) -> None:
    made = sound(n, np.random.default_rng(seed), kind)
    assert made.shape == (n,) and made.dtype == np.float32
    peak_db = 20 * np.log10(np.abs(made).max())
    assert noise.QUIETEST_DB - 0.1 < peak_db < noise.LOUDEST_DB + 0.1
    assert np.abs(made).max() > audio.SILENCE_PEAK
    np.testing.assert_array_equal(made, sound(n, np.random.default_rng(seed), kind))


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_draws_of_a_kind_differ(kind: str) -> None:
    rng = np.random.default_rng(0)
    a, b = sound(8000, rng, kind), sound(8000, rng, kind)
    assert np.abs(np.corrcoef(a, b)[0, 1]) < 0.9


def peaks(x: np.ndarray) -> np.ndarray:
    """Return the power of the 20 strongest frequencies relative to the mean power, in dB."""
    power = np.square(np.abs(np.fft.rfft(x * np.hanning(len(x)))))
    return 10 * np.log10(np.sort(power)[-20:].mean() / power.mean())


def test_music_and_hum_are_more_tonal_than_hiss() -> None:
    found = {
        kind: np.median([peaks(sound(4 * RATE, np.random.default_rng(k), kind)) for k in range(7)])
        for kind in ("music", "hum", "hiss")
    }
    assert min(found["music"], found["hum"]) > found["hiss"] + 5


def test_breath_fades_in_and_out() -> None:
    for seed in range(5):
        air = np.abs(noise.breath(RATE, np.random.default_rng(seed)))
        edges = np.concatenate([air[:400], air[-400:]]).mean()
        assert edges < 0.5 * air.mean()
