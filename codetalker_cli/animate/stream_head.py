"""The rotation of the head in a live stream."""

import numpy as np

from codetalker_cli.easing import smoothstep
from codetalker_cli.rigs.head_motion import LOOK_AHEAD_SECONDS, HeadMotion, at_times
from codetalker_cli.rigs.rhythm import RATE, RhythmFinder

EASE_SECONDS = 0.5
"""The time in which the head leaves its last pose when a new utterance begins."""


class StreamHead:
    """The rotation of the head in a stream, which follows the rhythm of its sound.

    The head needs more sound after a frame than the lips. So it follows the sound later, by a delay
    that is the same for all frames. Each utterance has a motion of its own; the first one has that
    of ``Voice.animate`` with the same seed.

    Args:
        seed: The random seed.
        fps: The frame rate.
        known_seconds: The least sound after the start of a frame that has arrived when the frame is
            decoded.

    Attributes:
        delay_seconds: How much later than the sound the head moves.
    """

    def __init__(self, seed: int, fps: float, known_seconds: float) -> None:
        self._seed, self._fps = seed, fps
        self.delay_seconds = max(0.0, LOOK_AHEAD_SECONDS - known_seconds)
        self.reset()

    def reset(self) -> None:
        """Return to the state of a new stream."""
        self._utterance = 0
        self._last = np.zeros(3, np.float32)
        self._begin()

    def begin(self) -> None:
        """Begin a new utterance with the current pose, which the head leaves smoothly."""
        self._utterance += 1
        self._begin()

    def _begin(self) -> None:
        self._first_pose = self._last
        self._rhythm = RhythmFinder()
        self._motion = HeadMotion(self._seed, self._utterance)
        self._sound: list[np.ndarray] = []
        self._has_ended = False
        self._angles, self._first_tick = np.zeros((0, 3)), 0

    def add(self, sound: np.ndarray, *, is_last: bool = False) -> None:
        """Take the next (n,) samples of the utterance at 16 kHz, with a usual level of speech.

        Args:
            sound: The samples.
            is_last: Whether the utterance ends with them.
        """
        self._sound.append(sound)
        self._has_ended = is_last

    def rotation(self, first: int, n_frames: int) -> np.ndarray:
        """Return the (n, 3) float32 rotation of frames, as in ``RigCurves.head``.

        Args:
            first: The number of the first frame in the utterance; it must not decrease.
            n_frames: The number of frames, n.
        """
        self._follow()
        frames = first + np.arange(n_frames)
        times = frames / self._fps - self.delay_seconds
        passed = min(int(times[0] * RATE) - 1 - self._first_tick, len(self._angles) - 1)
        if passed > 0:
            self._angles = self._angles[passed:].copy()
            self._first_tick += passed
        rotation = at_times(self._angles, times, self._first_tick)
        left = 1 - smoothstep((frames + 1) / (EASE_SECONDS * self._fps))
        rotation += (left[:, None] * self._first_pose).astype(np.float32)
        self._last = rotation[-1].copy()
        return rotation

    def _follow(self) -> None:
        """Find the rotation for the sound so far."""
        if self._sound:
            sound, self._sound = np.concatenate(self._sound), []
            rhythm = self._rhythm.add(sound, is_last=self._has_ended)
            known = self._motion.add(rhythm, is_last=self._has_ended)
            self._angles = np.concatenate([self._angles, known])

    def rest(self, n_frames: int) -> np.ndarray:
        """Bring the head to rest, and return the (n, 3) float32 rotation of frames."""
        falling = 1 - smoothstep(np.arange(1, n_frames + 1) / n_frames)
        # + 0.0 turns −0 into 0.
        rotation = (falling[:, None] * self._last + 0.0).astype(np.float32)
        self._last = rotation[-1].copy()
        return rotation
