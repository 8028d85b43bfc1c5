"""A small, valid prepared data set: the front of the bundled head, talking."""

import functools
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from codetalker_cli.datasets.inspect import check
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.rigs.head import Rig
from codetalker_cli.topology import Mesh, Topology

FPS = 25.0
SUBJECTS = ("S01", "S03", "S05")
N_FRAMES = 60
CLIPS = tuple(f"{subject}_{k}" for subject in SUBJECTS for k in range(2))
FIRST, SECOND, LAST = CLIPS[0], CLIPS[1], CLIPS[-1]
UNITS = ("jawOpen", "mouthFunnel", "mouthStretchLeft", "mouthStretchRight")


@functools.cache
def rig() -> Rig:
    return Rig.load()


@functools.cache
def patch() -> np.ndarray:
    """Return the vertices on the front of the head."""
    template = rig().neutral
    skin = np.arange(len(template)) < rig().topology.parts["skin"][1]
    return np.flatnonzero(skin & (template[:, 2] > -0.04) & (template[:, 1] > -0.14))


@functools.cache
def mesh() -> Mesh:
    number = np.full(len(rig().neutral), -1)
    number[patch()] = np.arange(len(patch()))
    faces = number[rig().topology.triangles]
    faces = faces[(faces >= 0).all(1)].astype(np.int32)
    regions = {
        name: number[indices][number[indices] >= 0].astype(np.int32)
        for name, indices in rig().topology.regions.items()
        if name in ("lips", "upper_face")
    }
    templates = {name: rig().template(name)[patch()] for name in SUBJECTS}
    return Mesh(Topology("patch", faces, len(patch()), "m", regions), templates)


def open_mouth(subject: str, weight: float) -> np.ndarray:
    """Return (V, 3) vertices of a face with an open mouth."""
    return rig().pose(subject, rig().unit_weights({"jawOpen": weight})[None])[0, patch()]


@functools.cache
def spoken(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and samples of a clip; the loudness follows the opening of the mouth."""
    subject, number = name.split("_")
    rng = np.random.default_rng([SUBJECTS.index(subject), int(number)])
    syllables = np.convolve(rng.random(N_FRAMES) < 0.3, np.hanning(7), "same")
    jaw = 0.25 * np.minimum(syllables, 1) * rng.uniform(0.6, 1, N_FRAMES)
    jaw[:4] = 0
    jaw = np.convolve(jaw, [0.25, 0.5, 0.25], "same")
    weights = np.zeros((N_FRAMES, rig().n_units), np.float32)
    other = np.convolve(rng.random(N_FRAMES), np.ones(9) / 9, "same") * (jaw > 0.02)
    for unit, curve in zip(UNITS, (jaw, 0.5 * other, 0.3 * jaw, 0.3 * jaw), strict=True):
        weights[:, rig().unit_names.index(unit)] = curve
    vertices = rig().pose(subject, weights)[:, patch()]
    time = np.arange(round(N_FRAMES / FPS * 16000)) / 16000
    loudness = np.interp(time, np.arange(N_FRAMES) / FPS, jaw / 0.25)
    samples = 0.1 * loudness * rng.standard_normal(len(time)) + 1e-4 * rng.standard_normal(
        len(time)
    )
    return vertices, np.clip(samples, -0.9, 0.9).astype(np.float32)


def write(
    folder: Path,
    faces: Mesh | None = None,
    change: Callable[[np.ndarray], np.ndarray] = lambda x: x,
) -> Path:
    """Write the data set; ``change`` is applied to all vertices of frames and templates."""
    faces = mesh() if faces is None else faces
    writer = PreparedWriter(folder, overwrite=False)
    for k, name in enumerate(CLIPS):
        vertices, samples = spoken(name)
        split = "val" if k == 1 else "train"
        writer.add(NewClip(name, name.split("_")[0], split, change(vertices), samples))
    templates = {name: change(template) for name, template in faces.templates.items()}
    writer.finish(DataSetFacts("talking", FPS, SUBJECTS), replace(faces, templates=templates), {})
    return folder


def linked(source: Path, folder: Path) -> Path:
    """Copy a data set with hard links; files of the copy must be replaced, not modified."""
    for path in sorted(source.rglob("*")):
        target = folder / path.relative_to(source)
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return folder


def put_vertices(folder: Path, name: str, vertices: np.ndarray, *, right_hash: bool = True) -> None:
    path = folder / "clips" / f"{name}.npy"
    path.unlink(missing_ok=True)
    np.save(path, vertices)
    if right_hash:
        digest = hashlib.sha256(np.ascontiguousarray(vertices).tobytes()).hexdigest()
        edit_row(folder, name, sha256=digest, n_frames=len(vertices))


def put_samples(folder: Path, name: str, samples: np.ndarray, rate: int = 16000) -> None:
    path = folder / "audio" / f"{name}.wav"
    path.unlink(missing_ok=True)
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    soundfile.write(path, pcm, rate, subtype="PCM_16")
    edit_row(folder, name, n_samples=len(samples), audio_sha256="")


def put_mesh(folder: Path, faces: Mesh) -> None:
    (folder / "mesh.npz").unlink()
    faces.save(folder / "mesh.npz")
    edit(folder, mesh_sha256="")


def edit(folder: Path, **values: Any) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text("utf-8"))
    path.unlink()
    path.write_text(json.dumps({**content, **values}), "utf-8")


def edit_row(folder: Path, name: str, **values: Any) -> None:
    rows = json.loads((folder / "manifest.json").read_text("utf-8"))["clips"]
    edit(folder, clips=[{**row, **values} if row["name"] == name else row for row in rows])


def found(folder: Path) -> dict[tuple[str, str, str], str]:
    """Check a data set, and return the messages by (level, kind, where)."""
    report = check(folder)
    assert all("\n" not in f.message and len(f.message) > 20 for f in report.findings)
    return {(f.level, f.kind, f.where): f.message for f in report.findings}


def check_only(folder: Path, kind: str, where: str, *parts: str, level: str = "problem") -> None:
    """Assert that a check has exactly one finding, whose message contains ``parts``."""
    findings = found(folder)
    assert list(findings) == [(level, kind, where)], findings
    message = findings[level, kind, where]
    for part in parts:
        assert part in message, message
