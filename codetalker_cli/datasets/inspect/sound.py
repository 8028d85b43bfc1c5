"""The speech of a clip: is it what the format says, can it be heard, when is it loud."""

import hashlib
from dataclasses import dataclass

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE, SILENCE_PEAK
from codetalker_cli.datasets.inspect.findings import Findings
from codetalker_cli.datasets.inspect.folder import ClipTable, TableRow
from codetalker_cli.datasets.prepared import audio_path

_AGAIN = "prepare the data again"
_CLIPPED_SHARE = 5e-4
"""Part of the samples that stand at the peak in a row, from which on it is told."""


@dataclass(frozen=True)
class AudioStatistics:
    """Speech that could be read.

    Attributes:
        seconds: How long it lasts at its own rate.
        level: (T,) loudness around each motion frame, dB of full scale; empty where it has NaN.
        digest: Of the samples' bytes.
    """

    seconds: float
    level: np.ndarray
    digest: str


def read_audio_statistics(
    table: ClipTable, row: TableRow, n_frames: int | None, findings: Findings
) -> AudioStatistics | None:
    """Read and check the speech of a clip; None: it cannot be read.

    Args:
        table: The data set.
        row: The clip.
        n_frames: How many frames the clip has; None: as many as the speech lasts.
        findings: Gets what is found.
    """
    import soundfile

    path = audio_path(table.folder, row.name)
    if not path.is_file():
        return None  # told with the files that are missing
    try:
        info = soundfile.info(path)
        kind = "int16" if info.subtype == "PCM_16" else "float32"
        raw, rate = soundfile.read(path, dtype=kind, always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        findings.problem("audio", row.name, f"the speech cannot be read ({error}); {_AGAIN}")
        return None
    digest = hashlib.sha256(raw.tobytes()).hexdigest()
    samples = raw.astype(np.float32).mean(1) / (32768.0 if kind == "int16" else 1.0)
    _check_file(row, info, digest, findings)
    _check_samples(row, samples, findings)
    seconds = len(samples) / rate
    if table.fps <= 0 or not np.isfinite(samples).all():
        return AudioStatistics(seconds, np.zeros(0), digest)
    length = round(seconds * table.fps) if n_frames is None else n_frames
    level = loudness(samples, rate, table.fps, length)
    return AudioStatistics(seconds, level, digest)


def _check_file(row: TableRow, info: object, digest: str, findings: Findings) -> None:
    rate, channels = info.samplerate, info.channels  # type: ignore[attr-defined]
    n_samples, subtype = info.frames, info.subtype  # type: ignore[attr-defined]
    if rate != SAMPLE_RATE:
        findings.problem(
            "rate", row.name, f"the speech has {rate} Hz, expected {SAMPLE_RATE} Hz; {_AGAIN}"
        )
    if channels != 1:
        findings.problem(
            "rate", row.name, f"the speech has {channels} channels, expected 1; {_AGAIN}"
        )
    if subtype != "PCM_16":
        findings.note("rate", row.name, f"the samples of the speech are {subtype}, expected PCM_16")
    if row.n_samples is not None and n_samples != row.n_samples:
        findings.problem(
            "audio",
            row.name,
            f"{n_samples} samples of speech, the clip table says {row.n_samples}; {_AGAIN}",
        )
    elif row.audio_sha256 and subtype == "PCM_16" and digest != row.audio_sha256:
        findings.problem(
            "hash",
            row.name,
            f"the speech is not what the clip table has a hash of: changed or damaged; {_AGAIN}",
        )


def _check_samples(row: TableRow, samples: np.ndarray, findings: Findings) -> None:
    bad = np.flatnonzero(~np.isfinite(samples))
    if len(bad):
        findings.problem(
            "nan",
            row.name,
            f"{len(bad)} samples of the speech are NaN or infinite (first: {bad[0]}); {_AGAIN}",
        )
        return
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < SILENCE_PEAK:
        findings.problem(
            "silent",
            row.name,
            f"the speech is silent (peak {peak:.1e} of full scale); check the recording",
        )
        return
    at_peak = np.abs(samples) >= 0.999 * peak
    in_a_row = at_peak[:-2] & at_peak[1:-1] & at_peak[2:]
    share = float(in_a_row.mean()) if len(in_a_row) else 0.0
    if share > _CLIPPED_SHARE:
        findings.note(
            "clipped",
            row.name,
            f"the speech is clipped: {100 * share:.1f} % of its samples stand at {peak:.2f} of "
            "full scale; record or export it with less gain",
        )


def loudness(samples: np.ndarray, rate: int, fps: float, n_frames: int) -> np.ndarray:
    """(T,) root mean square of two frames' time around each frame, in dB of full scale."""
    centres = np.arange(n_frames) / fps * rate
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = np.clip(np.rint(centres - rate / fps), 0, len(samples)).astype(int)
    stop = np.clip(np.rint(centres + rate / fps), 0, len(samples)).astype(int)
    mean = (power[stop] - power[start]) / np.maximum(stop - start, 1)
    return 10 * np.log10(np.maximum(mean, 1e-10))
