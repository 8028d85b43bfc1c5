"""Check whether motion fits the template of its subject, and whether the template is neutral."""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.datasets.inspect.findings import Findings
from codetalker_cli.datasets.inspect.geometry import head_pose
from codetalker_cli.datasets.inspect.statistics import Sample, Statistics

# Faces of different people in the same place are within this distance.
_FITS = 0.25
"""The largest RMS distance between mean frame and template, as a fraction of the face's spread."""
_TURNED = 20.0
"""The smallest rotation to report, in degrees; the shape of a face can cause smaller ones."""
_SCALE = 1.35
"""The largest plausible ratio between the sizes of two people's faces."""
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


@dataclass(frozen=True)
class _Shape:
    center: np.ndarray
    spread: float

    @classmethod
    def of(cls, vertices: np.ndarray) -> "_Shape":
        center = vertices.mean(0)
        return cls(center, float(np.sqrt(np.square(vertices - center).sum(1).mean())))


def misfit(frame: np.ndarray, template: np.ndarray, unit: str = "") -> str | None:
    """Compare the mean frame (V, 3) of a clip with a template (V, 3).

    Args:
        frame: The mean frame.
        template: The template.
        unit: The length unit of both, for the message.

    Returns:
        A one-line message if the position, size, rotation or vertex order does not fit, else None.
    """
    frame, template = frame.astype(np.float64), template.astype(np.float64)
    frame_shape, template_shape = _Shape.of(frame), _Shape.of(template)
    if template_shape.spread == 0:
        return None
    scale = frame_shape.spread / template_shape.spread
    if not 1 / _SCALE < scale < _SCALE:
        power = round(np.log10(max(scale, 1e-12)))
        cause = ""
        if abs(np.log10(max(scale, 1e-12)) - power) < 0.1 and power in (-3, -2, 2, 3):
            names = {3: "mm against m", 2: "cm against m", -2: "m against cm", -3: "m against mm"}
            cause = f" ({names[power]}?)"
        return (
            f"the frames are {scale:.4g} times as large as the template{cause}; convert both to "
            "the same unit and prepare the data again"
        )
    if _distance(frame, template) < _FITS * template_shape.spread:
        return None
    a, b = frame - frame_shape.center, template - template_shape.center
    if _distance(a, b) < _FITS * template_shape.spread:
        moved = frame_shape.center - template_shape.center
        moved[np.abs(moved) < 1e-2 * template_shape.spread] = 0
        shift = ", ".join(f"{x:.3g}" for x in moved)
        return (
            f"the frames are displaced from the template by ({shift}){unit and ' '}{unit}; remove "
            "the head motion from the frames, or move the template to their position"
        )
    u, _, v = np.linalg.svd(a.T @ b)
    mirrored = np.linalg.det(u @ v) < 0
    degrees = np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1)))
    if (mirrored or degrees > _TURNED) and _distance(
        a @ (u @ v), b
    ) < _FITS * template_shape.spread:
        how = "mirrored" if mirrored else f"rotated by {degrees:.0f}°"
        return (
            f"the frames are {how} relative to the template; convert both to the same axes and "
            "prepare the data again"
        )
    return (
        "the frames have a different shape than the template, so the vertex order or the topology "
        "may differ; take the template and the motion from the same source"
    )


def better_template(
    frame: np.ndarray, subject: str, templates: dict[str, np.ndarray]
) -> tuple[str, float, float] | None:
    """Find a template that is far closer to a mean frame than the subject's own template.

    Returns:
        The subject of that template, its distance, and the distance of the subject's own template;
        None if there is no such template.
    """
    distances = {name: _distance(frame, template) for name, template in templates.items()}
    nearest = min(distances, key=lambda name: distances[name])
    if nearest == subject or distances[nearest] > _NEARER * distances[subject]:
        return None
    return nearest, distances[nearest], distances[subject]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).sum(1).mean()))


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
        if size < _STILL * np.sqrt(len(subject.base)) * _Shape.of(subject.base).spread:
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
