"""Read the sound of any audio or video file: mono at 16 kHz for the model, as stored for playback.

The model's input, the sound of a video and the sound of a prepared data set come from one decoding
(``decoding``), so they start at the same moment and have the same length.
"""

import logging
from pathlib import Path

import numpy as np

from codetalker_cli.audio import decoding
from codetalker_cli.audio.level import Leveled, raise_quiet_speech
from codetalker_cli.audio.mixing import (
    SILENCE_PEAK,
    Decoded,
    check_finite,
    decode_mono,
    mix_array,
    report_canceled,
    report_scale,
    silence_text,
)
from codetalker_cli.audio.resampling import SAMPLE_RATE, resample, whole_frames
from codetalker_cli.errors import InputError, printable
from codetalker_cli.failures import doing

__all__ = [
    "AUDIO_SUFFIXES",
    "MIN_SECONDS",
    "SAMPLE_RATE",
    "SILENCE_PEAK",
    "VIDEO_SUFFIXES",
    "Leveled",
    "check",
    "check_file",
    "load",
    "raise_quiet_speech",
    "read",
    "resample",
    "silence_text",
    "to_mono",
    "whole_frames",
    "write_playback",
]

MIN_SECONDS = 0.2
"""The minimum length; a shorter recording contains no syllable and too few frames to animate."""
# fmt: off
AUDIO_SUFFIXES = (
    ".wav", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".ogg", ".oga",
    ".opus", ".mp3", ".mp2", ".m4a", ".m4b", ".aac", ".wma", ".ac3", ".eac3", ".dts", ".amr",
    ".mka", ".weba", ".wv", ".ape", ".tta", ".voc",
)
"""Audio extensions, in order of preference."""
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".3gp",
    ".3g2", ".ogv", ".ts", ".mts", ".m2ts", ".mxf", ".f4v", ".asf",
)
# fmt: on
"""Extensions of videos with readable sound; audio files of the same name take precedence."""

logger = logging.getLogger(__name__)

_RIFF_BYTES = 4_000_000_000
"""The size of the samples up to which a RIFF file can state its length."""
_ADVICE = "convert it to wav, flac, ogg or mp3"


def load(path: Path | str) -> np.ndarray:
    """Read speech from any audio or video file.

    Channels are averaged, and samples are resampled to 16 kHz. In a video, sound that starts later
    than the pictures gets silence before it.

    Returns:
        (n,) float32 samples, nominally within ±1.

    Raises:
        InputError: The file is missing, unreadable, empty, too short or silent, exceeds a limit, or
            contains NaN or infinite samples.
    """
    samples, rate = read(path)
    return check(resample(samples, rate, SAMPLE_RATE), printable(path))


def read(path: Path | str, name: str | None = None) -> tuple[np.ndarray, int]:
    """Read any audio or video file as mono samples.

    Silence is accepted.

    Args:
        path: The file.
        name: The name of the recording in warnings; None: its path.

    Returns:
        (n,) float32 samples, and their rate in hertz: that of the file, or 16 kHz if the recording
        is long.

    Raises:
        InputError: The file is missing, unreadable or empty, exceeds a limit, or contains NaN or
            infinite samples.
    """
    path = Path(path)
    check_file(path)
    with doing(f"reading {printable(path)}"):
        decoded = _decode(path)
    _report(printable(path) if name is None else name, decoded)
    if len(decoded.samples) == 0:
        raise InputError(f"{printable(path)}: contains no audio samples; check the recording")
    return decoded.samples, decoded.rate


