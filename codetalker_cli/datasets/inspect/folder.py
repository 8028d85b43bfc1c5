"""The manifest, the faces and the files of a prepared folder, read leniently: damage to one thing
becomes a finding and does not hide the next.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.arrays import read_arrays
from codetalker_cli.datasets.inspect.findings import Findings, join_names
from codetalker_cli.datasets.prepared import (
    FORMAT_VERSION,
    MESH,
    NO_SPEECH,
    UNFINISHED,
    audio_path,
    find_manifest,
    vertices_path,
)
from codetalker_cli.datasets.splits import UNUSED
from codetalker_cli.errors import DataError
from codetalker_cli.topology import Mesh, Topology
from codetalker_cli.workspace import MANIFEST

_AGAIN = "prepare the data again"


@dataclass(frozen=True)
class TableRow:
    """One row of the clip table, as far as it can be understood; None: not told.

    Of ``is_silent`` ones the table says that nobody speaks, so that the face may rest.
    """

    name: str
    subject: str
    split: str
    n_frames: int | None
    sha256: str
    n_samples: int | None
    audio_sha256: str
    is_silent: bool


@dataclass(frozen=True)
class ClipTable:
    """What manifest.json says, as far as it can be understood."""

    folder: Path
    name: str
    fps: float
    train_subjects: tuple[str, ...]
    rows: tuple[TableRow, ...]
    content: dict[str, Any]


@dataclass(frozen=True)
class MeshContents:
    """What mesh.npz holds, as far as it can be used.

    Attributes:
        topology: Without triangles and regions that are out of range; None: nothing could be read.
        templates: Those of the right shape and without NaN.
        colours: Of the same subjects.
        subjects: All subjects the file names.
    """

    topology: Topology | None = None
    templates: dict[str, np.ndarray] = field(default_factory=dict)
    colours: dict[str, np.ndarray] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()


def read_table(folder: Path, findings: Findings) -> ClipTable:
    """The manifest.

    Raises:
        InputError: There is none.
    """
    path = find_manifest(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        findings.problem("manifest", MANIFEST, f"is no JSON ({error}); {_AGAIN}")
        content = {}
    if not isinstance(content, dict):
        findings.problem("manifest", MANIFEST, f"is a {type(content).__name__}; {_AGAIN}")
        content = {}
    version = content.get("format_version")
    if content and (not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION):
        findings.problem(
            "manifest",
            MANIFEST,
            f"format_version {version!r}, expected 1 to {FORMAT_VERSION}; upgrade codetalker",
        )
    fps = content.get("fps")
    if not isinstance(fps, int | float) or not np.isfinite(fps) or fps <= 0:
        findings.problem("manifest", MANIFEST, f"fps {fps!r}, expected a rate in hertz; {_AGAIN}")
        fps = 0.0
    rows = [
        _parse_row(k, value, findings)
        for k, value in enumerate(_get_list(content, "clips", findings))
    ]
    return ClipTable(
        folder=folder,
        name=str(content.get("name", folder.name)),
        fps=float(fps),
        train_subjects=tuple(str(s) for s in _get_list(content, "train_subjects", findings)),
        rows=tuple(row for row in rows if row is not None),
        content=content,
    )


def _get_list(content: dict[str, Any], key: str, findings: Findings) -> list[Any]:
    values = content.get(key, [])
    if not isinstance(values, list) or (content and key not in content):
        findings.problem("manifest", MANIFEST, f"{key} is no list; {_AGAIN}")
        return []
    return values


def _parse_row(number: int, value: Any, findings: Findings) -> TableRow | None:
    where = f"{MANIFEST}, clip {number}"
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        findings.problem("manifest", where, f"the row has no name; {_AGAIN}")
        return None
    name = value["name"]
    if Path(name).name != name or name in (".", ".."):
        findings.problem("manifest", where, f"name {name!r} is no file name; {_AGAIN}")
        return None
    for key in ("subject", "split"):
        if not isinstance(value.get(key), str) or not value[key]:
            findings.problem("manifest", name, f"{key} {value.get(key)!r} is no name; {_AGAIN}")
    if _as_count(value.get("n_frames")) is None:
        findings.problem(
            "manifest", name, f"n_frames {value.get('n_frames')!r} is no count; {_AGAIN}"
        )
    return TableRow(
        name=name,
        subject=str(value.get("subject", "")),
        split=str(value.get("split", "")),
        n_frames=_as_count(value.get("n_frames")),
        sha256=str(value.get("sha256", "")),
        n_samples=_as_count(value.get("n_samples")) or None,  # 0: format 1 did not tell
        audio_sha256=str(value.get("audio_sha256", "")),
        is_silent=value.get("text") == NO_SPEECH,
    )


def _as_count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def read_mesh_contents(table: ClipTable, findings: Findings) -> MeshContents:
    """The mesh; what of it cannot be used is left out and told."""
    path = table.folder / MESH
    try:
        arrays = read_arrays(path)
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ")
        findings.problem("mesh", MESH, f"{reason}; {_AGAIN}")
        return MeshContents()
    expected = table.content.get("mesh_sha256")
    if expected and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        findings.problem(
            "hash",
            MESH,
            "is not the file that the manifest has a hash of: it was changed; " + _AGAIN,
        )
    _drop_out_of_range(arrays, findings)
    try:
        mesh = _load_mesh(arrays, path)
    except (DataError, ValueError, KeyError, TypeError) as error:
        findings.problem("mesh", MESH, f"not a mesh file ({error}); {_AGAIN}")
        return MeshContents()
    usable = {}
    for subject, template in mesh.templates.items():
        expected_shape = (mesh.topology.n_vertices, 3)
        if template.shape != expected_shape:
            findings.problem(
                "template",
                subject,
                f"the template is {template.shape}, expected {expected_shape}; {_AGAIN}",
            )
        elif n_bad := int((~np.isfinite(template)).any(1).sum()):
            findings.problem(
                "nan",
                subject,
                f"{n_bad} vertices of the template are NaN or infinite; mend the template",
            )
        else:
            usable[subject] = template.astype(np.float32)
    colours = {k: v for k, v in mesh.colours.items() if k in usable and v.shape == usable[k].shape}
    return MeshContents(mesh.topology, usable, colours, tuple(mesh.templates))


def _drop_out_of_range(arrays: dict[str, np.ndarray], findings: Findings) -> None:
    """Drop triangles and regions' vertices that do not exist, and tell them."""
    n_vertices = int(arrays.get("topology_n_vertices", np.array(0)))
    triangles = arrays.get("topology_faces")
    if triangles is not None and triangles.ndim == 2:
        bad = ((triangles < 0) | (triangles >= n_vertices)).any(1)
        if bad.any():
            findings.problem(
                "faces",
                MESH,
                f"{bad.sum()} of {len(triangles)} triangles name vertices that do not exist "
                f"(triangle {bad.argmax()}: {[int(i) for i in triangles[bad.argmax()]]}; there are "
                f"{n_vertices} vertices); {_AGAIN}",
            )
            arrays["topology_faces"] = triangles[~bad]
    for key in [k for k in arrays if k.startswith("topology_region_")]:
        bad = (arrays[key] < 0) | (arrays[key] >= n_vertices)
        if bad.any():
            name = key.removeprefix("topology_region_")
            findings.problem(
                "region",
                MESH,
                f"region {name} names {bad.sum()} vertices that do not exist; {_AGAIN}",
            )
            arrays[key] = arrays[key][~bad]


