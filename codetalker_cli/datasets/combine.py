"""Combine prepared data sets of the same topology and frame rate into one.

Every data set keeps its subjects, clips and splits. A subject that several data sets contain must
have the same neutral face in all of them, and is one speaking style of the result.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codetalker_cli.datasets.manifest import Manifest
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, PreparedWriter
from codetalker_cli.errors import DataError, InputError, counted
from codetalker_cli.files import claim
from codetalker_cli.progress import Progress, silent
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import MANIFEST

_REGIONS = ("lips", "inner_lip_upper", "inner_lip_lower")


def combine(
    sources: Sequence[Path],
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Manifest:
    """Write a data set that contains the clips of several ones.

    The files of the clips are hard links, or copies if ``out`` is on another disk.

    Args:
        sources: At least two prepared folders. The training subjects of the result are those of
            the first one, then those that the others add.
        out: The prepared folder, whose name is that of the data set.
        overwrite: Whether to replace a data set in ``out``.
        progress: Called with the number of clips done and their total.

    Raises:
        InputError: There are fewer than two sources, one of them is ``out`` or not a prepared data
            set, or ``out`` contains something else.
        DataError: The data sets differ in topology, unit, regions, frame rate or the neutral face
            of a subject, or two clips have the same name.
    """
    if len({source.resolve() for source in sources}) < 2:
        raise InputError(f"{counted(len(sources), 'data set')} to combine; give at least two")
    if out.resolve() in {source.resolve() for source in sources}:
        raise InputError(f"{out}: the result cannot be one of the data sets that it combines")
    data_sets = [PreparedDataSet(source) for source in sources]
    first = data_sets[0]
    for one, other in itertools.combinations(data_sets, 2):
        _check_same(one, other)
    mesh = _union([data.mesh for data in data_sets])
    with claim(out / MANIFEST):
        writer = PreparedWriter(out, overwrite=overwrite)
        n_clips, n_done = sum(len(data.manifest.clips) for data in data_sets), 0
        for data in data_sets:
            for entry in data.manifest.clips:
                writer.adopt(entry, data.folder)
                n_done += 1
                progress(n_done, n_clips)
        subjects = dict.fromkeys(s for data in data_sets for s in data.manifest.train_subjects)
        notes = {
            "combined": [
                {"name": d.manifest.name, "data_id": d.manifest.data_id, "notes": d.manifest.notes}
                for d in data_sets
            ]
        }
        name = out.resolve().name
        return writer.finish(DataSetFacts(name, first.manifest.fps, list(subjects)), mesh, notes)


def _check_same(first: PreparedDataSet, other: PreparedDataSet) -> None:
    """Refuse a data set whose motion does not fit that of another one."""
    one, two = first.mesh.topology, other.mesh.topology
    facts = {
        "frame rate": (first.manifest.fps, other.manifest.fps),
        "unit": (one.unit, two.unit),
        "number of vertices": (one.n_vertices, two.n_vertices),
    }
    for what, (expected, found) in facts.items():
        if expected != found:
            raise DataError(
                f"{other.folder}: its {what} is {found}, but that of {first.folder} is {expected}; "
                "prepare both in the same way"
            )
    if not np.array_equal(one.triangles, two.triangles):
        raise DataError(f"{other.folder}: its triangles differ from those of {first.folder}")
    for name in _REGIONS:
        regions = [list(t.regions.get(name, ())) for t in (one, two)]
        if regions[0] != regions[1]:
            raise DataError(
                f"{other.folder}: its region {name} differs from that of {first.folder}; prepare "
                "both with the same regions"
            )
    for subject, template in other.mesh.templates.items():
        known = first.mesh.templates.get(subject)
        if known is not None and not np.array_equal(known, template):
            raise DataError(
                f"{other.folder}: the neutral face of {subject} differs from that in "
                f"{first.folder}; rename the subject in one of them"
            )


def _union(meshes: Sequence[Mesh]) -> Mesh:
    """Return the mesh with the subjects of all meshes; units for idle motion must be in all."""
    templates: dict[str, np.ndarray] = {}
    colors: dict[str, np.ndarray] = {}
    lid_closure: dict[str, float] = {}
    for mesh in meshes:
        templates = mesh.templates | templates
        colors = mesh.colors | colors
        lid_closure = mesh.lid_closure | lid_closure
    order = dict.fromkeys(name for mesh in meshes for name in mesh.templates)
    idle = meshes[0].idle_units if all(mesh.idle_units for mesh in meshes) else {}
    return Mesh(
        meshes[0].topology, {name: templates[name] for name in order}, colors, idle, lid_closure
    )
