"""The weights of a rig's units over time: solved from a motion, or read from a recording."""

from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError, InputError, counted, printable
from codetalker_cli.motion import MAX_FPS, MIN_FPS

HEAD_AXES = ("yaw", "pitch", "roll")
"""The columns of the head rotation."""


@dataclass(frozen=True, eq=False)
class RigCurves:
    """The unit weights of each frame, and the speech they belong to.

    Attributes:
        names: The names of the U units, e.g. ``jawOpen``; see ``rigs.arkit``.
        fps: The frame rate.
        weights: (T, U) float32 weights; 0 is neutral and 1 is the full unit.
        subject: The name of the subject, or an empty string.
        head: (T, 3) float32 rotation of the head in radians, as ``HEAD_AXES``: yaw turns the nose
            to the subject's left, pitch lowers it, and roll tilts the head toward the subject's
            left shoulder. The rotation is applied in the order roll, pitch, yaw. None: the head is
            still.
        audio: (n,) float32 mono samples at 16 kHz, or None.
        audio_path: The file that the samples were read from, or None.
    """

    names: tuple[str, ...]
    fps: float
    weights: np.ndarray
    subject: str = ""
    head: np.ndarray | None = None
    audio: np.ndarray | None = None
    audio_path: Path | None = None

    def __post_init__(self) -> None:
        self._convert()
        if self.weights.ndim != 2 or self.weights.shape[1] != len(self.names):
            raise DataError(
                f"weights have shape {self.weights.shape}, expected (frames, {len(self.names)})"
            )
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise DataError(f"unit {printable(twice)!r} is listed twice")
        if not MIN_FPS <= self.fps <= MAX_FPS:
            raise DataError(f"fps is {self.fps:g}, expected {MIN_FPS} to {MAX_FPS}")
        if self.head is not None and self.head.shape != (len(self.weights), 3):
            raise DataError(
                f"head rotations have shape {self.head.shape}, expected ({len(self.weights)}, 3)"
            )
        if not np.isfinite(self.weights).all() or not (
            self.head is None or np.isfinite(self.head).all()
        ):
            raise DataError("rig curves contain NaN or infinite values")

    def _convert(self) -> None:
        """Accept what can be converted without loss, such as lists and NumPy numbers."""
        if isinstance(self.names, str):
            raise InputError("rig curves: names is one text, expected several names")
        try:
            values = {
                "names": tuple(map(str, self.names)),
                "fps": float(self.fps),
                "weights": np.asarray(self.weights, np.float32),
                "head": None if self.head is None else np.asarray(self.head, np.float32),
                "audio_path": None if self.audio_path is None else Path(self.audio_path),
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"rig curves: {error}") from error
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Return the subject and the size, without arrays."""
        return (
            f"<RigCurves {printable(self.subject)}: {counted(self.n_frames, 'frame')} at "
            f"{self.fps:g} fps, {counted(len(self.names), 'unit')}>"
        )

    @property
    def n_frames(self) -> int:
        """The number of frames T."""
        return len(self.weights)

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.n_frames / self.fps

    def select(self, names: tuple[str, ...]) -> "RigCurves":
        """Return the curves of these units in this order; the weight of a missing unit is 0."""
        weights = np.zeros((self.n_frames, len(names)), np.float32)
        for column, name in enumerate(names):
            if name in self.names:
                weights[:, column] = self.weights[:, self.names.index(name)]
        return replace(self, names=tuple(names), weights=weights)

    def at_fps(self, fps: float) -> "RigCurves":
        """Return the curves at another frame rate, interpolated linearly.

        Raises:
            InputError: The frame rate is not a plausible number.
        """
        if not isinstance(fps, Real) or not MIN_FPS <= fps <= MAX_FPS:
            raise InputError(f"`fps` {fps!r}: expected a number from {MIN_FPS} to {MAX_FPS}")
        if fps == self.fps or self.n_frames < 2:
            return replace(self, fps=fps)
        n_frames = max(2, round(self.seconds * fps))
        position = np.arange(n_frames) * (self.fps / fps)

        def resampled(columns: np.ndarray) -> np.ndarray:
            source = np.arange(len(columns))
            new = [np.interp(position, source, column) for column in columns.T]
            return np.stack(new, axis=1).astype(np.float32)

        head = None if self.head is None else resampled(self.head)
        return replace(self, fps=fps, weights=resampled(self.weights), head=head)
