"""Check the mesh, the clip table and the files of a prepared folder."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from codetalker_cli.arrays import read_arrays
from codetalker_cli.datasets.inspect.findings import Findings, join_names
from codetalker_cli.datasets.manifest import PREPARE_AGAIN, UNFINISHED, Manifest
from codetalker_cli.datasets.prepared import MESH, audio_path, vertices_path
from codetalker_cli.datasets.splits import UNUSED
from codetalker_cli.errors import DataError, counted, verb
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import MANIFEST


def read_mesh(folder: Path, manifest: Manifest, findings: Findings) -> Mesh | None:
    """Read the mesh, without indices that are out of range; None if it cannot be read."""

    def report(kind: str, message: str) -> None:
        findings.problem(kind, MESH, f"{message}; {PREPARE_AGAIN}")

    path = folder / MESH
    try:
        arrays = read_arrays(path)
        expected = manifest.mesh_sha256
        if expected and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            report("hash", "the file does not match its hash in the manifest, so it was changed")
        mesh = Mesh.from_arrays(arrays, report)
        if not len(mesh.topology.triangles):
            raise DataError("not a mesh file (no triangles)")
    except DataError as error:
        report("mesh", str(error).removeprefix(f"{path}: "))
        return None
    return mesh


def usable_faces(mesh: Mesh, findings: Findings) -> Mesh:
    """Return the mesh with only the valid templates and their colors; report the others."""
    usable = {}
    expected_shape = (mesh.topology.n_vertices, 3)
    for subject, template in mesh.templates.items():
        if template.shape != expected_shape:
            findings.problem(
                "template",
                subject,
                f"the template has shape {template.shape}, expected {expected_shape}; "
                f"{PREPARE_AGAIN}",
            )
        elif n_bad := int((~np.isfinite(template)).any(1).sum()):
            findings.problem(
                "nan",
                subject,
                f"{counted(n_bad, 'vertex')} of the template {verb(n_bad, 'is', 'are')} NaN or "
                "infinite; repair the template",
            )
        else:
            usable[subject] = template.astype(np.float32)
    colors = {k: v for k, v in mesh.colors.items() if k in usable and v.shape == expected_shape}
    return replace(mesh, templates=usable, colors=colors)


def check_table(folder: Path, manifest: Manifest, mesh: Mesh | None, findings: Findings) -> None:
    """Check the names, splits and subjects of the clip table, and the files in the folder."""
    if (folder / UNFINISHED).exists():
        findings.problem(
            "unfinished",
            UNFINISHED,
            "the preparation is still running or was interrupted; run the same `codetalker "
            "prepare-data` command again",
        )
    if not manifest.clips:
        findings.problem("empty", MANIFEST, f"the clip table has no clips; {PREPARE_AGAIN}")
    for name, n in Counter(clip.name for clip in manifest.clips).items():
        if n > 1:
            findings.problem(
                "duplicate", name, f"{n} rows of the clip table have this name; {PREPARE_AGAIN}"
            )
    _check_splits(manifest, findings)
    _check_subjects(manifest, mesh, findings)
    _check_files(folder, manifest, findings)


def _check_splits(manifest: Manifest, findings: Findings) -> None:
    known = {clip.split.split("-")[0] for clip in manifest.clips}
    for split, use in (
        ("train", "there is nothing to train on"),
        ("val", "the training loss chooses the best checkpoint"),
    ):
        if manifest.clips and split not in known:
            findings.note(
                "split",
                MANIFEST,
                f"split {split} has no clips, so {use}; check data.splits in the settings",
            )
    for split in sorted(known - {"train", "val", "test", UNUSED}):
        findings.note(
            "split",
            MANIFEST,
            f"split {split!r} is not train, val or test, so its clips are never used",
        )


def _check_subjects(manifest: Manifest, mesh: Mesh | None, findings: Findings) -> None:
    clips = Counter(clip.subject for clip in manifest.clips)
    trained = {clip.subject for clip in manifest.clips if clip.split == "train"}
    for subject in manifest.train_subjects:
        if subject not in trained:
            findings.note(
                "subject",
                subject,
                "this training subject has no clips in split train, so its speaking style would "
                "stay untrained; remove it from data.train_subjects",
            )
    for subject in sorted(trained - set(manifest.train_subjects)):
        findings.problem(
            "subject",
            subject,
            "this subject has clips in split train but is not a training subject; add it to "
            "data.train_subjects or move its clips to another split",
        )
    if mesh is None:
        return
    for subject, n in clips.items():
        if subject not in mesh.templates:
            findings.problem(
                "template",
                subject,
                f"this subject has {counted(n, 'clip')} but no template (templates exist for: "
                f"{join_names(list(mesh.templates)) or 'none'}); add its neutral face to "
                "the raw data and prepare it again",
            )


def _check_files(folder: Path, manifest: Manifest, findings: Findings) -> None:
    """Report missing files, and files that are not in the clip table."""
    for kind, suffix, path_of in (
        ("clips", ".npy", vertices_path),
        ("audio", ".wav", audio_path),
    ):
        expected = {path_of(folder, clip.name).name: clip.name for clip in manifest.clips}
        present = {path.name for path in (folder / kind).glob("*")}
        missing = [name for name in expected if name not in present]
        for name in missing:
            findings.problem(
                "missing",
                expected[name],
                f"{kind}/{name} is missing; {PREPARE_AGAIN}, or restore the file",
            )
        unlisted = sorted(present - set(expected))
        if unlisted:
            only_clips = all(name.endswith(suffix) for name in unlisted)
            findings.note(
                "stranger",
                f"{kind}/",
                f"{counted(len(unlisted), 'file')} {verb(len(unlisted), 'is', 'are')} not in the "
                f"clip table and not used: {join_names(unlisted)}; remove "
                + verb(len(unlisted), "it", "them")
                + ("" if only_clips else f" (the folder should contain only {suffix} files)"),
            )
