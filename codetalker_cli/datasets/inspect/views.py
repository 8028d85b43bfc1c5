"""Make the content of the contact sheet: pictures of faces, and curves of motion and loudness."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codetalker_cli.datasets.inspect.clips import frame_blocks
from codetalker_cli.datasets.inspect.statistics import ClipStatistics, Statistics
from codetalker_cli.datasets.inspect.sync import MOST_SECONDS
from codetalker_cli.datasets.lag import Lag, best_lag, correlation, loudness_curve
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.motion import Motion
from codetalker_cli.settings import RenderSettings
from codetalker_cli.topology import Topology

if TYPE_CHECKING:
    from codetalker_cli.render.scene import Scene

PICTURE = RenderSettings(size=400, samples=2, renderer="software", workers=1)
_MOUTH_MARGIN = 0.35
"""The margin around the lips in a close-up, as a fraction of their width."""
_MIN_CLOSE_UP = 24
"""The smallest close-up, in pixels."""


@dataclass(frozen=True)
class Picture:
    """An image of a face, and a close-up of its mouth (None if the position is unknown)."""

    face: np.ndarray
    mouth: np.ndarray | None = None


@dataclass(frozen=True)
class Curves:
    """The motion and loudness of a clip over time.

    Attributes:
        name: The name of the clip.
        fps: The frame rate.
        energy: (T,) distance of the lips (or the vertices that move most) from the template,
            divided by its 98th percentile.
        loudness: (T,) loudness from 0 to 1; None if there is no readable speech.
        audio_seconds: The length of the speech.
        widest: The frame with the widest mouth.
        lags: The lags of the whole clip, its first half and its second half, or None.
    """

    name: str
    fps: float
    energy: np.ndarray
    loudness: np.ndarray | None
    audio_seconds: float
    widest: int
    lags: tuple[Lag, Lag, Lag] | None


@dataclass(frozen=True)
class SheetView:
    """A row of the sheet; anything that cannot be shown is replaced by a text."""

    subject: str
    template: Picture | str
    widest: Picture | str
    curves: Curves | str


def view(statistics: Statistics, name: str) -> SheetView:
    """Return the row of the sheet for a subject; texts replace what faulty data cannot show."""
    subject = statistics.subjects.get(name)
    if subject is None:
        rest = statistics.templates.get(name)
        if rest is None:
            return SheetView(name, "no template", "no clip", "no clip could be read")
        picture = _pictures(statistics, name, [rest])[0]
        return SheetView(name, picture, "no clip", "no clip could be read")
    clip = max(subject.clips, key=lambda clip: len(clip.energy))
    lips = statistics.mouth()
    try:
        curves, frame = _curves(clip, subject.base, lips, statistics)
    except OSError as error:
        picture = _pictures(statistics, name, [subject.base])[0]
        return SheetView(name, picture, "cannot be read", f"{clip.name}: {error}")
    if clip.fits:
        template, widest = _pictures(statistics, name, [subject.base, frame])
    else:  # the position or size differs, so each picture needs its own camera
        (template,) = _pictures(statistics, name, [subject.base])
        (widest,) = _pictures(statistics, name, [frame])
    return SheetView(name, template if subject.has_template else "no template", widest, curves)


def _curves(
    clip: ClipStatistics, base: np.ndarray, lips: np.ndarray | None, statistics: Statistics
) -> tuple[Curves, np.ndarray]:
    """Return the curves of a clip, and its (V, 3) frame with the widest mouth."""
    selected = _most_moving_vertices(statistics) if lips is None else lips
    topology, fps = statistics.topology, statistics.manifest.fps
    energy, frame = np.zeros(len(clip.energy)), base
    opening: list[np.ndarray] = []
    widest = -np.inf
    for number, block, _ in frame_blocks(clip.source.vertices_path, clip.header):
        frames, start = (block[1:], number + 1) if opening else (block, 0)
        with np.errstate(invalid="ignore", over="ignore"):
            offsets = frames[:, selected] - base[selected]
            distances = np.sqrt(np.square(offsets).sum(-1).mean(-1))
            width = (
                _lip_gap(topology, frames) if topology is not None and lips is not None else None
            )
        energy[start : start + len(frames)] = distances
        width = np.nan_to_num(distances if width is None else width, nan=-1, posinf=-1)
        opening.append(width)
        if width.max() > widest:
            widest, frame = float(width.max()), frames[width.argmax()].copy()
    energy = np.nan_to_num(energy, nan=0, posinf=0)
    widest_at = int(np.concatenate(opening).argmax())
    audio = clip.audio
    loudness = None
    if audio is not None and len(audio.level) == len(energy):
        loudness = loudness_curve(audio.level)
    lags = None if loudness is None or fps <= 0 else _lags_of_halves(energy, loudness, fps)
    usual_peak = float(np.quantile(energy, 0.98)) or 1.0
    seconds = 0.0 if audio is None else audio.seconds
    curves = Curves(clip.name, fps, energy / usual_peak, loudness, seconds, widest_at, lags)
    return curves, frame


def _lip_gap(topology: Topology, vertices: np.ndarray) -> np.ndarray | None:
    """Return the (T,) gap between the lips; None if the topology has no lip pairs."""
    pair = [topology.regions.get(f"inner_lip_{side}", np.zeros(0)) for side in ("upper", "lower")]
    if not len(pair[0]) or len(pair[0]) != len(pair[1]):
        return None
    return topology.inner_lip_gap(vertices)


def _most_moving_vertices(statistics: Statistics) -> np.ndarray:
    """Return the 5 % of the vertices that move most."""
    sample, n_vertices = statistics.sample, statistics.n_vertices or 1
    if sample is None:
        return np.arange(n_vertices)
    return np.argsort(-sample.variance)[: max(1, n_vertices // 20)]


def _lags_of_halves(energy: np.ndarray, loudness: np.ndarray, fps: float) -> tuple[Lag, Lag, Lag]:
    """Return the lags of the whole clip, its first half and its second half."""
    n, n_lags = len(energy), max(1, round(MOST_SECONDS * fps))
    whole, first, second = (
        best_lag(correlation(energy[part], loudness[part], n_lags), len(energy[part]))
        for part in (slice(n), slice(n // 2), slice(n // 2, n))
    )
    return whole, first, second


def _pictures(statistics: Statistics, name: str, shapes: list[np.ndarray]) -> list[Picture | str]:
    """Render faces (V, 3) with a camera that is aimed at the first one."""
    from codetalker_cli.render.backends import make_renderer
    from codetalker_cli.render.scene import build_scene

    topology = statistics.topology
    if topology is None:
        return ["no triangles"] * len(shapes)
    if not all(np.isfinite(shape).all() for shape in shapes):
        shapes = [np.where(np.isfinite(shape), shape, shapes[0]) for shape in shapes]
    colors = statistics.colors.get(name)
    motion = Motion(np.stack(shapes), 1.0, topology, name, np.asarray(shapes[0]), colors)
    pictures: list[Picture | str] = []
    try:
        scene = build_scene(motion, PICTURE)
        renderer = make_renderer("software", scene)
        lips = statistics.mouth()
        for shape in shapes:
            face = renderer.render(shape)
            pictures.append(
                Picture(face, None if lips is None else _close_up(face, scene, shape[lips]))
            )
    except (CodeTalkerError, ValueError, IndexError, FloatingPointError) as error:
        pictures += [f"cannot be drawn: {error}"] * (len(shapes) - len(pictures))
    return pictures


def _close_up(face: np.ndarray, scene: "Scene", lips: np.ndarray) -> np.ndarray | None:
    """Return the square of a picture around the lips; None if it is too small."""
    if not np.isfinite(lips).all():
        return None
    x, y, _ = scene.camera.project(lips).T
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()])
    half = max(high - low) * (0.5 + _MOUTH_MARGIN)
    middle = (low + high) / 2
    size = len(face)
    left, top = (int(max(v, 0)) for v in middle - half)
    right, bottom = (int(min(v, size)) for v in middle + half)
    if min(right - left, bottom - top) < _MIN_CLOSE_UP:
        return None
    return face[top:bottom, left:right]
