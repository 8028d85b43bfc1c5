"""Read speech in any form in which a caller can hold it: files, their content, and samples.

All forms give the same samples: the content of a file is decoded like the file, and samples are
mixed, scaled and resampled like those of a file.
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np

from codetalker_cli import audio
from codetalker_cli.audio.decoding import RATES
from codetalker_cli.audio.level import integer_scale
from codetalker_cli.audio.mixing import WHOLE_SAMPLES, report_scale
from codetalker_cli.audio.resampling import SAMPLE_RATE, resample, resample_blocks
from codetalker_cli.errors import InputError, printable


class Array(Protocol):
    """A NumPy array, a PyTorch tensor, or another object that NumPy can convert."""

    def __array__(self, dtype: Any = ..., /) -> Any:
        """Return a NumPy array."""


Content: TypeAlias = bytes | bytearray | memoryview | BinaryIO
"""The content of a file."""
Samples: TypeAlias = Array | Sequence[float]
"""Samples. ``read_speech`` describes shapes and types."""
Speech: TypeAlias = str | os.PathLike[str] | Content | Samples | tuple[Any, Any] | Mapping[str, Any]
"""A recording in one of the forms that ``read_speech`` describes."""
KINDS = (
    "the path of a recording, its content as bytes or as a binary file, samples (a NumPy array, a "
    "tensor or a list of numbers) with their sampling_rate, a pair (rate, samples), or a dict with "
    "array and sampling_rate"
)
"""The forms of speech, for error messages."""
MAX_CHANNELS = 8
"""The most channels of two-dimensional samples."""
_MIN_SAMPLES_PER_CHANNEL = 8
"""Two-dimensional samples have at least so many times more samples than channels."""
_FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31, "uint8": 2.0**7}
"""Full scale of the integer types, as in WAV files."""
_NAME = "speech"
"""The name, in messages, of speech that is not a file."""


def read_speech(
    speech: Speech, sampling_rate: float | None = None
) -> tuple[np.ndarray, Path | None]:
    """Read speech of any length; silence is accepted.

    Args:
        speech: One of these:

            - the path of an audio or video file;
            - the content of such a file, as bytes or as an open binary file, which is read from its
              start if it can seek;
            - a NumPy array, a PyTorch tensor or a list of samples: (n,), (channels, n) or
              (n, channels). Floating-point samples are within ±1; int16, int32 and uint8 samples
              have the scale of WAV files;
            - a pair of a rate and samples, or of samples and a rate;
            - a mapping with ``array`` and ``sampling_rate``; other keys are ignored.
        sampling_rate: The rate of the samples in hertz; None: 16 kHz.

    Returns:
        (n,) float32 mono samples at 16 kHz, and the path if a path was given.

    Raises:
        InputError: The speech has another form, cannot be read, is empty, exceeds a limit, or
            contains NaN or infinite samples; or the rate is invalid or contradicts the speech.
    """
    if isinstance(speech, str | os.PathLike):
        _refuse_rate(sampling_rate)
        if not os.fspath(speech):
            raise InputError(f"{_NAME}: the path is empty; give {KINDS}")
        path = Path(os.fsdecode(speech))
        return resample(*audio.read(path), SAMPLE_RATE), path
    if isinstance(speech, bytes | bytearray | memoryview) or hasattr(speech, "read"):
        _refuse_rate(sampling_rate)
        return resample(*_read_content(speech), SAMPLE_RATE), None
    samples, own_rate = _samples_and_rate(speech)
    if own_rate is not None and sampling_rate not in (None, own_rate):
        raise InputError(
            f"{_NAME}: sampling_rate is {printable(sampling_rate)}, but the speech itself states "
            f"{printable(own_rate)}; give one of the two"
        )
    rate = _checked_rate(next((r for r in (own_rate, sampling_rate) if r is not None), SAMPLE_RATE))
    return _at_16_khz(_mono(_as_array(samples)), rate), None


def _refuse_rate(sampling_rate: float | None) -> None:
    if sampling_rate is not None:
        raise InputError(
            f"{_NAME}: sampling_rate belongs to samples, but a recording states its own rate; "
            "leave sampling_rate out"
        )


# Content of a file --------------------------------------------------------------------------------


def _read_content(speech: Any) -> tuple[np.ndarray, int]:
    """Decode the content of a recording through a temporary file, as decoders need to seek."""
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        path = Path(folder) / "speech"
        with path.open("wb") as file:
            _copy(speech if hasattr(speech, "read") else io.BytesIO(speech), file)
        try:
            return audio.read(path, _NAME)
        except InputError as error:
            # The path of the temporary file means nothing to the caller.
            raise InputError(str(error).replace(printable(path), _NAME)) from None


def _copy(source: Any, target: BinaryIO) -> None:
    """Copy a binary file from its start, or from its position if it cannot seek."""
    try:
        if getattr(source, "seekable", lambda: False)():
            source.seek(0)
        shutil.copyfileobj(source, target)
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise InputError(f"{_NAME}: the file cannot be read ({error})") from error
    except (TypeError, AttributeError) as error:  # `read` gives text, or is a coroutine
        raise InputError(
            f"{_NAME}: reading the {type(source).__name__} gives no bytes; open the file in binary "
            "mode ('rb')"
        ) from error


# Samples ------------------------------------------------------------------------------------------


def _samples_and_rate(speech: Any) -> tuple[Any, Any]:
    """Return samples in any form, and their rate if ``speech`` contains it."""
    if isinstance(speech, Mapping):
        if "array" not in speech or "sampling_rate" not in speech:
            keys = ", ".join(printable(repr(key), 40) for key in list(speech)[:8]) or "no keys"
            raise InputError(
                f"{_NAME}: a dict needs the keys 'array' and 'sampling_rate', got {keys}"
            )
        return speech["array"], speech["sampling_rate"]
    if isinstance(speech, tuple) and len(speech) == 2:
        first, second = speech
        if _is_number(first) and not _is_number(second):
            return second, first
        if _is_number(second) and not _is_number(first):
            return first, second
    return speech, None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.number)


def _checked_rate(rate: Any) -> int:
    is_whole = _is_number(rate) and np.isfinite(rate) and int(rate) == rate
    if isinstance(rate, bool) or not is_whole or not RATES[0] <= rate <= RATES[1]:
        raise InputError(
            f"{_NAME}: sampling_rate is {printable(repr(rate), 40)}; expected a whole number from "
            f"{RATES[0]} to {RATES[1]} Hz"
        )
    return int(rate)


def _as_array(samples: Any) -> np.ndarray:
    """Return float32 samples of any shape; integers are scaled to ±1.

    Raises:
        InputError: This is not an array of numbers, or its type has no known scale.
    """
    torch = sys.modules.get("torch")
    is_known = isinstance(samples, Sequence) and not isinstance(samples, str | bytes)
    try:
        if torch is not None and isinstance(samples, torch.Tensor):
            samples = samples.detach().cpu()
            # NumPy has no bfloat16.
            samples = (samples.float() if samples.is_floating_point() else samples).numpy()
        if not is_known and not hasattr(samples, "__array__"):
            raise TypeError("not an array")
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(samples).__name__
        if is_known:
            kind += " that is not a plain list of numbers"
        raise InputError(f"{_NAME}: got a {kind}; give {KINDS}") from error
    if array.size == 0:
        raise InputError(f"{_NAME}: contains no audio samples; check the recording")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # reported as infinite
            return array.astype(np.float32)
    scale = _FULL_SCALE.get(array.dtype.name)
    if scale is None:
        raise InputError(
            f"{_NAME}: the samples are of type {array.dtype}; give floating-point samples within "
            f"±1, or {', '.join(_FULL_SCALE)}"
        )
    offset = 128 if array.dtype.kind == "u" else 0  # unsigned samples are centered on 128
    return (array.astype(np.float32) - np.float32(offset)) / np.float32(scale)


def live_samples(chunk: Samples) -> np.ndarray:
    """Return the (n,) float32 samples of a chunk of live sound.

    Args:
        chunk: Samples of any type that ``read_speech`` accepts: (n,), or (n, channels) with up to
            ``MAX_CHANNELS`` channels, which are averaged. It can be empty.

    Raises:
        InputError: The chunk has another form, or contains NaN or infinite samples.
    """
    if np.size(chunk) == 0:
        return np.zeros(0, np.float32)
    array = _as_array(chunk)
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] > MAX_CHANNELS):
        raise InputError(
            f"{_NAME}: the chunk has shape {array.shape}; expected (n,), or (n, channels) with up "
            f"to {MAX_CHANNELS} channels"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{_NAME}: the chunk contains NaN or infinite samples")
    return array if array.ndim == 1 else array.mean(axis=1)


def checked_rate(rate: Any) -> int:
    """Return a sampling rate in hertz as an integer.

    Raises:
        InputError: This is not a whole number in the range of ``RATES``.
    """
    return _checked_rate(rate)


def _mono(samples: np.ndarray) -> np.ndarray:
    """Mix (n,), (channels, n) or (n, channels) samples to (n,), by the rules for files."""
    if samples.ndim == 2:
        few, many = sorted(samples.shape)
        if few > 1 and (few > MAX_CHANNELS or many < few * _MIN_SAMPLES_PER_CHANNEL):
            raise InputError(
                f"{_NAME}: samples of shape {samples.shape} are ambiguous; give one channel of "
                f"shape (n,), or up to {MAX_CHANNELS} channels as (channels, n) or (n, channels)"
            )
        if samples.shape[0] == few and few < many:
            samples = samples.T
    elif samples.ndim != 1:
        raise InputError(
            f"{_NAME}: the samples have shape {samples.shape}; expected (n,), (channels, n) or "
            "(n, channels)"
        )
    mono = audio.to_mono(samples, _NAME)
    scale = integer_scale(float(np.abs(samples).max()))
    if scale != 1.0:
        report_scale(_NAME, scale)
        mono = mono / np.float32(scale)
    return mono


def _at_16_khz(samples: np.ndarray, rate: int) -> np.ndarray:
    if len(samples) <= WHOLE_SAMPLES:
        return resample(samples, rate, SAMPLE_RATE)
    size = WHOLE_SAMPLES // 10
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    return np.concatenate(list(resample_blocks(blocks, rate, SAMPLE_RATE)))
