"""Generate non-speech sounds, which teach a model to keep the mouth shut and to ignore noise.

The sounds are hiss, hum, wind, taps, tones, music, drums, breath and laughter. They are computed,
not recorded, and each call generates a different one.
"""

from collections.abc import Callable

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE

Maker = Callable[[int, np.random.Generator], np.ndarray]

QUIETEST_DB, LOUDEST_DB = -70.0, -3.0
"""The range of the peak, in dB relative to full scale."""


def sound(n: int, rng: np.random.Generator, kind: str | None = None) -> np.ndarray:
    """Generate an (n,) float32 sound at 16 kHz, within [-1, 1] and never silent.

    Args:
        n: The number of samples, at least 1. Very short music or drums may contain only hiss.
        rng: The random generator for the sound and its loudness.
        kind: One of ``KINDS``; None chooses one at random.
    """
    waveform = _MAKERS[kind or str(rng.choice(KINDS))](n, rng)
    floor = colored_noise(n, rng)
    waveform = _normalize(waveform) + _normalize(floor) * 10 ** (rng.uniform(-60.0, -25.0) / 20)
    return (_normalize(waveform) * 10 ** (rng.uniform(QUIETEST_DB, LOUDEST_DB) / 20)).astype(
        np.float32
    )


def colored_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Generate (n,) Gaussian noise with a spectral slope of 0 to -6 dB per octave."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 20.0)
    return np.fft.irfft(spectrum * frequency ** -rng.uniform(0.0, 1.0), n).astype(np.float32)


def breath(n: int, rng: np.random.Generator) -> np.ndarray:
    """Generate an (n,) float64 inhalation, sometimes followed by an exhalation."""
    low, high = rng.uniform(200.0, 900.0), rng.uniform(2000.0, 6500.0)
    noise = _band(rng.standard_normal(n), low, high)
    shape = np.sin(np.pi * np.linspace(0.0, 1.0, n)) ** rng.uniform(0.7, 2.0)
    if rng.random() < 0.4:
        shape *= np.abs(np.cos(np.pi * np.linspace(0.0, 1.0, n))) ** 0.5
    return noise * shape


def _normalize(x: np.ndarray) -> np.ndarray:
    return x / (np.abs(x).max(initial=0.0) + 1e-12)


