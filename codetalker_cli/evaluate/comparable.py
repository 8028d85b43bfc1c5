"""Check that a prediction has the unit, frame rate, size and pose of its ground truth."""

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.evaluate.pairs import Pair
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.face_fit import difference_in_place
from codetalker_cli.motion import Vertices

_SAMPLED_FRAMES = 8
"""The number of frames whose mean is compared."""
_RATE = 1e-3
"""The relative difference of two frame rates that counts as rounding."""


def check_comparable(pair: Pair, truth: Truth) -> None:
    """Check that the values of a prediction mean the same as those of its ground truth.

    Units and frame rates that the files store are compared. Sizes, positions, rotations and vertex
    orders are compared in any case, because a .npy stores none of them. The template must also fit
    the ground truth.

    Raises:
        InputError: A file cannot be read.
        DataError: A file is damaged, or the two motions cannot be compared.
    """
    predicted = truth.prediction(pair.clip, pair.path)
    true = truth.stored(pair.clip)
    if predicted.unit and true.unit and predicted.unit != true.unit:
        raise DataError(
            f"{pair.path}: the unit of the prediction is {predicted.unit}, but that of the ground "
            f"truth is {true.unit}; convert both to the same unit"
        )
    if predicted.fps and true.fps and abs(predicted.fps / true.fps - 1) > _RATE:
        raise DataError(
            f"{pair.path}: the prediction has {predicted.fps:g} frames per second, but the ground "
            f"truth has {true.fps:g}; predict at {true.fps:g} frames per second, or convert the "
            "prediction with Motion.at_fps"
        )
    n_frames = min(len(predicted.vertices), len(true.vertices))
    face, true_face = (_mean_face(motion.vertices, n_frames) for motion in (predicted, true))
    subject = truth.subjects[pair.clip]
    if difference := difference_in_place(truth.mesh.templates[subject], true_face):
        raise DataError(
            f"{truth.clips[pair.clip]}: the template of {subject} {difference} the ground truth; "
            "give both the same length unit, axes, position and vertex order"
        )
    if difference := difference_in_place(face, true_face):
        raise DataError(
            f"{pair.path}: the prediction {difference} the ground truth; give both the same "
            "length unit, axes, position and vertex order"
        )


def _mean_face(vertices: Vertices, n_frames: int) -> np.ndarray:
    frames = np.unique(np.linspace(0, n_frames - 1, _SAMPLED_FRAMES).round().astype(int))
    return np.asarray(vertices[frames], np.float64).mean(0)
