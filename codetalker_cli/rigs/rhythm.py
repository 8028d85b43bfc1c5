"""Find the rhythm of speech: where a person speaks, which syllables are accented, and the pauses.

Only the level of the sound is used, at ``RATE`` ticks per second. A tick depends on the past and on
at most ``LOOK_AHEAD_SECONDS`` of the sound after it, so that a live recording has the same rhythm:
a ``RhythmFinder`` takes the sound in pieces.
"""

import math
from collections.abc import Sequence
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
LEVEL_AHEAD_TICKS = len(_SMOOTHING) // 2
"""The level of a tick is known when the sound of this many ticks after it has come."""
ACCENT_AHEAD_TICKS = 12
"""An accent is louder than all ticks within 120 ms, so it is known that much later than speech."""
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
_PIECE_SAMPLES = 60 * SAMPLE_RATE
"""A recording is processed in pieces, which bounds the memory."""


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
        finder = RhythmFinder()
        starts = range(0, len(samples), _PIECE_SAMPLES)
        parts = [finder.add(samples[start : start + _PIECE_SAMPLES]) for start in starts]
        return cls.joined([*parts, finder.add(samples[:0], is_last=True)])

    @classmethod
    def joined(cls, parts: Sequence["Rhythm"]) -> "Rhythm":
        """Return the rhythm whose consecutive parts a ``RhythmFinder`` returned."""
        return cls(
            np.concatenate([part.speaking for part in parts]),
            *(
                tuple(event for part in parts for event in getattr(part, name))
                for name in ("accents", "strengths", "phrases", "pauses")
            ),
        )


class RhythmFinder:
    """Finds the rhythm of sound that arrives in pieces.

    The result does not depend on how the sound is divided into pieces, bit for bit. The memory is
    constant.
    """

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)  # the samples of an incomplete tick
        self._powers = np.zeros(LEVEL_AHEAD_TICKS)
        self._waiting: list[float] = []  # levels before the first estimate of the noise
        self._floor: float | None = None
        self._speech = _FIRST_SPEECH_DB
        self._n_ticks = 0  # the number of ticks whose speech is known
        # The levels and the speech of the latest ticks, in which accents are searched.
        self._levels: list[float] = []
        self._speaking: list[bool] = []
        self._first = 0  # the tick of the first of them
        self._next_accent = 0  # the first tick that may still be an accent
        self._usual: float | None = None
        self._last_accent = -math.inf
        self._speech_end = -round(PAUSE_SECONDS * RATE)

    def add(self, samples: np.ndarray, *, is_last: bool = False) -> Rhythm:
        """Take the next (n,) float32 samples at 16 kHz, and return what is known now.

        Args:
            samples: The samples.
            is_last: Whether the sound ends with them.

        Returns:
            The speech of the next ticks, and the events that were not returned before. An accent
            is known when the speech of ``ACCENT_AHEAD_TICKS`` ticks after it is known; a pause,
            when it has lasted long enough.
        """
        start = self._n_ticks
        speaking = self._find_speech(self._find_levels(samples, is_last), is_last)
        phrases, pauses = self._find_phrases(start, speaking)
        accents, strengths = self._find_accents(is_last)
        return Rhythm(np.array(speaking, bool), tuple(accents), tuple(strengths), phrases, pauses)

    def _find_levels(self, samples: np.ndarray, is_last: bool) -> list[float]:
        """Return the smoothed levels in dBFS that are known now."""
        samples = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        if is_last:
            samples = np.pad(samples, (0, -len(samples) % _TICK_SAMPLES))
        n = len(samples) // _TICK_SAMPLES
        blocks = samples[: n * _TICK_SAMPLES].reshape(n, _TICK_SAMPLES)
        self._rest = samples[n * _TICK_SAMPLES :].copy()
        powers = np.square(blocks, dtype=np.float64).sum(axis=1) / _TICK_SAMPLES
        after = np.zeros(LEVEL_AHEAD_TICKS if is_last else 0)
        powers = np.concatenate([self._powers, powers, after])
        n_known = max(0, len(powers) - 2 * LEVEL_AHEAD_TICKS)
        self._powers = powers[n_known:].copy()
        # Sums and scalar logarithms do not depend on the number of ticks, unlike vectorized ones.
        smooth = np.zeros(n_known)
        for k, share in enumerate(_SMOOTHING):
            smooth += share * powers[k : k + n_known]
        return [10 * math.log10(max(power, 1e-10)) for power in smooth.tolist()]

    def _find_speech(self, levels: list[float], is_last: bool) -> list[bool]:
        """Return where the level is that of speech, from running estimates of noise and speech."""
        if self._floor is None:
            self._waiting += levels
            if len(self._waiting) < _FIRST_FLOOR_TICKS and not is_last:
                return []
            levels, self._waiting = self._waiting, []
            self._floor = min([_FIRST_SPEECH_DB, *levels[:_FIRST_FLOOR_TICKS]])
        floor, speech, speaking = self._floor, self._speech, []
        for now in levels:
            floor = min(now, floor + _FLOOR_RISE_DB)
            rise = _SPEECH_RISE * (now - speech) if now > speech else -_SPEECH_FALL_DB
            speech = max(speech + rise, _LOWEST_DB + _BELOW_SPEECH_DB)
            least = max(floor + _ABOVE_FLOOR_DB, speech - _BELOW_SPEECH_DB, _LOWEST_DB)
            speaking.append(now > least)
        self._floor, self._speech = floor, speech
        self._levels += levels
        self._speaking += speaking
        self._n_ticks += len(speaking)
        return speaking

    def _find_accents(self, is_last: bool) -> tuple[list[float], list[float]]:
        """Return the times and the strengths of syllables that are louder than usual."""
        times, strengths, keep = [], [], math.exp(-1 / (_USUAL_SECONDS * RATE))
        stop = self._n_ticks - (0 if is_last else ACCENT_AHEAD_TICKS)
        for k in range(self._next_accent - self._first, stop - self._first):
            if not self._speaking[k]:
                continue
            level = self._levels[k]
            usual = self._usual
            self._usual = level if usual is None else keep * usual + (1 - keep) * level
            time, excess = (self._first + k + 0.5) / RATE, level - self._usual
            if excess <= _ACCENT_DB or time - self._last_accent < _ACCENT_SECONDS:
                continue
            near = self._levels[max(0, k - ACCENT_AHEAD_TICKS) : k + ACCENT_AHEAD_TICKS + 1]
            if level == max(near):
                self._last_accent = time
                times.append(time)
                strengths.append(min((excess - _ACCENT_DB) / (_STRONG_DB - _ACCENT_DB), 1.0))
        self._next_accent = max(stop, self._next_accent)
        passed = max(0, self._next_accent - ACCENT_AHEAD_TICKS - self._first)
        del self._levels[:passed], self._speaking[:passed]
        self._first += passed
        return times, strengths

    def _find_phrases(
        self, start: int, speaking: Sequence[bool]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the start times of the phrases and of the pauses after them."""
        phrases, pauses = [], []
        shortest = round(PAUSE_SECONDS * RATE)
        for tick, speaks in enumerate(speaking, start):
            silent = tick - self._speech_end  # the length of the silence before this tick
            if speaks:
                if silent >= shortest:
                    phrases.append(tick / RATE)
                self._speech_end = tick + 1
            elif silent + 1 == shortest and self._speech_end > 0:
                pauses.append(self._speech_end / RATE)
        return tuple(phrases), tuple(pauses)
