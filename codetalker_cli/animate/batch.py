"""Run an animation plan, and report the outcome of each recording.

Existing results are skipped. A recording that cannot be animated is reported, and the run
continues. With several processes (``accelerate launch``), each one gets a shard of the recordings.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codetalker_cli.animate.jobs import AnimationPlan, Job
from codetalker_cli.animate.voice import Voice, load_voice
from codetalker_cli.devices import gather, join_processes, shard
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.motion import Motion
from codetalker_cli.progress import Stages, silent_stages

logger = logging.getLogger(__name__)


@dataclass
class BatchReport:
    """The outcome of each job.

    Attributes:
        done: The recording and the properties of each new result.
        skipped: The paths of results that already existed.
        failed: The recording and the reason of each failure.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """Return a one-line summary with the names of all failed recordings."""
        parts = [f"{len(self.done)} animated"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped (already animated)")
        if self.failed:
            names = ", ".join(row["speech"] for row in self.failed)
            parts.append(f"{len(self.failed)} failed: {names}")
        return ", ".join(parts)

    def add_failure(self, job: Job, error: CodeTalkerError) -> None:
        """Record a failed job, and log the reason."""
        name = str(job.speech)
        reason = str(error).removeprefix(f"{name}: ")
        logger.warning("failed: %s: %s", name, reason)
        self.failed.append({"speech": name, "reason": reason})

    @classmethod
    def join(cls, reports: Sequence["BatchReport"]) -> "BatchReport":
        """Merge the reports of several processes."""
        whole = cls()
        for report in reports:
            whole.done += report.done
            whole.skipped += report.skipped
            whole.failed += report.failed
        return whole

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return {"done": self.done, "skipped": self.skipped, "failed": self.failed}


def run(
    planned: AnimationPlan,
    write: Callable[[Voice, Motion, Job], dict[str, Any]],
    *,
    model: str | None = None,
    device: str = "auto",
    decode: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    stages: Stages = silent_stages,
) -> BatchReport:
    """Animate the jobs of a plan and write the results; each process handles a shard of them.

    Args:
        planned: The plan.
        write: A function that writes a motion atomically and returns its entry in the report.
        model: The name or folder of the model; None: see ``choose_model``.
        device: A device name, or ``auto``.
        decode: Decoding settings that override those of the checkpoint.
        overwrite: Replace existing results; if false, they are skipped.
        stages: Receives the numbers of decoded frames and of finished recordings.

    Returns:
        The report on the jobs of all processes.

    Raises:
        CodeTalkerError: The model, the subject or the style cannot be used, or the plan has a
            single recording, which failed.
    """
    device = join_processes(device)
    voice = load_voice(model, subject=planned.request.subject, device=device, decode=decode)
    voice.check(planned.request)  # report a bad subject or style before processing any recording
    jobs = shard(planned.jobs, longest_first)
    report = BatchReport()
    todo = []
    for job in jobs:
        if job.out.exists() and not overwrite:
            report.skipped.append(str(job.out))
        else:
            todo.append(job)
    if report.skipped:
        logger.info("skipping %d existing results", len(report.skipped))
    requests = (job.request for job in todo)
    for number, result in voice.animate_many(requests, stages("animate")):
        job = todo[number]
        try:
            if isinstance(result, CodeTalkerError):
                raise result
            report.done.append({"speech": str(job.speech), **write(voice, result, job)})
        except CodeTalkerError as error:
            if planned.is_single:
                raise
            report.add_failure(job, error)
        if not planned.is_single:
            n_ended = len(report.done) + len(report.skipped) + len(report.failed)
            stages("recordings")(n_ended, len(jobs))
    return BatchReport.join(gather([report]))


def longest_first(job: Job) -> tuple[int, str]:
    """Return a sort key by file size, so that all ranks get shards of similar size."""
    size = job.speech.stat().st_size if job.speech.is_file() else 0
    return -size, str(job.out)
