"""The prepared data set: the one format that training, evaluation and inspection read.

A folder:

- ``manifest.json``     what it is, and the clip table
- ``mesh.npz``          topology, templates, colours (:mod:`codetalker_cli.topology`)
- ``clips/NAME.npy``    (T, V, 3) float32 vertices; opened as memory maps
- ``audio/NAME.wav``    mono 16 kHz PCM16
- ``report.txt``        the manifest in words

The manifest is written last: a folder without one is not finished. :mod:`~.prepared_writer` writes.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio
from codetalker_cli.arrays import map_array
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import MANIFEST

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
UNFINISHED = ".unfinished"
"""Marks a folder whose data set is being written, or was when something stopped it."""
MESH, REPORT = "mesh.npz", "report.txt"
NO_SPEECH = "[no speech]"
"""Text of a clip in which nobody speaks, so that the face may rest."""


@dataclass(frozen=True)
class ClipEntry:
    """One row of the clip table.

    Attributes:
        name: Unique; names both files.
        subject: Whose template the motion belongs to.
        split: train, val, test, or one of several tests such as test-a.
        n_frames: T.
        sha256: Of the vertices' bytes.
        text: What is said, where known; :data:`NO_SPEECH`: nothing.
        sentence: Which sentence of the subject it is.
        n_samples: Of the speech.
        audio_sha256: Of the samples' bytes.
        source: The raw clip it is made of; several parts may come of one.
    """

    name: str
    subject: str
    split: str
    n_frames: int
    sha256: str
    text: str = ""
    sentence: str = ""
    n_samples: int = 0
    audio_sha256: str = ""
    source: str = ""


@dataclass(frozen=True)
class Manifest:
    """What manifest.json holds.

    Attributes:
        name: Of the data set.
        fps: Motion frames a second.
        train_subjects: Their order numbers the speaking styles.
        clips: The clip table.
        unit: Of length; see :data:`codetalker_cli.topology.UNITS`.
        topology: ``name``, ``n_vertices``, ``n_faces``.
        subjects: All that have a template.
        mesh_sha256: Of mesh.npz.
        problems: ``{clip, kind, reason}`` of what was missing, broken, filled or split.
        sources: Raw clip → stamp of the files it was read from.
        recipe: Stamp of the settings and faces it was made with.
        notes: How it was made.
    """

    name: str
    fps: float
    train_subjects: tuple[str, ...]
    clips: tuple[ClipEntry, ...]
    unit: str = ""
    topology: dict[str, Any] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    mesh_sha256: str = ""
    problems: tuple[dict[str, str], ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    recipe: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def data_id(self) -> str:
        """Short hash of what training sees: changes when any clip or any face does."""
        keys = ("name", "subject", "split", "n_frames", "sha256", "audio_sha256", "text")
        rows = [[getattr(clip, key) for key in keys] for clip in self.clips]
        table = json.dumps([self.fps, self.mesh_sha256, rows], sort_keys=True)
        return hashlib.sha256(table.encode()).hexdigest()[:12]

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """Split → how many clips and frames it has, and whose."""
        summaries: dict[str, dict[str, Any]] = {}
        for clip in self.clips:
            summary = summaries.setdefault(clip.split, {"clips": 0, "frames": 0, "subjects": []})
            summary["clips"] += 1
            summary["frames"] += clip.n_frames
            if clip.subject not in summary["subjects"]:
                summary["subjects"].append(clip.subject)
        return summaries

    def to_json(self) -> str:
        """As manifest.json has it; what follows from the rest is written for people."""
        content = {**asdict(self), "splits": self.splits, "data_id": self.data_id}
        order = ["format_version", "name", "data_id", "fps", "unit", "topology", "subjects"]
        order += ["train_subjects", "splits"]
        content = {key: content.pop(key) for key in order} | content
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Clip:
    """A clip of a prepared data set; nothing is read before it is asked for."""

    entry: ClipEntry
    folder: Path

    @property
    def vertices(self) -> np.ndarray:
        """(T, V, 3) float32 memory map.

        Raises:
            DataError: The file is missing, damaged, or of another length than the table says.
        """
        path = vertices_path(self.folder, self.entry.name)
        try:
            vertices = map_array(path)
        except DataError as error:
            raise DataError(f"{error}; prepare the data again") from error
        if vertices.ndim != 3 or len(vertices) != self.entry.n_frames:
            raise DataError(
                f"{path}: is {vertices.shape}, the clip table says {self.entry.n_frames} frames; "
                "prepare the data again"
            )
        return vertices

    def samples(self) -> np.ndarray:
        """(n,) float32 speech at 16 kHz (not checked: a silent clip is a clip).

        Raises:
            DataError: The file is missing, damaged, or of another rate.
        """
        import soundfile

        path = audio_path(self.folder, self.entry.name)
        try:
            samples, rate = soundfile.read(path, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise DataError(f"{path}: cannot be read ({error}); prepare the data again") from error
        if rate != audio.SAMPLE_RATE:
            raise DataError(f"{path}: {rate} Hz, expected {audio.SAMPLE_RATE}")
        expected = self.entry.n_samples or len(samples)
        if len(samples) != expected:
            raise DataError(
                f"{path}: has {len(samples)} samples, the clip table says {expected}; prepare the "
                "data again"
            )
        return samples


class PreparedDataSet:
    """A prepared folder, opened lazily.

    Raises:
        InputError: There is no finished prepared data set in the folder.
        DataError: The manifest is damaged or of a newer format.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.mesh = Mesh.load(self.folder / MESH)

    @property
    def facts(self) -> dict[str, Any]:
        """The section ``data`` of the settings, as this data set is."""
        return {
            "name": self.manifest.name,
            "fps": self.manifest.fps,
            "unit": self.mesh.topology.unit,
            "n_vertices": self.mesh.topology.n_vertices,
            "train_subjects": list(self.manifest.train_subjects),
        }

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split, in the order of the table; ``test`` is all of test-a, test-b, …"""
        return [
            Clip(entry, self.folder)
            for entry in self.manifest.clips
            if entry.split == split or entry.split.startswith(f"{split}-")
        ]


def vertices_path(folder: Path, name: str) -> Path:
    """Where the vertices of a clip are."""
    return folder / "clips" / f"{name}.npy"


def audio_path(folder: Path, name: str) -> Path:
    """Where the speech of a clip is."""
    return folder / "audio" / f"{name}.wav"


def find_manifest(folder: Path) -> Path:
    """The manifest's file.

    Raises:
        InputError: There is none.
    """
    path = folder / MANIFEST
    if not path.is_file() and (folder / UNFINISHED).exists():
        raise InputError(
            f"{folder}: an unfinished data set; run the same `codetalker prepare-data` again, "
            "it goes on where it stopped"
        )
    if not path.is_file():
        raise InputError(
            f"{folder}: no prepared data set (no {MANIFEST}); "
            "make one with `codetalker prepare-data`"
        )
    return path


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder.

    Raises:
        InputError: There is none.
        DataError: It is damaged, or of a newer format.
    """
    path = find_manifest(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = int(content["format_version"])
        if version > FORMAT_VERSION:
            raise DataError(
                f"{path}: format {version}, this codetalker reads up to {FORMAT_VERSION}; "
                "upgrade it"
            )
        if version < FORMAT_VERSION:
            content = _from_version_1(content, path)
        return _manifest(content)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged manifest ({error}); prepare the data again") from error


def _manifest(content: Mapping[str, Any]) -> Manifest:
    derived = {"splits", "data_id"}
    values = {key: value for key, value in content.items() if key not in derived}
    values["clips"] = tuple(ClipEntry(**clip) for clip in values["clips"])
    for key in ("train_subjects", "subjects", "problems"):
        values[key] = tuple(values.get(key, ()))
    return Manifest(**values)


def _from_version_1(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Version 1 told neither unit nor topology (mesh.npz does), nor hashes of the speech."""
    logger.info("%s: format 1 is read as format %d", path, FORMAT_VERSION)
    return {**content, "format_version": FORMAT_VERSION}


MEAN_FRAMES = 4000
"""Frames that the mean is taken from, spread evenly over the clips."""


def mean_offset(clips: Sequence[Clip], templates: Mapping[str, np.ndarray]) -> np.ndarray:
    """(V, 3) float32 mean offset from the template, over frames of all clips.

    Args:
        clips: At least one, of any subjects.
        templates: Subject → (V, 3).
    """
    per_clip = max(1, MEAN_FRAMES // len(clips))
    total = np.zeros_like(templates[clips[0].entry.subject], dtype=np.float64)
    count = 0
    for clip in clips:
        vertices = clip.vertices
        frames = np.linspace(0, len(vertices) - 1, min(per_clip, len(vertices)))
        sampled = vertices[frames.round().astype(int)]
        total += (sampled - templates[clip.entry.subject]).sum(0, dtype=np.float64)
        count += len(sampled)
    return (total / count).astype(np.float32)
