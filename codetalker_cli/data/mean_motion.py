"""The mean motion of a data set: the best answer of a face that does not listen."""

from collections.abc import Mapping, Sequence

import numpy as np

from codetalker_cli.data.prepared import Clip

MEAN_FRAMES = 4000
"""Frames that the mean is taken from, spread evenly over the clips."""


def mean_offset(clips: Sequence[Clip], templates: Mapping[str, np.ndarray]) -> np.ndarray:
    """(V, 3) float32 mean offset from the template, over frames of all clips.

    Args:
        clips: At least one, of any subjects.
        templates: Subject → (V, 3).
    """
    per_clip = max(1, MEAN_FRAMES // len(clips))
    total = np.zeros_like(templates[clips[0].entry.subject], dtype=np.float64)
    count = 0
    for clip in clips:
        vertices = clip.vertices
        frames = np.linspace(0, len(vertices) - 1, min(per_clip, len(vertices)))
        chosen = vertices[frames.round().astype(int)]
        total += (chosen - templates[clip.entry.subject]).sum(0, dtype=np.float64)
        count += len(chosen)
    return (total / count).astype(np.float32)
