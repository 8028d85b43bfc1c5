"""Many recordings in one command: whose share each is, and what became of it.

What exists already is done; a recording that cannot be animated is listed and does not stop the
others. Several processes (``accelerate launch``) share the work out by the recordings' sizes.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from codetalker_cli.animate.voice import Voice
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.jobs import Job
from codetalker_cli.motion import Motion

_PATIENCE = timedelta(days=30)
"""How long a process that is done waits for the others."""

logger = logging.getLogger(__name__)


@dataclass
class Report:
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


def process() -> tuple[int, int]:
    """This process's number and how many there are (``accelerate launch`` says so)."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def share(jobs: Sequence[Job]) -> list[Job]:
    """This process's jobs: every process has as many, and as long ones."""
    number, count = process()
    if count == 1:
        return list(jobs)

    def size(job: Job) -> int:
        return job.speech.stat().st_size if job.speech.is_file() else 0

    return sorted(jobs, key=lambda job: (-size(job), str(job.out)))[number::count]


def run(
    voice: Voice,
    jobs: Sequence[Job],
    deliver: Callable[[Motion, Job], dict[str, Any]],
    *,
    overwrite: bool,
    progress: Callable[[int, int], None] | None = None,
    finished: Callable[[int, int], None] | None = None,
) -> Report:
    """Animate jobs and write their results.

    Args:
        voice: The model.
        jobs: Of this process.
        deliver: Writes a motion, whole or not at all; gives what is told of it.
        overwrite: Make again what exists.
        progress: Called with (frames decoded, frames known so far).
        finished: Called with (jobs ended, jobs).
    """
    report = Report()
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


def meet(device: str) -> str:
    """Meet the other processes, if there are any; gives the device that is this one's."""
    number, count = process()
    if count == 1:
        return device
    if number:  # what all of them would say is said once; what fails is this one's own
        logging.getLogger("codetalker_cli").setLevel(logging.WARNING)
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    return str(state.device) if device == "auto" else device


def wait() -> None:
    """Until every process is here."""
    if process()[1] > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def gathered(report: Report) -> Report:
    """What became of the jobs of all processes."""
    if process()[1] == 1:
        return report
    from accelerate.utils import gather_object

    whole = Report()
    for part in gather_object([report]):
        whole.done += part.done
        whole.skipped += part.skipped
        whole.failed += part.failed
    return whole
