"""Blend the poses of timed phones: dominance-weighted co-articulation.

In each articulator channel (jaw, opening, rounding, spread, tongue), the pose is the mean of the
poses of the phones nearby, weighted by their dominance (Cohen and Massaro, "Modeling coarticulation
in synthetic visual speech", 1993). The dominance windows have compact support, so the mouth is
exactly at rest in silence. Their times were fitted to a filmed talker
(``codetalker_cli.synthetic.fitted``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from codetalker_cli.synthetic.fitted import FittedArticulation
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone
from codetalker_cli.synthetic.visemes import CHANNELS, PHONES, Articulation, Channel, VisemePhase

RATE_HZ = 240.0
"""The rate at which the curves are blended."""
SMOOTHING_SECONDS: dict[Channel, float] = {
    "jaw": 0.022, "open": 0.013, "round": 0.020, "spread": 0.018, "tongue": 0.010,
}  # fmt: skip
READY_FALL_SECONDS, READY_OVERLAP_SECONDS = 0.12, 0.05
"""The time in which the pose before speech ends, and the time by which it outlasts the start of
speech."""


@dataclass(frozen=True)
class TimedPhase:
    """A phase of a phone, with its start and end in seconds.

    Attributes:
        phase: The pose.
        number: The number of the phase in the phone.
        phone: The phone.
        articulation: The articulation of the phone.
        start, end: The interval of the phase.
        silence_before: The length of the silence before it; 0 if there is none.
        before_silence: Whether a silence follows.
    """

    phase: VisemePhase
    number: int
    phone: Phone
    articulation: Articulation
    start: float
    end: float
    silence_before: float
    before_silence: bool

    @property
    def is_silent(self) -> bool:
        """Whether the phone is a silence."""
        return self.phone.label == SILENCE


class _Window(NamedTuple):
    """A window with cosine ramps: its ends, the lengths of its ramps, and its height."""

    left: float
    right: float
    rise: float
    fall: float
    height: float

    def sample(self, times: np.ndarray) -> tuple[slice, np.ndarray]:
        """Return the samples that the window covers and its values there."""
        first, stop = np.searchsorted(times, (self.left, self.right))
        part = times[first:stop]
        up = np.clip((part - self.left) / (self.rise + 1e-9), 0.0, 1.0)
        down = np.clip((self.right - part) / (self.fall + 1e-9), 0.0, 1.0)
        values = self.height * 0.5 * (1.0 - np.cos(np.pi * np.minimum(up, down)))
        return slice(int(first), int(stop)), values


def place_phases(phones: Sequence[Phone]) -> list[TimedPhase]:
    """Return the phases of contiguous phones."""
    timed_phases = []
    for i, phone in enumerate(phones):
        articulation = PHONES[phone.label]
        start, n_phases = phone.start_seconds, len(articulation.phases)
        for j, phase in enumerate(articulation.phases):
            end = start + phase.share * (phone.end_seconds - phone.start_seconds)
            silence = 0.0
            if j == 0 and i > 0 and phones[i - 1].label == SILENCE:
                silence = phones[i - 1].end_seconds - phones[i - 1].start_seconds
            last = j == n_phases - 1 and i + 1 < len(phones)
            before = last and phones[i + 1].label == SILENCE
            timed_phases.append(
                TimedPhase(phase, j, phone, articulation, start, end, silence, before)
            )
            start = end
    return timed_phases


def blend(
    timed_phases: Sequence[TimedPhase],
    targets: np.ndarray,
    ready: np.ndarray,
    channel: np.ndarray,
    times: np.ndarray,
    tempo: float,
    numbers: FittedArticulation,
) -> np.ndarray:
    """Return (n, U) weights at `times`: the smoothed, dominance-weighted mean of the targets.

    Args:
        timed_phases: The phases.
        targets: (n_phases, U) target poses.
        ready: (U,) the pose before speech.
        channel: (U,) the channel of each unit.
        times: (n,) times with a step of 1 / ``RATE_HZ``.
        tempo: The scale of the times.
        numbers: The fitted numbers.
    """
    from scipy.ndimage import gaussian_filter1d

    curves = np.zeros((len(times), len(channel)))
    for name in CHANNELS:
        units = np.flatnonzero(channel == name)
        total = np.full(len(times), 1e-6)
        summed = np.zeros((len(times), len(units)))
        for timed_phase, target in zip(timed_phases, targets, strict=True):
            windows = [(_phone_window(timed_phase, name, tempo, numbers), target)]
            if timed_phase.silence_before:
                windows.append((_ready_window(timed_phase, name, numbers), ready))
            for window, pose in windows:
                covered, values = window.sample(times)
                total[covered] += values
                summed[covered] += np.outer(values, pose[units])
        sigma = SMOOTHING_SECONDS[name] * tempo * RATE_HZ
        mean = summed / total[:, None]
        curves[:, units] = gaussian_filter1d(mean, sigma, axis=0, mode="nearest")
    return curves


def _phone_window(
    timed_phase: TimedPhase, channel: Channel, tempo: float, numbers: FittedArticulation
) -> _Window:
    """Return the dominance of a phase over time."""
    timing = numbers.timing[channel]
    duration = timed_phase.end - timed_phase.start
    height = _dominance(timed_phase, channel, numbers)
    if timed_phase.is_silent:
        # The mouth comes to rest only in long pauses, beyond the reach of the adjacent speech.
        attack = release = -0.01
        closing, opening = numbers.silence_seconds
        ramps = min(closing * tempo, duration / 2), min(opening * tempo, duration / 2)
        height *= timing.silence * float(np.clip((duration - 0.04) / 0.16, 0.05, 1.0))
    else:
        attack, release = timing.attack * tempo, timing.release * tempo
        if timed_phase.silence_before:
            attack = max(attack, timing.onset)
        if timed_phase.before_silence:
            release = max(release, timing.offset * tempo)
        ramps = timing.ramp * duration, timing.ramp * duration
    return _Window(
        timed_phase.start - attack,
        timed_phase.end + release,
        ramps[0] + attack,
        ramps[1] + release,
        height,
    )


def _ready_window(
    timed_phase: TimedPhase, channel: Channel, numbers: FittedArticulation
) -> _Window:
    """Return the dominance of the pose before speech, which fits into the silence before it."""
    ready = numbers.ready
    share = min(1.0, timed_phase.silence_before / (ready.lead + ready.rise))
    return _Window(
        timed_phase.start - share * (ready.lead + ready.rise),
        timed_phase.start + READY_OVERLAP_SECONDS,
        share * ready.rise,
        READY_FALL_SECONDS,
        share * ready.dominance[channel],
    )


def _dominance(timed_phase: TimedPhase, channel: Channel, numbers: FittedArticulation) -> float:
    fitted = numbers.dominance.get(timed_phase.phone.label)
    if fitted is None:
        return timed_phase.articulation.dominance[channel]
    return fitted[timed_phase.number][channel]
