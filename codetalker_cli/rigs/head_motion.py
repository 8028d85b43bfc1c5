"""Generate the rotation of a speaking head: nods on accents, sway, and a new pose for a phrase.

The rotation follows the rhythm of the speech, is random otherwise, and is zero in silence. It is
causal except for ``LOOK_AHEAD_SECONDS``, so a longer recording begins like a shorter one, and live
sound like a recording: ``HeadMotion`` takes the rhythm in parts. The sizes are those of people: a
filmed talker who reads sentences of 3 s has standard deviations of 2.2, 1.75 and 1.1 degrees (yaw,
pitch, roll) between sentences and of 0.35, 0.5 and 0.2 degrees within them. The speed of his head
follows the loudness by 0.14 s.
"""

import math

import numpy as np

from codetalker_cli.rigs.rhythm import ACCENT_AHEAD_TICKS, LEVEL_AHEAD_TICKS, RATE, Rhythm

LOOK_AHEAD_SECONDS = 0.25
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
_POSE_LEAD_TICKS = 10
_NOD_RISE_SECONDS, _NOD_FALL_SECONDS = 0.26, 0.5
_NOD_LEAD_TICKS = 4
"""A nod begins 40 ms before its accent."""
_AHEAD_TICKS = max(_POSE_LEAD_TICKS, ACCENT_AHEAD_TICKS + _NOD_LEAD_TICKS)
"""The rotation at a tick is known when the speech of this many ticks after it is known."""
assert (_AHEAD_TICKS + LEVEL_AHEAD_TICKS + 1.5) / RATE <= LOOK_AHEAD_SECONDS
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
_SWAY_BLOCK_TICKS = 100
"""The sway is generated in blocks, which do not depend on how the sound is divided."""


def head_rotation(rhythm: Rhythm, n_frames: int, fps: float, seed: int) -> np.ndarray:
    """Return (T, 3) float32 yaw, pitch and roll in radians, as in ``RigCurves.head``.

    Args:
        rhythm: The rhythm of the speech.
        n_frames: The number of frames, T.
        fps: The frame rate in frames per second.
        seed: The random seed.
    """
    angles = HeadMotion(seed).add(rhythm, is_last=True)
    return at_times(angles, np.arange(n_frames) / fps)


def at_times(degrees: np.ndarray, seconds: np.ndarray, first_tick: int = 0) -> np.ndarray:
    """Return the (T, 3) float32 rotation in radians at some times.

    Args:
        degrees: (N, 3) rotation at ticks, as ``HeadMotion.add`` returns it. The first and the last
            one also hold before and after them. Without ticks, the head is still.
        seconds: (T,) times.
        first_tick: The first tick of ``degrees``.
    """
    if not len(degrees):
        return np.zeros((len(seconds), 3), np.float32)
    positions = seconds * RATE - 0.5
    before = np.floor(positions)
    share = (positions - before)[:, None]
    left, right = (
        degrees[np.clip(before.astype(int) + k - first_tick, 0, len(degrees) - 1)] for k in (0, 1)
    )
    return np.radians(left + share * (right - left)).astype(np.float32)


