"""What predictions are compared with: true motion, templates, regions, unit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codetalker_cli.datasets.prepared import PreparedDataSet, vertices_path
from codetalker_cli.datasets.regions import find_regions
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats.predictions import SUFFIXES, read_vertices, subject_in
from codetalker_cli.formats.templates import read_templates
from codetalker_cli.motion import Vertices
from codetalker_cli.topology import UNITS, Mesh, Topology

_UNKNOWN_UNIT = next(unit for unit, meters in UNITS.items() if meters is None)


@dataclass(frozen=True)
class Truth:
    """True clips by name, and the faces they belong to.

    Attributes:
        name: Of the data set, for reports.
        clips: Clip → its vertices' file.
        subjects: Clip → whose it is.
        mesh: Templates, regions, unit.
        train_subjects: Whose styles a model may have learned; empty where that is not known.
        data: The prepared data set, or None.
    """

    name: str
    clips: Mapping[str, Path]
    subjects: Mapping[str, str]
    mesh: Mesh
    train_subjects: tuple[str, ...] = ()
    data: PreparedDataSet | None = None

    def vertices(self, clip: str) -> Vertices:
        """(T, V, 3) of a clip.

        Raises:
            InputError, DataError: The file cannot be read, or is of another vertex count.
        """
        return read_vertices(self.clips[clip], self.mesh.topology.n_vertices)

    def template(self, clip: str) -> np.ndarray:
        """(V, 3) neutral face of the clip's subject."""
        return self.mesh.templates[self.subjects[clip]]


def of_data_set(data: PreparedDataSet, split: str | None = None) -> Truth:
    """All clips of a prepared data set, or those of a split.

    Raises:
        DataError: The split has no clip; names those that have.
    """
    entries = [clip.entry for clip in (data.clips(split) if split else _all_clips(data))]
    if not entries:
        available = ", ".join(
            f"{k} ({row['clips']} clips)" for k, row in data.manifest.splits.items()
        )
        raise DataError(
            f"{data.folder}: no clip in the split {split!r}; it has: {available or 'none'}; name "
            "one with `split`"
        )
    return Truth(
        name=data.manifest.name,
        clips={entry.name: vertices_path(data.folder, entry.name) for entry in entries},
        subjects={entry.name: entry.subject for entry in entries},
        mesh=data.mesh,
        train_subjects=data.manifest.train_subjects,
        data=data,
    )


def _all_clips(data: PreparedDataSet) -> list:
    return [clip for split in data.manifest.splits for clip in data.clips(split)]


def of_files(folder: Path, *, templates: Path, regions: Path, unit: str | None = None) -> Truth:
    """A folder of .npy or .npz clips, named SUBJECT_SENTENCE, as the reference has them.

    Args:
        folder: True motion.
        templates: ``templates.pkl``.
        regions: Folder with ``lve.txt`` and ``fdd.txt``, or what else
            ``find_regions`` reads.
        unit: m, mm or area1; None: not known.

    Raises:
        InputError, DataError: A file is missing or damaged, or an index out of range.
    """
    if unit is not None and unit not in UNITS:
        raise InputError(f"`unit` {unit}: expected one of {', '.join(UNITS)}")
    neutral_faces = read_templates(templates)
    sizes = {subject: len(template) for subject, template in neutral_faces.items()}
    n_vertices = next(iter(sizes.values()))
    mismatched = [subject for subject, size in sizes.items() if size != n_vertices]
    if mismatched:
        raise DataError(
            f"{templates}: the template of {mismatched[0]} has {sizes[mismatched[0]]} vertices, "
            f"others {n_vertices}; take the templates of one topology"
        )
    region_indices = find_regions(str(regions), Path(), n_vertices).named
    topology = Topology(
        folder.name, np.empty((0, 3), np.int32), n_vertices, unit or _UNKNOWN_UNIT, region_indices
    )
    return with_files(Truth(folder.name, {}, {}, Mesh(topology, neutral_faces)), folder)


def with_files(truth: Truth, folder: Path) -> Truth:
    """The same faces with the clips of a folder; their names begin with the subject's.

    Raises:
        InputError: No clip there, or one of no known subject.
    """
    clips = {path.stem: path for path in motion_files(folder)}
    subjects: dict[str, str] = {}
    for name, path in clips.items():
        subject = truth.subjects.get(name) or subject_in(name, truth.mesh.templates)
        if subject is None:
            known = ", ".join(list(truth.mesh.templates)[:8])
            raise InputError(
                f"{path}: begins with no known subject (of {known}); name clips SUBJECT_SENTENCE"
            )
        subjects[name] = subject
    return replace(truth, clips=clips, subjects=subjects)


def motion_files(folder: Path) -> list[Path]:
    """The .npy and .npz files of a folder, by name.

    Raises:
        InputError: No such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.name[0] != ".")
    if not paths:
        raise InputError(f"{folder}: no motion in it (looked for {', '.join(SUFFIXES)})")
    return paths
