"""Augment speech with noise, non-speech sounds, reverberation, telephone filters and babble.

Timing is never changed, so the motion of the clean clip still matches.
"""

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.synthetic.noise import colored_noise, sound

VERSION = 4
"""The version of the cached results; increase it when the same seed gives different samples."""

QUIET_SHARE = 0.3
"""The share of versions in which the speech has a low level, as with a distant microphone."""
QUIET_DBFS = (-50.0, -25.0)
"""The range of that level: the RMS of the speech in dB relative to full scale."""
REVOICED_SHARE, REVOICED_RATIOS = 0.5, (0.8, 1.25)
"""The share of versions with another voice, and the range of the ratio of its frequencies."""
_ACTIVE_BLOCK = SAMPLE_RATE // 20
_ACTIVE_SHARE = 0.1


def augment(
    samples: np.ndarray,
    rng: np.random.Generator,
    others: list[np.ndarray],
    *,
    is_speech: bool = True,
) -> np.ndarray:
    """Return a randomly degraded version of speech.

    Args:
        samples: (n,) clean speech at 16 kHz.
        rng: The generator that draws the effects and their strengths.
        others: Other clips, from which babble is mixed.
        is_speech: Whether the clip contains speech; only speech is made quiet.

    Returns:
        (n,) float32 samples within ±1.
    """
    x = samples.astype(np.float32)
    if is_speech and rng.random() < REVOICED_SHARE:
        x = revoiced(x, float(np.exp(rng.uniform(*np.log(REVOICED_RATIOS)))))
    if rng.random() < 0.5:
        x = filtered(x, rng)
    if rng.random() < 0.4:
        x = reverberant(x, rng.uniform(0.1, 0.6), rng)
    if rng.random() < 0.5 and others:
        x = mixed(x, babble(len(x), others, rng), rng.uniform(3.0, 20.0))
    if rng.random() < 0.6:
        noise = colored_noise(len(x), rng) if rng.random() < 0.6 else sound(len(x), rng)
        x = mixed(x, noise, rng.uniform(6.0, 35.0))
    gain_db = rng.uniform(-20.0, 3.0)
    if is_speech and rng.random() < QUIET_SHARE:
        # The noise becomes quieter with the speech, because a microphone records both.
        gain_db = min(gain_db, rng.uniform(*QUIET_DBFS) - speech_dbfs(samples))
    return np.clip(x * 10 ** (gain_db / 20), -1.0, 1.0).astype(np.float32)


def speech_dbfs(samples: np.ndarray) -> float:
    """Return the RMS of speech in dB relative to full scale, without its pauses.

    Args:
        samples: (n,) clean speech at 16 kHz. Blocks far below the mean power count as pauses.
    """
    starts = np.arange(0, len(samples), _ACTIVE_BLOCK)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    power /= np.diff(starts, append=len(samples))
    active = power[power >= _ACTIVE_SHARE * power.mean()]
    return float(10 * np.log10(active.mean() + 1e-12))


def revoiced(x: np.ndarray, ratio: float) -> np.ndarray:
    """Multiply all frequencies by a ratio, as in the voice of a smaller or larger person.

    A phase vocoder stretches the speech in time, and resampling to the old length undoes that.
    """
    import torch
    from scipy.signal import resample
    from torchaudio.functional import phase_vocoder

    size, hop = 512, 128
    if len(x) < size:
        return x
    window = torch.hann_window(size)
    spectrum = torch.stft(torch.from_numpy(x), size, hop, window=window, return_complex=True)
    advance = torch.linspace(0, torch.pi * hop, size // 2 + 1)[:, None]
    frames = phase_vocoder(spectrum, 1 / ratio, advance)
    n = round(len(x) * ratio)
    stretched = torch.istft(frames, size, hop, window=window, length=n)
    return resample(stretched.numpy(), len(x)).astype(np.float32)


def mixed(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise to speech at a signal-to-noise ratio in dB."""
    power = float(np.square(speech).mean())
    noise_power = float(np.square(noise).mean()) + 1e-12
    return speech + noise * np.sqrt(power / noise_power / 10 ** (snr_db / 10))


def babble(n: int, others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return the (n,) sum of 3 to 6 random clips, each rolled in time and looped."""
    total = np.zeros(n, dtype=np.float32)
    for index in rng.integers(len(others), size=rng.integers(3, 7)):
        other = others[index]
        total += np.resize(np.roll(other, rng.integers(len(other))), n)
    return total


def reverberant(x: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Add reverberation: a random tail that decays by 60 dB in ``seconds``."""
    n = int(seconds * SAMPLE_RATE)
    tail = rng.standard_normal(n) * 10 ** (-3.0 * np.arange(n) / n)
    tail *= rng.uniform(0.2, 0.8) / np.linalg.norm(tail)
    tail[0] += 1.0
    size = len(x) + n
    wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[: len(x)]
    return wet.astype(np.float32)


def filtered(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tilt and band-limit the spectrum, as cheap microphones and telephones do."""
    spectrum = np.fft.rfft(x)
    frequency = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    tilt_db = rng.uniform(-4.0, 4.0) * np.log2(np.maximum(frequency, 60.0) / 1000.0)
    gain = 10 ** (np.clip(tilt_db, -15.0, 15.0) / 20)
    high = rng.uniform(3000.0, 8000.0)
    gain /= np.sqrt(1.0 + (frequency / high) ** 16)
    if rng.random() < 0.5:
        low = rng.uniform(60.0, 300.0)
        gain /= np.sqrt(1.0 + (low / np.maximum(frequency, 1.0)) ** 8)
    return np.fft.irfft(spectrum * gain, len(x)).astype(np.float32)
