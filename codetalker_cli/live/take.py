"""Collect the frames of a stream, and write them as a file when it ends."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export.table import Exporter
from codetalker_cli.export.take import make_take
from codetalker_cli.export.write import Exported, check_outputs, check_sound, write
from codetalker_cli.failures import doing
from codetalker_cli.live.frames import LiveFrame
from codetalker_cli.motion import Motion, VertexFrames, materialize
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.units import UnitSet, is_bundled_head
from codetalker_cli.settings import ExportSettings
from codetalker_cli.settings.limits import active
from codetalker_cli.topology import Mesh


@dataclass(frozen=True)
class TakeFile:
    """The file of a take.

    Attributes:
        path: The path.
        exporter: The format.
        settings: What the file contains.
        overwrite: Whether an existing file may be replaced.
        source: The recording that is animated, or None.
    """

    path: Path
    exporter: Exporter
    settings: ExportSettings
    overwrite: bool
    source: Path | None = None

    def check(self) -> None:
        """Refuse an unusable output before any work is done.

        Raises:
            InputError: The output exists or cannot be written, or there is another sound next to
                it.
        """
        check_outputs(self.path, self.exporter, overwrite=self.overwrite)
        some = np.zeros(1, np.float32)
        check_sound(self.path, self.exporter, self.settings, self.source, some)


@dataclass(frozen=True, eq=False)
class TakeFace:
    """The face of a take.

    Attributes:
        mesh: The mesh of the voice.
        subject: The subject.
        fps: The frame rate.
        units: The units that the user gave for the face, in meters, or None.
    """

    mesh: Mesh
    subject: str
    fps: float
    units: UnitSet | None


class TakeSink:
    """Collects frames, and writes them when the stream ends.

    Formats of weights get the weights that were sent. Other formats, and faces other than the
    bundled head, get the vertices, which are collected in a temporary file. Frames that were
    dropped are interpolated, and their sound is silent.

    Args:
        file: The file.
        face: The face.

    Attributes:
        exported: The summary of the written file, or None.
    """

    is_usable = True

    def __init__(self, file: TakeFile, face: TakeFace) -> None:
        self.exported: Exported | None = None
        self._file, self._face = file, face
        self._names: tuple[str, ...] = ()
        self._indices: list[int] = []
        self._sound: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []
        self._head: list[np.ndarray] = []
        self._n_with_sound = 0
        has_units = face.units is None and is_bundled_head(face.mesh.topology)
        self._has_vertices = not (file.exporter.has_weights and has_units)
        self._vertices = tempfile.TemporaryFile(prefix="codetalker-")  # noqa: SIM115

    def send(self, frame: LiveFrame) -> None:
        """Collect a frame.

        Raises:
            InputError: The take is longer than a recording may be.
            OSError: The disk is full.
        """
        hours = active().audio_hours
        if frame.seconds > hours * 3600:
            raise InputError(
                f"the take is {hours:g} h long, so the stream ends; raise the setting "
                "limits.audio_hours for longer ones"
            )
        self._names = frame.names
        self._indices.append(frame.index)
        self._sound.append(frame.frame.sound)
        if self._has_vertices:
            content = np.ascontiguousarray(frame.frame.vertices, np.float32).tobytes()
            with doing(f"collecting vertices in {tempfile.gettempdir()}"):
                self._vertices.write(content)
        else:
            self._weights.append(frame.weights)
        if frame.head is not None:
            self._head.append(frame.head)
        if frame.delay_seconds is not None:
            self._n_with_sound = len(self._indices)

    def close(self) -> None:
        """Write the file, with the sound as its format allows.

        Raises:
            DataError: No frame was sent.
            CodeTalkerError: The file cannot be written.
        """
        with self._vertices:
            if not self._n_with_sound:
                raise DataError(f"no sound arrived, so {self._file.path.name} was not written")
            file = self._file
            with doing(f"writing {file.path}"):
                self._vertices.flush()
                take = make_take(self._motion(), self._face.units)
                self.exported = write(
                    take, file.path, file.exporter, file.settings, overwrite=file.overwrite
                )

    def _motion(self) -> Motion | RigCurves:
        n = self._n_with_sound  # the frames after the last sound are left out
        known = np.array(self._indices[:n])
        position = np.interp(np.arange(known[-1] + 1), known, np.arange(n))
        left = np.minimum(position.astype(int), max(n - 2, 0))
        share = position - left
        right = np.minimum(left + 1, n - 1)

        def filled(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
            part = share[frames].reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
            return values[left[frames]] * (1 - part) + values[right[frames]] * part

        sound = self._joined_sound(known)
        fps, subject, source = self._face.fps, self._face.subject, self._file.source
        every = np.arange(len(position))
        head = filled(np.stack(self._head[:n]), every) if self._head else None
        if not self._has_vertices:
            weights = filled(np.stack(self._weights[:n]), every)
            return RigCurves(self._names, fps, weights, subject, head, sound, source)
        mesh = self._face.mesh
        n_vertices = mesh.topology.n_vertices
        stored = np.memmap(self._vertices, np.float32, "r", shape=(n, n_vertices, 3))
        frames = VertexFrames(len(position), n_vertices, lambda frames: filled(stored, frames))
        return Motion(
            vertices=materialize(frames),
            fps=fps,
            topology=mesh.topology,
            subject=subject,
            template=mesh.templates[subject],
            colors=mesh.colors.get(subject),
            audio=sound,
            audio_path=source,
            head=head,
        )

    def _joined_sound(self, indices: np.ndarray) -> np.ndarray:
        """Return the sound of all frames, each at its time."""
        starts = np.round(indices / self._face.fps * SAMPLE_RATE).astype(int)
        joined = np.zeros(starts[-1] + len(self._sound[len(indices) - 1]), np.float32)
        for start, sound in zip(starts, self._sound, strict=False):
            part = joined[start : start + len(sound)]
            part[:] = sound[: len(part)]
        return joined
