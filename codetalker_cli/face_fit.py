"""Compare the frames of a motion with the neutral face they belong to: size, position, rotation.

All sizes are relative, so the comparison is the same in every length unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Faces of different people in the same place are within this distance.
_FITS = 0.25
"""The largest RMS distance between mean frame and template, as a fraction of the face's spread."""
_TURNED = 20.0
"""The smallest rotation to report, in degrees; the shape of a face can cause smaller ones."""
_SCALE = 1.35
"""The largest plausible ratio between the sizes of two people's faces."""
# A head that moves by some centimeters or looks aside stays below these limits.
_MOVED = 1.0
"""A larger displacement, as a fraction of the face's spread, is more than head motion."""
_AWAY = 60.0
"""A larger rotation, in degrees, is more than head motion."""
_DEFORMED = 0.5
"""A larger RMS distance, as a fraction of the face's spread, is more than an expression."""
SAME_SIZE = (0.4, 2.5)
"""The range of the ratio of two sizes of the same face; length units differ by more, such as 2.54
from cm to inches."""
FAR = 2.0
"""Two motions of a face whose centers are this many face sizes apart are in different places."""
_COLLAPSED = 1e-4
"""Vertices that reach less far than this fraction of the face are all at one point."""
_SAME_POINT = 0.1
"""The largest distance of two points that are the same, as a fraction of the face's spread."""
_COMPARED_POINTS = 4000
"""The maximum number of vertices whose order is compared."""
_ABSURD = 20.0
"""A frame that is this many times as large as the other frames of its clip is damaged."""
_SAMPLED_FRAMES = 60
"""The maximum number of evenly spaced frames in the mean face of a clip."""
_SAMPLED_BYTES = 64 << 20
"""The maximum size of these frames."""
_UNIT_RATIOS = {3: "mm against m", 2: "cm against m", -2: "m against cm", -3: "m against mm"}
"""Powers of ten between two units."""


@dataclass(frozen=True)
class Misfit:
    """The way in which frames do not fit a template.

    Attributes:
        reason: A one-line message: what was found and what to do.
        is_certain: Whether neither head motion nor an expression can explain the difference.
    """

    reason: str
    is_certain: bool


@dataclass(frozen=True)
class _Shape:
    center: np.ndarray
    spread: float

    @classmethod
    def of(cls, vertices: np.ndarray) -> "_Shape":
        center = vertices.mean(0)
        return cls(center, float(np.sqrt(np.square(vertices - center).sum(1).mean())))


def spread(vertices: np.ndarray) -> float:
    """Return the RMS distance of vertices (V, 3) from their center."""
    return _Shape.of(vertices).spread