class HeadMotion:
    """The rotation of the head for a rhythm that becomes known in parts.

    The rotation does not depend on how the rhythm is divided into parts, bit for bit. The memory is
    constant.

    Args:
        seed: The random seed.
        utterance: A number that changes the motion, for utterances after the first one.
    """

    def __init__(self, seed: int, utterance: int = 0) -> None:
        # The parts have random generators of their own, so that each of them begins in a longer
        # recording as in a shorter one.
        sway, self._pose_rng, self._nod_rng = (
            np.random.default_rng([seed, k, *([utterance] if utterance else [])]) for k in range(3)
        )
        self._sway, self._engagement = _Sway(sway), _Engagement()
        self._next, self._n_known = 0, 0
        self._engaged = np.zeros(0)  # of the ticks from ``_next`` on
        self._pose, self._target = np.zeros(3), np.zeros(3)
        self._steps: list[tuple[int, np.ndarray]] = []  # the poses after ``_target``
        self._approach, self._nods = _Future(), _Future()

    def add(self, rhythm: Rhythm, *, is_last: bool = False) -> np.ndarray:
        """Take the next part of the rhythm, and return the (n, 3) degrees of the next ticks.

        Args:
            rhythm: The part, as ``RhythmFinder.add`` returns it.
            is_last: Whether it is the last part.
        """
        engaged = self._engagement.add(rhythm.speaking)
        self._engaged = np.concatenate([self._engaged, engaged])
        self._n_known += len(engaged)
        for start in rhythm.phrases:
            self._add_pose(round(start * RATE) - _POSE_LEAD_TICKS)
        for time, strength in zip(rhythm.accents, rhythm.strengths, strict=True):
            self._add_nod(int(time * RATE) - _NOD_LEAD_TICKS, strength)
        n = max(0, self._n_known - (0 if is_last else _AHEAD_TICKS) - self._next)
        engaged, self._engaged = self._engaged[:n, None], self._engaged[n:].copy()
        angles = self._sway.take(n) * engaged
        angles += (self._targets(n) + self._approach.take(n)) * engaged
        angles += self._nods.take(n)
        self._next += n
        return _bounded(angles)

    def _add_pose(self, tick: int) -> None:
        """Approach a new pose from a tick on."""
        pose = np.clip(self._pose_rng.normal(size=3), -2, 2) * _POSE_DEGREES
        tick = max(0, tick)
        self._approach.add(tick - self._next, _LEFT[:, None] * (self._pose - pose))
        self._steps.append((tick, pose))
        self._pose = pose

    def _targets(self, n: int) -> np.ndarray:
        """Return the (n, 3) poses that the head approaches at the next ticks."""
        passed = [step for step in self._steps if step[0] < self._next + n]
        self._steps = self._steps[len(passed) :]
        edges = [0, *(tick - self._next for tick, _ in passed), n]
        poses = np.stack([self._target, *(pose for _, pose in passed)])
        self._target = poses[-1]
        return np.repeat(poses, np.diff(edges), axis=0)

    def _add_nod(self, tick: int, strength: float) -> None:
        """Perhaps add a nod that begins at a tick."""
        draws = self._nod_rng.random(2)
        spread = self._nod_rng.normal(size=3)
        if draws[0] >= np.interp(strength, (0, 1), _NOD_SHARE):
            return
        median = np.interp(strength, (0, 1), _NOD_DEGREES)
        size = min(median * math.exp(_NOD_SPREAD * spread[0]), _LARGEST_NOD_DEGREES)
        direction = size * _NOD_TURN * [spread[1], -1 if draws[1] < _UP_SHARE else 1, spread[2]]
        self._nods.add(tick - self._next, _NOD[:, None] * direction)


class _Future:
    """Degrees that events add to the ticks that are not returned yet."""

    def __init__(self) -> None:
        self._values = np.zeros((0, 3))

    def add(self, at: int, values: np.ndarray) -> None:
        """Add (n, 3) values from the tick ``at`` on; those before tick 0 are left out."""
        values, at = values[max(0, -at) :], max(0, at)
        stop = at + len(values)
        if stop > len(self._values):
            longer = np.zeros((stop + len(self._values), 3))
            longer[: len(self._values)] = self._values
            self._values = longer
        self._values[at:stop] += values

    def take(self, n: int) -> np.ndarray:
        """Return the (n, 3) values of the next ticks."""
        taken = np.zeros((n, 3))
        n_known = min(n, len(self._values))
        taken[:n_known] = self._values[:n_known]
        self._values = self._values[n_known:].copy()
        return taken


