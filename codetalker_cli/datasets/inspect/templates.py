"""Does the motion of a subject belong to its template, and is the template at rest?"""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.datasets.inspect.findings import Findings
from codetalker_cli.datasets.inspect.geometry import head_pose
from codetalker_cli.datasets.inspect.statistics import Sample, Statistics

_FITS = 0.25
"""Root mean square distance of mean frame and template, in parts of the face's spread, below which
they are the same kind of face in the same place, if not the same person."""
_TURNED = 20.0
"""Degrees from which on frames are turned; less may be another person."""
_SCALE = 1.35
"""Faces of different people do not differ so much in size."""
_NEARER = 0.5
"""Another template is taken for the true one if it is so much nearer."""
_MODES = 16
"""Principal components of the motion: what is outside of them no speech does."""
_MIN_FRAMES = 12
_OTHER_FACE = 1.2
"""Distance of template and motion outside of the modes, in parts of the motion's own size, from
which on it is another face. A right template stays below 0.1, another subject's is above 2."""
_STILL = 1e-4
"""Motion smaller than this, in parts of the face's spread, tells nothing."""
_OPEN = 0.45
"""Where the template lies between shut (0) and wide open (1), as far as the frames go. A right one
is within 0.2 of 0."""


@dataclass(frozen=True)
class _Shape:
    center: np.ndarray
    spread: float

    @classmethod
    def of(cls, vertices: np.ndarray) -> "_Shape":
        center = vertices.mean(0)
        return cls(center, float(np.sqrt(np.square(vertices - center).sum(1).mean())))


def misfit(frame: np.ndarray, template: np.ndarray) -> str | None:
    """Why a clip, by its mean frame (V, 3), cannot belong to a template (V, 3), as a line.

    None: it can, as far as place, size, turn and order of the vertices go.
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
            f"the frames are {scale:.4g} times as large as the template{cause}; give both the same "
            "unit and prepare the data again"
        )
    if _distance(frame, template) < _FITS * template_shape.spread:
        return None
    a, b = frame - frame_shape.center, template - template_shape.center
    if _distance(a, b) < _FITS * template_shape.spread:
        moved = frame_shape.center - template_shape.center
        moved[np.abs(moved) < 1e-2 * template_shape.spread] = 0
        shift = ", ".join(f"{x:.3g}" for x in moved)
        return (
            f"the frames lie elsewhere than the template, moved by ({shift}); take the motion of "
            "the head out of the frames, or put the template where they are"
        )
    u, _, v = np.linalg.svd(a.T @ b)
    mirrored = np.linalg.det(u @ v) < 0
    degrees = np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1)))
    if (mirrored or degrees > _TURNED) and _distance(
        a @ (u @ v), b
    ) < _FITS * template_shape.spread:
        how = "mirrored against" if mirrored else f"turned by {degrees:.0f}° against"
        return (
            f"the frames are {how} the template; give both the same axes and prepare the data again"
        )
    return (
        "the frames are no face like the template: another order of the vertices, or another "
        "topology; take template and motion from the same source"
    )


def better_template(
    frame: np.ndarray, subject: str, templates: dict[str, np.ndarray]
) -> tuple[str, float, float] | None:
    """Whose template is far nearer to a mean frame than the own one, and both distances."""
    distances = {name: _distance(frame, template) for name, template in templates.items()}
    nearest = min(distances, key=lambda name: distances[name])
    if nearest == subject or distances[nearest] > _NEARER * distances[subject]:
        return None
    return nearest, distances[nearest], distances[subject]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).sum(1).mean()))


def check_neutral(statistics: Statistics, findings: Findings) -> None:
    """Templates that are another face than the frames, or that have the mouth open."""
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
                f"the template is another face than the frames: it differs {outside:.1f} times as "
                "much from them as they move; give this subject's own neutral face",
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
                "face at rest with shut lips",
            )


def _modes(sample: Sample) -> np.ndarray:
    """(k, 3V) principal components of the motion, unit length."""
    frames = sample.centered.reshape(len(sample.centered), -1)
    _, vectors = np.linalg.eigh((frames @ frames.T).astype(np.float64))
    n_modes = min(_MODES, len(frames) // 4)
    modes = vectors[:, ::-1][:, :n_modes].T.astype(np.float32) @ frames
    return modes / np.maximum(np.linalg.norm(modes, axis=1, keepdims=True), 1e-12)


def _opening(statistics: Statistics, sample: Sample) -> np.ndarray | None:
    """(3V,) whose product with offsets grows as the lips go apart, up and down.

    None: it is not evident where the lips are, or what is up.
    """
    topology = statistics.topology
    if topology is None:
        return None
    # where the templates' mouths are open, the motion may tell the lips wrong
    for lips in (statistics.moving_lips(), topology.regions.get("lips")):
        pose = None if lips is None or not len(lips) else head_pose(sample, topology, lips)
        if lips is not None and pose is not None and pose.up:
            opening = np.zeros_like(sample.mean_face)
            height = sample.mean_face[lips, abs(pose.up) - 1]
            opening[lips, abs(pose.up) - 1] = height - height.mean()
            return opening.ravel()
    return None