def rms_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the RMS distance between corresponding vertices of two faces (V, 3)."""
    return float(np.sqrt(np.square(a - b).sum(1).mean()))


def misfit(frame: np.ndarray, template: np.ndarray, unit: str = "") -> Misfit | None:
    """Compare the mean frame (V, 3) of a clip with a template (V, 3).

    Args:
        frame: The mean frame.
        template: The template.
        unit: The length unit of both, for the message.

    Returns:
        The difference if the position, size, rotation or vertex order does not fit, else None.
    """
    frame, template = frame.astype(np.float64), template.astype(np.float64)
    frame_shape, template_shape = _Shape.of(frame), _Shape.of(template)
    if template_shape.spread == 0:
        return None
    scale = frame_shape.spread / template_shape.spread
    if not 1 / _SCALE < scale < _SCALE:
        return Misfit(_describe_scale(frame, template, scale), True)
    tolerance = _FITS * template_shape.spread
    if rms_distance(frame, template) < tolerance:
        return None
    a, b = frame - frame_shape.center, template - template_shape.center
    if rms_distance(a, b) < tolerance:
        moved = frame_shape.center - template_shape.center
        is_certain = float(np.linalg.norm(moved)) > _MOVED * template_shape.spread
        moved[np.abs(moved) < 1e-2 * template_shape.spread] = 0
        shift = ", ".join(f"{x:.3g}" for x in moved)
        return Misfit(
            f"the frames are displaced from the template by ({shift}){unit and ' '}{unit}; remove "
            "the head motion from the frames, or move the template to their position",
            is_certain,
        )
    rotation, degrees, is_mirrored = _align(a, b)
    distance = rms_distance(a @ rotation, b)
    if (is_mirrored or degrees > _TURNED) and distance < tolerance:
        how = "mirrored" if is_mirrored else f"rotated by {degrees:.0f}°"
        return Misfit(
            f"the frames are {how} relative to the template; convert both to the same axes and "
            "prepare the data again",
            is_mirrored or degrees > _AWAY,
        )
    return Misfit(
        "the frames have a different shape than the template, so the vertex order or the topology "
        "may differ; take the template and the motion from the same source",
        distance > _DEFORMED * template_shape.spread,
    )


def _align(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """Return the (3, 3) rotation of ``a`` onto ``b``, its angle in degrees, and if it mirrors."""
    u, _, v = np.linalg.svd(a.T @ b)
    rotation = u @ v
    degrees = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return rotation, float(degrees), bool(np.linalg.det(rotation) < 0)


def _describe_scale(frame: np.ndarray, template: np.ndarray, scale: float) -> str:
    """Explain why frames (V, 3) are ``scale`` times as large as a template (V, 3)."""
    a, b = frame - frame.mean(0), template - template.mean(0)
    is_same_shape = _is_same_face((a @ _align(a, b)[0]) / max(scale, 1e-12), b)
    if scale < 1 and not is_same_shape and _is_same_face(frame + template, template):
        return (
            "the frames look like displacements from the template, not positions (template + frame "
            "fits the template); add the template to each frame and save the positions"
        )
    size = f"the frames are {scale:.4g} times as large as the template"
    power = round(np.log10(max(scale, 1e-12)))
    if abs(np.log10(max(scale, 1e-12)) - power) < 0.1 and power in _UNIT_RATIOS:
        cause = _UNIT_RATIOS[power]
        return f"{size} ({cause}?); convert both to the same unit and prepare the data again"
    if is_same_shape:
        return (
            f"{size}; they may be normalized or in another unit: save the positions as captured, "
            "in the unit of the template"
        )
    return (
        f"{size} and have a different shape; save the positions of all vertices in the unit and "
        "the vertex order of the template"
    )


def _is_same_face(frame: np.ndarray, template: np.ndarray) -> bool:
    return rms_distance(frame, template) < _FITS * spread(template)


class ClipFit:
    """Compares a clip with its template while the frames pass by in blocks.

    Args:
        template: (V, 3) neutral face of the subject.
        n_frames: The number of frames of the clip.
    """

    def __init__(self, template: np.ndarray, n_frames: int) -> None:
        self._template = template
        most = min(_SAMPLED_FRAMES, max(1, _SAMPLED_BYTES // max(1, 12 * len(template))))
        sampled = np.linspace(0, n_frames - 1, min(n_frames, most)).round().astype(int)
        self._is_sampled = np.zeros(n_frames, bool)
        self._is_sampled[sampled] = True
        self._sizes: list[np.ndarray] = []
        self._samples: list[np.ndarray] = []
        self._n_frames = 0

    def add(self, block: np.ndarray) -> None:
        """Add the next finite frames (k, V, 3), in order."""
        self._sizes.append((block.max(1) - block.min(1)).max(1).astype(np.float64))
        chosen = self._is_sampled[self._n_frames : self._n_frames + len(block)]
        self._samples.append(block[chosen].astype(np.float32))
        self._n_frames += len(block)

    def fault(self) -> str | None:
        """Return why the clip cannot be used with the template, or None if it fits."""
        sizes, samples = np.concatenate(self._sizes), np.concatenate(self._samples)
        typical = float(np.median(sizes))
        template_size = size_of(self._template)
        is_flat = sizes <= _COLLAPSED * max(typical, _COLLAPSED * template_size)
        if is_flat.all():
            return (
                "all vertices are at one point in every frame, as if the face was never tracked; "
                "export the clip again, or remove it"
            )
        typical = float(np.median(sizes[~is_flat]))
        is_absurd = sizes > _ABSURD * typical
        kept = ~(is_flat | is_absurd)[np.flatnonzero(self._is_sampled[: len(sizes)])]
        if kept.any():
            difference = misfit(samples[kept].mean(0, dtype=np.float64), self._template)
            if difference is not None and difference.is_certain:
                return difference.reason
        if is_flat.any():
            return (
                f"{_describe_frames(is_flat)} all vertices at one point, as if the face was not "
                "tracked; remove these frames from the motion, or repair or remove the clip"
            )
        if is_absurd.any():
            ratio = float(sizes.max()) / typical
            return (
                f"{_describe_frames(is_absurd)} vertices far away from the face (the largest frame "
                f"is {ratio:.3g} times as large as the others); repair or remove the clip"
            )
        return None


def _describe_frames(chosen: np.ndarray) -> str:
    n, first = int(chosen.sum()), int(chosen.argmax())
    if n == 1:
        return f"the frame at position {first} of {len(chosen)} has"
    return f"{n} of {len(chosen)} frames (the first at position {first}) have"


# Comparing two motions ----------------------------------------------------------------------------


def size_of(vertices: np.ndarray) -> float:
    """Return the longest side of the bounding box of vertices (V, 3)."""
    return float(np.ptp(np.asarray(vertices, np.float64), axis=0).max())


def prediction_fault(vertices: np.ndarray, template: np.ndarray) -> str | None:
    """Return why predicted vertices (n, V, 3) cannot be a face with this template, or None."""
    if not np.isfinite(vertices).all():
        return "the prediction contains NaN or infinite vertices"
    reach = float(np.abs(vertices - template).max(initial=0)) / max(size_of(template), 1e-30)
    if reach > _ABSURD:
        return f"predicted vertices are {reach:.3g} times the size of the face away from it"
    return None


def difference_in_size(
    templates: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]
) -> str | None:
    """Compare the median sizes of two sets of templates of one topology.

    Returns:
        A phrase such as ``1000 times as large``; None if there is no difference, or if one of the
        sets is empty.
    """
    if not templates or not others:
        return None
    sizes = [
        float(np.median([size_of(v) for v in faces.values()])) for faces in (templates, others)
    ]
    if not (np.isfinite(sizes).all() and sizes[1] > 0):
        return None
    ratio = sizes[0] / sizes[1]
    return None if SAME_SIZE[0] <= ratio <= SAME_SIZE[1] else f"{ratio:.4g} times as large"


def difference_in_place(frame: np.ndarray, other: np.ndarray) -> str | None:
    """Compare the size, position, rotation and vertex order of two frames (V, 3) of the same face.

    Returns:
        A phrase that describes the difference, such as ``is 1000 times as large as``; None if
        there is none, or if a size is 0 or not finite. Different shapes are not a difference.
    """
    frame, other = np.asarray(frame, np.float64), np.asarray(other, np.float64)
    size, other_size = size_of(frame), size_of(other)
    if not (np.isfinite([size, other_size]).all() and other_size > 0):
        return None
    ratio = size / other_size
    if not SAME_SIZE[0] <= ratio <= SAME_SIZE[1]:
        return f"is {ratio:.4g} times as large as"
    distance = float(np.linalg.norm(frame.mean(0) - other.mean(0)))
    if distance > FAR * other_size:
        return f"is {distance / other_size:.3g} face sizes away from"
    return difference_in_pose(frame, other)


def difference_in_pose(frame: np.ndarray, other: np.ndarray) -> str | None:
    """Compare the rotation and the vertex order of two frames (V, 3) of the same face.

    Returns:
        A phrase such as ``is mirrored relative to``; None if there is no difference, or if the
        numbers of vertices differ.
    """
    if frame.shape != other.shape:
        return None
    a, b = frame - frame.mean(0), other - other.mean(0)
    tolerance = _FITS * spread(other)
    if rms_distance(a, b) < tolerance:
        return None
    rotation, degrees, is_mirrored = _align(a, b)
    if rms_distance(a @ rotation, b) < tolerance:
        if is_mirrored:
            return "is mirrored relative to"
        return f"is rotated by {degrees:.0f}° relative to" if degrees > _AWAY else None
    return "has another vertex order than" if _has_same_points(a, b) else None


def _has_same_points(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two faces (V, 3) have the same points, in whatever order."""
    from scipy.spatial import KDTree

    chosen = np.linspace(0, len(a) - 1, min(len(a), _COMPARED_POINTS)).round().astype(int)
    distances, _ = KDTree(b).query(a[chosen])
    return float(np.sqrt(np.square(distances).mean())) < _SAME_POINT * spread(b)


def collapsed(frames: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return which frames (n, V, 3) have all vertices at one point, as if no face was tracked."""
    size = size_of(template)
    if size == 0:  # the face itself is a single point
        return np.zeros(len(frames), bool)
    return np.ptp(frames, axis=1).max(1) <= _COLLAPSED * size