def _load_mesh(arrays: dict[str, np.ndarray], path: Path) -> Mesh:
    topology_arrays = {
        key.removeprefix("topology_"): value
        for key, value in arrays.items()
        if key.startswith("topology_")
    }
    by_subject = {}
    for kind in ("template", "colour"):
        names = [str(name) for name in arrays.get(f"{kind}_names", ())]
        by_subject[kind] = dict(zip(names, arrays[f"{kind}s"], strict=True)) if names else {}
    topology = Topology.from_arrays(topology_arrays)
    if not len(topology.triangles):
        raise DataError(f"{path}: no faces")
    return Mesh(replace(topology), by_subject["template"], by_subject["colour"])


def check_table(table: ClipTable, mesh: MeshContents, findings: Findings) -> None:
    """Names, splits and subjects of the clip table; what lies in the folder and what does not."""
    if (table.folder / UNFINISHED).exists():
        findings.problem(
            "unfinished",
            UNFINISHED,
            "the folder is being written, or that was stopped; run the same prepare-data again",
        )
    if not table.rows:
        findings.problem("empty", MANIFEST, f"the clip table has no clips; {_AGAIN}")
    for name, n in Counter(row.name for row in table.rows).items():
        if n > 1:
            findings.problem(
                "duplicate", name, f"{n} rows of the clip table have this name; {_AGAIN}"
            )
    _check_splits(table, findings)
    _check_subjects(table, mesh, findings)
    _check_files(table, findings)


def _check_splits(table: ClipTable, findings: Findings) -> None:
    known = {row.split.split("-")[0] for row in table.rows}
    for split, use in (
        ("train", "there is nothing to train on"),
        ("val", "training cannot stop at the best step"),
    ):
        if table.rows and split not in known:
            findings.note(
                "split", MANIFEST, f"no clips of split {split}: {use}; see the settings' splits"
            )
    for split in sorted(known - {"train", "val", "test", UNUSED}):
        findings.note("split", MANIFEST, f"split {split!r} is not train, val or test: never used")


def _check_subjects(table: ClipTable, mesh: MeshContents, findings: Findings) -> None:
    clips = Counter(row.subject for row in table.rows)
    trained = {row.subject for row in table.rows if row.split == "train"}
    for subject in table.train_subjects:
        if subject not in trained:
            findings.note(
                "subject",
                subject,
                "is a training subject without clips of split train: its speaking style stays "
                "untrained; leave it out of data.train_subjects",
            )
    for subject in sorted(trained - set(table.train_subjects)):
        findings.problem(
            "subject",
            subject,
            "has clips of split train but is no training subject; add it to data.train_subjects "
            "or move its clips to another split",
        )
    if mesh.topology is None:
        return
    for subject, n in clips.items():
        if subject not in mesh.subjects:
            findings.problem(
                "template",
                subject,
                f"has {n} clips but no template (there are: "
                f"{join_names(list(mesh.subjects)) or 'none'}); add its neutral face to "
                "the raw data and prepare it again",
            )


def _check_files(table: ClipTable, findings: Findings) -> None:
    """Files beside the table's; and its own that are missing."""
    for folder, suffix, path_of in (
        ("clips", ".npy", vertices_path),
        ("audio", ".wav", audio_path),
    ):
        expected = {path_of(table.folder, row.name).name: row.name for row in table.rows}
        present = {path.name for path in (table.folder / folder).glob("*")}
        missing = [name for name in expected if name not in present]
        for name in missing:
            findings.problem(
                "missing", expected[name], f"{folder}/{name} is not there; {_AGAIN}, or restore it"
            )
        unlisted = sorted(present - set(expected))
        if unlisted:
            findings.note(
                "stranger",
                f"{folder}/",
                f"{len(unlisted)} files are not in the clip table and not used: "
                f"{join_names(unlisted)}; remove them"
                + ("" if all(s.endswith(suffix) for s in unlisted) else f" (only {suffix} belong)"),
            )
