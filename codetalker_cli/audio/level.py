"""Correct the level of speech before it is encoded.

Speech encoders were trained on recordings of a normal level. Three kinds of recordings have
another: floating-point samples on the scale of integers, quiet speech, and channels of opposite
polarity. The playback sound keeps its level; only the encoder's input is changed.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Full scale of 16, 24 and 32-bit integers."""
_LARGEST_FLOAT = 16.0
"""The highest peak (+24 dBFS) of floating-point samples that are taken at their own scale."""
_CANCELED_SHARE = 0.05
"""Channels cancel each other if their mean has less than this share of the loudest one's power."""

TARGET_DB = -26.0
"""Quieter speech is raised to this level, in dBFS. Most recordings are above it."""
_MAX_GAIN_DB = 60.0
_SLEW_DB = 0.2
"""The most the gain changes per frame, in decibels (10 per second)."""
FRAME = 320
"""Samples of a frame (20 ms)."""
_WINDOW = 640
_LAGS = (40, 230)
"""Lags of the pitch search, in samples (400 to 70 Hz)."""
_MIN_PERIODICITY = 0.45
_MIN_ABOVE_FLOOR_DB = 9.0
_FLOOR_FRAMES = 150
"""Frames over which the noise floor is the minimum (3 s)."""
_MIN_POWER_DB = -85.0
_HANGOVER_FRAMES = 10
_MIN_SPEECH_FRAMES = 15
"""Frames of speech (0.3 s) before the estimate is used."""
_MEMORY_FRAMES = 150
"""Frames of speech over which the level is averaged (3 s)."""


def integer_scale(peak: float) -> float:
    """Return the full scale of samples with this peak: 1.0, or that of 16, 24 or 32-bit integers.

    A file may store integer samples as floating-point numbers without scaling them.
    """
    if peak <= _LARGEST_FLOAT:
        return 1.0
    return next((scale for scale in INTEGER_SCALES if peak <= scale), INTEGER_SCALES[-1])


def canceled_channel(channel_power: np.ndarray, mean_power: float) -> int | None:
    """Return the loudest channel if the mean of all channels cancels the sound, or None.

    Args:
        channel_power: (channels,) mean square of each channel.
        mean_power: The mean square of the mean of all channels.
    """
    if len(channel_power) < 2:
        return None
    loudest = int(np.argmax(channel_power))
    return loudest if mean_power < _CANCELED_SHARE * float(channel_power[loudest]) else None


@dataclass(frozen=True)
class Leveled:
    """Speech for the encoder.

    Attributes:
        samples: (n,) float32; the given array itself if nothing was changed.
        gain_db: The largest gain, in decibels; 0 if nothing was changed.
    """

    samples: np.ndarray
    gain_db: float


def raise_quiet_speech(samples: np.ndarray) -> Leveled:
    """Raise quiet speech to the level that encoders expect.

    The gain follows a running estimate of the speech level. It is raised only after speech was
    detected, so noise and near silence keep their level.

    Args:
        samples: (n,) float32 at 16 kHz.
    """
    estimate = SpeechLevel()
    ending = np.zeros(_WINDOW - FRAME, np.float32)
    gains = np.concatenate([estimate.update(samples), estimate.update(ending)])
    if not len(gains) or gains.max() <= 0.0:
        return Leveled(samples, 0.0)
    # A recording is known as a whole: its first words get the gain of the first estimate.
    gains[: estimate.first_frame] = gains[min(estimate.first_frame, len(gains) - 1)]
    at = (np.arange(len(gains)) + 0.5) * FRAME
    raised = np.empty_like(samples)
    block = FRAME * 5000
    for start in range(0, len(samples), block):
        times = np.arange(start, min(start + block, len(samples)))
        raised[start : start + block] = 10 ** (np.interp(times, at, gains) / 20)
    raised *= samples
    return Leveled(np.clip(raised, -1.0, 1.0, out=raised), float(gains.max()))


