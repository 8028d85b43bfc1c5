"""Checks of a raw data set before anything is written."""

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
"""The free space that is required, as a multiple of the estimated size of the data set."""
FACE_METERS = (0.05, 1.2)
"""The plausible sizes of a template, from a part of a face to a head with shoulders."""


def missing_clips(raw: RawDataSet, rules: Mapping[str, SplitRule]) -> list[Problem]:
    """Return a problem for each clip that a split names but the raw data does not contain.

    Clips that the reader has already reported are not repeated.
    """
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
            reason = f"no data for this subject; the splits name {len(sentences)} of its clips"
            problems.append(Problem(subject, "missing", reason))
        else:
            problems += [
                Problem(f"{subject}_{s}", "missing", "neither motion nor speech found")
                for s in sentences
            ]
    return problems


def drop_broken_templates(raw: RawDataSet) -> RawDataSet:
    """Return the data set without templates that cannot be used, and so without their subjects.

    These templates contain NaN, or all of their vertices are at one point.
    """
    valid = {
        name: template
        for name, template in raw.mesh.templates.items()
        if np.isfinite(template).all() and np.ptp(template, axis=0).any()
    }
    return replace(raw, mesh=replace(raw.mesh, templates=valid))


def unlikely_sizes(raw: RawDataSet) -> list[Problem]:
    """Return a problem for each template that is too small or too large for a head."""
    meters = raw.mesh.topology.meters_per_unit
    problems = []
    for subject, template in raw.mesh.templates.items() if meters else ():
        size = float(np.ptp(template, axis=0).max()) * (meters or 1.0)
        if np.isfinite(size) and not FACE_METERS[0] <= size <= FACE_METERS[1]:
            reason = (
                f"the template measures {size:.3g} m, but a head measures about 0.25 m; "
                "check the unit"
            )
            problems.append(Problem(subject, "unit", reason))
    return problems


def check_disk(out: Path, raw: RawDataSet, fps: float, clips: list[RawClip]) -> None:
    """Refuse a data set that the disk has no room for.

    Raises:
        InputError: The disk does not have enough free space.
    """
    frames = sum(clip.n_frames for clip in clips) * fps / raw.fps
    needed = frames * (raw.mesh.topology.n_vertices * 12 + audio.SAMPLE_RATE / fps * 2)
    nearest = next(f for f in (out, *out.absolute().parents) if f.exists())
    free = shutil.disk_usage(nearest).free
    if needed * DISK_MARGIN > free:
        raise InputError(
            f"{out}: the data set needs about {needed / 1e9:.1f} GB, but this disk has only "
            f"{free / 1e9:.1f} GB free; free some space, or give a folder on another disk"
        )
