"""Opening and width of a mouth over time: of a filmed person, a motion, or the loudness of speech.

Lengths are in eye distances (between the outer corners of the eyes), so that people, meshes and
pictures of any size can be compared.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.face_track import FaceTrack, TimedWord
from codetalker_cli.metrics.lips import CLOSED_MM
from codetalker_cli.motion import Motion, vertex_blocks
from codetalker_cli.topology import Topology

EYE_DISTANCE_MM = 90.0
"""The distance between the outer corners of an adult's eyes; used for meshes without eyes."""
LEVEL_WINDOW_SECONDS = 0.025
"""The window in which the level of the speech is measured: that of most speech recognizers."""
LEVEL_FLOOR = 1e-10
"""The smallest mean square of a window, which is −100 dB."""
SPOKEN_DB = 30.0
"""Speech is at most this far below the 95th percentile of the level."""
SPEECH = "speech"
"""The word that stands for all speech of a recording whose words are not known."""
_EYES = ("eye_left", "eye_right")


@dataclass(frozen=True, eq=False)
class MouthCurves:
    """The opening and the width of a mouth in T frames.

    Attributes:
        times: The times of the frames in seconds, strictly increasing.
        opening: The distance of the lips in eye distances; NaN in frames without a face.
        width: The width of the mouth in eye distances; NaN where it is not known.
        closed_below: The largest opening of shut lips in eye distances, or None: the lips are shut
            relative to the opening of the clip (``people.CLOSED_SHARE``).
        is_length: Whether the curves are lengths; False for curves of another quantity, such as
            loudness, of which only the correlation has a meaning.
    """

    times: Float[np.ndarray, " frames"]
    opening: Float[np.ndarray, " frames"]
    width: Float[np.ndarray, " frames"]
    closed_below: float | None = None
    is_length: bool = True

    def __post_init__(self) -> None:
        if not np.isfinite(self.times).all() or (np.diff(self.times) <= 0).any():
            raise InputError("mouth curves: the times are not strictly increasing")

    @property
    def frame_seconds(self) -> float:
        """The median duration of a frame; 0 for fewer than two frames."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0


def of_track(track: FaceTrack) -> MouthCurves:
    """Return the curves of a filmed face, see ``FaceTrack.opening`` and ``FaceTrack.width``."""
    opening, width = (np.asarray(c, np.float64) for c in (track.opening(), track.width()))
    return MouthCurves(track.times, opening, width)


def of_motion(motion: Motion, eye_distance: float | None = None) -> MouthCurves:
    """Return the curves of a motion; frame k is shown at k / fps.

    The opening is the mean over the inner-lip pairs of the height of the upper lip above the lower
    one. The width is the extent in x of all inner-lip vertices. Lips are shut if the opening is at
    most 1 mm.

    Args:
        motion: A motion with +x to a side and +y up, whose head does not turn.
        eye_distance: The distance between the outer corners of the eyes in the topology's unit;
            None: see ``eye_distance_of``.

    Raises:
        DataError: The topology has no inner-lip pairs, or its unit is not known and
            ``eye_distance`` is None.
    """
    topology = motion.topology
    upper, lower = topology.region("inner_lip_upper"), topology.region("inner_lip_lower")
    if eye_distance is None:
        eye_distance = eye_distance_of(topology, motion.template)
    heights, widths = [], []
    for block in vertex_blocks(motion.vertices):
        top, bottom = block[:, upper].astype(np.float64), block[:, lower].astype(np.float64)
        heights.append((top[..., 1] - bottom[..., 1]).mean(1))
        widths.append(np.ptp(np.concatenate([top, bottom], axis=1)[..., 0], axis=1))
    closed = None
    if topology.meters_per_unit is not None:
        closed = CLOSED_MM / 1000.0 / topology.meters_per_unit / eye_distance
    times = np.arange(motion.n_frames) / motion.fps
    opening, width = (np.concatenate(parts) / eye_distance for parts in (heights, widths))
    return MouthCurves(times, opening, width, closed)


def eye_distance_of(topology: Topology, template: Float[np.ndarray, "vertices 3"]) -> float:
    """Return the distance between the outer corners of the eyes in the topology's unit.

    It is the extent in x of the parts ``eye_left`` and ``eye_right``, or ``EYE_DISTANCE_MM`` for a
    topology without these parts.

    Raises:
        DataError: The topology has no eyes, and its unit is not known.
    """
    if all(name in topology.parts for name in _EYES):
        eyes = [template[slice(*topology.parts[name]), 0] for name in _EYES]
        return float(np.ptp(np.concatenate(eyes)))
    if topology.meters_per_unit is None:
        raise DataError(
            f"topology {topology.name}: the length unit is unknown, so sizes cannot be compared"
        )
    return EYE_DISTANCE_MM / 1000.0 / topology.meters_per_unit


def level(
    samples: Float[np.ndarray, " samples"], times: Float[np.ndarray, " frames"]
) -> Float[np.ndarray, " frames"]:
    """Return the level of speech in dB: ten times the logarithm of the mean square in a window.

    Args:
        samples: Mono samples at 16 kHz.
        times: The middle of each window of 25 ms, in seconds. A window outside of the samples has
            the lowest level, −100 dB.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    half = LEVEL_WINDOW_SECONDS / 2
    first, last = (
        np.clip(np.rint((times + shift) * SAMPLE_RATE).astype(int), 0, len(samples))
        for shift in (-half, half)
    )
    power = (sums[last] - sums[first]) / np.maximum(1, last - first)
    return 10.0 * np.log10(np.maximum(power, LEVEL_FLOOR))


def of_loudness(
    samples: Float[np.ndarray, " samples"], times: Float[np.ndarray, " frames"]
) -> MouthCurves:
    """Return the level of speech as curves: louder is more open, and narrower.

    The width is the negative level, because a jaw that opens makes the mouth narrower.
    """
    loudness = level(samples, times)
    return MouthCurves(times, loudness, -loudness, is_length=False)


def spoken(samples: Float[np.ndarray, " samples"]) -> tuple[TimedWord, ...]:
    """Return the interval between the first and the last speech, as a single word.

    It is for recordings without known words. Speech is at most ``SPOKEN_DB`` below the 95th
    percentile of the level in steps of 10 ms. A silent recording has no word.
    """
    times = np.arange(0.0, len(samples) / SAMPLE_RATE, 0.01)
    loudness = level(samples, times)
    if not len(times) or loudness.max() <= 10.0 * np.log10(LEVEL_FLOOR):
        return ()
    loud = np.flatnonzero(loudness >= np.percentile(loudness, 95) - SPOKEN_DB)
    return (TimedWord(SPEECH, float(times[loud[0]]), float(times[loud[-1]])),)
