"""The prepared data set: the format that training, evaluation and inspection read.

A prepared data set is a folder with these files:

- ``manifest.json``     facts about the data set, and the clip table
- ``mesh.npz``          topology, templates and colors (see ``topology``)
- ``clips/NAME.npy``    (T, V, 3) float32 vertices, opened as a memory map
- ``audio/NAME.wav``    mono 16 kHz PCM16 speech
- ``report.txt``        a readable summary of the manifest

The manifest is written last, so a folder without a manifest is unfinished. ``prepared_writer``
writes the format.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from codetalker_cli import audio
from codetalker_cli.arrays import NpyHeader, map_array, read_npy_header
from codetalker_cli.datasets.manifest import (
    PREPARE_AGAIN,
    ClipEntry,
    Report,
    read_manifest,
)
from codetalker_cli.errors import DataError, counted, printable
from codetalker_cli.text_files import check_file
from codetalker_cli.topology import Mesh

MESH, REPORT = "mesh.npz", "report.txt"
TRACKS, FILM_SHEET = "tracks", "film.png"
"""The face tracks of films, and the contact sheet of films next to the head."""


class Speech(NamedTuple):
    """The unconverted content of an audio file.

    Attributes:
        samples: (n, channels) int16 for PCM16 files, float32 for others.
        rate: The sample rate in hertz.
        subtype: The format of the samples, named as in soundfile.
    """

    samples: np.ndarray
    rate: int
    subtype: str

    def to_mono(self) -> np.ndarray:
        """Return the (n,) float32 mean of the channels."""
        full_scale = np.float32(32768 if self.samples.dtype == np.int16 else 1)
        return self.samples.astype(np.float32).mean(1) / full_scale


@dataclass(frozen=True)
class Clip:
    """A clip of a prepared data set; its files are read on demand."""

    entry: ClipEntry
    folder: Path

    @property
    def vertices_path(self) -> Path:
        """The path of the vertices."""
        return vertices_path(self.folder, self.entry.name)

    @property
    def audio_path(self) -> Path:
        """The path of the speech."""
        return audio_path(self.folder, self.entry.name)

    @property
    def vertices(self) -> np.ndarray:
        """The (T, V, 3) float32 vertices, as a memory map.

        Raises:
            DataError: The file is missing or damaged, or its length differs from the clip table.
        """
        path = self.vertices_path

        def refuse(_kind: str, _where: str, message: str) -> NoReturn:
            raise DataError(f"{path}: {message}")

        header = self.check_vertices(refuse)
        assert header is not None
        return map_array(path, header)

    def check_vertices(self, report: Report, n_vertices: int | None = None) -> NpyHeader | None:
        """Check the header of the vertices against the format and the clip table.

        Args:
            report: Receives each fault.
            n_vertices: The expected V, or None if any V is valid.

        Returns:
            The header, or None if no frame can be read. For a file that is cut short, its shape
            counts only the complete frames.
        """
        name, path = self.entry.name, self.vertices_path
        try:
            header = read_npy_header(path)
            n_whole = header.count_whole_rows(path) if header.shape else 0
        except (DataError, OSError) as error:
            lines = str(error.__cause__ or error).splitlines() or ["damaged"]
            reason = lines[0].removeprefix(f"{path}: ")
            message = f"the vertices are not a complete .npy file ({reason}); {PREPARE_AGAIN}"
            report("file", name, message)
            return None
        shape, dtype, fortran_order, _ = header
        is_of_frames = len(shape) == 3 and shape[1] and shape[2] == 3
        if not is_of_frames or n_vertices not in (None, shape[1]) or fortran_order:
            order = " in Fortran order" if fortran_order else ""
            expected = f"(frames, {n_vertices or 'V'}, 3)"
            message = f"the vertices are {shape}{order}, expected {expected}; {PREPARE_AGAIN}"
            report("shape", name, message)
            return None
        if dtype != np.dtype("<f4"):
            message = f"the vertices are {dtype}, expected float32; {PREPARE_AGAIN}"
            report("dtype", name, message)
            if dtype.kind != "f":
                return None
        if n_whole < shape[0]:
            message = (
                f"the vertices are cut short: {counted(n_whole, 'complete frame')}, but the file "
                f"header specifies {shape[0]}; {PREPARE_AGAIN}"
            )
            report("file", name, message)
            header = header._replace(shape=(n_whole, *shape[1:]))
        elif self.entry.n_frames >= 0 and shape[0] != self.entry.n_frames:
            message = (
                f"the vertices have {counted(shape[0], 'frame')}, expected {self.entry.n_frames} "
                "(clip table)"
            )
            report("length", name, f"{message}; {PREPARE_AGAIN}")
        if not header.shape[0]:
            report("length", name, f"the vertices have no frames; {PREPARE_AGAIN}")
            return None
        return header

    def samples(self) -> np.ndarray:
        """Return the (n,) float32 speech at 16 kHz.

        The values are not checked, because a silent clip is valid.

        Raises:
            DataError: The file is missing or damaged, or its sample rate, number of channels or
                length is wrong.
        """
        path, speech = self.audio_path, self.read_speech()
        if speech.rate != audio.SAMPLE_RATE:
            raise DataError(
                f"{path}: the sample rate is {speech.rate} Hz, expected {audio.SAMPLE_RATE} Hz; "
                f"{PREPARE_AGAIN}"
            )
        n_samples, n_channels = speech.samples.shape
        if n_channels != 1:
            raise DataError(
                f"{path}: the speech has {n_channels} channels, expected 1; {PREPARE_AGAIN}"
            )
        expected = self.entry.n_samples or n_samples
        if n_samples != expected:
            raise DataError(
                f"{path}: the speech has {counted(n_samples, 'sample')}, expected {expected} "
                f"(clip table); {PREPARE_AGAIN}"
            )
        return speech.to_mono()

    def read_speech(self) -> Speech:
        """Read the speech without conversion, at any sample rate and length.

        Raises:
            DataError: The file is missing or damaged.
        """
        import soundfile

        path = self.audio_path
        try:
            check_file(path, DataError)
            with soundfile.SoundFile(path) as file:
                subtype, rate = file.subtype, file.samplerate
                dtype = "int16" if subtype == "PCM_16" else "float32"
                return Speech(file.read(dtype=dtype, always_2d=True), rate, subtype)
        except DataError as error:
            raise DataError(f"{error}; {PREPARE_AGAIN}") from error
        except (soundfile.SoundFileError, OSError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); {PREPARE_AGAIN}") from error


class PreparedDataSet:
    """A prepared data set; its clips are read on demand.

    Raises:
        InputError: The folder contains no finished prepared data set.
        DataError: The manifest or the mesh is damaged, or the format is newer.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.mesh = Mesh.load(self.folder / MESH)
        subjects = dict.fromkeys(entry.subject for entry in self.manifest.clips)
        if missing := [name for name in subjects if name not in self.mesh.templates]:
            raise DataError(
                f"{self.folder / MESH}: no template of the subject {printable(missing[0])}, which "
                f"has clips; {PREPARE_AGAIN}"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """The values of this data set for the section ``data`` of the settings."""
        return {
            "name": self.manifest.name,
            "fps": self.manifest.fps,
            "unit": self.mesh.topology.unit,
            "n_vertices": self.mesh.topology.n_vertices,
            "train_subjects": list(self.manifest.train_subjects),
        }

    def clips(self, split: str) -> list[Clip]:
        """Return the clips of a split in table order; ``test`` includes test-a, test-b, …"""
        return [
            Clip(entry, self.folder)
            for entry in self.manifest.clips
            if entry.split == split or entry.split.startswith(f"{split}-")
        ]


def vertices_path(folder: Path, name: str) -> Path:
    """Return the path of the vertices of a clip."""
    return folder / "clips" / f"{name}.npy"


def audio_path(folder: Path, name: str) -> Path:
    """Return the path of the speech of a clip."""
    return folder / "audio" / f"{name}.wav"


MEAN_FRAMES = 4000
"""The approximate number of frames in the mean, spread evenly over the clips."""


def mean_offset(clips: Sequence[Clip], templates: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the (V, 3) float32 mean offset from the template, over frames of all clips.

    Args:
        clips: At least one clip; the subjects may differ.
        templates: The (V, 3) template of each subject.
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
