"""Test that augmented speech has the given noise level, keeps its timing and is repeatable."""

import numpy as np
import pytest
import voices

from codetalker_cli.synthetic.noise import colored_noise
from codetalker_cli.train import augment

# White noise: a hum at the pitch of the speech would look like an echo of it.
OTHERS = [np.random.default_rng(k).standard_normal(11_200).astype(np.float32) for k in range(1, 4)]


def broadband(seed: int = 0) -> np.ndarray:
    """Return (n,) float32 speech with noise that gives its correlation a sharp peak."""
    noise = np.random.default_rng(seed).standard_normal(16000)
    return (voices.speech(seed=seed) + 0.05 * noise).astype(np.float32)


def power(x: np.ndarray) -> float:
    return float(np.square(x, dtype=np.float64).mean())


def delay(x: np.ndarray, y: np.ndarray) -> int:
    """Return the delay of ``y`` after ``x`` in samples, which is the peak of their correlation."""
    size = 2 * len(x)
    spectrum = np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size))
    peak = int(np.argmax(np.fft.irfft(spectrum, size)))
    return peak - size if peak > size // 2 else peak


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 30.0])
def test_noise_has_the_given_signal_to_noise_ratio(snr_db: float) -> None:
    clean = voices.speech()
    noise = colored_noise(len(clean), np.random.default_rng(0))
    added = augment.mixed(clean, noise, snr_db) - clean
    assert 10 * np.log10(power(clean) / power(added)) == pytest.approx(snr_db, abs=0.01)


def test_spectral_slope_of_noise_is_in_range() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        noise = colored_noise(1 << 16, rng)
        density = np.square(np.abs(np.fft.rfft(noise)))
        octaves = [(250 * 2**k, 500 * 2**k) for k in range(4)]
        bins = [slice(int(a * (1 << 16) / 16000), int(b * (1 << 16) / 16000)) for a, b in octaves]
        levels = [10 * np.log10(density[b].mean()) for b in bins]
        slope_db = np.polyfit(range(4), levels, 1)[0]
        assert -6.5 < slope_db < 0.5


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_another_voice_has_scaled_frequencies_at_the_same_times(ratio: float) -> None:
    time = np.arange(32_000) / 16000
    noise = np.random.default_rng(0).standard_normal(len(time))
    tone = np.sin(2 * np.pi * 500 * time) + 0.3 * noise
    beeps = (tone * (np.sin(2 * np.pi * 2 * time) > 0)).astype(np.float32)
    made = augment.revoiced(beeps, ratio)
    assert made.shape == beeps.shape and made.dtype == np.float32
    peak = np.abs(np.fft.rfft(made)).argmax() / 2.0  # bins of 0.5 Hz
    assert peak == pytest.approx(500 * ratio, rel=0.02)
    beginnings = np.flatnonzero(np.diff((np.convolve(made**2, np.ones(160)) > 1).astype(int)) > 0)
    assert np.abs(beginnings[:4] - np.arange(4) * 8000).max() < 320  # 20 ms
    assert len(augment.revoiced(np.ones(100, np.float32), ratio)) == 100


@pytest.mark.parametrize("n", [1, 5000, 40_000])
def test_babble_has_the_given_length_and_is_repeatable(n: int) -> None:
    made = augment.babble(n, OTHERS, np.random.default_rng(0))
    assert made.shape == (n,) and np.isfinite(made).all()
    assert augment.babble(n, OTHERS, np.random.default_rng(0)).tobytes() == made.tobytes()


@pytest.mark.parametrize("seed", range(6))
def test_reverberation_and_filters_keep_the_timing(seed: int) -> None:
    clean = broadband(seed)
    rng = np.random.default_rng(seed)
    for changed in (augment.reverberant(clean, 0.4, rng), augment.filtered(clean, rng)):
        assert changed.shape == clean.shape and np.isfinite(changed).all()
        assert delay(clean, changed) == 0


def test_reverberation_is_causal_and_decays() -> None:
    click = np.zeros(8000, np.float32)
    click[3000] = 1.0
    heard = augment.reverberant(click, 0.3, np.random.default_rng(0))
    assert np.abs(heard[:3000]).max() < 1e-6
    assert heard[3000] == pytest.approx(1.0, abs=0.1)
    assert np.abs(heard[3001:]).max() > 1e-3  # the tail
    late, early = heard[3000 + 4400 :], heard[3001 : 3000 + 400]
    assert np.abs(late).max() < 0.01 * np.abs(early).max() + 1e-6


@pytest.mark.parametrize("others", [OTHERS, []])
def test_every_version_is_usable_aligned_and_repeatable(others: list[np.ndarray]) -> None:
    clean = broadband()
    kept = clean.copy()
    versions = set()
    for seed in range(30):
        made = augment.augment(clean, np.random.default_rng(seed), others)
        again = augment.augment(clean, np.random.default_rng(seed), others)
        assert made.dtype == np.float32 and made.shape == clean.shape
        assert np.isfinite(made).all() and np.abs(made).max() <= 1.0
        if np.random.default_rng(seed).random() >= augment.REVOICED_SHARE:
            # Other voices have no common waveform. An early echo can be the highest peak.
            assert abs(delay(clean, made)) < 160
        assert made.tobytes() == again.tobytes()
        versions.add(made.tobytes())
    assert len(versions) == 30
    assert np.array_equal(clean, kept)


def test_augmented_silence_is_finite() -> None:
    for seed in range(10):
        made = augment.augment(
            np.zeros(8000, np.float32), np.random.default_rng(seed), [np.zeros(10, np.float32)]
        )
        assert np.isfinite(made).all()


def test_a_share_of_the_versions_has_quiet_speech() -> None:
    clean = broadband()
    level = augment.speech_dbfs(clean)
    levels = []
    for seed in range(300):
        made = augment.augment(clean, np.random.default_rng(seed), OTHERS)
        levels.append(augment.speech_dbfs(made))
    # The usual gain leads to -20 dB at least.
    share = augment.QUIET_SHARE * (50 - 38) / (50 - 25)
    assert level > -17 and np.mean(np.array(levels) < -38) == pytest.approx(share, abs=0.05)
    assert -54 < min(levels) < -45


def test_clips_without_speech_are_not_made_quiet() -> None:
    clean = broadband()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        made = augment.augment(clean, rng, OTHERS, is_speech=False)
        assert power(made) > 10**-2.5 * power(clean)


def test_level_of_speech_excludes_its_pauses() -> None:
    tone = 0.1 * np.sqrt(2) * np.sin(np.arange(16_000) * 0.3)
    paused = np.concatenate([tone, np.zeros(32_000), tone])
    assert augment.speech_dbfs(tone) == pytest.approx(-20, abs=0.1)
    assert augment.speech_dbfs(paused) == pytest.approx(-20, abs=0.1)
    assert augment.speech_dbfs(np.zeros(100)) == pytest.approx(-120)
