"""The articulation rules as a model with gradients, by which their numbers are fitted to a film.

``codetalker_cli.synthetic.articulation`` has the rules. The model
leaves out what the film does not need: the speed limit of the jaw, the smallest openings of phones,
and pauses that are shorter than the pose before speech.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from articulation_head import FITTED_UNITS, PHASES, Head
from torch import Tensor, nn

from codetalker_cli.synthetic.articulation import (
    JAW_SLACK,
    LEVEL_EFFORTS,
    LEVELS_DB,
    USUAL_VOWEL_EFFORT,
    USUAL_VOWEL_SECONDS,
    VOWEL_EFFORTS,
)
from codetalker_cli.synthetic.clarity import RETAINED_SHAPE
from codetalker_cli.synthetic.coarticulation import (
    READY_FALL_SECONDS,
    READY_OVERLAP_SECONDS,
    SMOOTHING_SECONDS,
    place_phases,
)
from codetalker_cli.synthetic.contacts import CONTACTS, LipContacts
from codetalker_cli.synthetic.speech.phones import SILENCE, VOWELS, Phone
from codetalker_cli.synthetic.visemes import CHANNELS

FPS = 30.0
N_FRAMES = 90
"""The frames of a clip that are used: three seconds, as long as a sentence of the corpus."""
STEPS_PER_FRAME, MARGIN_FRAMES = 4, 8
"""The samples of the curves in a frame, and the frames before and after the clip."""
SMOOTHING_REACH = 6
"""The samples on each side that the smoothing uses."""
SILENCE_MARGIN_SECONDS = 0.01
"""The distance of the influence of a silence from its ends."""
START_SECONDS: dict[str, list[float]] = {
    "attack": [0.055, 0.045, 0.150, 0.060, 0.040],
    "release": [0.060, 0.050, 0.070, 0.055, 0.035],
    "onset": [0.12, 0.12, 0.15, 0.12, 0.12],
    "offset": [0.2] * len(CHANNELS),
    "silence": [0.16, 0.07],
    "ready": [0.45, 0.25],
}
"""The times at the start of a fit (see ``codetalker_cli.synthetic.fitted``), by channel; for
``silence`` at its start and at its end; for ``ready`` the lead and the rise."""
BOUNDS: dict[str, tuple[float, float]] = {
    "attack": (0.02, 0.3), "release": (0.02, 0.3), "onset": (0.05, 0.5), "offset": (0.05, 0.4),
    "silence": (0.05, 0.3), "ready": (0.1, 0.5),
}  # fmt: skip
"""The smallest and the largest of these times."""
LONGEST_RAMP = 0.6
"""The largest share of a phone at each end in which its influence rises or falls."""
START_POSE_CHANGE, START_READY, START_LOUDNESS, START_VOWEL = 0.02, 0.05, 0.01, 1.0
"""A weight of exactly 0 has no gradient, so all poses start a little above those of the visemes."""
START_RAMP, START_READY_DOMINANCE = -0.85, -2.0
"""The ramp before the sigmoid (a share of 0.18), and the logarithm of a dominance."""


# Speech -----------------------------------------------------------------------------------------


class Speech(NamedTuple):
    """The speech of B clips with up to P phases.

    Attributes:
        phase: (B, P) the index of each phase in ``PHASES``.
        exists: (B, P) 1; 0 for the padding of shorter clips.
        start, end: (B, P) the interval of the phase in seconds.
        duration: (B, P) the duration of the phone in seconds.
        is_silent, after_silence, before_silence, is_vowel: (B, P) bool.
        contact: (B, T) the amount of each lip contact in each frame.
        level_db: (B, T) the level of the speech.
    """

    phase: Tensor
    exists: Tensor
    start: Tensor
    end: Tensor
    duration: Tensor
    is_silent: Tensor
    after_silence: Tensor
    before_silence: Tensor
    is_vowel: Tensor
    contact: dict[str, Tensor]
    level_db: Tensor


def speech_of(clips: Sequence[tuple[Sequence[Phone], np.ndarray]]) -> Speech:
    """Return the speech of clips.

    Args:
        clips: For each clip its phones, contiguous as from ``padded_phones``, and the (T,) level of
            each frame in dB.
    """
    rows, contacts = [], []
    for phones, level in clips:
        rows.append(_phase_rows(phones))
        found = LipContacts(phones, len(level), FPS)
        contacts.append({contact: found.amount(contact) for contact in CONTACTS})
    padded = np.zeros((len(clips), max(map(len, rows)), rows[0].shape[1]))
    for clip, table in zip(padded, rows, strict=True):
        clip[: len(table)] = table
    columns = torch.tensor(padded, dtype=torch.float32).unbind(-1)
    phase, exists, start, end, duration, *flags = columns
    is_silent, after_silence, before_silence, is_vowel = (flag > 0 for flag in flags)
    return Speech(
        phase.long(),
        exists,
        start,
        end,
        duration,
        is_silent,
        after_silence,
        before_silence,
        is_vowel,
        {c: padded_frames([amount[c] for amount in contacts]) for c in CONTACTS},
        padded_frames([np.clip(level, *LEVELS_DB) for _, level in clips]),
    )


def padded_frames(curves: Sequence[np.ndarray]) -> Tensor:
    """Return the first ``N_FRAMES`` of (T, …) curves, with zeros after the end of a shorter one."""
    padded = np.zeros((len(curves), N_FRAMES, *curves[0].shape[1:]))
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve[:N_FRAMES]
    return torch.tensor(padded, dtype=torch.float32)


def _phase_rows(phones: Sequence[Phone]) -> np.ndarray:
    """Return a row for each phase, with the columns of ``Speech``."""
    return np.array(
        [
            (
                PHASES.index((phase.phone.label, phase.number)),
                1.0,
                phase.start,
                phase.end,
                phase.phone.end_seconds - phase.phone.start_seconds,
                phase.is_silent,
                phase.silence_before > 0,
                phase.before_silence,
                phase.phone.label in VOWELS,
            )
            for phase in place_phases(phones)
        ],
        dtype=float,
    )


# The model --------------------------------------------------------------------------------------


class ArticulationModel(nn.Module):
    """The rules, with the numbers of ``codetalker_cli.synthetic.fitted`` as parameters.

    Attributes:
        scale: (U,) the factor of each unit in all poses.
        pose_change: (n_phases, U) what is added to each pose.
        log_dominance: (n_phases, C) the logarithm of the factor of each dominance.
        log_seconds: The logarithms of ``START_SECONDS``.
        ramp: (C,) the ramps before the sigmoid.
        log_silence: (C,) the logarithm of the weight of silence.
        ready, log_ready_dominance: (U,) the pose before speech, and (C,) its dominance.
        loudness_per_db, vowel_per_second: The changes of the opening.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        n_units, n_channels = len(head.units), len(CHANNELS)
        self.head = head
        self.scale = nn.Parameter(torch.ones(n_units))
        self.pose_change = nn.Parameter(torch.full((len(PHASES), n_units), START_POSE_CHANGE))
        self.log_dominance = nn.Parameter(torch.zeros(len(PHASES), n_channels))
        self.log_seconds = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(start).log()) for name, start in START_SECONDS.items()}
        )
        self.ramp = nn.Parameter(torch.full((n_channels,), START_RAMP))
        self.log_silence = nn.Parameter(torch.zeros(n_channels))
        self.ready = nn.Parameter(torch.full((n_units,), START_READY))
        self.log_ready_dominance = nn.Parameter(torch.full((n_channels,), START_READY_DOMINANCE))
        self.loudness_per_db = nn.Parameter(torch.tensor(START_LOUDNESS))
        self.vowel_per_second = nn.Parameter(torch.tensor(START_VOWEL))
        self._is_fitted = torch.tensor([float(unit in FITTED_UNITS) for unit in head.units])
        self._speaks = torch.tensor([float(label != SILENCE) for label, _ in PHASES])[:, None]
        self._poses = torch.tensor(head.poses, dtype=torch.float32)
        self._opens = torch.tensor(head.is_channel("jaw", "open"))

    def poses(self) -> Tensor:
        """Return the (n_phases, U) poses."""
        change = self.pose_change * self._is_fitted * self._speaks
        return torch.relu(self.scale * self._poses + change)

    def dominance(self) -> Tensor:
        """Return the (n_phases, C) dominances."""
        return torch.tensor(self.head.dominance, dtype=torch.float32) * self.log_dominance.exp()

    def seconds(self, name: str) -> Tensor:
        """Return the times of one of ``START_SECONDS``, within their bounds."""
        return self.log_seconds[name].exp().clamp(*BOUNDS[name])

    def ramps(self) -> Tensor:
        """Return the (C,) share of a phone at each end in which its influence rises or falls."""
        return LONGEST_RAMP * torch.sigmoid(self.ramp)

    def forward(self, speech: Speech) -> Tensor:
        """Return the (B, T, U) weights of the mouth in each frame."""
        weights = self._blend(speech)
        effort = torch.clamp(1.0 + self.loudness_per_db * speech.level_db, *LEVEL_EFFORTS)
        weights = torch.where(self._opens, weights * effort[..., None], weights)
        for contact in ("FF", "PP"):
            weights = self._pin_contact(weights, speech.contact[contact], contact)
        return weights

    def _blend(self, speech: Speech) -> Tensor:
        """Return the (B, T, U) smoothed mean of the poses, weighted by their dominances."""
        margin = MARGIN_FRAMES * STEPS_PER_FRAME
        n_samples = N_FRAMES * STEPS_PER_FRAME
        rate = FPS * STEPS_PER_FRAME
        times = (torch.arange(-margin, n_samples + margin) / rate)[None, :, None, None]
        windows, ready = self._phone_windows(speech, times), self._ready_windows(speech, times)
        poses = self.poses()[speech.phase]
        change = self.vowel_per_second * (speech.duration - USUAL_VOWEL_SECONDS)
        effort = torch.clamp(USUAL_VOWEL_EFFORT + change, *VOWEL_EFFORTS)[..., None]
        poses = torch.where(speech.is_vowel[..., None] & self._opens, poses * effort, poses)
        weights = torch.zeros(len(poses), N_FRAMES, len(self.head.units))
        for k, channel in enumerate(CHANNELS):
            units = torch.tensor(np.flatnonzero(self.head.is_channel(channel)))
            before = ready[..., k].sum(-1, keepdim=True)
            summed = windows[..., k] @ poses[..., units] + before * torch.relu(self.ready[units])
            curves = summed / (windows[..., k].sum(-1, keepdim=True) + before + 1e-6)
            smooth = _smoothed(curves, SMOOTHING_SECONDS[channel] * rate)
            frames = smooth[:, margin : margin + n_samples : STEPS_PER_FRAME]
            weights = weights.index_add(2, units, frames)
        return weights

    def _phone_windows(self, speech: Speech, times: Tensor) -> Tensor:
        """Return the (B, n, P, C) dominance of each phase over time."""
        columns = (speech.start, speech.end, speech.is_silent)
        start, end, silent = (column[..., None] for column in columns)
        duration = end - start
        attack, release = self.seconds("attack"), self.seconds("release")
        onset = torch.maximum(attack, self.seconds("onset"))
        offset = torch.maximum(release, self.seconds("offset"))
        inside = torch.tensor(-SILENCE_MARGIN_SECONDS)
        before = torch.where(speech.after_silence[..., None], onset, attack)
        after = torch.where(speech.before_silence[..., None], offset, release)
        before, after = (torch.where(silent, inside, reach) for reach in (before, after))
        closing, opening = (torch.minimum(s, duration / 2) for s in self.seconds("silence"))
        ramps = self.ramps() * duration
        rise, fall = (torch.where(silent, ramp, ramps) for ramp in (closing, opening))
        heights = self.dominance()[speech.phase] * speech.exists[..., None]
        depth = torch.clamp((duration - 0.04) / 0.16, 0.05, 1.0) * self.log_silence.exp()
        heights = heights * torch.where(silent, depth, torch.ones(()))
        shape = _window(times, start - before, end + after, rise + before, fall + after)
        return shape * heights[:, None]

    def _ready_windows(self, speech: Speech, times: Tensor) -> Tensor:
        """Return the (B, n, P, C) dominance of the pose before speech, ahead of each phase."""
        lead, rise = self.seconds("ready")
        start, ones = speech.start[..., None], torch.ones(len(CHANNELS))
        shape = _window(
            times,
            (start - lead - rise) * ones,
            (start + READY_OVERLAP_SECONDS) * ones,
            (rise * ones).expand(*start.shape[:2], -1),
            torch.full((*start.shape[:2], len(ones)), READY_FALL_SECONDS),
        )
        first = (speech.after_silence * speech.exists)[..., None]
        return shape * (self.log_ready_dominance.exp() * first)[:, None]

    def _pin_contact(self, weights: Tensor, amount: Tensor, contact: str) -> Tensor:
        """Blend the lips into a contact; the jaw is limited while the contact is complete."""
        units = self.head.units
        jaw = units.index("jawOpen")
        is_jaw, closes = (
            torch.tensor([unit == name for unit in units]) for name in ("jawOpen", "mouthClose")
        )
        pose = torch.tensor(self.head.contact_poses[contact], dtype=torch.float32)
        ceiling = pose[jaw] + JAW_SLACK[contact]
        share = amount[..., None]
        weights = torch.where(is_jaw & (share >= 0.999), torch.minimum(weights, ceiling), weights)
        retained = torch.tensor([RETAINED_SHAPE[contact].get(unit, 0.0) for unit in units])
        lowered = torch.relu(weights[..., jaw : jaw + 1] - pose[jaw])
        target = torch.maximum(pose.expand_as(weights), retained * weights) + closes * lowered
        lips = torch.tensor(~self.head.is_channel("jaw", "tongue"))
        return torch.where(lips, (1.0 - share) * weights + share * target, weights)


def _window(times: Tensor, left: Tensor, right: Tensor, rise: Tensor, fall: Tensor) -> Tensor:
    """Return (B, n, P, C) windows with cosine ramps; all but the times are (B, P, C)."""
    up = ((times - left[:, None]) / (rise[:, None] + 1e-6)).clamp(0, 1)
    down = ((right[:, None] - times) / (fall[:, None] + 1e-6)).clamp(0, 1)
    return 0.5 * (1 - torch.cos(torch.pi * torch.minimum(up, down)))


def _smoothed(curves: Tensor, sigma: float) -> Tensor:
    """Return (B, n, U) curves smoothed over time by a Gaussian."""
    steps = torch.arange(-SMOOTHING_REACH, SMOOTHING_REACH + 1).float()
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    rows = curves.transpose(1, 2).reshape(-1, 1, curves.shape[1])
    smooth = torch.nn.functional.conv1d(rows, kernel, padding=SMOOTHING_REACH)
    return smooth.view(curves.shape[0], curves.shape[2], -1).transpose(1, 2)
