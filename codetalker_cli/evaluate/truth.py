"""The ground-truth clips, and their templates, regions and unit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codetalker_cli.datasets.prepared import PreparedDataSet, vertices_path
from codetalker_cli.datasets.regions import find_regions
from codetalker_cli.datasets.stored_motions import SUFFIXES, read_stored
from codetalker_cli.errors import DataError, InputError, counted
from codetalker_cli.formats import predictions, rig_files
from codetalker_cli.formats.predictions import StoredMotion, split_name, subject_in
from codetalker_cli.formats.templates import read_templates
from codetalker_cli.motion import Vertices
from codetalker_cli.topology import UNITS, Mesh, Topology

_UNKNOWN_UNIT = next(unit for unit, meters in UNITS.items() if meters is None)


@dataclass(frozen=True)
class Truth:
    """The ground-truth clips and their mesh.

    Attributes:
        name: Name of the data set, for reports.
        clips: Clip → the file of its vertices.
        subjects: Clip → its subject.
        mesh: The templates, regions and unit.
        train_subjects: Training subjects of the data set; empty if they are not known.
        data: The prepared data set, or None.
        unit: The length unit, or None if it is not known.
        fps: The frame rate of files that store none, or None if it is not known.
    """

    name: str
    clips: Mapping[str, Path]
    subjects: Mapping[str, str]
    mesh: Mesh
    train_subjects: tuple[str, ...] = ()
    data: PreparedDataSet | None = None
    unit: str | None = None
    fps: float | None = None

    def stored(self, clip: str) -> StoredMotion:
        """Read a clip with its frame rate and unit, as far as they are known.

        Raises:
            InputError: The file cannot be read.
            DataError: The file is damaged, has the wrong vertex count, or stores another unit.
        """
        path = self.clips[clip]
        stored = self.prediction(clip, path)
        if stored.unit and self.unit and stored.unit != self.unit:
            raise DataError(
                f"{path}: the unit of the ground truth is {stored.unit}, expected {self.unit}; "
                "convert it to that unit"
            )
        return StoredMotion(stored.vertices, stored.fps or self.fps, stored.unit or self.unit)

    def prediction(self, clip: str, path: Path) -> StoredMotion:
        """Read a prediction of a clip, with its frame rate and unit as far as they are known.

        Raises:
            InputError: The file cannot be read.
            DataError: The file is damaged, or has the wrong vertex count.
        """
        return read_stored(path, self.mesh.topology.n_vertices, self.subjects[clip])

    def vertices(self, clip: str) -> Vertices:
        """Read the (T, V, 3) vertices of a clip.

        Raises:
            InputError: The file cannot be read.
            DataError: The file is damaged or has the wrong vertex count.
        """
        return self.prediction(clip, self.clips[clip]).vertices

    def template(self, clip: str) -> np.ndarray:
        """Return the (V, 3) neutral face of a clip's subject."""
        return self.mesh.templates[self.subjects[clip]]


def of_data_set(data: PreparedDataSet, split: str | None = None) -> Truth:
    """Return the clips of a split of a prepared data set, or all of its clips.

    Raises:
        DataError: The split has no clips.
    """
    entries = [clip.entry for clip in (data.clips(split) if split else _all_clips(data))]
    if not entries:
        available = ", ".join(
            f"{k} ({counted(row['clips'], 'clip')})" for k, row in data.manifest.splits.items()
        )
        raise DataError(
            f"{data.folder}: the split {split!r} has no clips; available splits: "
            f"{available or 'none'}; choose one with `split`"
        )
    return Truth(
        name=data.manifest.name,
        clips={entry.name: vertices_path(data.folder, entry.name) for entry in entries},
        subjects={entry.name: entry.subject for entry in entries},
        mesh=data.mesh,
        train_subjects=data.manifest.train_subjects,
        data=data,
        unit=data.mesh.topology.unit,
        fps=data.manifest.fps,
    )


def _all_clips(data: PreparedDataSet) -> list:
    return [clip for split in data.manifest.splits for clip in data.clips(split)]


def of_files(folder: Path, *, templates: Path, regions: Path, unit: str | None = None) -> Truth:
    """Return the clips of a folder of .npy or .npz files, in the layout of the official code.

    Args:
        folder: Folder of ground-truth clips, named SUBJECT_SENTENCE.
        templates: ``templates.pkl``.
        regions: Folder with ``lve.txt`` and ``fdd.txt``, or another input of ``find_regions``.
        unit: ``m``, ``mm`` or ``area1``; None: not known.

    Raises:
        InputError: A file is missing, a subject is unknown, or the unit is invalid.
        DataError: A file is damaged, or a vertex index is out of range.
    """
    if unit is not None and unit not in UNITS:
        raise InputError(f"`unit` {unit} is not valid; expected one of {', '.join(UNITS)}")
    neutral_faces = read_templates(templates)
    sizes = {subject: len(template) for subject, template in neutral_faces.items()}
    n_vertices = next(iter(sizes.values()))
    mismatched = [subject for subject, size in sizes.items() if size != n_vertices]
    if mismatched:
        raise DataError(
            f"{templates}: the template of {mismatched[0]} has {sizes[mismatched[0]]} vertices, "
            f"but other templates have {n_vertices}; all templates must have the same topology"
        )
    region_indices = find_regions(str(regions), Path(), n_vertices).named
    topology = Topology(
        folder.name, np.empty((0, 3), np.int32), n_vertices, unit or _UNKNOWN_UNIT, region_indices
    )
    return with_files(Truth(folder.name, {}, {}, Mesh(topology, neutral_faces), unit=unit), folder)


def with_files(truth: Truth, folder: Path) -> Truth:
    """Return ``truth`` with its clips replaced by the motion files of a folder.

    Raises:
        InputError: The folder contains no motion, or the subject of a clip is unknown.
    """
    clips = {path.stem: path for path in motion_files(folder, truth.clips)}
    subjects: dict[str, str] = {}
    for name, path in clips.items():
        subject = truth.subjects.get(name) or subject_in(name, truth.mesh.templates)
        if subject is None:
            known = ", ".join(list(truth.mesh.templates)[:8])
            raise InputError(
                f"{path}: the file name must begin with a known subject (such as {known}), as in "
                "SUBJECT_SENTENCE"
            )
        subjects[name] = subject
    return replace(truth, clips=clips, subjects=subjects)


def motion_files(folder: Path, clips: Collection[str] | None = None) -> list[Path]:
    """Return the motions of a folder, sorted by name.

    Tables and other data can also be .csv or .json files. Such a file is a motion only if it is
    named like a clip, and if there is no .npy or .npz file with the same name.

    Args:
        folder: The folder.
        clips: The names of the clips, or None: no .csv or .json file is a motion.

    Raises:
        InputError: The folder does not exist or contains no motion.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    visible = [path for path in folder.iterdir() if path.name[0] != "."]
    paths = [path for path in visible if path.suffix.lower() in predictions.SUFFIXES]
    stems = {path.stem for path in paths}
    paths += [
        path
        for path in visible
        if path.suffix.lower() in rig_files.SUFFIXES
        and path.stem not in stems
        and split_name(path.stem)[0] in (clips or ())
    ]
    if not paths:
        raise InputError(f"{folder}: the folder contains no motion ({' or '.join(SUFFIXES)} files)")
    return sorted(paths)