class SpeechLevel:
    """A running estimate of the level of speech, for recordings and live streams.

    A frame counts as speech if it is well above the noise floor and has a pitch, or shortly after
    such a frame. Steady noise, hum and clicks do not count.

    Attributes:
        level_db: The level of the latest speech in dBFS, or None before enough speech.
        first_frame: The first frame at which the level was known.
    """

    def __init__(self) -> None:
        self.level_db: float | None = None
        self.first_frame = 0
        self._rest = np.zeros(0, np.float32)
        self._n_frames = 0
        self._n_speech = 0
        self._power = 0.0
        self._since_pitch = _HANGOVER_FRAMES
        self._recent: deque[tuple[int, float]] = deque()
        self._gain_db = 0.0

    def update(self, samples: np.ndarray) -> np.ndarray:
        """Return the gain in decibels of each frame of 20 ms that is known now.

        A frame is known when the frame after it is complete, so the gains do not depend on how the
        samples are divided into calls.

        Args:
            samples: (n,) float32 at 16 kHz that follow the samples of the previous call.
        """
        joined = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        n = max(0, (len(joined) - (_WINDOW - FRAME)) // FRAME)
        self._rest = joined[n * FRAME :].copy()
        gains = np.zeros(n)
        for start in range(0, n, 2000):
            stop = min(start + 2000, n)
            window = joined[start * FRAME : stop * FRAME + _WINDOW - FRAME]
            powers, periodicities = _frame_facts(window, stop - start)
            for k in range(stop - start):
                gains[start + k] = self._step(float(powers[k]), float(periodicities[k]))
        return gains

    def _step(self, power_db: float, periodicity: float) -> float:
        """Take one frame into account, and return the gain after it."""
        floor = self._floor(power_db)
        is_loud = power_db > max(floor + _MIN_ABOVE_FLOOR_DB, _MIN_POWER_DB)
        is_pitched = is_loud and periodicity > _MIN_PERIODICITY
        self._since_pitch = 0 if is_pitched else self._since_pitch + 1
        if is_loud and self._since_pitch < _HANGOVER_FRAMES:
            self._n_speech += 1
            share = 1 / min(self._n_speech, _MEMORY_FRAMES)
            self._power += share * (10 ** (power_db / 10) - self._power)
            if self._n_speech >= _MIN_SPEECH_FRAMES:
                if self.level_db is None:
                    self.first_frame = self._n_frames
                    self._gain_db = self._wanted_gain(10 * np.log10(self._power))
                self.level_db = 10 * float(np.log10(self._power))
        self._n_frames += 1
        if self.level_db is not None:
            change = self._wanted_gain(self.level_db) - self._gain_db
            self._gain_db += float(np.clip(change, -_SLEW_DB, _SLEW_DB))
        return self._gain_db

    @staticmethod
    def _wanted_gain(level_db: float) -> float:
        return float(np.clip(TARGET_DB - level_db, 0.0, _MAX_GAIN_DB))

    def _floor(self, power_db: float) -> float:
        """Return the lowest power of the latest frames."""
        while self._recent and self._recent[-1][1] >= power_db:
            self._recent.pop()
        self._recent.append((self._n_frames, power_db))
        if self._recent[0][0] <= self._n_frames - _FLOOR_FRAMES:
            self._recent.popleft()
        return self._recent[0][1]


def _frame_facts(samples: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the power in dBFS and the periodicity (0 to 1) of each frame."""
    padded = np.zeros((n_frames - 1) * FRAME + _WINDOW, np.float32)
    padded[: len(samples)] = samples[: len(padded)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::FRAME]
    power = np.mean(np.square(windows[:, :FRAME], dtype=np.float64), axis=1)
    # Differences suppress rumble, which would look periodic at short lags.
    sharpened = np.diff(windows, axis=1)
    spectrum = np.fft.rfft(sharpened, 2 * _WINDOW, axis=1)
    correlation = np.fft.irfft(np.square(np.abs(spectrum)), axis=1)
    # A shorter overlap at a longer lag must not lower its correlation.
    lags = np.arange(*_LAGS)
    overlap = 1 - lags / _WINDOW
    total = np.maximum(correlation[:, 0], 1e-20)
    periodicity = (correlation[:, lags] / overlap).max(axis=1) / total
    return 10 * np.log10(np.maximum(power, 1e-12)), periodicity