def _band(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Band-pass a signal between two frequencies in hertz, with soft edges."""
    frequency = np.maximum(np.fft.rfftfreq(len(x), 1.0 / SAMPLE_RATE), 1.0)
    gain = 1.0 / np.sqrt((1.0 + (low / frequency) ** 4) * (1.0 + (frequency / high) ** 6))
    return np.fft.irfft(np.fft.rfft(x) * gain, len(x))


def _slow_envelope(n: int, rng: np.random.Generator, per_second: float) -> np.ndarray:
    """Interpolate linearly between random levels in [0, 1], ``per_second`` levels per second."""
    knots = rng.random(int(n / SAMPLE_RATE * per_second) + 2)
    return np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots)


def _hiss(n: int, rng: np.random.Generator) -> np.ndarray:
    return colored_noise(n, rng)


def _wind(n: int, rng: np.random.Generator) -> np.ndarray:
    return colored_noise(n, rng) * _slow_envelope(n, rng, rng.uniform(0.3, 3.0)) ** 2


def _hum(n: int, rng: np.random.Generator) -> np.ndarray:
    time, pitch = np.arange(n) / SAMPLE_RATE, rng.choice([50.0, 60.0, rng.uniform(30.0, 400.0)])
    waves = [
        rng.random() / k * np.sin(2 * np.pi * k * pitch * time + rng.uniform(0, 6.28))
        for k in range(1, 12)
    ]
    return np.sum(waves, 0) * (0.5 + 0.5 * _slow_envelope(n, rng, 1.0))


def _events(n: int, rng: np.random.Generator, starts: np.ndarray, make_event: Maker) -> np.ndarray:
    """Place random sounds of at most 2 s at the given start times in seconds."""
    total = np.zeros(n + 2 * SAMPLE_RATE)
    for start in starts:
        first = int(start * SAMPLE_RATE)
        length = int(rng.uniform(0.05, 2.0) * SAMPLE_RATE)
        total[first : first + length] += rng.uniform(0.3, 1.0) * make_event(length, rng)
    return total[:n]


def _random_times(n: int, rng: np.random.Generator, per_second: float) -> np.ndarray:
    seconds = n / SAMPLE_RATE
    return np.sort(rng.uniform(0.0, seconds, 1 + rng.poisson(per_second * seconds)))


def _beat_times(n: int, rng: np.random.Generator) -> np.ndarray:
    step = 60.0 / rng.uniform(60.0, 180.0) / rng.choice([1, 2])
    times = np.arange(rng.uniform(0.0, 0.5), n / SAMPLE_RATE, step)
    return times[rng.random(len(times)) < rng.uniform(0.6, 1.0)]


def _knock(n: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(n) / SAMPLE_RATE
    ringing = np.sin(2 * np.pi * rng.uniform(60.0, 4000.0) * time)
    noise = colored_noise(n, rng)
    mix = rng.random()
    waveform = mix * ringing + (1 - mix) * noise / (noise.std() + 1e-9)
    return waveform * np.exp(-time * rng.uniform(10.0, 120.0))


def _tone(n: int, rng: np.random.Generator) -> np.ndarray:
    """Generate a whistle, beep or siren."""
    time = np.arange(n) / SAMPLE_RATE
    bend = 2 ** (rng.uniform(0.0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.2, 6.0) * time))
    phase = 2 * np.pi * np.cumsum(rng.uniform(150.0, 3000.0) * bend) / SAMPLE_RATE
    edge = np.minimum(1.0, np.minimum(time, time[::-1]) * 100)
    return (np.sin(phase) + rng.random() * np.sin(2 * phase)) * edge


def _note(pitch: float, n: int, rng: np.random.Generator, color: np.ndarray) -> np.ndarray:
    """Generate one note of an instrument whose harmonics have the weights ``color``."""
    time = np.arange(n) / SAMPLE_RATE
    vibrato = 1.0 + rng.uniform(0.0, 0.006) * np.sin(2 * np.pi * rng.uniform(4.0, 7.0) * time)
    phase = 2 * np.pi * pitch * np.cumsum(vibrato) / SAMPLE_RATE
    waves = [w * np.sin(k * phase) for k, w in enumerate(color, 1) if k * pitch < SAMPLE_RATE / 2.2]
    return np.sum(waves, 0) if waves else np.zeros(n)


def _music(n: int, rng: np.random.Generator) -> np.ndarray:
    """Generate one to three plucked or sustained instruments on a scale, sometimes with drums."""
    scale = np.array([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10]][rng.integers(2)])
    root, total = rng.uniform(55.0, 220.0), np.zeros(n)
    for _ in range(rng.integers(1, 4)):
        color = rng.random(12) / np.arange(1, 13) ** rng.uniform(0.5, 2.0)
        octave, decay = 2.0 ** rng.integers(0, 3), rng.choice([0.0, rng.uniform(0.5, 8.0)])
        chord = rng.choice([1, 1, 3, 4])

        def play(
            length: int,
            rng: np.random.Generator,
            color: np.ndarray = color,
            octave: float = octave,
            decay: float = decay,
            chord: int = int(chord),
        ) -> np.ndarray:
            degree = rng.integers(len(scale))
            degrees = scale[(degree + 2 * np.arange(chord)) % len(scale)]
            notes = [_note(root * octave * 2 ** (d / 12), length, rng, color) for d in degrees]
            time = np.arange(length) / SAMPLE_RATE
            attack = np.minimum(1.0, time / rng.uniform(0.002, 0.1))
            release = np.minimum(1.0, time[::-1] / 0.05)
            return np.sum(notes, 0) * attack * release * np.exp(-decay * time)

        total += rng.uniform(0.3, 1.0) * _normalize(_events(n, rng, _beat_times(n, rng), play))
    return total + (_normalize(_drums(n, rng)) if rng.random() < 0.4 else 0.0)


def _drums(n: int, rng: np.random.Generator) -> np.ndarray:
    parts = [_events(n, rng, _beat_times(n, rng), _knock) for _ in range(rng.integers(1, 4))]
    return np.sum(parts, 0)


def _taps(n: int, rng: np.random.Generator) -> np.ndarray:
    return _events(n, rng, _random_times(n, rng, rng.uniform(0.5, 8.0)), _knock)


def _tones(n: int, rng: np.random.Generator) -> np.ndarray:
    return _events(n, rng, _random_times(n, rng, rng.uniform(0.2, 2.0)), _tone)


def _breaths(n: int, rng: np.random.Generator) -> np.ndarray:
    return _events(n, rng, _random_times(n, rng, rng.uniform(0.2, 0.8)), breath)


def _laugh(n: int, rng: np.random.Generator) -> np.ndarray:
    """Generate bursts of breath and voice at 4 to 6 Hz with falling pitch and loudness."""
    time = np.arange(n) / SAMPLE_RATE
    fall = np.exp(-time * rng.uniform(0.1, 0.8))
    phase = np.cumsum(rng.uniform(120.0, 500.0) * fall) / SAMPLE_RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    center = rng.uniform(500.0, 1100.0)
    voice = _band(pulses, center * 0.7, center * 1.5)
    air = _band(rng.standard_normal(n), 700.0, 4000.0)
    beat = np.sin(np.pi * rng.uniform(4.0, 6.0) * time)
    return fall * (
        _normalize(voice) * np.maximum(beat, 0.0) + 0.3 * _normalize(air) * (1.0 - beat**2)
    )


def _laughs(n: int, rng: np.random.Generator) -> np.ndarray:
    return _events(n, rng, _random_times(n, rng, rng.uniform(0.2, 0.5)), _laugh)


_MAKERS: dict[str, Maker] = {
    "hiss": _hiss,
    "wind": _wind,
    "hum": _hum,
    "taps": _taps,
    "tones": _tones,
    "music": _music,
    "drums": _drums,
    "breath": _breaths,
    "laughter": _laughs,
}
KINDS = tuple(_MAKERS)
"""The kinds of sounds that ``sound`` generates."""
