"""Planned recordings in, files out; what became of each of them.

Existing results are skipped, and a recording that cannot be animated does not stop the others.
Several processes (``accelerate launch``) share the recordings by size.
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

    def add_failure(self, job: Job, error: CodeTalkerError) -> None:
        """Record and log why a job failed."""
        name = str(job.speech)
        reason = str(error).removeprefix(f"{name}: ")
        logger.warning("failed: %s: %s", name, reason)
        self.failed.append({"speech": name, "reason": reason})

    @classmethod
    def join(cls, reports: Sequence["BatchReport"]) -> "BatchReport":
        """The reports of several processes as one."""
        whole = cls()
        for report in reports:
            whole.done += report.done
            whole.skipped += report.skipped
            whole.failed += report.failed
        return whole

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
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
    """Animate planned jobs and write their results; several processes share the jobs.

    Args:
        planned: The jobs.
        write: Writes a motion, whole or not at all, and returns what is reported of it.
        model: Name or folder of the model; None: see ``choose_model``.
        device: ``auto`` or a device name.
        decode: Changes to the decoding settings of the checkpoint.
        overwrite: Replace existing results, which are skipped otherwise.
        stages: Reports the frames decoded and the recordings done.

    Returns:
        What became of the jobs of all processes.

    Raises:
        CodeTalkerError: The model, the subject or the style cannot be used, or the one job of a
            single plan failed.
    """
    device = join_processes(device)
    voice = load_voice(model, subject=planned.request.subject, device=device, decode=decode)
    voice.check(planned.request)
    jobs = shard(planned.jobs, longest_first)
    report = BatchReport()
    todo = []
    for job in jobs:
        if job.out.exists() and not overwrite:
            report.skipped.append(str(job.out))
        else:
            todo.append(job)
    if report.skipped:
        logger.info("%d done already", len(report.skipped))
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
    """The key that sorts jobs by the size of their recordings, so that ranks get like shares."""
    size = job.speech.stat().st_size if job.speech.is_file() else 0
    return -size, str(job.out)
