"""The motion of a face: the output of models, and the input of renderers, exporters and metrics."""

import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.arrays import read_arrays, write_array, write_arrays
from codetalker_cli.audio import SAMPLE_RATE, write_playback
from codetalker_cli.errors import DataError, InputError, counted, printable
from codetalker_cli.files import atomic_path, name_fault
from codetalker_cli.text_files import check_file
from codetalker_cli.topology import Topology

FORMAT_VERSION = 1
MIN_FPS, MAX_FPS = 0.01, 1000
"""The range of frame rates that a file can have."""
SUFFIXES = (".npz", ".npy")
"""The file formats of a motion: everything (.npz), or only the vertices (.npy)."""


# Vertices -----------------------------------------------------------------------------------------


BLOCK_BYTES = 32 << 20
"""The size of the blocks in which vertices are generated."""
MATERIALIZED_BYTES = 512 << 20
"""The size up to which vertices are materialized as plain arrays."""


class VertexFrames:
    """(T, V, 3) float32 vertices that a function computes on demand; indexed like an array.

    Args:
        n_frames: T.
        n_vertices: V.
        compute: Returns (n, V, 3) float32 vertices for (n,) frame numbers from 0 to T − 1.
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(
        self, n_frames: int, n_vertices: int, compute: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.shape = (n_frames, n_vertices, 3)
        self._compute = compute

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(first, int | np.integer):
            return self[[first]][0][rest] if rest else self[[first]][0]
        frames = np.arange(len(self))[first]
        vertices = (
            self._compute(frames) if len(frames) else np.empty((0, *self.shape[1:]), self.dtype)
        )
        return vertices[(slice(None), *rest)] if rest else vertices

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.empty(self.shape, dtype or self.dtype)
        start = 0
        for block in vertex_blocks(self):
            array[start : start + len(block)] = block
            start += len(block)
        return array

    def __repr__(self) -> str:
        """Return the shape."""
        return f"<VertexFrames {self.shape}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the vertices as an array, because another process cannot call the function."""
        return np.asarray, (np.asarray(self),)

    def __deepcopy__(self, memo: object) -> "VertexFrames":
        """Return the object itself, because it never changes."""
        return self

    def __copy__(self) -> "VertexFrames":
        return self

    @property
    def nbytes(self) -> int:
        """The size in bytes if fully materialized."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


Vertices = np.ndarray | VertexFrames
"""(T, V, 3) float32."""


def materialize(frames: VertexFrames) -> Vertices:
    """Return the frames as an array if it is small enough, otherwise unchanged."""
    return np.asarray(frames) if frames.nbytes <= MATERIALIZED_BYTES else frames


def vertex_blocks(vertices: Vertices) -> Iterator[np.ndarray]:
    """Yield all frames in order, in blocks; an array is yielded as a single block."""
    if isinstance(vertices, np.ndarray):
        yield vertices
        return
    size = max(1, BLOCK_BYTES // max(1, vertices.nbytes // max(1, len(vertices))))
    for start in range(0, len(vertices), size):
        yield vertices[start : start + size]


def check_finite(frames: np.ndarray, first: int = 0) -> None:
    """Refuse (n, V, 3) frames with NaN or infinite coordinates.

    Args:
        frames: The frames.
        first: The number of the first one, for the message.

    Raises:
        DataError: A coordinate is not finite.
    """
    # A sum is not finite if one of its terms is not; this reads the frames only once.
    if np.isfinite(frames.sum(dtype=np.float64)):
        return
    frame, vertex, _ = np.argwhere(~np.isfinite(frames))[0]
    raise DataError(f"vertex {vertex} of frame {first + frame} is NaN or infinite")


@dataclass(frozen=True, eq=False)
class Motion:
    """A facial motion and the speech it belongs to.

    Attributes:
        vertices: (T, V, 3) float32 positions in the topology's unit: an array, or
            ``VertexFrames`` if an array would be too large.
        fps: The frame rate.
        topology: The triangles, regions and unit.
        subject: The name of the subject.
        template: (V, 3) float32 neutral face of the subject.
        colors: (V, 3) uint8 sRGB albedo, or None.
        audio: (n,) float32 mono samples at 16 kHz, or None.
        audio_path: The file that the samples were read from, or None.
        codes: (T, codes_per_frame) int32 motion codes; None for silence and after ``at_fps``.
        head: (T, 3) float32 rotation of the head as in ``RigCurves.head`` (yaw, pitch and roll in
            radians), which the vertices do not contain; None: the head is still.
            ``rigs.posing.turned`` applies it.
    """

    vertices: Vertices
    fps: float
    topology: Topology
    subject: str
    template: np.ndarray
    colors: np.ndarray | None = None
    audio: np.ndarray | None = None
    audio_path: Path | None = None
    codes: np.ndarray | None = None
    head: np.ndarray | None = None

    def __repr__(self) -> str:
        """Return the subject and the size, without arrays."""
        sound = "no sound" if self.audio is None and self.audio_path is None else "sound"
        return (
            f"<Motion {printable(self.subject)}: {counted(self.n_frames, 'frame')} at "
            f"{self.fps:g} fps, {self.topology.n_vertices} vertices, {sound}>"
        )

    @property
    def n_frames(self) -> int:
        """The number of frames T."""
        return int(self.vertices.shape[0])

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.n_frames / self.fps

    def at_fps(self, fps: float, *, lazy: bool = False) -> "Motion":
        """Return the motion at another frame rate, interpolated linearly.

        Args:
            fps: The frame rate.
            lazy: Compute the vertices on access, however small they are.

        Raises:
            InputError: The frame rate is not a plausible number.
        """
        if not isinstance(fps, Real) or not MIN_FPS <= fps <= MAX_FPS:
            raise InputError(f"`fps` {fps!r}: expected a number from {MIN_FPS} to {MAX_FPS}")
        if fps == self.fps or self.n_frames < 2:
            return replace(self, fps=fps) if self.n_frames < 2 else self
        n_frames = max(2, round(self.seconds * fps))
        position = np.minimum(np.arange(n_frames) * (self.fps / fps), self.n_frames - 1)
        left = np.minimum(position.astype(int), self.n_frames - 2)
        weight = (position - left).astype(np.float32)[:, None, None]
        source = self.vertices

        def interpolate(frames: np.ndarray) -> np.ndarray:
            start, fraction = left[frames], weight[frames]
            return source[start] * (1 - fraction) + source[start + 1] * fraction

        frames = VertexFrames(n_frames, source.shape[1], interpolate)
        vertices = frames if lazy else materialize(frames)
        head = self.head
        if head is not None:
            fraction = weight[:, 0]
            head = head[left] * (1 - fraction) + head[left + 1] * fraction
        return replace(self, vertices=vertices, fps=fps, codes=None, head=head)

    def save(self, path: Path | str, *, overwrite: bool = True) -> Path:
        """Write .npz (everything) or .npy (only the (T, V, 3) vertices) atomically.

        The vertices do not contain the rotation of the head.

        Raises:
            InputError: The suffix is unknown, or the file exists and ``overwrite`` is false.
        """
        path = Path(path)
        if path.suffix.lower() == ".npy":
            with atomic_path(path, overwrite) as temporary:
                write_array(temporary, self.vertices.shape, vertex_blocks(self.vertices))
        elif path.suffix.lower() == ".npz":
            with atomic_path(path, overwrite) as temporary:
                shape = self.vertices.shape
                write_arrays(
                    temporary, self._arrays(), vertices=(shape, vertex_blocks(self.vertices))
                )
        else:
            raise InputError(f"{path}: a motion is saved as .npz or .npy, not {path.suffix!r}")
        return path

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "format_version": np.array(FORMAT_VERSION),
            "fps": np.array(self.fps, dtype=np.float64),
            "subject": np.array(self.subject),
            "template": self.template,
        }
        for name in ("colors", "audio", "codes", "head"):
            value = getattr(self, name)
            if value is not None:
                arrays[name] = value
        if self.audio is not None:
            arrays["audio_rate"] = np.array(SAMPLE_RATE)
        return arrays | {f"topology_{k}": v for k, v in self.topology.to_arrays().items()}

    @classmethod
    def load(cls, path: Path | str) -> "Motion":
        """Read a motion that ``save`` wrote as .npz; its vertices stay in the file until used.

        Raises:
            InputError: The file is missing, not a motion file, or in a newer format.
            DataError: The file is a web page or a Git LFS pointer.
        """
        path = Path(path)
        check_file(path)
        try:
            arrays = read_arrays(path, mapped=["vertices"])
            version = int(arrays["format_version"])
            if version > FORMAT_VERSION:
                raise InputError(
                    f"{path}: motion format {version} is newer than {FORMAT_VERSION}, the latest "
                    "format that this version reads; upgrade codetalker-cli"
                )
            return cls._from_arrays(arrays)
        except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
            # The message of a DataError may begin with the path already.
            missing = f"array {error} is missing" if isinstance(error, KeyError) else str(error)
            reason = printable(missing.removeprefix(f"{path}: "))
            raise InputError(
                f"{printable(path)}: not a motion file ({reason}); expected an .npz file written "
                "by `codetalker animate`"
            ) from error

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Motion":
        prefix = "topology_"
        topology = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        subject = str(arrays["subject"])
        if subject and (fault := name_fault(subject)):
            raise DataError(f"subject {printable(subject)!r} {fault}")
        motion = cls(
            vertices=arrays["vertices"],
            fps=float(arrays["fps"]),
            topology=Topology.from_arrays(topology),
            subject=subject,
            template=arrays["template"],
            colors=arrays.get("colors", arrays.get("colours")),  # the name in older files
            audio=arrays.get("audio"),
            codes=arrays.get("codes"),
            head=arrays.get("head"),
        )
        motion._check_arrays()
        return motion

    def _check_arrays(self) -> None:
        """Refuse arrays whose shape or kind of dtype differs from what ``save`` writes.

        Raises:
            DataError: An array does not fit; the message contains its shape.
        """
        v = self.topology.n_vertices
        expected: list[tuple[str, Any, tuple[int, ...], str]] = [
            ("vertices", self.vertices, (-1, v, 3), "f"),
            ("template", self.template, (v, 3), "f"),
            ("colors", self.colors, (v, 3), "u"),
            ("audio", self.audio, (-1,), "f"),
            ("head", self.head, (self.n_frames, 3), "f"),
        ]
        for name, array, shape, kind in expected:
            if array is None:
                continue
            fits = len(array.shape) == len(shape) and all(
                n == m or m == -1 for n, m in zip(array.shape, shape, strict=True)
            )
            is_kind = array.dtype == np.uint8 if kind == "u" else np.dtype(array.dtype).kind == kind
            if not fits or not is_kind:
                wanted = str(shape).replace("-1", "n")
                number = {"f": "floating-point numbers", "u": "uint8"}[kind]
                raise DataError(
                    f"{name}: the array is {tuple(array.shape)} of {array.dtype}, expected "
                    f"{wanted} of {number}"
                )
        if not MIN_FPS <= self.fps <= MAX_FPS:
            raise DataError(f"fps is {self.fps:g}, expected {MIN_FPS} to {MAX_FPS}")
        if self.audio is not None and not np.isfinite(self.audio).all():
            raise DataError("audio: the samples contain NaN or infinite values")
        if self.head is not None and not np.isfinite(self.head).all():
            raise DataError("head: the rotations contain NaN or infinite values")


# Sound --------------------------------------------------------------------------------------------


def write_sound(motion: Motion, path: Path) -> bool:
    """Write the sound of a motion as a .wav file, and return whether the motion has any.

    The file ``audio_path`` is used if it exists, with its own rate and channels; otherwise the mono
    samples at 16 kHz.

    Args:
        motion: The motion.
        path: The .wav file.

    Raises:
        InputError: ``audio_path`` cannot be read.
    """
    source = motion.audio_path
    if source is not None and (source.is_file() or motion.audio is None):
        # The decoded samples, not the file itself: its timestamps may shift the sound.
        write_playback(source, path, report=motion.audio is None)
        return True
    if motion.audio is None or not len(motion.audio):
        return False
    samples = np.rint(np.clip(motion.audio, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", "not compressed"))
        file.writeframes(samples.tobytes())
    return True
