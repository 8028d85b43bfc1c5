"""Check the format and the samples of a clip's speech, and measure its loudness."""

import hashlib
from dataclasses import dataclass

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE, SILENCE_PEAK, silence_text
from codetalker_cli.datasets.inspect.findings import Findings
from codetalker_cli.datasets.lag import loudness
from codetalker_cli.datasets.manifest import PREPARE_AGAIN, ClipEntry
from codetalker_cli.datasets.prepared import Clip, Speech
from codetalker_cli.errors import DataError, counted, verb

_CLIPPED_SHARE = 5e-4
"""The largest acceptable fraction of samples within runs of at least three peak samples."""


@dataclass(frozen=True)
class ClipSpeech:
    """Readable speech of a clip.

    Attributes:
        seconds: The length at its own sample rate.
        level: (T,) loudness around each motion frame in dB relative to full scale. It is empty if
            the samples contain NaN or the frame rate is unknown.
        digest: The SHA-256 of the bytes of the samples.
    """

    seconds: float
    level: np.ndarray
    digest: str


def measure_speech(
    clip: Clip, fps: float, n_frames: int | None, findings: Findings
) -> ClipSpeech | None:
    """Read, check and measure the speech of a clip.

    Args:
        clip: The clip.
        fps: The frame rate of the motion; 0 if it is unknown.
        n_frames: The number of frames in the clip; None: inferred from the length of the speech.
        findings: Receives the findings.

    Returns:
        The measured speech, or None if it cannot be read.
    """
    if not clip.audio_path.exists():
        return None  # check_table reports missing files
    try:
        speech = clip.read_speech()
    except DataError as error:
        reason = str(error).removeprefix(f"{clip.audio_path}: ")
        findings.problem("audio", clip.entry.name, f"the speech {reason}")
        return None
    digest = hashlib.sha256(speech.samples.tobytes()).hexdigest()
    samples = speech.to_mono()
    _check_file(clip.entry, speech, digest, findings)
    _check_samples(clip.entry, samples, findings)
    seconds = len(samples) / speech.rate
    if fps <= 0 or not np.isfinite(samples).all():
        return ClipSpeech(seconds, np.zeros(0), digest)
    length = round(seconds * fps) if n_frames is None else n_frames
    return ClipSpeech(seconds, loudness(samples, speech.rate, fps, length), digest)


def _check_file(entry: ClipEntry, speech: Speech, digest: str, findings: Findings) -> None:
    name, (n_samples, n_channels) = entry.name, speech.samples.shape
    if speech.rate != SAMPLE_RATE:
        findings.problem(
            "rate",
            name,
            f"the sample rate of the speech is {speech.rate} Hz, expected {SAMPLE_RATE} Hz; "
            f"{PREPARE_AGAIN}",
        )
    if n_channels != 1:
        findings.problem(
            "rate", name, f"the speech has {n_channels} channels, expected 1; {PREPARE_AGAIN}"
        )
    if speech.subtype != "PCM_16":
        findings.note("rate", name, f"the speech is stored as {speech.subtype}, expected PCM_16")
    if entry.n_samples > 0 and n_samples != entry.n_samples:  # format 1 stores 0
        findings.problem(
            "audio",
            name,
            f"the speech has {counted(n_samples, 'sample')}, expected {entry.n_samples} (clip "
            f"table); {PREPARE_AGAIN}",
        )
    elif entry.audio_sha256 and speech.subtype == "PCM_16" and digest != entry.audio_sha256:
        findings.problem(
            "hash",
            name,
            "the speech does not match its hash in the clip table, so it was changed or damaged; "
            f"{PREPARE_AGAIN}",
        )


def _check_samples(entry: ClipEntry, samples: np.ndarray, findings: Findings) -> None:
    bad = np.flatnonzero(~np.isfinite(samples))
    if len(bad):
        findings.problem(
            "nan",
            entry.name,
            f"{counted(len(bad), 'sample')} of the speech {verb(len(bad), 'is', 'are')} NaN or "
            f"infinite (first: {bad[0]}); {PREPARE_AGAIN}",
        )
        return
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < SILENCE_PEAK:
        findings.problem(
            "silent",
            entry.name,
            f"the speech is silent ({silence_text(peak)}); check the recording",
        )
        return
    at_peak = np.abs(samples) >= 0.999 * peak
    in_a_row = at_peak[:-2] & at_peak[1:-1] & at_peak[2:]
    share = float(in_a_row.mean()) if len(in_a_row) else 0.0
    if share > _CLIPPED_SHARE:
        findings.note(
            "clipped",
            entry.name,
            f"the speech is clipped: {100 * share:.1f} % of the samples are in runs at the peak "
            f"({peak:.2f} of full scale); record or export it with less gain",
        )
