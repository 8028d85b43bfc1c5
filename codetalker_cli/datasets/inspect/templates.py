"""Check whether the template of a subject belongs to its motion, and whether it is neutral."""

import numpy as np

from codetalker_cli.datasets.inspect.findings import Findings
from codetalker_cli.datasets.inspect.geometry import head_pose
from codetalker_cli.datasets.inspect.statistics import Sample, Statistics
from codetalker_cli.face_fit import rms_distance, spread

_NEARER = 0.5
"""Another subject's template fits better if its distance is below this fraction of the own one."""
_MODES = 16
"""The number of principal components; speech causes hardly any motion outside of them."""
_MIN_FRAMES = 12
# Correct templates are below 0.1, and templates of other subjects above 2.
_OTHER_FACE = 1.2
"""A larger distance from the modes, relative to the size of the motion, means a different face."""
_STILL = 1e-4
"""Smaller motion, as a fraction of the face's spread, is not checked."""
# Correct templates are within 0.2 of 0.
_OPEN = 0.45
"""The largest acceptable opening of a template, from shut (0) to wide open (1) in the frames."""


def better_template(
    frame: np.ndarray, subject: str, templates: dict[str, np.ndarray]
) -> tuple[str, float, float] | None:
    """Find a template that is far closer to a mean frame than the subject's own template.

    Returns:
        The subject of that template, its distance, and the distance of the subject's own template;
        None if there is no such template.
    """
    distances = {name: rms_distance(frame, template) for name, template in templates.items()}
    nearest = min(distances, key=lambda name: distances[name])
    if nearest == subject or distances[nearest] > _NEARER * distances[subject]:
        return None
    return nearest, distances[nearest], distances[subject]


def check_neutral(statistics: Statistics, findings: Findings) -> None:
    """Report templates that do not belong to the frames or have an open mouth."""
    sample = statistics.sample
    if sample is None or len(sample.offsets) < _MIN_FRAMES:
        return
    modes, opening = _modes(sample), _opening(statistics, sample)
    for name, subject in statistics.subjects.items():
        offsets = sample.offsets[sample.subjects == name].reshape(-1, modes.shape[1])
        if not subject.has_template or len(offsets) < _MIN_FRAMES:
            continue
        mean = offsets.mean(0)
        size = float(np.sqrt(np.square(offsets - mean).sum(1).mean()))
        if size < _STILL * np.sqrt(len(subject.base)) * spread(subject.base):
            continue
        outside = float(np.linalg.norm(mean - modes.T @ (modes @ mean))) / size
        if outside > _OTHER_FACE:
            findings.problem(
                "template",
                name,
                "the template is a different face than the frames: its distance from them is "
                f"{outside:.1f} times the size of their motion; give the neutral face of this "
                "subject",
            )
            continue
        if opening is None:
            continue
        shut, wide = np.quantile(offsets @ opening, [0.05, 0.95])
        openness = float(-shut / (wide - shut)) if wide > shut else 0.0
        if openness > _OPEN:
            findings.problem(
                "template",
                name,
                "the template is not neutral: its mouth is open "
                f"({100 * openness:.0f} % of the way from shut to wide open in the frames); give a "
                "neutral face with the mouth shut",
            )


def _modes(sample: Sample) -> np.ndarray:
    """Return the (k, 3V) principal components of the motion, normalized to unit length."""
    frames = sample.centered.reshape(len(sample.centered), -1)
    _, vectors = np.linalg.eigh((frames @ frames.T).astype(np.float64))
    n_modes = min(_MODES, len(frames) // 4)
    modes = vectors[:, ::-1][:, :n_modes].T.astype(np.float32) @ frames
    return modes / np.maximum(np.linalg.norm(modes, axis=1, keepdims=True), 1e-12)


def _opening(statistics: Statistics, sample: Sample) -> np.ndarray | None:
    """Return a (3V,) vector whose dot product with an offset measures how far the lips are open.

    The result is None if the lips or the up direction cannot be determined.
    """
    topology = statistics.topology
    if topology is None:
        return None
    # If the mouths of the templates are open, the inferred lips can be wrong.
    for lips in (statistics.moving_lips(), topology.regions.get("lips")):
        pose = None if lips is None or not len(lips) else head_pose(sample, topology, lips)
        if lips is not None and pose is not None and pose.up:
            opening = np.zeros_like(sample.mean_face)
            height = sample.mean_face[lips, abs(pose.up) - 1]
            opening[lips, abs(pose.up) - 1] = height - height.mean()
            return opening.ravel()
    return None
