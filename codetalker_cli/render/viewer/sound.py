"""The sound of a page: mono AAC in an MP4 file, and its waveform.

Chromium plays MP3 up to 80 ms later than it reports (measured with clicks), but AAC in MP4 within
8 ms, because the file lists where its sound begins. The encoder puts silence before the sound, and
the file asks players to skip it. The page compares the length that the browser reports with
``Sound.seconds``, to detect a browser that does not.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.media import clean_message, ffmpeg_command
from codetalker_cli.motion import Motion, write_sound

PEAKS_PER_SECOND = 100
"""The resolution of the waveform."""
_MAX_BYTES = 4_000_000
"""The bit rate is chosen so that the sound of a long recording is about this large."""
_MIN_RATE, _MAX_RATE = 16_000, 96_000  # bits per second
_FRAME_SAMPLES = 1024
"""The samples in a frame of AAC; the silence at the start has this length."""
# Below this bit rate, the encoder sounds better with fewer samples per second.
_LOW_BIT_RATE, _HIGH_SAMPLES, _LOW_SAMPLES = 40_000, 32_000, 16_000


@dataclass(frozen=True)
class Sound:
    """The sound of a page.

    Attributes:
        content: The MP4 file.
        seconds: The length of the sound.
        priming: The length of the silence that the encoder has put before it, in seconds.
        peaks: (n,) uint8 largest absolute sample in each 1 / ``PEAKS_PER_SECOND`` seconds.
    """

    content: bytes
    seconds: float
    priming: float
    peaks: np.ndarray


def bit_rate(seconds: float) -> int:
    """Return the bits per second for a sound of a given length."""
    return int(np.clip(8 * _MAX_BYTES / max(seconds, 1e-3), _MIN_RATE, _MAX_RATE))


def encode_sound(motion: Motion, seconds: float) -> Sound | None:
    """Return the sound of a motion, or None if it has none.

    Args:
        motion: See ``motion.write_sound``.
        seconds: The length to which the sound is cut or filled with silence.

    Raises:
        InputError: The recording cannot be read.
        RenderError: The sound cannot be encoded.
    """
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        source, target = Path(folder) / "sound.wav", Path(folder) / "sound.m4a"
        if not write_sound(motion, source):
            return None
        rate = bit_rate(seconds)
        samples = _HIGH_SAMPLES if rate >= _LOW_BIT_RATE else _LOW_SAMPLES
        n_samples = round(seconds * samples)
        cut = f"aresample={samples},apad=whole_len={n_samples},atrim=end_sample={n_samples}"
        command = [*ffmpeg_command(), "-f", "wav", "-i", f"file:{source}", "-map", "0:a:0"]
        command += ["-map_metadata", "-1", "-af", cut, "-ac", "1", "-c:a", "aac", "-b:a", str(rate)]
        command += ["-fflags", "+bitexact", "-flags:a", "+bitexact", "-movflags", "+faststart"]
        done = subprocess.run([*command, f"file:{target}"], capture_output=True, check=False)
        if done.returncode or not target.is_file():
            raise RenderError(f"the sound cannot be encoded ({clean_message(done.stderr[-400:])})")
        peaks = _peaks(source, seconds)
        return Sound(target.read_bytes(), n_samples / samples, _FRAME_SAMPLES / samples, peaks)


def _peaks(path: Path, seconds: float) -> np.ndarray:
    """Return the waveform of a .wav file."""
    import soundfile

    peaks = np.zeros(round(seconds * PEAKS_PER_SECOND), np.uint8)
    with soundfile.SoundFile(path) as file:
        for number in range(len(peaks)):
            end = round((number + 1) * file.samplerate / PEAKS_PER_SECOND)
            samples = file.read(end - file.tell(), dtype="float32", always_2d=True)
            if not len(samples):
                break
            peaks[number] = round(255 * min(1.0, float(np.abs(samples).max())))
    return peaks