def write_playback(path: Path, target: Path, *, report: bool = True) -> None:
    """Write the sound of a file as a WAV file at its own rate, with its own one or two channels.

    The samples are those that ``load`` averages and resamples; more than two channels are mixed.

    Args:
        path: The audio or video file.
        target: The WAV file.
        report: Report damage and corrections; false if ``load`` has already reported them.

    Raises:
        InputError: As for ``read``.
    """
    import soundfile

    check_file(path)
    with doing(f"reading {printable(path)}"):
        decoded = _decode(path)
    if report:
        _report(printable(path), decoded)
    with decoding.opened(path, decoded.decoder) as sound:
        channels = sound.channels if sound.channels <= 2 else 1
        # Many programs read only RIFF files, whose size is limited.
        is_small = 3 * channels * len(decoded.samples) < _RIFF_BYTES
        container = "WAV" if is_small else "RF64"
        with soundfile.SoundFile(
            target, "w", sound.rate, channels, subtype="PCM_24", format=container
        ) as file:
            for block in sound.blocks:
                mixed = block if channels == sound.channels else decoded.mix(block)
                file.write(mixed / np.float32(decoded.scale))


def _decode(path: Path) -> Decoded:
    """Decode a file with each decoder until one reads all of it; the longest result counts."""
    best: Decoded | None = None
    reasons: list[str] = []
    try:
        names = decoding.decoders(path)
    except InputError as error:
        reason = str(error).removeprefix(f"{printable(path)}: ")
        raise _unreadable(path, reason) from error
    for name in names:
        try:
            decoded = decode_mono(path, name)
        except decoding.DecodingError as error:
            reasons.append(str(error))
            logger.debug("%s cannot read %s (%s)", name, printable(path), error)
            continue
        if best is None or decoded.seconds > best.seconds:
            best = decoded
        if decoded.is_complete and len(decoded.samples):
            break
    if best is None:
        raise _unreadable(path, reasons[-1])
    return best


def _unreadable(path: Path, reason: str) -> InputError:
    advice = "" if ";" in reason else f"; {_ADVICE}"
    return InputError(
        f"{printable(path)}: not an audio file that can be read ({printable(reason)}){advice}"
    )


def _report(name: str, decoded: Decoded) -> None:
    if decoded.choice:
        logger.warning("%s: %s", name, decoded.choice)
    if decoded.channel is not None:
        report_canceled(name, decoded.n_channels, decoded.channel)
    if decoded.scale != 1.0:
        report_scale(name, decoded.scale)
    if not decoded.is_complete:
        logger.warning(
            "%s: ends after %.2f s of the %.2f s that its header states; the rest is missing",
            name,
            decoded.seconds,
            decoded.stated_seconds,
        )
    elif decoded.damage:
        logger.warning("%s: parts of it are damaged and were skipped (%s)", name, decoded.damage[0])


def check_file(path: Path) -> None:
    """Refuse a path that cannot be an audio file, before any slow work is done.

    Raises:
        InputError: The path is missing, a folder, or an empty file.
    """
    if not path.exists():
        raise InputError(f"{printable(path)}: no such audio file")
    if path.is_dir():
        raise InputError(f"{printable(path)} is a folder, not an audio file")
    if not path.is_file():
        raise InputError(
            f"{printable(path)}: is a pipe or a device; save the sound to a file first"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{printable(path)}: the file is empty (0 bytes)")


def check(samples: np.ndarray, name: str) -> np.ndarray:
    """Refuse samples that cannot be animated, and return all others unchanged.

    Args:
        samples: (n,) float32 at 16 kHz.
        name: The name of the recording in error messages.

    Raises:
        InputError: The samples are empty, too short, silent, or not finite.
    """
    seconds = len(samples) / SAMPLE_RATE
    if len(samples) == 0:
        raise InputError(f"{name}: contains no audio samples; check the recording")
    check_finite(samples, name)
    if seconds < MIN_SECONDS:
        raise InputError(
            f"{name}: the recording is {seconds:.2f} s long; at least {MIN_SECONDS} s is needed"
        )
    peak = float(np.abs(samples).max())
    if peak < SILENCE_PEAK:
        raise InputError(
            f"{name}: the recording is silent ({silence_text(peak)}); check the microphone or the "
            "export"
        )
    return samples


def to_mono(samples: np.ndarray, name: str = "audio") -> np.ndarray:
    """Average the channels of (n,) or (n, channels) samples to (n,) float32."""
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim == 1:
        check_finite(samples, name)
        return samples
    return mix_array(samples, name)
