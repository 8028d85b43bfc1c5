"""How lively a motion is: its energy and jitter, its styles, and its stillness without speech."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

SHAKY_HZ = 8.0
"""Faces do not move on purpose above this frequency."""
OPEN_MM = 1.0
"""Gap of the inner lips above which a resting mouth counts as open."""


class Energies(NamedTuple):
    """Mean squared velocity of a vertex, in squared length units a second².

    Attributes:
        whole: All of it.
        shaky: The part above 8 Hz.
    """

    whole: float
    shaky: float


class ClipLiveness(NamedTuple):
    """What one clip adds to ``summarize``.

    Attributes:
        prediction, truth: Energies of the motion in its speaker's style, and of the data's.
        style_distance: Mean distance between the motions in two styles, in length units.
        own_is_nearer: Whether the motion in the speaker's style is nearer to the data.
    """

    prediction: Energies
    truth: Energies
    style_distance: float
    own_is_nearer: bool


def energies(positions: Float[np.ndarray, "frames vertices 3"], fps: float) -> Energies:
    """Return the energies of a motion of two frames or more, by Parseval's theorem.

    Args:
        positions: Positions of the vertices that count, usually the lips.
        fps: Frames a second.
    """
    velocity = np.diff(positions.reshape(len(positions), -1), axis=0) * fps
    spectrum = np.square(np.abs(np.fft.rfft(velocity, axis=0))) / len(velocity) ** 2
    spectrum[1:] *= 2.0  # both signs of the frequency
    if len(velocity) % 2 == 0:
        spectrum[-1] /= 2.0
    frequency = np.fft.rfftfreq(len(velocity), 1.0 / fps)
    scale = 3.0 / velocity.shape[1]
    whole, shaky = spectrum.sum(), spectrum[frequency > SHAKY_HZ].sum()
    return Energies(float(whole * scale), float(shaky * scale))


def compare(
    true: Float[np.ndarray, "true_frames vertices 3"],
    own: Float[np.ndarray, "frames vertices 3"],
    other: Float[np.ndarray, "frames vertices 3"],
    fps: float,
) -> ClipLiveness:
    """Compare a clip with the data, in its speaker's style and in another.

    Args:
        true: Positions of the data; what is longer than ``own`` is cut.
        own: Positions in the style of the clip's speaker.
        other: Positions in another style.
        fps: Frames a second.
    """
    n = min(len(true), len(own))
    errors = [np.linalg.norm(x[:n] - true[:n], axis=-1).mean() for x in (own, other)]
    return ClipLiveness(
        energies(own[:n], fps),
        energies(true[:n], fps),
        float(np.linalg.norm(other - own, axis=-1).mean()),
        bool(errors[0] < errors[1]),
    )


def summarize(clips: Sequence[ClipLiveness], mm_per_unit: float) -> dict[str, float]:
    """The measures over clips.

    Returns:
        ``energy``, ``jitter``: mean energy of the predictions, whole and above 8 Hz, as a multiple
        of the data's. ``styles``: mean distance between two styles, in mm. ``own``: share of the
        clips that are nearer to the data in the speaker's style than in another.
    """
    energy, jitter = np.mean([clip.prediction for clip in clips], 0)
    true_energy, true_jitter = np.mean([clip.truth for clip in clips], 0)
    return {
        "energy": float(energy / true_energy),
        "jitter": float(jitter / true_jitter),
        "styles": float(np.mean([clip.style_distance * mm_per_unit for clip in clips])),
        "own": float(np.mean([clip.own_is_nearer for clip in clips])),
    }


def stillness(
    gaps_mm: Sequence[Float[np.ndarray, " _"]], energy: Sequence[float], speech_energy: float
) -> dict[str, float]:
    """How still faces are while nobody speaks.

    Args:
        gaps_mm: For each face the gap of its inner lips in millimeters.
        energy: For each face its whole energy.
        speech_energy: The whole energy of speech, in the same unit.

    Returns:
        ``gap``: the widest gap, in mm. ``open``: the share of frames with one above 1 mm.
        ``energy``: the mean energy as a share of that of speech.
    """
    gaps = np.concatenate(gaps_mm)
    return {
        "gap": float(np.max(gaps)),
        "open": float(np.mean(gaps > OPEN_MM)),
        "energy": float(np.mean(energy)) / speech_energy,
    }
