"""Find the rhythm of speech: where a person speaks, which syllables are accented, and the pauses.

Only the level of the sound is used, at ``RATE`` ticks per second. A tick depends on the past and on
at most ``LOOK_AHEAD_SECONDS`` of the sound after it, so that a live recording has the same rhythm.
"""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE

RATE = 100
"""Ticks per second."""
LOOK_AHEAD_SECONDS = 0.2
"""How long after an accent or a phrase start it is known."""
PAUSE_SECONDS = 0.25
"""Shortest silence that counts as a pause, in seconds."""

_TICK_SAMPLES = SAMPLE_RATE // RATE
_SMOOTHING = np.hanning(17)[1:-1] / np.hanning(17)[1:-1].sum()
"""The level is that of a window of 150 ms, about a syllable. It reaches 70 ms ahead."""
_AHEAD_TICKS = len(_SMOOTHING) // 2
_NEIGHBOR_TICKS = 12
"""An accent is louder than all ticks within 120 ms."""
_LOWEST_DB = -70.0
"""Quieter sound, in dBFS, is never speech."""
_ABOVE_FLOOR_DB = 9.0
_BELOW_SPEECH_DB = 22.0
"""Speech is at least 9 dB above the noise, and not more than 22 dB below loud speech."""
_FLOOR_RISE_DB, _SPEECH_FALL_DB = 2.0 / RATE, 1.0 / RATE
"""How fast the estimates of both levels adapt, in dB per tick."""
_SPEECH_RISE = 0.1
_FIRST_SPEECH_DB = -30.0
_FIRST_FLOOR_TICKS = 13
_USUAL_SECONDS = 1.2
"""An accent is compared with the level of this many seconds before it."""
_ACCENT_DB, _STRONG_DB = 1.0, 9.0
"""How much louder an accent is than usual: at least 1 dB, and 9 dB for a strength of 1."""
_ACCENT_SECONDS = 0.3
"""Shortest time between two accents."""


@dataclass(frozen=True)
class Rhythm:
    """The rhythm of a recording.

    Attributes:
        speaking: (N,) bool, whether there is speech at each tick, at (k + 0.5) / ``RATE`` seconds.
        accents: The times of the accents in seconds, in ascending order.
        strengths: The strength of each accent, from 0 to 1.
        phrases: The start times of the phrases, which follow a pause or the start of the recording.
        pauses: The start times of the pauses in and after the speech.
    """

    speaking: np.ndarray
    accents: tuple[float, ...]
    strengths: tuple[float, ...]
    phrases: tuple[float, ...]
    pauses: tuple[float, ...]

    @classmethod
    def of(cls, samples: np.ndarray) -> "Rhythm":
        """Find the rhythm of (n,) samples at 16 kHz, whose speech has a usual level."""
        level = _level(samples)
        speaking = _speaking(level)
        accents, strengths = _accents(level, speaking)
        phrases, pauses = _phrases(speaking)
        return cls(speaking, accents, strengths, phrases, pauses)


def tick_times(n: int) -> np.ndarray:
    """Return the (n,) times of the first ticks in seconds."""
    return (np.arange(n) + 0.5) / RATE


def _level(samples: np.ndarray) -> np.ndarray:
    """Return the (N,) smoothed level in dBFS."""
    n = -(-len(samples) // _TICK_SAMPLES)
    whole = len(samples) // _TICK_SAMPLES
    power = np.zeros(n)
    blocks = samples[: whole * _TICK_SAMPLES].reshape(whole, _TICK_SAMPLES)
    power[:whole] = np.einsum("ij,ij->i", blocks, blocks) / _TICK_SAMPLES
    if n > whole:
        power[-1] = np.square(samples[whole * _TICK_SAMPLES :]).sum() / _TICK_SAMPLES
    smooth = np.convolve(np.pad(power, _AHEAD_TICKS), _SMOOTHING, "valid")
    return 10 * np.log10(np.maximum(smooth, 1e-10))


def _speaking(level: np.ndarray) -> np.ndarray:
    """Return where the level is that of speech, from running estimates of noise and speech."""
    floor = float(level[:_FIRST_FLOOR_TICKS].min(initial=_FIRST_SPEECH_DB))
    speech = _FIRST_SPEECH_DB
    speaking = np.zeros(len(level), bool)
    for k, now in enumerate(level.tolist()):
        floor = min(now, floor + _FLOOR_RISE_DB)
        rise = _SPEECH_RISE * (now - speech) if now > speech else -_SPEECH_FALL_DB
        speech = max(speech + rise, _LOWEST_DB + _BELOW_SPEECH_DB)
        least = max(floor + _ABOVE_FLOOR_DB, speech - _BELOW_SPEECH_DB, _LOWEST_DB)
        speaking[k] = now > least
    return speaking


def _accents(
    level: np.ndarray, speaking: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the times and the strengths of syllables that are louder than usual."""
    times, strengths = [], []
    window = 2 * _NEIGHBOR_TICKS + 1
    padded = np.pad(level, _NEIGHBOR_TICKS, constant_values=-np.inf)
    loudest = np.lib.stride_tricks.sliding_window_view(padded, window).max(1) if len(level) else []
    usual, last, keep = 0.0, -np.inf, np.exp(-1 / (_USUAL_SECONDS * RATE))
    is_first = True
    for k in np.flatnonzero(speaking):
        usual = level[k] if is_first else keep * usual + (1 - keep) * level[k]
        is_first = False
        time, excess = (k + 0.5) / RATE, level[k] - usual
        if level[k] == loudest[k] and excess > _ACCENT_DB and time - last >= _ACCENT_SECONDS:
            last = time
            times.append(float(time))
            strengths.append(float(min((excess - _ACCENT_DB) / (_STRONG_DB - _ACCENT_DB), 1.0)))
    return tuple(times), tuple(strengths)


def _phrases(speaking: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the start times of the phrases and of the pauses after them."""
    edges = np.flatnonzero(np.diff(speaking.astype(np.int8), prepend=0, append=0))
    phrases, pauses = [], []
    shortest = round(PAUSE_SECONDS * RATE)
    end = -shortest
    for start, stop in edges.reshape(-1, 2).tolist():
        if start - end >= shortest:
            phrases.append(start / RATE)
            if end > 0:
                pauses.append(end / RATE)
        end = stop
    if phrases and len(speaking) - end >= shortest:
        pauses.append(end / RATE)
    return tuple(phrases), tuple(pauses)
