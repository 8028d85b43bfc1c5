"""Run an animation plan, and report the outcome of each recording.

Existing results are skipped. A recording that cannot be animated is reported, and the run
continues. With several processes (``accelerate launch``), each one gets a shard of the recordings.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetalker_cli.animate.jobs import AnimationPlan, Job, Request
from codetalker_cli.animate.voice import Voice, load_voice
from codetalker_cli.devices import gather, join_processes, shard
from codetalker_cli.errors import BusyError, CodeTalkerError, InputError
from codetalker_cli.failures import error_of_item
from codetalker_cli.files import claim
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

    @property
    def n_ended(self) -> int:
        """The number of jobs that have an outcome."""
        return len(self.done) + len(self.skipped) + len(self.failed)

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
    request = planned.request
    voice = load_voice(
        model, subject=request.subject, device=device, decode=decode, request=request
    )
    voice.check(request)  # report a bad subject or style before processing any recording
    jobs = shard(planned.jobs, longest_first)
    mine = _Shard(planned.is_single, overwrite, len(jobs), stages)
    todo = [job for job in jobs if not mine.skip(job)]
    if mine.report.skipped:
        logger.info("skipping %d existing results", len(mine.report.skipped))
    while todo:
        with mine.claims:
            for number, result in voice.animate_many(mine.requests(todo), stages("animate")):
                with mine.outcome_of(mine.taken[number]) as (job, done):
                    if isinstance(result, CodeTalkerError):
                        raise result
                    done.append({"speech": str(job.speech), **write(voice, result, job)})
        todo = mine.next_pass()
    return BatchReport.join(gather([mine.report]))


class _Shard:
    """The jobs of one process, whose output folder other runs can use at the same time."""

    def __init__(self, is_single: bool, overwrite: bool, n_jobs: int, stages: Stages) -> None:
        self.report = BatchReport()
        self.claims = ExitStack()
        self.taken: list[Job] = []
        self._busy: list[Job] = []
        self._claim_of: dict[Path, ExitStack] = {}
        self._is_single, self._overwrite = is_single, overwrite
        self._n_jobs, self._progress = n_jobs, stages("recordings")
        self._started, self._has_waited = time.time(), False

    def skip(self, job: Job) -> bool:
        """Skip a job whose result exists, or has been replaced by another run since the start."""
        try:
            written = job.out.stat().st_mtime
        except OSError:
            return False
        if job.fault or self._is_single or (self._overwrite and written < self._started):
            return False
        self.report.skipped.append(str(job.out))
        return True

    def requests(self, todo: Sequence[Job]) -> Iterator[Request]:
        """Claim the outputs one after the other, and yield the requests of the claimed ones."""
        for job in todo:
            is_claimed = False
            with self.outcome_of(job, is_last=False):
                is_claimed = self._claim(job)
            if is_claimed:
                self.taken.append(job)
                yield job.request

    def _claim(self, job: Job) -> bool:
        """Claim the output of a job; return whether the job is still to be done."""
        if job.fault is not None:
            raise InputError(job.fault)
        own = self._claim_of[job.out] = self.claims.enter_context(ExitStack())
        try:
            own.enter_context(claim(job.out))
        except BusyError:
            if self._is_single:
                raise
            self._busy.append(job)
            return False
        if self.skip(job):
            own.close()
            return False
        return True

    @contextmanager
    def outcome_of(self, job: Job, is_last: bool = True) -> Iterator[tuple[Job, list]]:
        """Yield the list for the outcome of a job; an error inside the block costs this job only.

        Args:
            job: The job.
            is_last: Whether the job ends with the block.
        """
        try:
            yield job, self.report.done
        except Exception as error:
            if self._is_single:
                raise
            self.report.add_failure(job, error_of_item(error))
            is_last = True
        if is_last:
            self._claim_of.pop(job.out, ExitStack()).close()
        if not self._is_single:
            self._progress(self.report.n_ended, self._n_jobs)

    def next_pass(self) -> list[Job]:
        """Return the jobs that another run was writing, after waiting for the first of them."""
        busy, self._busy, self.taken = self._busy, [], []
        if busy:
            if not self._has_waited:
                logger.info("another run is writing %d of the results; waiting for it", len(busy))
            self._has_waited = True
            # Nothing is claimed at this point, so that two runs cannot wait for each other.
            with claim(busy[0].out, wait=True):
                pass
        return busy


def longest_first(job: Job) -> tuple[int, str]:
    """Return a sort key by file size, so that all ranks get shards of similar size."""
    size = job.speech.stat().st_size if job.speech.is_file() else 0
    return -size, str(job.out)
