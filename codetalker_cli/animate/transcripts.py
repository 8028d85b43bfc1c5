"""Read the transcripts of recordings, and align them with the speech.

A transcript is given with a request, or it is the file NAME.txt next to the recording NAME.wav.
"""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from codetalker_cli.animate.jobs import AnimationPlan, Job
from codetalker_cli.animate.lip_field import millimeters_per_unit
from codetalker_cli.animate.request import Request, Transcript
from codetalker_cli.errors import (
    CodeTalkerError,
    InputError,
    MissingDependencyError,
    counted,
    printable,
    verb,
)
from codetalker_cli.synthetic.speech import alignment
from codetalker_cli.synthetic.speech.phones import Phone
from codetalker_cli.text_files import read_text
from codetalker_cli.topology import Topology

SUFFIX = ".txt"
"""The suffix of transcripts."""

logger = logging.getLogger(__name__)


def attach(planned: AnimationPlan, transcript: str | None, *, automatic: bool) -> AnimationPlan:
    """Return a plan whose recordings have transcripts.

    Args:
        planned: The plan.
        transcript: The transcript of the only recording, or None.
        automatic: Use NAME.txt next to NAME.wav if ``transcript`` is None. A recording that such a
            transcript does not match is animated without it.

    Raises:
        InputError: A transcript is given for several recordings, or it cannot be read.
        MissingDependencyError: A transcript is given, but pocketsphinx is not installed.
        AlignmentError: The given transcript has no words, or contains digits.
    """
    if transcript is not None:
        if len(planned.jobs) != 1:
            raise InputError(
                f"`transcript` belongs to one recording, but {len(planned.jobs)} were given; write "
                f"the transcript of NAME.wav to NAME{SUFFIX} next to it"
            )
        if not transcript.strip():
            raise InputError("`transcript` is empty; give the words, or the path of a text file")
        job = planned.jobs[0]
        _check(transcript, str(job.speech))
        return replace(planned, jobs=(_with(job, transcript, is_required=True),))
    if not automatic:
        return planned
    found = [_beside(job.speech) for job in planned.jobs]
    n_found = sum(path is not None for path in found)
    if not n_found:
        return planned
    if (missing := _missing_aligner()) is not None:
        logger.warning("%s not used: %s", counted(n_found, "transcript"), missing)
        return planned
    if len(found) == 1:
        logger.info("transcript: %s", printable(found[0]))
    else:
        logger.info(
            "%d of %d recordings %s a transcript", n_found, len(found), verb(n_found, "has", "have")
        )
    jobs = [
        job if path is None else _with(job, path, is_required=False)
        for job, path in zip(planned.jobs, found, strict=True)
    ]
    return replace(planned, jobs=tuple(jobs))


def timed_phones(
    request: Request, samples: np.ndarray, topology: Topology, name: str
) -> list[Phone] | None:
    """Return when each phone of a request's transcript is spoken.

    Args:
        request: The request.
        samples: (n,) samples of the recording at 16 kHz.
        topology: The mesh of the voice.
        name: The name of the recording, for messages.

    Returns:
        Contiguous phones, or None if there is no transcript, or if an optional one is unusable,
        which is logged.

    Raises:
        InputError: The transcript cannot be read.
        MissingDependencyError: pocketsphinx is not installed.
        AlignmentError: The transcript does not match the recording.
        DataError: The mesh has no paired inner-lip vertices.
    """
    if request.transcript is None:
        return None
    try:
        millimeters_per_unit(topology)
        text = read_transcript(request.transcript)
        try:
            return alignment.align(samples, text)
        except alignment.AlignmentError as error:
            raise alignment.AlignmentError(f"{name}: {error}") from error
    except CodeTalkerError as error:
        if request.needs_transcript:
            raise
        reason = str(error).removeprefix(f"{name}: ")
        logger.warning("%s: animated without its transcript: %s", name, reason)
        return None


def read_transcript(transcript: Transcript) -> str:
    """Return the words of a transcript.

    Args:
        transcript: The words, or the path of a text file. A string is a path if it is that of a
            file, or ends with .txt.

    Raises:
        InputError: The file cannot be read, or the type is wrong.
    """
    if not isinstance(transcript, str | os.PathLike):
        raise InputError(
            f"`transcript` is {type(transcript).__name__}, expected the words or the path of a "
            "text file"
        )
    is_words = isinstance(transcript, str) and not transcript.strip().lower().endswith(SUFFIX)
    if is_words and not os.path.isfile(transcript):  # false for text that is too long for a name
        return str(transcript)
    try:
        return " ".join(read_text(Path(transcript), encoding="utf-8-sig").split())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"`transcript` {printable(transcript)}: the file cannot be read ({reason})"
        ) from error


def _check(transcript: Transcript, name: str) -> None:
    """Refuse a transcript that cannot be aligned with any recording."""
    if (missing := _missing_aligner()) is not None:
        raise missing
    try:
        alignment.check_text(read_transcript(transcript))
    except alignment.AlignmentError as error:
        raise alignment.AlignmentError(f"{printable(name)}: {error}") from error


def _missing_aligner() -> MissingDependencyError | None:
    return None if alignment.is_available() else alignment.missing_aligner()


def _beside(recording: Path) -> Path | None:
    """Return the transcript next to a recording, or None."""
    path = recording.with_suffix(SUFFIX)
    return path if path != recording and path.is_file() else None


def _with(job: Job, transcript: Transcript, *, is_required: bool) -> Job:
    request = replace(job.request, transcript=transcript, needs_transcript=is_required)
    return replace(job, request=request)
