"""What is looked at before anything of a raw data set is written."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from codetalker_cli import audio
from codetalker_cli.datasets import splits
from codetalker_cli.datasets.raw_clips import Problem, RawClip, RawDataSet
from codetalker_cli.errors import InputError
from codetalker_cli.settings import SplitRule

DISK_MARGIN = 1.02
FACE_METERS = (0.05, 1.2)
"""Sizes that the recording of a head, with or without shoulders, may have."""


def missing_clips(raw: RawDataSet, rules: Mapping[str, SplitRule]) -> list[Problem]:
    """Clips that the splits name and the raw data lacks, beside those the reader told of."""
    present = {clip.name for clip in raw.clips} | {problem.clip for problem in raw.problems}
    missing_sentences: dict[str, list[str]] = {}
    n_expected: dict[str, int] = {}
    for subject, sentence in splits.expected_clips(rules):
        n_expected[subject] = n_expected.get(subject, 0) + 1
        if f"{subject}_{sentence}" not in present:
            missing_sentences.setdefault(subject, []).append(sentence)
    problems = []
    for subject, sentences in missing_sentences.items():
        if len(sentences) == n_expected[subject]:
            reason = f"nothing of this subject; {len(sentences)} clips of it belong to splits"
            problems.append(Problem(subject, "missing", reason))
        else:
            problems += [
                Problem(f"{subject}_{s}", "missing", "neither motion nor speech") for s in sentences
            ]
    return problems


def drop_broken_templates(raw: RawDataSet) -> RawDataSet:
    """Without templates that hold NaN: clips of such a subject cannot be used."""
    valid = {k: v for k, v in raw.mesh.templates.items() if np.isfinite(v).all()}
    return replace(raw, mesh=replace(raw.mesh, templates=valid))


def unlikely_sizes(raw: RawDataSet) -> list[Problem]:
    """Templates that no head has the size of, where the unit tells."""
    meters = raw.mesh.topology.meters_per_unit
    problems = []
    for subject, template in raw.mesh.templates.items() if meters else ():
        size = float(np.ptp(template, axis=0).max()) * (meters or 1.0)
        if np.isfinite(size) and not FACE_METERS[0] <= size <= FACE_METERS[1]:
            reason = f"its template measures {size:.3g} m, a head about 0.25 m; is the unit right?"
            problems.append(Problem(subject, "unit", reason))
    return problems


def check_disk(out: Path, raw: RawDataSet, fps: float, clips: list[RawClip]) -> None:
    """Refuse what the disk cannot hold before anything is written.

    Raises:
        InputError: Says how much is needed and how much is free.
    """
    frames = sum(clip.n_frames for clip in clips) * fps / raw.fps
    needed = frames * (raw.mesh.topology.n_vertices * 12 + audio.SAMPLE_RATE / fps * 2)
    nearest = next(f for f in (out, *out.absolute().parents) if f.exists())
    free = shutil.disk_usage(nearest).free
    if needed * DISK_MARGIN > free:
        raise InputError(
            f"{out}: about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free on this "
            "disk; make room, or give a folder on another disk"
        )
