"""Decode a file to mono, and measure it on the way."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.audio import decoding
from codetalker_cli.audio.level import canceled_channel, integer_scale
from codetalker_cli.audio.resampling import SAMPLE_RATE, resample_blocks
from codetalker_cli.errors import InputError, counted, printable, verb

SILENCE_PEAK = 1e-4
"""The peak (-80 dBFS) below which a recording counts as silent."""
WHOLE_SAMPLES = 30_000_000
"""Longer recordings (10 min at 48 kHz) are converted to 16 kHz while they are read."""
_MISSING_SECONDS, _MISSING_SHARE = 0.1, 0.01
"""A sound that is shorter than its header states by more than this is incomplete."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """A decoded file.

    Attributes:
        samples: (n,) float32 mono.
        rate: Samples per second.
        scale: The full scale of the file's samples; the samples are divided by it.
        decoder: The decoder that was used.
        seconds: The length.
        stated_seconds: The length that the header states, or None.
        damage: What the decoder complained about.
        choice: A sentence on the sound track that was chosen among several, or an empty string.
        n_channels: The number of channels of the file.
        channel: The channel that is used because the channels cancel each other out, or None.
    """

    samples: np.ndarray
    rate: int
    scale: float
    decoder: str
    seconds: float
    stated_seconds: float | None
    damage: tuple[str, ...]
    choice: str
    n_channels: int
    channel: int | None

    def mix(self, block: np.ndarray) -> np.ndarray:
        """Return the (n,) mono samples of an (n, channels) block of the file."""
        return block.mean(axis=1) if self.channel is None else block[:, self.channel]

    @property
    def is_complete(self) -> bool:
        return self.stated_seconds is None or self.missing_seconds <= max(
            _MISSING_SECONDS, _MISSING_SHARE * self.stated_seconds
        )

    @property
    def missing_seconds(self) -> float:
        return max(0.0, (self.stated_seconds or 0.0) - self.seconds)


def decode_mono(path: Path, decoder: str, channel: int | None = None) -> Decoded:
    """Decode a file to mono with one decoder.

    Args:
        path: The file.
        decoder: A decoder of ``decoding.decoders``.
        channel: The channel to use instead of the mean of all.
    """
    with decoding.opened(path, decoder) as sound:
        n_channels, rate = sound.channels, sound.rate
        mix = _Mix(printable(path), n_channels, channel)
        samples, out_rate = _collect(mix.blocks(sound.blocks), rate)
        stated, damage = sound.stated_seconds, tuple(sound.damage or ())
        choice = sound.choice
    canceled = canceled_channel(mix.channel_power, mix.mean_power) if channel is None else None
    if canceled is not None and mix.peak >= SILENCE_PEAK:
        return decode_mono(path, decoder, canceled)
    scale = integer_scale(mix.peak)
    if scale != 1.0:
        samples = samples / np.float32(scale)
    return Decoded(
        samples, out_rate, scale, decoder, mix.n / rate, stated, damage, choice, n_channels, channel
    )


def mix_array(samples: np.ndarray, name: str) -> np.ndarray:
    """Return the mean of (n, channels) samples, or the loudest one if they cancel each other."""
    mix = _Mix(name, samples.shape[1], None)
    mono = next(mix.blocks([samples]))
    canceled = canceled_channel(mix.channel_power, mix.mean_power)
    if canceled is None or mix.peak < SILENCE_PEAK:
        return mono
    report_canceled(name, samples.shape[1], canceled)
    return np.ascontiguousarray(samples[:, canceled])


def report_canceled(name: str, n_channels: int, channel: int) -> None:
    """Log that one channel is used instead of the mean of all."""
    logger.warning(
        "%s: its %d channels cancel each other out when averaged; channel %d is used",
        name,
        n_channels,
        channel + 1,
    )


def report_scale(name: str, scale: float) -> None:
    """Log that floating-point samples are divided by the full scale of integers."""
    logger.warning(
        "%s: its floating-point samples are on the scale of %d-bit integers; they are divided by "
        "%d",
        name,
        round(np.log2(scale)) + 1,
        scale,
    )


class _Mix:
    """Mixes blocks to mono, and measures them on the way.

    Attributes:
        n: The number of samples per channel.
        peak: The largest absolute sample of all channels.
        channel_power: (channels,) mean square of each channel.
        mean_power: The mean square of the mean of all channels.
    """

    def __init__(self, name: str, n_channels: int, channel: int | None) -> None:
        self.n, self.peak = 0, 0.0
        self._name, self._channel = name, channel
        self._channel_sum, self._mean_sum = np.zeros(n_channels), 0.0

    @property
    def channel_power(self) -> np.ndarray:
        return self._channel_sum / max(self.n, 1)

    @property
    def mean_power(self) -> float:
        return self._mean_sum / max(self.n, 1)

    def blocks(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield (n,) float32 for each (n, channels) block.

        Raises:
            InputError: A sample is NaN or infinite.
        """
        for block in blocks:
            mono = block.mean(axis=1) if self._channel is None else block[:, self._channel].copy()
            check_finite(mono, self._name, self.n)
            self.n += len(block)
            self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
            self._channel_sum += np.square(block, dtype=np.float64).sum(axis=0)
            self._mean_sum += float(np.square(mono, dtype=np.float64).sum())
            yield mono


def _collect(blocks: Iterator[np.ndarray], rate: int) -> tuple[np.ndarray, int]:
    """Join blocks; long recordings are converted to 16 kHz on the way."""
    begun: list[np.ndarray] = []
    n = 0
    for block in blocks:
        begun.append(block)
        n += len(block)
        if n > WHOLE_SAMPLES and rate != SAMPLE_RATE:
            converted = resample_blocks(_chained(begun, blocks), rate, SAMPLE_RATE)
            return np.concatenate(list(converted)), SAMPLE_RATE
    return np.concatenate(begun) if begun else np.zeros(0, np.float32), rate


def _chained(begun: list[np.ndarray], blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    while begun:
        yield begun.pop(0)
    yield from blocks


def check_finite(samples: np.ndarray, name: str, offset: int = 0) -> None:
    """Refuse samples that are NaN or infinite.

    Args:
        samples: (n,) samples.
        name: The name of the recording in the message.
        offset: The number of samples before these.

    Raises:
        InputError: A sample is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(samples))
    if len(bad):
        raise InputError(
            f"{name}: {counted(len(bad), 'sample')} {verb(len(bad), 'is', 'are')} NaN or infinite "
            f"(first at sample {bad[0] + offset}); export the recording again"
        )


def silence_text(peak: float) -> str:
    """Return the peak of a silent recording for a message: all samples are 0, or its level."""
    if peak == 0:
        return "all samples are 0"
    level, least = (20 * np.log10(value) for value in (peak, SILENCE_PEAK))
    return f"its peak is {level:.0f} dBFS, at least {least:.0f} dBFS is needed"
