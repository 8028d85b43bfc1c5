"""Generate idle motion: blinks and gaze, which speech does not determine.

Both are random. Blinks tend to occur in pauses and at gaze shifts, as in people. If the rhythm of
the speech and the rotation of the head are known, blinks also occur after strong accents, and the
eyes turn against the head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codetalker_cli.easing import smoothstep
from codetalker_cli.rigs.head import Rig
from codetalker_cli.rigs.posing import PITCH_OF_GAZE, YAW_OF_GAZE
from codetalker_cli.rigs.rhythm import PAUSE_SECONDS, Rhythm
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.topology import Mesh

BLINK_CLOSING_SECONDS = 0.075
BLINK_OPENING_SECONDS = 0.145
DOUBLE_BLINK_SHARE = 0.08
IDLE_UNITS = ("eyeBlink", "eyeLook")
"""Prefixes of the names of the units that idle motion drives."""
_PAUSE_TO_BLINK_SECONDS = 0.12
_ACCENT_TO_BLINK_SECONDS = 0.3
_BLINKING_STRENGTH = 0.6
"""The least strength of an accent that attracts a blink."""
_COUNTER_ROTATION = 0.7
"""The share of the head's rotation that the eyes compensate to keep looking at a viewer."""
_LARGEST_COUNTER_ROTATION = 0.35
"""The largest compensation, as a weight of eyeLook*."""


