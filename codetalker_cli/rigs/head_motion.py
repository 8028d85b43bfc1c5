"""Generate the rotation of a speaking head: nods on accents, sway, and a new pose for a phrase.

The rotation follows the rhythm of the speech, is random otherwise, and is zero in silence. It is
causal except for ``LOOK_AHEAD_SECONDS``, so a longer recording begins like a shorter one. The sizes
are those of people: a filmed talker who reads sentences of 3 s has standard deviations of 2.2, 1.75
and 1.1 degrees (yaw, pitch, roll) between sentences and of 0.35, 0.5 and 0.2 degrees within them.
The speed of his head follows the loudness by 0.14 s.
"""

import numpy as np

from codetalker_cli.rigs.rhythm import RATE, Rhythm, tick_times

LOOK_AHEAD_SECONDS = 0.3
"""The rotation at a time depends on the sound up to this many seconds after it."""
MAX_DEGREES = 8.0
"""No angle exceeds this limit."""

# The columns are those of ``RigCurves.head``: yaw, pitch, roll.
_SWAY_DEGREES = np.array([0.9, 0.75, 0.45])
_SWAY_HZ, _SWAY_SECONDS = 0.4, 4.0
"""The band of the sway is 0.2 to 0.6 Hz: its middle, and the length of its waves."""
_POSE_DEGREES = np.array([1.5, 0.9, 0.7])
_POSE_SECONDS = 0.22
"""Time constant at which a new pose is approached; the head arrives after about a second."""
_POSE_LEAD_SECONDS = 0.1
_NOD_RISE_SECONDS, _NOD_FALL_SECONDS = 0.26, 0.5
_NOD_LEAD_SECONDS = 0.04
"""A nod begins this long before its accent."""
_NOD_DEGREES, _LARGEST_NOD_DEGREES = (0.7, 1.7), 3.0
"""The median size of a nod on an accent of strength 0 and 1, and the size of the largest nod."""
_NOD_SHARE = (0.35, 0.9)
"""The share of accents of strength 0 and 1 that have a nod."""
_NOD_SPREAD = 0.35
"""The standard deviation of the logarithm of a nod's size."""
_UP_SHARE = 0.2
"""The share of nods that go up."""
_NOD_TURN = np.array([0.35, 1.0, 0.2])
"""How much a nod also turns and tilts the head, relative to its size."""
_RETURN_SECONDS = 1.2
"""Time constant of the slow motion after a nod, which keeps the mean pose although most nods go
down."""
_ATTACK_SECONDS, _RELEASE_SECONDS = 0.3, 0.6
_HOLD_SECONDS = 0.4
"""How fast the head starts to move with the speech, and comes to rest after it."""
_SOFT_DEGREES = 5.0
"""Larger angles are compressed."""


def head_rotation(rhythm: Rhythm, n_frames: int, fps: float, seed: int) -> np.ndarray:
    """Return (T, 3) float32 yaw, pitch and roll in radians, as in ``RigCurves.head``.

    Args:
        rhythm: The rhythm of the speech.
        n_frames: The number of frames, T.
        fps: The frame rate in frames per second.
        seed: The random seed.
    """
    n = len(rhythm.speaking)
    if not n or not rhythm.speaking.any():
        return np.zeros((n_frames, 3), np.float32)
    # The parts have random generators of their own, so that each of them begins in a longer
    # recording as in a shorter one.
    sway, pose, nods = (np.random.default_rng([seed, k]) for k in range(3))
    engaged = _engaged(rhythm.speaking)
    angles = _sway(n, sway) * engaged
    angles += _poses(rhythm, n, pose, engaged)
    angles += _nods(rhythm, n, nods)
    frames = np.arange(n_frames) / fps
    angles = np.stack([np.interp(frames, tick_times(n), column) for column in _bounded(angles).T])
    return np.radians(angles.T).astype(np.float32)


