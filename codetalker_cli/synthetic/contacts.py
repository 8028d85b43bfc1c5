"""Choose the frames in which the lips must touch.

In p, b and m the lips are shut. In f and v the lower lip touches the upper teeth. This module
selects the frames and defines the transitions into and out of a contact. The lip poses themselves
are applied in `codetalker_cli.synthetic.articulation`. A contact covers whole frames, because
blending, filtering or resampling it would leave the lips slightly open.
"""

from collections.abc import Sequence

import numpy as np

from codetalker_cli.easing import smoothstep
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone
from codetalker_cli.synthetic.visemes import PHONES

CONTACTS = ("PP", "FF")
MIN_CONTACT_FRAMES = 2
MIN_CONTACT_SECONDS = 0.045
CLOSING_SECONDS = 0.085
OPENING_SECONDS = 0.065
OPEN_CENTER_AMOUNT = 0.2
"""The maximum amount of a contact in the center frame of an adjacent open vowel."""


class LipContacts:
    """The lip contacts of a clip, in frames; frame k is at k / fps seconds."""

    def __init__(self, phones: Sequence[Phone], n_frames: int, fps: float) -> None:
        self._phones, self._n_frames, self._fps = phones, n_frames, fps
        self._open_centers = {
            round((p.start_seconds + p.end_seconds) / 2 * fps)
            for p in phones
            if PHONES[p.label].open_vowel
        }
        # Maps each contact to tuples of the phone's index, its first frame and its end frame.
        self._runs: dict[str, list[tuple[int, int, int]]] = {name: [] for name in CONTACTS}
        taken: set[int] = set()
        for name in CONTACTS:
            for i, phone in enumerate(phones):
                if PHONES[phone.label].contact == name:
                    first, stop = self._contact_frames(phone, taken)
                    taken.update(range(first, stop))
                    self._runs[name].append((i, first, stop))

    def frames(self, contact: str) -> list[tuple[int, int]]:
        """Return the frame range [first, stop) of each contact of a kind, in time order.

        Args:
            contact: "PP" (p, b, m) or "FF" (f, v).
        """
        return [(first, stop) for _, first, stop in self._runs[contact]]

    def intervals(self, contact: str) -> list[tuple[float, float]]:
        """Return the times of the first and the last frame of each contact, in seconds."""
        return [(a / self._fps, (b - 1) / self._fps) for a, b in self.frames(contact)]

    def amount(self, contact: str) -> np.ndarray:
        """Return the (T,) share of the contact pose in each frame; it is 1 during a contact."""
        amount = np.zeros(self._n_frames)
        times = np.arange(self._n_frames) / self._fps
        for (i, _, _), (start, end) in zip(
            self._runs[contact], self.intervals(contact), strict=True
        ):
            before = (start - times) / self._transition_seconds(i - 1, CLOSING_SECONDS)
            after = (times - end) / self._transition_seconds(i + 1, OPENING_SECONDS)
            amount = np.maximum(amount, smoothstep(1.0 - np.maximum(before, after)))
        centers = [k for k in self._open_centers if 0 <= k < self._n_frames]
        amount[centers] = np.minimum(amount[centers], OPEN_CENTER_AMOUNT)
        for first, stop in self.frames(contact):
            amount[max(first, 0) : max(stop, 0)] = 1.0
        return amount

    def _contact_frames(self, phone: Phone, taken: set[int]) -> tuple[int, int]:
        """Return the frames inside the acoustic closure.

        If there are too few, return the minimum number of frames around its middle, preferably
        without the centers of open vowels and without frames in `taken`.
        """
        start, duration = phone.start_seconds, phone.end_seconds - phone.start_seconds
        share = max(PHONES[phone.label].contact_share, min(1.0, MIN_CONTACT_SECONDS / duration))
        first = int(np.ceil(start * self._fps - 1e-6))
        stop = int(np.floor((start + share * duration) * self._fps + 1e-6)) + 1
        if stop - first >= MIN_CONTACT_FRAMES:
            return first, stop
        middle = (start + share * duration / 2) * self._fps - (MIN_CONTACT_FRAMES - 1) / 2

        def cost(begin: int) -> float:
            run = set(range(begin, begin + MIN_CONTACT_FRAMES))
            return (
                abs(begin - middle) + 0.6 * len(run & self._open_centers) + 0.8 * len(run & taken)
            )

        first = min(range(round(middle) - 1, round(middle) + 2), key=cost)
        return first, first + MIN_CONTACT_FRAMES

    def _transition_seconds(self, neighbor: int, seconds: float) -> float:
        """Return the length of the transition next to a phone, which is shorter for short phones.

        Args:
            neighbor: The index of the phone.
            seconds: The maximum length.
        """
        if not 0 <= neighbor < len(self._phones) or self._phones[neighbor].label == SILENCE:
            return seconds
        phone = self._phones[neighbor]
        return float(np.clip(0.6 * (phone.end_seconds - phone.start_seconds), 0.045, seconds))