class _Engagement:
    """How much the head takes part in the speech, from 0 to 1; short gaps count."""

    _RISE, _FALL = (1 - math.exp(-1 / (s * RATE)) for s in (_ATTACK_SECONDS, _RELEASE_SECONDS))
    _HOLD = round(_HOLD_SECONDS * RATE)

    def __init__(self) -> None:
        self._first, self._second, self._since = 0.0, 0.0, self._HOLD

    def add(self, speaking: np.ndarray) -> np.ndarray:
        """Return the (n,) engagement at the next ticks, of which (n,) are speech."""
        first, second, since = self._first, self._second, self._since
        engaged = []
        for speaks in speaking.tolist():
            since = 0 if speaks else since + 1
            goal = float(since < self._HOLD)
            # Two equal filters in a row avoid a jump of the speed.
            first += (goal - first) * (self._RISE if goal > first else self._FALL)
            second += (first - second) * (self._RISE if first > second else self._FALL)
            engaged.append(second)
        self._first, self._second, self._since = first, second, since
        return np.array(engaged)


class _Sway:
    """The slow sway: noise of a band of frequencies."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._noise = rng.normal(size=(len(_SWAY) - 1, 3))
        self._ready = np.zeros((0, 3))

    def take(self, n: int) -> np.ndarray:
        """Return the (n, 3) degrees of the next ticks."""
        blocks, n_ready = [self._ready], len(self._ready)
        while n_ready < n:
            noise = self._rng.normal(size=(_SWAY_BLOCK_TICKS, 3))
            self._noise = np.concatenate([self._noise, noise])
            sway = [np.convolve(column, _SWAY, "valid") for column in self._noise.T]
            blocks.append(np.stack(sway, axis=1) * _SWAY_DEGREES)
            self._noise = self._noise[_SWAY_BLOCK_TICKS:]
            n_ready += _SWAY_BLOCK_TICKS
        ready = np.concatenate(blocks)
        self._ready = ready[n:].copy()
        return ready[:n]


def _sway_kernel() -> np.ndarray:
    """Return the (n,) filter from white noise of size 1 to a sway of size 1."""
    n_taps = round(_SWAY_SECONDS * RATE)
    phase = 2 * np.pi * _SWAY_HZ / RATE * np.arange(n_taps)
    kernel = np.hanning(n_taps) * np.cos(phase)
    kernel -= kernel.mean()  # the sway has no mean
    return kernel / np.sqrt(np.square(kernel).sum())


def _left() -> np.ndarray:
    """Return the (n,) share of the way to a new pose that is left at each tick."""
    # The speed of the head is that of three equal filters in a row.
    times = np.arange(round(15 * _POSE_SECONDS * RATE)) / (_POSE_SECONDS * RATE)
    kernel = times**2 * np.exp(-times)
    return 1 - np.cumsum(kernel / kernel.sum())


def _nod() -> np.ndarray:
    """Return the (n,) pulse from 0 to 1 and back, and the slow return that makes its mean zero."""
    times = np.arange(round(10 * _RETURN_SECONDS * RATE) + 1) / RATE
    after = 1 - (times - _NOD_RISE_SECONDS) / _NOD_FALL_SECONDS
    x = np.minimum(times / _NOD_RISE_SECONDS, after).clip(0, 1)
    pulse = x**3 * (10 - 15 * x + 6 * x * x)  # its acceleration has no jumps
    area = (_NOD_RISE_SECONDS + _NOD_FALL_SECONDS) / 2
    late = times / _RETURN_SECONDS
    return pulse - area / _RETURN_SECONDS / 2 * late**2 * np.exp(-late)


_SWAY, _LEFT, _NOD = _sway_kernel(), _left(), _nod()


def _bounded(degrees: np.ndarray) -> np.ndarray:
    """Compress large angles, so that they stay below the limit."""
    room = MAX_DEGREES - _SOFT_DEGREES
    # Scalar functions, because the bits of vectorized ones may depend on the number of values.
    for index in np.argwhere(np.abs(degrees) > _SOFT_DEGREES).tolist():
        angle = float(degrees[*index])
        compressed = _SOFT_DEGREES + room * math.tanh((abs(angle) - _SOFT_DEGREES) / room)
        degrees[*index] = math.copysign(compressed, angle)
    return degrees
