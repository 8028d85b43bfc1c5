"""Inspect a prepared data set: report all problems, and draw a contact sheet.

The readers of the prepared format report the faults of the manifest, the mesh and each file.
``folder`` checks that these files agree with each other. ``clips`` and ``speech`` read and measure
each clip, and ``statistics`` collects the measurements. ``clip_checks``, ``templates``,
``geometry`` and ``sync`` check them. ``views`` and ``sheet`` draw the contact sheet.
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
from codetalker_cli.datasets.inspect.clips import ClipMotion, measure_motion
from codetalker_cli.datasets.inspect.findings import Finding, Findings, InspectionReport
from codetalker_cli.datasets.inspect.folder import check_table, read_mesh, usable_faces
from codetalker_cli.datasets.inspect.geometry import check_axes, check_lips, check_units
from codetalker_cli.datasets.inspect.speech import ClipSpeech, measure_speech
from codetalker_cli.datasets.inspect.statistics import ClipStatistics, Statistics
from codetalker_cli.datasets.inspect.sync import check_sync
from codetalker_cli.datasets.inspect.templates import better_template, check_neutral
from codetalker_cli.datasets.manifest import ClipEntry, read_manifest
from codetalker_cli.datasets.prepared import Clip
from codetalker_cli.face_fit import misfit
from codetalker_cli.progress import Progress
from codetalker_cli.topology import MAX_COORDINATE

__all__ = ["Finding", "InspectionReport", "check"]


def check(
    folder: Path | str, sheet: Path | None = None, progress: Progress | None = None
) -> InspectionReport:
    """Read a whole prepared data set once and report everything that is wrong with it.

    A damaged file does not end the inspection. The memory use does not grow with the data set.

    Args:
        folder: The prepared folder.
        sheet: The .png file for a contact sheet; None: no sheet is drawn.
        progress: Called with the number of clips read so far and the number of all clips.

    Raises:
        InputError: The folder contains no manifest, or the sheet cannot be written.
    """
    if sheet is not None:
        from codetalker_cli.datasets.inspect.sheet import check_sheet_path, draw_sheet

        check_sheet_path(sheet)
    folder, findings = Path(folder), Findings()
    manifest = read_manifest(folder, findings.problem)
    mesh = read_mesh(folder, manifest, findings)
    statistics = Statistics(manifest, None if mesh is None else usable_faces(mesh, findings))
    check_table(folder, manifest, mesh, findings)
    names_by_content: dict[str, dict[tuple[str, str], list[str]]] = {"motion": {}, "speech": {}}
    n_bytes, names = 0, set()
    with ThreadPoolExecutor(1) as hashing:
        for number, entry in enumerate(manifest.clips):
            if entry.name not in names:  # a repeated row is reported by check_table
                names.add(entry.name)
                clip = Clip(entry, folder)
                motion, speech = _read_clip(statistics, number, clip, hashing, findings)
                for kind, content in (("motion", motion), ("speech", speech)):
                    rests = kind == "motion" and entry.is_silent
                    if content is not None and not rests:
                        # Several subjects can speak the same recording, each in their own style.
                        speaker = entry.subject if kind == "speech" else ""
                        key = (speaker, content.digest)
                        names_by_content[kind].setdefault(key, []).append(entry.name)
                n_bytes += 0 if motion is None else motion.n_bytes
            if progress:
                progress(number + 1, len(manifest.clips))
    for kind, clips in names_by_content.items():
        check_twins(clips.values(), kind, findings)
    _check_statistics(statistics, findings)
    findings.sort(key=lambda finding: finding.level != "problem")
    if sheet is not None:
        draw_sheet(statistics, findings, sheet)
    n_frames = sum(len(clip.energy) for clip in statistics.clips)
    return InspectionReport(
        folder=folder,
        name=manifest.name,
        n_clips=len(manifest.clips),
        n_frames=n_frames,
        seconds=n_frames / manifest.fps if manifest.fps > 0 else 0.0,
        n_bytes=n_bytes,
        findings=tuple(findings),
        sheet=sheet,
    )


def _read_clip(
    statistics: Statistics,
    number: int,
    clip: Clip,
    hashing: ThreadPoolExecutor,
    findings: Findings,
) -> tuple[ClipMotion | None, ClipSpeech | None]:
    """Read a clip, check it individually, and add it to the statistics."""
    entry, fps = clip.entry, statistics.manifest.fps
    header = None
    if clip.vertices_path.exists():  # check_table reports missing files
        header = clip.check_vertices(findings.problem, statistics.n_vertices)
    speech = measure_speech(clip, fps, None if header is None else header.shape[0], findings)
    if header is None:
        return None, speech
    statistics.n_vertices = header.shape[1]
    subject_statistics = statistics.subjects.get(entry.subject)
    template = statistics.templates.get(entry.subject)
    base = template if subject_statistics is None else subject_statistics.base
    try:
        positions = statistics.sample_positions(number, header.shape[0])
        motion, base = measure_motion(clip.vertices_path, header, base, positions, hashing)
    except OSError as error:
        findings.problem(
            "file", entry.name, f"the vertices cannot be read ({error}); check the disk"
        )
        return None, speech
    subject = statistics.subject(entry.subject, base)
    mean = subject.base + motion.total / max(motion.n_sampled, 1)
    check_motion(entry, motion, float(np.linalg.norm(np.ptp(mean, axis=0))), findings)
    check_length(entry, motion.n_frames, fps, speech, findings)
    largest = max(float(np.abs(x).max(initial=0)) for x in (subject.base, motion.sample))
    is_absurd = largest > MAX_COORDINATE
    if is_absurd:
        findings.problem(
            "misfit",
            entry.name,
            f"the clip or its template has coordinates up to {largest:.2g}; repair or remove it",
        )
    fits = motion.n_sampled > 0 and not is_absurd
    fits = fits and _fits_template(statistics, entry, mean, findings)
    if fits:
        statistics.add_sample(entry.subject, motion.sample)
    subject.clips.append(
        ClipStatistics(
            clip, header, motion.energy, motion.steps, motion.leaps, motion.n_bad, speech, fits
        )
    )
    return motion, speech


def _fits_template(
    statistics: Statistics, entry: ClipEntry, frame: np.ndarray, findings: Findings
) -> bool:
    """Report a clip whose mean frame (V, 3) does not fit its template; return whether it fits.

    A clip that does not fit must not contribute to the statistics.
    """
    subject, templates = statistics.subjects[entry.subject], statistics.templates
    if not subject.has_template:
        return True
    unit = "" if statistics.topology is None else statistics.topology.unit
    other = better_template(frame, entry.subject, templates)
    if other is not None:
        name, distance, own_distance = other
        findings.problem(
            "template",
            entry.name,
            f"the clip shows another subject: the template of {name} fits far better (mean "
            f"distance {distance:.2g} {unit}) than that of {entry.subject} ({own_distance:.2g} "
            f"{unit}); correct the subject or the templates",
        )
        return False
    difference = misfit(frame, subject.base, unit)
    if difference is not None:
        findings.problem("misfit", entry.name, difference.reason)
    return difference is None


def _check_statistics(statistics: Statistics, findings: Findings) -> None:
    """Run the checks that need many clips."""
    clips, fps = statistics.clips, statistics.manifest.fps
    check_rate(clips, fps, findings)
    check_jumps(clips, fps, findings)
    check_units(statistics, findings)
    check_axes(statistics, findings)
    check_neutral(statistics, findings)
    check_lips(statistics, findings)
    check_sync(clips, fps, findings)
