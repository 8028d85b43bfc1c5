"""Imitations of VOCASET's download and of the reference layout, with few frames.

The numbers of vertices and triangles are those of VOCASET.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
import trimesh
import voices

N_VERTICES, N_FACES = 5023, 9976
FPS, RATE = 60, 22000
TRAIN = "FaceTalk_170728_03272_TA"
VAL = "FaceTalk_170811_03275_TA"
TEST = "FaceTalk_170809_00138_TA"
CLIPS: Mapping[str, Sequence[int]] = {
    f"{TRAIN}/sentence01": range(40),
    f"{TRAIN}/sentence02": range(33),
    f"{VAL}/sentence21": range(36),
    f"{TEST}/sentence22": range(31),
    f"{TEST}/sentence01": range(20),
}
"""The frame numbers of each clip."""


class _Python2(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes byte strings as Python 2 did: as plain strings that are read as latin1."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, content: bytes) -> None:
        self.write(b"T" + len(content).to_bytes(4, "little") + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def python2_pickle(content: Any) -> bytes:
    """Pickle containers and arrays in the way of Python 2 and NumPy 1."""
    stream = io.BytesIO()
    _Python2(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def faces() -> np.ndarray:
    """Return (9976, 3) triangles that use all 5023 vertices: a strip, and more up to the count."""
    first = np.arange(N_VERTICES - 2)
    strip = np.stack([first, first + 1, first + 2], axis=1)
    rest = np.arange(N_FACES - len(strip))
    return np.concatenate([strip, np.stack([rest, rest + 2, rest + 5], axis=1)])


def template(subject: str) -> np.ndarray:
    """Return a (V, 3) template in meters: an egg of head size with noise for each subject."""
    rng = np.random.default_rng(len(subject) + sum(subject.encode()))
    egg = np.random.default_rng(0).standard_normal((N_VERTICES, 3))
    egg *= np.array([0.08, 0.12, 0.1]) / np.linalg.norm(egg, axis=1, keepdims=True)
    return egg + 1e-4 * rng.standard_normal((N_VERTICES, 3))


def vertices(name: str, numbers: Sequence[int]) -> np.ndarray:
    """Return the frames of a clip with the given numbers, (n, V, 3) float32."""
    subject, sentence = name.split("/")
    seed = [sum(sentence.encode()), len(subject)]
    shapes = 2e-3 * np.random.default_rng(seed).standard_normal((2, N_VERTICES, 3))
    time = np.asarray(list(numbers))[:, None] / FPS
    swings = np.sin(2 * np.pi * np.array([1.7, 3.1]) * time)
    return (template(subject) + np.einsum("tr,rvx->tvx", swings, shapes)).astype(np.float32)


def speech(n_frames: int, seed: int = 0) -> np.ndarray:
    """Return (n,) int16 speech at 22 kHz, as long as ``n_frames`` of motion."""
    return np.int16(voices.speech(n_frames / FPS, RATE, seed) * 32000)


def build(folder: Path, clips: Mapping[str, Sequence[int]] = CLIPS, **changes: Any) -> Path:
    """Write the five files of the download.

    Args:
        folder: The folder, which is created if needed.
        clips: The frame numbers of each clip ``SUBJECT/sentenceNN``, in the order of the pickle.
        changes: ``speech``: replacements for the audio records of clips, or None to omit a record;
            ``templates``: the subjects with a template; ``dtype``: the type of the vertex array.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, dict[int, int]]] = {}
    sounds: dict[str, dict[str, Any]] = {}
    parts = []
    # The rows are in another order than the clips, and those of each clip are reversed.
    n = 0
    for name, numbers in reversed(list(clips.items())):
        subject, sentence = name.split("/")
        backwards = sorted(numbers, reverse=True)
        parts.append(vertices(name, backwards))
        place = {number: n + k for k, number in enumerate(backwards)}
        rows.setdefault(subject, {})[sentence] = {number: place[number] for number in numbers}
        n += len(backwards)
        usual = {"audio": speech(max(numbers) - min(numbers) + 1), "sample_rate": RATE}
        sound = changes.get("speech", {}).get(name, usual)
        if sound is not None:
            sounds.setdefault(subject, {})[sentence] = sound
    np.save(folder / "data_verts.npy", np.concatenate(parts).astype(changes.get("dtype", "f4")))
    subjects = changes.get("templates", list(rows))
    for file, content in (
        ("subj_seq_to_idx.pkl", rows),
        ("raw_audio_fixed.pkl", sounds),
        ("templates.pkl", {subject: template(subject) for subject in subjects}),
    ):
        (folder / file).write_bytes(python2_pickle(content))
    write_faces(folder / "FLAME_sample.ply")
    return folder


def write_faces(path: Path) -> None:
    trimesh.Trimesh(template("FLAME"), faces(), process=False).export(path)


def build_layout(folder: Path, clips: Mapping[str, Sequence[int]] = CLIPS) -> Path:
    """Write the output of the reference's scripts."""
    for part in ("vertices_npy", "wav"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, numbers in clips.items():
        stem = name.replace("/", "_")
        flat = vertices(name, sorted(numbers)).reshape(len(numbers), -1)
        np.save(folder / "vertices_npy" / f"{stem}.npy", flat)
        soundfile.write(folder / "wav" / f"{stem}.wav", speech(len(numbers)), RATE)
    subjects = {name.split("/")[0] for name in clips}
    faces_of = {subject: template(subject) for subject in subjects}
    (folder / "templates.pkl").write_bytes(python2_pickle(faces_of))
    write_faces(folder / "FLAME_sample.ply")
    return folder
