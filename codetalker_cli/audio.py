"""Read any audio file as mono float32 samples at 16 kHz.

This module defines the sample rate and all limits on audio.
"""

import logging
import math
import subprocess
from pathlib import Path

import numpy as np

from codetalker_cli.errors import InputError, printable
from codetalker_cli.media import container_of

SAMPLE_RATE = 16_000
"""The sample rate that every speech encoder expects, in hertz."""
MIN_SECONDS = 0.2
"""The minimum length; a shorter recording contains no syllable and too few frames to animate."""
MAX_FILTER_PHASES = 1000
"""The maximum number of phases of the resampling filter; more would take gigabytes."""

SILENCE_PEAK = 1e-4
"""The peak (-80 dBFS) below which a recording counts as silent."""

# fmt: off
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".aif", ".aiff", ".caf", ".au", ".ogg", ".opus", ".mp3", ".m4a", ".aac",
    ".wma", ".ac3", ".amr",
)
"""Audio extensions, in order of preference."""
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".3gp",
    ".ogv", ".mts", ".m2ts",
)
# fmt: on
"""Extensions of videos with readable sound; audio files of the same name take precedence."""

logger = logging.getLogger(__name__)


def load(path: Path | str) -> np.ndarray:
    """Read speech from any audio or video file.

    soundfile reads wav, flac, ogg and mp3. The ffmpeg binary of imageio-ffmpeg reads everything
    else, including videos. Channels are averaged, and samples are resampled to 16 kHz.

    Returns:
        (n,) float32 samples, nominally within ±1.

    Raises:
        InputError: The file is missing, unreadable, empty, too short or silent, or it contains NaN
            or infinite samples.
    """
    samples, rate = read(path)
    return check(resample(samples, rate, SAMPLE_RATE), str(path))


def read(path: Path | str) -> tuple[np.ndarray, int]:
    """Read any audio or video file as mono samples at their original rate.

    Files that only ffmpeg can read are returned at 16 kHz. Silence is accepted.

    Returns:
        (n,) float32 samples, and their rate in hertz.

    Raises:
        InputError: The file is missing, unreadable or empty, or it contains NaN or infinite
            samples.
    """
    path = Path(path)
    check_file(path)
    samples, rate = _decode(path)
    mono = to_mono(samples, str(path))
    if len(mono) == 0:
        raise InputError(f"{path}: contains no audio samples; check the recording")
    return mono, rate


def check_file(path: Path) -> None:
    """Refuse a path that cannot be an audio file, before any slow work is done.

    Raises:
        InputError: The path is missing, a folder, or an empty file.
    """
    if not path.exists():
        raise InputError(f"{path}: no such audio file")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not an audio file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")


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
    _check_finite(samples, name)
    if seconds < MIN_SECONDS:
        raise InputError(
            f"{name}: the recording is {seconds:.2f} s long; at least {MIN_SECONDS} s is needed"
        )
    peak = float(np.abs(samples).max())
    if peak < SILENCE_PEAK:
        raise InputError(
            f"{name}: silent (the loudest sample is {peak:.1e} of full scale; at least "
            f"{SILENCE_PEAK} is needed); check the microphone or the export"
        )
    return samples


def to_mono(samples: np.ndarray, name: str = "audio") -> np.ndarray:
    """Average the channels of (n,) or (n, channels) samples to (n,) float32."""
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim == 1:
        _check_finite(samples, name)
        return samples
    mono = samples.mean(axis=1)
    _check_finite(mono, name)
    if np.abs(samples).max(initial=0.0) >= SILENCE_PEAK > np.abs(mono).max(initial=0.0):
        raise InputError(
            f"{name}: its {samples.shape[1]} channels cancel each other out when averaged; "
            "export one of them"
        )
    return mono


def resample(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Convert (n,) samples from one rate in hertz to another, band-limited."""
    if rate_in == rate_out or len(samples) == 0:
        return np.ascontiguousarray(samples, dtype=np.float32)
    if rate_in // math.gcd(rate_in, rate_out) > MAX_FILTER_PHASES:
        return _resample_by_fft(samples, rate_in, rate_out)
    import torch
    from torchaudio.functional import resample as sinc_resample

    tensor = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    return sinc_resample(tensor, rate_in, rate_out).numpy()


def _resample_by_fft(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample in the frequency domain, for rates that would need a very large filter."""
    n_seconds = -(-(len(samples) + rate_in // 10) // rate_in)  # whole seconds; the rest is silence
    spectrum = np.fft.rfft(samples, n_seconds * rate_in)
    n_out = -(-len(samples) * rate_out // rate_in)
    resampled = np.zeros(n_seconds * rate_out // 2 + 1, dtype=spectrum.dtype)
    n = min(len(resampled), len(spectrum)) - 1  # drop the Nyquist bin
    resampled[:n] = spectrum[:n]
    output = np.fft.irfft(resampled, n_seconds * rate_out) * (rate_out / rate_in)
    return np.ascontiguousarray(output[:n_out], dtype=np.float32)


def _check_finite(samples: np.ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(samples))
    if len(bad):
        raise InputError(
            f"{name}: {len(bad)} samples are NaN or infinite (first at sample {bad[0]}); "
            "export the recording again"
        )


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Return (n, channels) float32 samples and the rate of the file in hertz."""
    import soundfile

    try:
        return soundfile.read(path, dtype="float32", always_2d=True)
    except (
        soundfile.LibsndfileError,
        TypeError,
    ) as error:  # TypeError: a .raw file without a header
        logger.debug("soundfile cannot read %s (%s); trying ffmpeg", path, error)
    return _decode_with_ffmpeg(path), SAMPLE_RATE


def _decode_with_ffmpeg(path: Path) -> np.ndarray:
    import imageio_ffmpeg

    advice = "convert it to wav, flac, ogg or mp3"
    try:
        container = container_of(path)
    except InputError as error:
        reason = str(error).removeprefix(f"{printable(path)}: ")
        message = f"{path}: not an audio file that can be read ({reason}); {advice}"
        raise InputError(message) from error
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
    command += ["-f", container, "-i", f"file:{path}", "-vn"]
    command += ["-f", "f32le", "-ac", "1", "-ar", str(SAMPLE_RATE), "-"]
    completed = subprocess.run(command, capture_output=True, check=False)
    if completed.returncode != 0:
        lines = completed.stderr.decode(errors="replace").strip().splitlines()
        reason = (
            lines[-1].replace(f"file:{path}: ", "")
            if lines
            else f"ffmpeg exit {completed.returncode}"
        )
        raise InputError(f"{path}: not an audio file that can be read ({reason}); {advice}")
    return np.frombuffer(completed.stdout, dtype="<f4").reshape(-1, 1)