def _engaged(speaking: np.ndarray) -> np.ndarray:
    """Return (N, 1) how much the head takes part in the speech, from 0 to 1; short gaps count."""
    rise, fall = (1 - np.exp(-1 / (s * RATE)) for s in (_ATTACK_SECONDS, _RELEASE_SECONDS))
    hold = round(_HOLD_SECONDS * RATE)
    first, second, since = 0.0, 0.0, hold
    engaged = np.zeros((len(speaking), 1))
    for k, speaks in enumerate(speaking.tolist()):
        since = 0 if speaks else since + 1
        goal = float(since < hold)
        # Two equal filters in a row avoid a jump of the speed.
        first += (goal - first) * (rise if goal > first else fall)
        second += (first - second) * (rise if first > second else fall)
        engaged[k] = second
    return engaged


def _sway(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the (N, 3) slow sway in degrees: noise of a band of frequencies."""
    n_taps = round(_SWAY_SECONDS * RATE)
    phase = 2 * np.pi * _SWAY_HZ / RATE * np.arange(n_taps)
    kernel = np.hanning(n_taps) * np.cos(phase)
    kernel -= kernel.mean()  # the sway has no mean
    kernel /= np.sqrt(np.square(kernel).sum())
    noise = rng.normal(size=(n_taps - 1 + n, 3))
    sway = [np.convolve(column, kernel, "valid") for column in noise.T]
    return np.stack(sway, axis=1) * _SWAY_DEGREES


def _poses(rhythm: Rhythm, n: int, rng: np.random.Generator, engaged: np.ndarray) -> np.ndarray:
    """Return the (N, 3) pose in degrees, which changes at the start of a phrase."""
    steps = np.zeros((n, 3))
    before = np.zeros(3)
    for start in rhythm.phrases:
        pose = np.clip(rng.normal(size=3), -2, 2) * _POSE_DEGREES
        steps[max(0, round((start - _POSE_LEAD_SECONDS) * RATE))] += pose - before
        before = pose
    # The speed of the head is that of three equal filters in a row.
    times = np.arange(round(15 * _POSE_SECONDS * RATE)) / (_POSE_SECONDS * RATE)
    kernel = times**2 * np.exp(-times)
    speed = [np.convolve(column, kernel / kernel.sum())[:n] for column in steps.T]
    return np.cumsum(np.stack(speed, axis=1), axis=0) * engaged


def _nods(rhythm: Rhythm, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the (N, 3) nods in degrees, whose mean is zero over time."""
    nods = np.zeros((n, 3))
    times = tick_times(n)
    for time, strength in zip(rhythm.accents, rhythm.strengths, strict=True):
        draws = rng.random(2)
        spread = rng.normal(size=3)
        if draws[0] >= np.interp(strength, (0, 1), _NOD_SHARE):
            continue
        median = np.interp(strength, (0, 1), _NOD_DEGREES)
        size = min(median * np.exp(_NOD_SPREAD * spread[0]), _LARGEST_NOD_DEGREES)
        direction = size * _NOD_TURN * [spread[1], -1 if draws[1] < _UP_SHARE else 1, spread[2]]
        start = time - _NOD_LEAD_SECONDS
        stop = start + 10 * _RETURN_SECONDS
        inside = slice(max(0, int(start * RATE)), int(stop * RATE) + 1)
        nods[inside] += _nod(times[inside] - start)[:, None] * direction
    return nods


def _nod(times: np.ndarray) -> np.ndarray:
    """Return a pulse from 0 to 1 and back, followed by a slow return that makes the mean zero."""
    after = 1 - (times - _NOD_RISE_SECONDS) / _NOD_FALL_SECONDS
    x = np.minimum(times / _NOD_RISE_SECONDS, after).clip(0, 1)
    pulse = x**3 * (10 - 15 * x + 6 * x * x)  # its acceleration has no jumps
    area = (_NOD_RISE_SECONDS + _NOD_FALL_SECONDS) / 2
    late = times.clip(0) / _RETURN_SECONDS
    return pulse - area / _RETURN_SECONDS / 2 * late**2 * np.exp(-late)


def _bounded(degrees: np.ndarray) -> np.ndarray:
    """Compress large angles, so that they stay below the limit."""
    room = MAX_DEGREES - _SOFT_DEGREES
    over = np.maximum(np.abs(degrees) - _SOFT_DEGREES, 0)
    return np.where(
        over > 0, np.sign(degrees) * (_SOFT_DEGREES + room * np.tanh(over / room)), degrees
    )
