"""The prepared data set: the one format that training, evaluation and inspection read.

A folder:

- ``manifest.json``     format version, name, fps, subjects, and the clip table
- ``mesh.npz``          topology, templates, colours (:mod:`codetalker_cli.mesh`)
- ``clips/NAME.npy``    (T, V, 3) float32 vertices; opened as memory maps
- ``audio/NAME.wav``    mono 16 kHz PCM16

The manifest is written last: a folder without one is not finished.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from codetalker_cli import audio
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.mesh import Mesh
from codetalker_cli.resources import atomic_path, check_output

FORMAT_VERSION = 1
MANIFEST, MESH = "manifest.json", "mesh.npz"
UNFINISHED = ".unfinished"
"""Marks a folder whose data set is being written, or was when something stopped it."""
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class ClipEntry:
    """One row of the clip table.

    Attributes:
        name: Unique; names both files.
        subject: Whose template the motion belongs to.
        split: train, val or test.
        n_frames: T.
        sha256: Of the vertices' bytes.
        text: What is said, where known.
    """

    name: str
    subject: str
    split: str
    n_frames: int
    sha256: str
    text: str = ""


@dataclass(frozen=True)
class Manifest:
    """What manifest.json holds.

    Attributes:
        name: Of the data set.
        fps: Motion frames a second.
        train_subjects: Their order numbers the speaking styles.
        clips: The clip table.
        notes: What was left out and why; settings it was made with.
    """

    name: str
    fps: float
    train_subjects: tuple[str, ...]
    clips: tuple[ClipEntry, ...]
    notes: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def data_id(self) -> str:
        """Short hash of the clip table: changes when any clip does."""
        table = json.dumps([asdict(clip) for clip in self.clips], sort_keys=True)
        return hashlib.sha256(table.encode()).hexdigest()[:12]


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
        path = _vertices_path(self.folder, self.entry.name)
        try:
            vertices = np.load(path, mmap_mode="r")
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); prepare the data again") from error
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

        path = _audio_path(self.folder, self.entry.name)
        try:
            samples, rate = soundfile.read(path, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise DataError(f"{path}: cannot be read ({error}); prepare the data again") from error
        if rate != audio.SAMPLE_RATE:
            raise DataError(f"{path}: {rate} Hz, expected {audio.SAMPLE_RATE}")
        return samples


class PreparedDataSet:
    """A prepared folder, opened lazily.

    Raises:
        InputError: There is no finished prepared data set in the folder.
        DataError: The manifest is damaged or of a newer format.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = _read_manifest(self.folder)
        self.mesh = Mesh.load(self.folder / MESH)

    def clips(self, split: Split) -> list[Clip]:
        """The clips of a split, in the order of the table."""
        return [Clip(e, self.folder) for e in self.manifest.clips if e.split == split]


class PreparedWriter:
    """Writes a prepared folder clip by clip; :meth:`finish` makes it a data set.

    The first clip begins it: until then nothing is made, and an older data set stays whole.

    Args:
        folder: Made if needed.
        overwrite: Replace a finished data set there.

    Raises:
        InputError: The folder holds a finished data set or files of something else already, or
            cannot be written.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.folder = folder
        if (folder / MANIFEST).exists():
            if not overwrite:
                raise InputError(
                    f"{folder} holds a prepared data set already; give --overwrite to replace it, "
                    "or another folder"
                )
        elif self._files() and not (folder / UNFINISHED).exists():
            raise InputError(
                f"{folder} holds clips/*.npy or audio/*.wav of something else; "
                "give an empty or a new folder"
            )
        check_output(folder / MANIFEST, overwrite=True)
        self._entries: list[ClipEntry] = []

    def _files(self) -> list[Path]:
        return [*self.folder.glob("clips/*.npy"), *self.folder.glob("audio/*.wav")]

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / UNFINISHED).touch()
        (self.folder / MANIFEST).unlink(missing_ok=True)

    def add(
        self,
        name: str,
        subject: str,
        split: Split,
        vertices: np.ndarray,
        samples: np.ndarray,
        text: str = "",
    ) -> ClipEntry:
        """Write one clip: (T, V, 3) vertices and (n,) samples at 16 kHz."""
        import soundfile

        if not self._entries:
            self._begin()
        vertices = np.ascontiguousarray(vertices, dtype=np.float32)
        with atomic_path(_vertices_path(self.folder, name)) as temporary:
            np.save(temporary, vertices)
        with atomic_path(_audio_path(self.folder, name)) as temporary:
            soundfile.write(temporary, samples, audio.SAMPLE_RATE, subtype="PCM_16")
        digest = hashlib.sha256(vertices.data).hexdigest()
        entry = ClipEntry(name, subject, split, len(vertices), digest, text)
        self._entries.append(entry)
        return entry

    def finish(
        self,
        name: str,
        fps: float,
        train_subjects: Sequence[str],
        mesh: Mesh,
        notes: Mapping[str, Any],
    ) -> Manifest:
        """Write mesh and manifest; files of an older data set that are not in it are removed."""
        manifest = Manifest(name, fps, tuple(train_subjects), tuple(self._entries), dict(notes))
        names = {entry.name for entry in self._entries}
        for path in self._files():
            if path.stem not in names:
                path.unlink()
        with atomic_path(self.folder / MESH) as temporary:
            mesh.save(temporary)
        with atomic_path(self.folder / MANIFEST) as temporary:
            text = json.dumps(asdict(manifest), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        (self.folder / UNFINISHED).unlink(missing_ok=True)
        return manifest


def _vertices_path(folder: Path, name: str) -> Path:
    return folder / "clips" / f"{name}.npy"


def _audio_path(folder: Path, name: str) -> Path:
    return folder / "audio" / f"{name}.wav"


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder}: no prepared data set (no {MANIFEST}); "
            "make one with `codetalker prepare-data`"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = int(content["format_version"])
        if found > FORMAT_VERSION:
            raise DataError(
                f"{path}: format {found}, this codetalker reads up to {FORMAT_VERSION}; upgrade it"
            )
        content["clips"] = tuple(ClipEntry(**clip) for clip in content["clips"])
        content["train_subjects"] = tuple(content["train_subjects"])
        return Manifest(**content)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged manifest ({error}); prepare the data again") from error