@dataclass(frozen=True)
class IdleMotion:
    """The idle motion of one clip.

    Attributes:
        weights: The unit weights, (T, U) float32.
        moved: The indices of the vertices that the units move, (n,) int64.
        deltas: The offsets of those vertices at weight 1, (U, n, 3) float32.
    """

    weights: np.ndarray
    moved: np.ndarray
    deltas: np.ndarray

    @classmethod
    def of(
        cls,
        mesh: Mesh,
        subject: str,
        n_frames: int,
        fps: float,
        seed: int | Sequence[int],
        spoken: tuple[Rhythm, np.ndarray] | None = None,
    ) -> "IdleMotion":
        """Generate random idle motion for a clip.

        Args:
            mesh: A mesh with idle units.
            subject: The subject, which determines the speaking style and the lid closure.
            n_frames: The number of frames, T.
            fps: The frame rate in frames per second.
            seed: The random seed, or several numbers that together are one.
            spoken: The rhythm of the speech, and the (T, 3) rotation of the head as in
                ``RigCurves.head``; None: the speech is unknown, and the head is still.
        """
        if spoken is None:
            weights = eye_weights(*idle_curves(subject, n_frames, fps, seed))
        else:
            style, rng = SpeakingStyle.for_subject(subject), np.random.default_rng(seed)
            events = _blink_events(spoken[0])
            weights = idle_weights(n_frames, fps, style, rng, events, against(spoken[1]))
        return cls.from_weights(mesh, subject, weights)

    @classmethod
    def from_weights(
        cls, mesh: Mesh, subject: str, weights: Mapping[str, np.ndarray]
    ) -> "IdleMotion":
        """Return the motion with these (T,) weights of units, as ``eye_weights`` returns them."""
        columns = unit_columns(mesh, subject, weights)
        deltas = np.stack([mesh.idle_units[name] for name in mesh.idle_units if name in weights])
        moved = np.flatnonzero(np.abs(deltas).max((0, 2)))
        return cls(columns, moved, deltas[:, moved].astype(np.float32))

    def add_to(self, vertices: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Add idle motion to vertices in place.

        Args:
            vertices: (n, V, 3) vertices of n frames.
            frames: (n,) indices of these frames in the clip.

        Returns:
            ``vertices``.
        """
        offsets = self.weights[frames] @ self.deltas.reshape(len(self.deltas), -1)
        vertices[:, self.moved] += offsets.reshape(len(frames), -1, 3)
        return vertices


def unit_columns(mesh: Mesh, subject: str, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the (T, U) float32 weights of a mesh's idle units, with the lid closure of its face.

    Args:
        mesh: A mesh with idle units.
        subject: The subject.
        weights: The (T,) weights of units, as ``eye_weights`` returns them.
    """
    units = [name for name in mesh.idle_units if name in weights]
    closure = mesh.lid_closure.get(subject, 1.0)
    factors = [closure if name.startswith("eyeBlink") else 1.0 for name in units]
    columns = np.stack([weights[name] for name in units], axis=1) * factors
    return columns.astype(np.float32)


def idle_weights(
    n_frames: int,
    fps: float,
    style: SpeakingStyle,
    rng: np.random.Generator,
    pauses: Sequence[float] = (),
    turn_of_eyes: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Generate random blinks and gaze for a clip.

    Args:
        n_frames: The number of frames, T.
        fps: The frame rate in frames per second.
        style: The speaking style, which sets the blink rate and the gaze activity.
        rng: The random number generator.
        pauses: The start times of the pauses in the speech, in seconds, in ascending order.
        turn_of_eyes: (T, 2) added to the gaze to the subject's left and up, as weights; None: 0.

    Returns:
        The weights of each unit eyeBlink* and eyeLook*, (T,) float64 in [0, 1].
    """
    gaze, lids = _curves(n_frames, fps, style, rng, pauses)
    return eye_weights(gaze if turn_of_eyes is None else gaze + turn_of_eyes, lids)


def idle_curves(
    subject: str, n_frames: int, fps: float, seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return random gaze and blinks for a clip whose speech is unknown.

    Args:
        subject: The subject, which determines the speaking style.
        n_frames: The number of frames, T.
        fps: The frame rate in frames per second.
        seed: The random seed, or several numbers that together are one.

    Returns:
        (T, 2) float64 gaze to the subject's left and up, as weights, and the (T,) float64 lid
        closure.
    """
    # The clip is treated as a single pause.
    pauses = [0.0] if n_frames / fps >= PAUSE_SECONDS else []
    style, rng = SpeakingStyle.for_subject(subject), np.random.default_rng(seed)
    return _curves(n_frames, fps, style, rng, pauses)


def _curves(
    n_frames: int,
    fps: float,
    style: SpeakingStyle,
    rng: np.random.Generator,
    pauses: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(n_frames) / fps
    shifts = _gaze_shifts(n_frames / fps, rng)
    blinks = _blink_times(pauses, n_frames / fps, shifts, style.blink_rate_hz, rng)
    lids = _blinks(times, np.round(np.array(blinks) * fps) / fps, rng)
    return _gaze(times, shifts, style.gaze_activity, rng), lids


def eye_weights(gaze: np.ndarray, lids: np.ndarray) -> dict[str, np.ndarray]:
    """Return the (T,) weights of each unit eyeBlink* and eyeLook*.

    Args:
        gaze: (T, 2) gaze to the subject's left and up, as weights.
        lids: The (T,) lid closure.
    """
    weights = {}
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        # +x is the subject's left: the left eye turns out, the right eye turns in.
        turn = sign * gaze[:, 0]
        weights[f"eyeLookOut{side}"] = np.maximum(turn, 0.0)
        weights[f"eyeLookIn{side}"] = np.maximum(-turn, 0.0)
        weights[f"eyeLookUp{side}"] = np.maximum(gaze[:, 1], 0.0)
        # The eyes turn slightly down during a blink.
        weights[f"eyeLookDown{side}"] = np.maximum(-gaze[:, 1], 0.0) + 0.1 * lids
        weights[f"eyeBlink{side}"] = lids
    return weights


def against(head: np.ndarray) -> np.ndarray:
    """Return the (T, 2) turn of the eyes to the left and up that partly compensates the head's.

    Args:
        head: (T, 3) rotation of the head, as in ``RigCurves.head``.
    """
    yaw, pitch, _ = np.asarray(head, np.float64).T
    turn = np.stack([-yaw / YAW_OF_GAZE, pitch / PITCH_OF_GAZE], axis=1) * _COUNTER_ROTATION
    return np.clip(turn, -_LARGEST_COUNTER_ROTATION, _LARGEST_COUNTER_ROTATION)


def _blink_events(rhythm: Rhythm) -> list[float]:
    """Return the times that attract blinks as the start of a pause does."""
    # The first 0.0 is the silence before the speech.
    shift = _ACCENT_TO_BLINK_SECONDS - _PAUSE_TO_BLINK_SECONDS
    accents = [
        time + shift
        for time, strength in zip(rhythm.accents, rhythm.strengths, strict=True)
        if strength >= _BLINKING_STRENGTH
    ]
    return sorted([0.0, *rhythm.pauses, *accents])


def _gaze_shifts(seconds: float, rng: np.random.Generator) -> list[float]:
    shifts, now = [], 0.0
    while (now := now + 0.35 + float(rng.gamma(2.0, 0.75))) < seconds:
        shifts.append(now)
    return shifts


def _gaze(
    times: np.ndarray, shifts: Sequence[float], activity: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the (T, 2) gaze, to the subject's left and up: fixations and saccades."""
    gaze = np.zeros((len(times), 2))
    current = np.zeros(2)
    for shift in shifts:
        returns_to_center = rng.random() < 0.5
        target = np.zeros(2) if returns_to_center else rng.normal(0.0, (0.055, 0.03), 2) * activity
        target = np.clip(target, -0.14, 0.14)
        share = np.clip((times - shift) / 0.045, 0.0, 1.0)[:, None]
        gaze += share * (target - current)
        current = target
    return gaze


def _blink_times(
    pauses: Sequence[float],
    seconds: float,
    shifts: Sequence[float],
    rate_hz: float,
    rng: np.random.Generator,
) -> list[float]:
    """Return the times of full lid closure in seconds.

    The intervals follow a gamma distribution with mean 1 / rate. Most blinks near a pause or a gaze
    shift are moved to it.
    """
    attractors = np.array([*(start + _PAUSE_TO_BLINK_SECONDS for start in pauses), *shifts])
    blinks: list[float] = []
    # The clip is an excerpt, so the first blink does not need a full interval before it.
    now = float(rng.uniform(0.0, 1.0 / rate_hz)) + 0.1
    while now < seconds - 0.1:
        moment = now
        if len(attractors):
            nearest = float(attractors[np.argmin(np.abs(attractors - now))])
            if abs(nearest - now) < 0.6 and rng.random() < 0.7:
                moment = nearest
        if moment > (blinks[-1] if blinks else -1.0) + 0.5 and moment > 0.1:
            blinks.append(moment)
            if rng.random() < DOUBLE_BLINK_SHARE:
                blinks.append(moment + 0.32)
        now += 0.6 + float(rng.gamma(2.0, max(1.0 / rate_hz - 0.6, 0.2) / 2.0))
    return blinks


def _blinks(times: np.ndarray, moments: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the (T,) lid closure: quick closing, slower opening, full closure at ``moments``."""
    lids = np.zeros(len(times))
    for moment in moments:
        pace = float(rng.uniform(0.85, 1.2))
        down = 1.0 - (moment - times) / (BLINK_CLOSING_SECONDS * pace)
        up = 1.0 - (times - moment) / (BLINK_OPENING_SECONDS * pace)
        lids = np.maximum(lids, smoothstep(np.minimum(down, up)))
    return lids


def subject_mesh(rig: Rig, faces: Mapping[str, str], *, idle: bool) -> Mesh:
    """Return the mesh of a data set on the bundled head.

    Args:
        rig: The bundled head.
        faces: Subject of the data set → bundled subject whose face it has.
        idle: Whether to include the units of blinks and gaze, for motion that contains neither.
    """
    units = {
        name: rig.unit_deltas[k].astype(np.float32)
        for k, name in enumerate(rig.unit_names)
        if idle and name.startswith(IDLE_UNITS)
    }
    closure = dict(zip(rig.subject_names, map(float, rig.subject_blink), strict=True))
    return Mesh(
        rig.topology,
        {name: rig.template(face) for name, face in faces.items()},
        {name: rig.colors(face) for name, face in faces.items()},
        units,
        {name: closure[face] for name, face in faces.items()} if idle else {},
    )
