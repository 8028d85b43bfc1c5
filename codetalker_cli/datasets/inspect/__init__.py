"""Inspect a prepared data set: all problems at once, and a contact sheet.

``folder`` reads the manifest and the mesh leniently, ``clips`` and ``sound`` read each clip once,
``statistics`` gathers what they measure, ``clip_checks``, ``templates``, ``geometry`` and ``sync``
judge it, ``views`` and ``sheet`` draw.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from codetalker_cli.datasets.inspect.clip_checks import (
    check_jumps,
    check_length,
    check_motion,
    check_rate,
    check_twins,
)
from codetalker_cli.datasets.inspect.clips import ClipMotion, measure_motion, read_header
from codetalker_cli.datasets.inspect.findings import Finding, Findings, InspectionReport
from codetalker_cli.datasets.inspect.folder import (
    TableRow,
    check_table,
    read_mesh_contents,
    read_table,
)
from codetalker_cli.datasets.inspect.geometry import check_axes, check_lips, check_units
from codetalker_cli.datasets.inspect.sound import AudioStatistics, read_audio_statistics
from codetalker_cli.datasets.inspect.statistics import ClipStatistics, Statistics
from codetalker_cli.datasets.inspect.sync import check_sync
from codetalker_cli.datasets.inspect.templates import better_template, check_neutral, misfit
from codetalker_cli.datasets.prepared import vertices_path
from codetalker_cli.progress import Progress

__all__ = ["Finding", "InspectionReport", "check"]


def check(
    folder: Path | str, sheet: Path | None = None, progress: Progress | None = None
) -> InspectionReport:
    """Read a whole prepared data set once and tell all that is wrong with it.

    Damage to one file does not hide the next. Memory stays bounded whatever the size.

    Args:
        folder: The prepared folder.
        sheet: Draw a contact sheet into this .png.
        progress: Called with the clips read and all clips.

    Raises:
        InputError: There is no manifest in the folder, or the sheet cannot be written.
    """
    if sheet is not None:
        from codetalker_cli.datasets.inspect.sheet import check_sheet_path, draw_sheet

        check_sheet_path(sheet)
    folder, findings = Path(folder), Findings()
    table = read_table(folder, findings)
    mesh = read_mesh_contents(table, findings)
    check_table(table, mesh, findings)
    statistics = Statistics(table, mesh)
    names_by_digest: dict[str, dict[str, list[str]]] = {"motion": {}, "speech": {}}
    n_bytes, names = 0, set()
    with ThreadPoolExecutor(1) as hashing:
        for number, row in enumerate(table.rows):
            if row.name not in names:  # a row that is listed twice is reported already
                names.add(row.name)
                motion, audio = _read_clip(statistics, number, row, hashing, findings)
                for kind, content in (("motion", motion), ("speech", audio)):
                    rests = kind == "motion" and row.is_silent
                    if content is not None and not rests:
                        names_by_digest[kind].setdefault(content.digest, []).append(row.name)
                n_bytes += 0 if motion is None else motion.n_bytes
            if progress:
                progress(number + 1, len(table.rows))
    for kind, digests in names_by_digest.items():
        check_twins(digests, kind, findings)
    _check_statistics(statistics, findings)
    findings.sort(key=lambda finding: finding.level != "problem")
    if sheet is not None:
        draw_sheet(statistics, findings, sheet)
    n_frames = sum(len(clip.energy) for clip in statistics.clips)
    seconds = n_frames / table.fps if table.fps > 0 else 0.0
    return InspectionReport(
        folder, table.name, len(table.rows), n_frames, seconds, n_bytes, tuple(findings), sheet
    )


def _read_clip(
    statistics: Statistics,
    number: int,
    row: TableRow,
    hashing: ThreadPoolExecutor,
    findings: Findings,
) -> tuple[ClipMotion | None, AudioStatistics | None]:
    """Read one clip, judge it alone, add it to the statistics."""
    table, template = statistics.table, statistics.mesh.templates.get(row.subject)
    header = read_header(table, row, statistics.n_vertices, findings)
    audio = read_audio_statistics(table, row, None if header is None else header.shape[0], findings)
    if header is None:
        return None, audio
    statistics.n_vertices = header.shape[1]
    subject_statistics = statistics.subjects.get(row.subject)
    base = template if subject_statistics is None else subject_statistics.base
    try:
        positions = statistics.sample_positions(number, header.shape[0])
        path = vertices_path(table.folder, row.name)
        motion, base = measure_motion(path, header, base, positions, hashing)
    except OSError as error:
        findings.problem("file", row.name, f"cannot be read ({error}); check the disk")
        return None, audio
    subject = statistics.subject(row.subject, base)
    mean = subject.base + motion.total / max(motion.n_sampled, 1)
    check_motion(row, motion, float(np.linalg.norm(np.ptp(mean, axis=0))), findings)
    check_length(row, motion.n_frames, table.fps, audio, findings)
    fits = motion.n_sampled > 0 and _fits_template(statistics, row, mean, findings)
    if fits:
        statistics.add_sample(row.subject, motion.sample)
    subject.clips.append(
        ClipStatistics(
            row, header, motion.energy, motion.steps, motion.leaps, motion.n_bad, audio, fits
        )
    )
    return motion, audio


def _fits_template(
    statistics: Statistics, row: TableRow, frame: np.ndarray, findings: Findings
) -> bool:
    """Whether a clip, by its mean frame (V, 3), fits the template of its subject.

    What does not would spoil the statistics.
    """
    subject, templates = statistics.subjects[row.subject], statistics.mesh.templates
    if not subject.has_template:
        return True
    other = better_template(frame, row.subject, templates)
    if other is not None:
        name, distance, own_distance = other
        findings.problem(
            "template",
            row.name,
            f"another subject's face: the template of {name} fits far better (mean distance "
            f"{distance:.2g}) than that of {row.subject} ({own_distance:.2g}); mend the subject or "
            "the templates",
        )
        return False
    reason = misfit(frame, subject.base)
    if reason is not None:
        findings.problem("misfit", row.name, reason)
    return reason is None


def _check_statistics(statistics: Statistics, findings: Findings) -> None:
    """What only many clips tell."""
    clips, fps = statistics.clips, statistics.table.fps
    check_rate(clips, fps, findings)
    check_jumps(clips, fps, findings)
    check_units(statistics, findings)
    check_axes(statistics, findings)
    check_neutral(statistics, findings)
    check_lips(statistics, findings)
    check_sync(clips, fps, findings)
