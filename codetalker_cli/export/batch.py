"""Export several motions: plan the outputs, write them, and report the outcome of each."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetalker_cli.errors import CodeTalkerError, InputError, printable
from codetalker_cli.export.formats import BY_NAME
from codetalker_cli.export.table import Exporter
from codetalker_cli.export.take import Take
from codetalker_cli.export.write import check_outputs, write
from codetalker_cli.failures import error_of_item
from codetalker_cli.outputs import Formats, check_distinct, check_path, names_folder
from codetalker_cli.progress import Progress
from codetalker_cli.settings import ExportSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportJob:
    """A motion file to export.

    Attributes:
        source: The motion file.
        out: The output.
        exporter: The format.
    """

    source: Path
    out: Path
    exporter: Exporter


@dataclass(frozen=True)
class ExportPlan:
    """The exports of one command.

    Attributes:
        jobs: One job for each motion.
        is_single: Whether the arguments specify one motion and one output. If so, a failure and an
            existing output are errors. If not, a failed motion is reported and existing outputs are
            skipped.
    """

    jobs: tuple[ExportJob, ...]
    is_single: bool


def plan(
    motions: Sequence[str],
    out: str | None,
    format: str | None,
    suffixes: Sequence[str],
    *,
    overwrite: bool,
    exporters: Mapping[str, Exporter] = BY_NAME,
) -> ExportPlan:
    """Determine the output of each motion.

    Args:
        motions: Motion files, and folders of motion files.
        out: The output of a single motion, or the folder for several; None: next to each motion.
        format: The name of the format; None: that of the suffix of ``out``.
        suffixes: The suffixes of motion files.
        overwrite: Replace existing outputs.
        exporters: The formats, by name.

    Raises:
        InputError: `motions` is empty, a format is missing, or an output is unusable.
    """
    if "" in (*motions, out, format):
        raise InputError("an empty name was given; check the shell variables in the command")
    formats = Formats({name: exporter.suffix for name, exporter in exporters.items()})
    format = None if format is None else formats.check_name(format)
    is_folder = formats.is_folder(format)
    into = out is not None and names_folder(out, is_folder_output=is_folder)
    if len(motions) == 1 and not Path(motions[0]).is_dir() and out is not None and not into:
        path = Path(out)
        check_path(path, "`out`")
        chosen = formats.choose(path, format)
        if format is not None and chosen != format:
            raise InputError(
                f"`format` {format}: `out` {out} already determines the format; give only one of "
                "the two"
            )
        jobs = [ExportJob(Path(motions[0]), path, exporters[chosen])]
        check_outputs(path, jobs[0].exporter, overwrite=overwrite)
        is_single = True
    elif format is None:
        raise InputError(
            f"`format` is missing; give one of {', '.join(formats.suffixes)}, or `out` with a file "
            "name"
        )
    else:
        jobs = _jobs(
            motions, None if out is None else Path(out), exporters[format], formats, suffixes
        )
        is_single = len(motions) == 1 and not Path(motions[0]).is_dir()
    for job in jobs:
        check_path(job.out, "`out`")
    pairs = [(job.source, job.out) for job in jobs]
    check_distinct(pairs, "motion", "give the motions different names")
    return ExportPlan(tuple(jobs), is_single)


def _jobs(
    motions: Sequence[str],
    out: Path | None,
    exporter: Exporter,
    formats: Formats,
    suffixes: Sequence[str],
) -> list[ExportJob]:
    jobs = []
    for given in map(Path, motions):
        files = [(given, Path(given.name))]
        if given.is_dir():
            files = [(f, f.relative_to(given)) for f in _motions_below(given, suffixes)]
            if not files:
                raise InputError(
                    f"{given}: the folder contains no motions (searched for {', '.join(suffixes)})"
                )
        for file, name in files:
            target = file if out is None else out / name
            jobs.append(
                ExportJob(file, target.with_suffix(formats.ending(exporter.name)), exporter)
            )
    return jobs


def _motions_below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the motions below a folder. Of those with the same name, the first suffix counts.

    The others may be exports of it.
    """
    chosen: dict[Path, Path] = {}
    found = (f for f in folder.rglob("*") if f.suffix.lower() in suffixes and f.is_file())
    for file in sorted(found, key=lambda file: (suffixes.index(file.suffix.lower()), file)):
        if not file.name.startswith("."):
            chosen.setdefault(file.with_suffix(""), file)
    return sorted(chosen.values())


@dataclass
class ExportReport:
    """The outcome of each export.

    Attributes:
        done: The motion and the properties of each new export.
        skipped: The paths of exports that already existed.
        failed: The motion and the reason of each failure.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """Return a one-line summary with the names of all failed motions."""
        parts = [f"{len(self.done)} exported"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped (already exported)")
        if self.failed:
            names = ", ".join(printable(row["motion"]) for row in self.failed)
            parts.append(f"{len(self.failed)} failed: {names}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return {"done": self.done, "skipped": self.skipped, "failed": self.failed}


def run(
    planned: ExportPlan,
    read: Callable[[Path], Take],
    settings: ExportSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the exports of a plan.

    Args:
        planned: The plan.
        read: Reads the take of a motion file.
        settings: What the files contain.
        overwrite: Replace existing outputs; if false, they are skipped.
        progress: Called with the number of motions done and the total.

    Raises:
        CodeTalkerError: The plan has a single motion, which failed.
    """
    report = ExportReport()
    for number, job in enumerate(planned.jobs, start=1):
        try:
            if not planned.is_single and job.out.exists() and not overwrite:
                report.skipped.append(str(job.out))
                continue
            take = read(job.source)
            written = write(take, job.out, job.exporter, settings, overwrite=overwrite)
            report.done.append({"motion": str(job.source), **written.to_dict()})
        except Exception as error:
            if planned.is_single:
                raise
            _add_failure(report, job, error_of_item(error))
        if progress is not None and not planned.is_single:
            progress(number, len(planned.jobs))
    return report


def _add_failure(report: ExportReport, job: ExportJob, error: CodeTalkerError) -> None:
    reason = str(error).removeprefix(f"{job.source}: ")
    logger.warning("failed: %s: %s", job.source, reason)
    report.failed.append({"motion": str(job.source), "reason": reason})
