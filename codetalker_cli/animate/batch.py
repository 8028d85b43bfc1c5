"""Many recordings in one command: whose share each is, and what became of it.

What exists already is done; a recording that cannot be animated is listed and does not stop the
others. Several processes (``accelerate launch``) share the work out by the recordings' sizes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from codetalker_cli.animate.jobs import Job
from codetalker_cli.animate.voice import Voice
from codetalker_cli.devices import gather, shard
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.motion import Motion
from codetalker_cli.progress import Progress

logger = logging.getLogger(__name__)


@dataclass
class BatchReport:
    """What became of the jobs, by recording.

    Attributes:
        done: Results of those that were made.
        skipped: Outputs that existed.
        failed: Reasons.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """For people; names what failed, whose reasons were logged."""
        parts = [f"{len(self.done)} animated"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} done before")
        if self.failed:
            names = ", ".join(row["speech"] for row in self.failed)
            parts.append(f"{len(self.failed)} failed: {names}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"done": self.done, "skipped": self.skipped, "failed": self.failed}


def share(jobs: Sequence[Job]) -> list[Job]:
    """The jobs of this process, by the sizes of their recordings."""

    def size(job: Job) -> int:
        return job.speech.stat().st_size if job.speech.is_file() else 0

    return shard(jobs, lambda job: (-size(job), str(job.out)))


def run(
    voice: Voice,
    jobs: Sequence[Job],
    deliver: Callable[[Motion, Job], dict[str, Any]],
    *,
    overwrite: bool,
    progress: Progress | None = None,
    finished: Progress | None = None,
) -> BatchReport:
    """Animate jobs and write their results.

    Args:
        voice: The model.
        jobs: Of this process.
        deliver: Writes a motion, whole or not at all; gives what is told of it.
        overwrite: Make again what exists.
        progress: Called with (frames decoded, frames known so far).
        finished: Called with (jobs ended, jobs).
    """
    report = BatchReport()
    todo: list[Job] = []
    for job in jobs:
        if job.out.exists() and not overwrite:
            report.skipped.append(str(job.out))
        else:
            todo.append(job)
    if report.skipped:
        logger.info("%d done already", len(report.skipped))

    ended = len(report.skipped)
    for number, made in voice.animate_many((job.request for job in todo), progress):
        job = todo[number]
        try:
            if isinstance(made, CodeTalkerError):
                raise made
            report.done.append({"speech": str(job.speech), **deliver(made, job)})
        except CodeTalkerError as error:
            name = str(job.speech)
            reason = str(error).removeprefix(f"{name}: ")
            logger.warning("failed: %s: %s", name, reason)
            report.failed.append({"speech": name, "reason": reason})
        ended += 1
        if finished is not None:
            finished(ended, len(jobs))
    return report


def gathered(report: BatchReport) -> BatchReport:
    """What became of the jobs of all processes."""
    whole = BatchReport()
    for part in gather([report]):
        whole.done += part.done
        whole.skipped += part.skipped
        whole.failed += part.failed
    return whole
