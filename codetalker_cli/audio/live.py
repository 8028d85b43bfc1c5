"""Convert live sound of any rate, in chunks of any size, for the speech encoder.

The result does not depend on how the sound is divided into chunks, bit for bit: it is resampled and
leveled in blocks that start at fixed times.
"""

import math

import numpy as np

from codetalker_cli.audio.level import FRAME, SpeechLevel
from codetalker_cli.audio.resampling import SAMPLE_RATE, resample

_BLOCK_SECONDS = 0.01
"""The least length of a block that is resampled; it is a whole number of samples at both rates."""
_CONTEXT_SECONDS = 0.002
"""The sound on both sides of a block that the filter of the resampling needs."""
_GAIN_DELAY = 2
"""A frame gets the gain of the frame this many frames before it, which is known when it starts."""


class LiveSound:
    """Sound that arrives in chunks.

    Args:
        rate: The rate of the chunks in hertz.
    """

    def __init__(self, rate: int = SAMPLE_RATE) -> None:
        self._resampler = _Resampler(rate)
        self._level = SpeechLevel()
        self._gains = np.zeros(0)
        self._n_samples, self._first_gain = 0, 0

    def add(self, chunk: np.ndarray, *, is_last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Take the next chunk.

        Args:
            chunk: (n,) float32 samples at the given rate.
            is_last: Whether the sound ends with this chunk.

        Returns:
            (m,) float32 samples at 16 kHz that are known now: as recorded, and with the level that
            encoders expect.
        """
        sound = self._resampler.add(chunk, is_last=is_last)
        self._gains = np.concatenate([self._gains, self._level.update(sound)])
        leveled = np.clip(sound * self._factors(len(sound)), -1.0, 1.0)
        self._n_samples += len(sound)
        # Only the gains that later samples need are kept.
        passed = max(0, self._n_samples // FRAME - _GAIN_DELAY - 1 - self._first_gain)
        self._gains, self._first_gain = self._gains[passed:], self._first_gain + passed
        return sound, leveled.astype(np.float32)

    def _factors(self, n: int) -> np.ndarray:
        """Return the (n,) factors of the next samples."""
        # Each frame is a ramp between the gains of two frames before it.
        at = (self._n_samples + np.arange(n)) / FRAME - _GAIN_DELAY
        frames = self._first_gain + np.arange(len(self._gains))
        gains = np.interp(at, frames + 1, self._gains, left=0.0) if len(frames) else np.zeros(n)
        return 10 ** (gains / 20)


class _Resampler:
    """A conversion to 16 kHz in blocks of fixed length."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        divisor = math.gcd(rate, SAMPLE_RATE)
        periods = max(1, math.ceil(_BLOCK_SECONDS * divisor))
        self._block, self._block_out = periods * rate // divisor, periods * SAMPLE_RATE // divisor
        # The context is a whole number of periods, so that blocks start at the right samples.
        contexts = max(1, math.ceil(_CONTEXT_SECONDS * divisor))
        self._context = contexts * rate // divisor
        self._context_out = contexts * SAMPLE_RATE // divisor
        self._waiting = np.zeros(self._context, np.float32)

    def add(self, chunk: np.ndarray, *, is_last: bool) -> np.ndarray:
        """Return the samples that are known after this chunk."""
        if self._rate == SAMPLE_RATE:
            return chunk
        self._waiting = np.concatenate([self._waiting, chunk])
        ready = []
        while len(self._waiting) >= self._block + 2 * self._context:
            ready.append(self._convert(self._waiting, self._block_out))
            self._waiting = self._waiting[self._block :]
        while is_last and (left := len(self._waiting) - self._context) > 0:
            n = min(self._block, left)
            padded = np.pad(self._waiting, (0, self._context + self._block))
            ready.append(self._convert(padded, -(-n * SAMPLE_RATE // self._rate)))
            self._waiting = self._waiting[n:]
        return np.concatenate(ready) if ready else np.zeros(0, np.float32)

    def _convert(self, samples: np.ndarray, n: int) -> np.ndarray:
        """Convert the next block with its context, and return its first ``n`` samples."""
        converted = resample(samples[: self._block + 2 * self._context], self._rate, SAMPLE_RATE)
        return converted[self._context_out : self._context_out + n]
