"""Predict a clip from the same words in other clips of the person: the limit of what words tell."""

from collections.abc import Sequence

import numpy as np

from codetalker_cli.face_track import TimedWord
from codetalker_cli.metrics.mouth_curves import MouthCurves
from codetalker_cli.metrics.people import SILENCE, Clip, inside_words, resample


def repeat_words(clip: Clip, others: Sequence[Clip]) -> tuple[MouthCurves, MouthCurves]:
    """Return the curves of a clip as other clips of the person predict them.

    Each word is taken from clips that contain it, stretched linearly to its length here. Words with
    untracked frames are not used. Frames outside of words, and of words that are not found, are
    NaN.

    Args:
        clip: The clip to predict, of which only the words and the times are used.
        others: Other clips of the same person, in order of preference.

    Returns:
        The word as it is said in the first clip that contains it, and its mean over all clips.
    """
    times = clip.curves.times
    once = np.full((2, len(times)), np.nan)
    mean = once.copy()
    for word in clip.words:
        if word.label in SILENCE:
            continue
        frames = inside_words(times, [word])
        said = [
            _stretched(other, same, word, times[frames])
            for other in others
            for same in other.words
            if same.label == word.label
        ]
        said = [curves for curves in said if np.isfinite(curves).all()]
        if said:
            once[:, frames] = said[0]
            mean[:, frames] = np.mean(said, axis=0)
    first, second = (MouthCurves(times, opening, width) for opening, width in (once, mean))
    return first, second


def _stretched(clip: Clip, same: TimedWord, word: TimedWord, times: np.ndarray) -> np.ndarray:
    """Return the (2, n) opening and width of a word of another clip at times in this clip."""
    share = (times - word.start_seconds) / (word.end_seconds - word.start_seconds)
    at = same.start_seconds + share * (same.end_seconds - same.start_seconds)
    curves = clip.curves
    return np.stack([resample(curves.times, c, at) for c in (curves.opening, curves.width)])
