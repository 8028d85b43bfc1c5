"""Idle motion: blinks and gaze, which speech does not determine.

Both are random. Blinks prefer the places where people blink: pauses and shifts of gaze.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.topology import Mesh

BLINK_CLOSING_SECONDS = 0.075
BLINK_OPENING_SECONDS = 0.145
DOUBLE_BLINK_SHARE = 0.08
IDLE_UNITS = ("eyeBlink", "eyeLook")
"""Beginnings of the names of the units that idle motion drives."""
PAUSE_SECONDS = 0.25
"""Shortest silence that counts as a pause."""
_PAUSE_TO_BLINK_SECONDS = 0.12


@dataclass(frozen=True)
class IdleMotion:
    """Idle motion of one clip.

    Attributes:
        weights: (T, U) float32 weights of the units.
        moved: (n,) int64 vertices that the units move.
        deltas: (U, n, 3) float32 offsets of those vertices at weight 1.
    """

    weights: np.ndarray
    moved: np.ndarray
    deltas: np.ndarray

    @classmethod
    def of(cls, mesh: Mesh, subject: str, n_frames: int, fps: float, seed: int) -> "IdleMotion":
        """Draw the idle motion of a subject of a mesh that has idle units."""
        style, rng = SpeakingStyle.for_subject(subject), np.random.default_rng(seed)
        # Nothing is known of the speech: the clip counts as one pause.
        pauses = [0.0] if n_frames / fps >= PAUSE_SECONDS else []
        curves = idle_weights(n_frames, fps, style, rng, pauses)
        units = [name for name in mesh.idle_units if name in curves]
        closure = mesh.lid_closure.get(subject, 1.0)
        factors = [closure if name.startswith("eyeBlink") else 1.0 for name in units]
        weights = np.stack([curves[name] for name in units], axis=1) * factors
        deltas = np.stack([mesh.idle_units[name] for name in units])
        moved = np.flatnonzero(np.abs(deltas).max((0, 2)))
        return cls(weights.astype(np.float32), moved, deltas[:, moved].astype(np.float32))

    def add_to(self, vertices: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Add the motion of some frames to their (n, V, 3) vertices, in place, and return them."""
        offsets = self.weights[frames] @ self.deltas.reshape(len(self.deltas), -1)
        vertices[:, self.moved] += offsets.reshape(len(frames), -1, 3)
        return vertices


def idle_weights(
    n_frames: int,
    fps: float,
    style: SpeakingStyle,
    rng: np.random.Generator,
    pauses: Sequence[float] = (),
) -> dict[str, np.ndarray]:
    """Draw the blinks and the gaze of a clip.

    Args:
        n_frames: T.
        fps: Frames per second.
        style: Determines the blink rate and the activity of the gaze.
        rng: Source of the random numbers.
        pauses: Seconds at which pauses of the speech begin, in ascending order.

    Returns:
        (T,) float64 weights in [0, 1] of each of the units eyeBlink* and eyeLook*.
    """
    times = np.arange(n_frames) / fps
    shifts = _gaze_shifts(n_frames / fps, rng)
    blinks = _blink_times(pauses, n_frames / fps, shifts, style.blink_rate_hz, rng)
    lids = _blinks(times, np.round(np.array(blinks) * fps) / fps, rng)
    gaze = _gaze(times, shifts, style.gaze_activity, rng)
    weights = {}
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        # +x is the subject's left: the left eye turns out, the right eye turns in.
        turn = sign * gaze[:, 0]
        weights[f"eyeLookOut{side}"] = np.maximum(turn, 0.0)
        weights[f"eyeLookIn{side}"] = np.maximum(-turn, 0.0)
        weights[f"eyeLookUp{side}"] = np.maximum(gaze[:, 1], 0.0)
        # Closing lids take the eyes a little down.
        weights[f"eyeLookDown{side}"] = np.maximum(-gaze[:, 1], 0.0) + 0.1 * lids
        weights[f"eyeBlink{side}"] = lids
    return weights


def _gaze_shifts(seconds: float, rng: np.random.Generator) -> list[float]:
    shifts, now = [], 0.0
    while (now := now + 0.35 + float(rng.gamma(2.0, 0.75))) < seconds:
        shifts.append(now)
    return shifts


def _gaze(
    times: np.ndarray, shifts: Sequence[float], activity: float, rng: np.random.Generator
) -> np.ndarray:
    """(T, 2) small horizontal (to the subject's left) and vertical look: fixations and jumps."""
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
    """Moments of full closure. Gamma intervals around 1 / rate, drawn to pauses and gaze shifts."""
    attractors = np.array([*(start + _PAUSE_TO_BLINK_SECONDS for start in pauses), *shifts])
    blinks: list[float] = []
    # the clip is a cut from a longer time, so the first one may come at once
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
    """(T,) lid closure: fast down, slower up; full in the frame of each moment."""
    lids = np.zeros(len(times))
    for moment in moments:
        pace = float(rng.uniform(0.85, 1.2))
        down = np.clip(1.0 - (moment - times) / (BLINK_CLOSING_SECONDS * pace), 0.0, 1.0)
        up = np.clip(1.0 - (times - moment) / (BLINK_OPENING_SECONDS * pace), 0.0, 1.0)
        x = np.minimum(down, up)
        lids = np.maximum(lids, x * x * (3.0 - 2.0 * x))
    return lids
