"""Describe the panels of a picture, check them, and prepare everything that is drawn."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from codetalker_cli.arrays import release_pages
from codetalker_cli.errors import RenderError, counted
from codetalker_cli.face_fit import collapsed, difference_in_place, difference_in_pose, size_of
from codetalker_cli.motion import Motion, Vertices
from codetalker_cli.render.captions import Strip, bar_strip, label_strip
from codetalker_cli.render.heat import heat_label, heat_range
from codetalker_cli.render.light import Materials
from codetalker_cli.render.scene import Scene, build_scene
from codetalker_cli.rigs.posing import turned
from codetalker_cli.settings import RenderSettings

MAX_EXTRA_FRAMES = 2
"""Largest difference in length between motions side by side; the video ends with the shortest."""


@dataclass(frozen=True)
class Panel:
    """One face in a picture.

    Attributes:
        motion: The motion to show.
        label: Text above the face; empty: none.
        against: Reference motion. If given, the panel is a heat map: in each frame, vertices are
            colored by their distance to this motion instead of by the face's colors.
        origin: Name of the motion in error messages, such as its file; empty: the label, or the
            subject if there is no label.
    """

    motion: Motion
    label: str = ""
    against: Motion | None = None
    origin: str = ""

    @property
    def name(self) -> str:
        """The name of the motion in error messages."""
        return self.origin or self.label or f"subject {self.motion.subject}"


Shown = Motion | Sequence[Panel]
"""Everything that can be drawn: a single motion, or panels from left to right."""


MAX_SCALE = 20.0
"""The largest plausible ratio of the sizes of a frame and its template; units differ by more."""
ABSURD = 1e4
"""Coordinates that exceed those of the template by this factor are damaged."""
MAX_AWAY = 5.0
"""The largest plausible distance of a frame from its template, in sizes of the template."""


def as_panels(shown: Shown) -> tuple[Panel, ...]:
    """Return the panels to draw, after checking that they can be drawn together.

    Raises:
        RenderError: There is no panel; a motion has no frames, an invalid frame rate, or vertices
            that do not fit its topology; motions differ in frame rate, or in length by more than
            two frames; or a motion and its reference differ in the number of vertices, unit, size
            or position.
    """
    panels = (Panel(shown),) if isinstance(shown, Motion) else tuple(shown)
    if not panels:
        raise RenderError("there is no motion to draw; give at least one")
    first = panels[0]
    for panel in panels:
        _check_motion(panel.motion, panel.name)
        _check_pair(first.motion, first.name, panel.motion, panel.name)
        if panel.against is not None:
            reference_name = _reference_name(panel, panels)
            _check_motion(panel.against, reference_name)
            _check_pair(panel.against, reference_name, panel.motion, panel.name)
            n_vertices, n_reference = (m.topology.n_vertices for m in (panel.motion, panel.against))
            if n_vertices != n_reference:
                raise RenderError(
                    f"{panel.name} has {n_vertices} vertices, {reference_name} has {n_reference}; "
                    "a heat map needs two motions of the same mesh"
                )
            _check_same_scale(panel.motion, panel.name, panel.against, reference_name)
    return panels


def _reference_name(panel: Panel, panels: Sequence[Panel]) -> str:
    """Return the name of a panel's reference motion in error messages."""
    names = (other.name for other in panels if other.motion is panel.against)
    return next(names, f"the reference of {panel.name}")


def _check_motion(motion: Motion, name: str) -> None:
    expected = (motion.topology.n_vertices, 3)
    if motion.vertices.ndim != 3 or motion.vertices.shape[1:] != expected:
        raise RenderError(
            f"{name}: the vertices have shape {motion.vertices.shape}; "
            f"topology {motion.topology.name} needs (frames, {expected[0]}, 3)"
        )
    if not motion.n_frames:
        raise RenderError(f"{name}: the motion has no frames")
    if not (np.isfinite(motion.fps) and motion.fps > 0):
        raise RenderError(f"{name}: {motion.fps} is not a valid frame rate; expected a number > 0")
    _check_scale(motion, name)


def _check_scale(motion: Motion, name: str) -> None:
    """Refuse frames in a different unit than the template, which would draw an empty picture."""
    frame = np.asarray(motion.vertices[0], np.float64)
    template = np.asarray(motion.template, np.float64)
    sizes = [size_of(frame), size_of(template)]
    if not np.isfinite(sizes).all() or sizes[1] == 0:
        return  # reported when the frame is drawn or the camera is placed
    ratio = sizes[0] / sizes[1]
    if ratio == 0:
        raise RenderError(
            f"{name}: all vertices of the first frame are at one point; give a motion of positions"
        )
    if not 1 / MAX_SCALE <= ratio <= MAX_SCALE:
        raise RenderError(
            f"{name}: the frames are {ratio:.4g} times as large as the template; give both the "
            "same length unit"
        )
    distance = float(np.linalg.norm(frame.mean(0) - template.mean(0))) / sizes[1]
    if distance > MAX_AWAY:
        raise RenderError(
            f"{name}: the first frame is {distance:.3g} face sizes away from the template, outside "
            "the picture; move the motion to the position of the template"
        )
    if difference := difference_in_pose(frame, template):
        raise RenderError(
            f"{name}: the first frame {difference} the template; give both the same axes and "
            "vertex order"
        )


def _check_same_scale(motion: Motion, name: str, reference: Motion, reference_name: str) -> None:
    """Check that the distances between a motion and its reference mean something."""
    units = motion.topology.unit, reference.topology.unit
    if units[0] != units[1]:
        raise RenderError(
            f"the unit of {name} is {units[0]}, but that of {reference_name} is {units[1]}; a heat "
            "map needs two motions in the same unit"
        )
    if difference := difference_in_place(motion.template, reference.template):
        raise RenderError(
            f"the template of {name} {difference} that of {reference_name}; a heat map needs two "
            "motions of the same size and position"
        )


def _check_pair(first: Motion, first_name: str, other: Motion, other_name: str) -> None:
    """Check that both motions can be shown in one video."""
    if first.fps != other.fps:
        raise RenderError(
            f"{first_name} has {first.fps:g} frames per second, but {other_name} has "
            f"{other.fps:g}; give `fps` to show all motions at one rate"
        )
    if abs(first.n_frames - other.n_frames) > MAX_EXTRA_FRAMES:
        raise RenderError(
            f"{first_name} has {counted(first.n_frames, 'frame')}, but {other_name} has "
            f"{other.n_frames}; all motions must be of the same recording"
        )


def n_frames(panels: Sequence[Panel]) -> int:
    """Return the number of frames that all panels have."""
    motions = [m for p in panels for m in (p.motion, p.against) if m is not None]
    return min(motion.n_frames for motion in motions)


def motion_with_sound(panels: Sequence[Panel]) -> Motion:
    """Return the first motion with sound, or the first motion if there is none."""
    motions = [panel.motion for panel in panels]
    with_sound = (m for m in motions if m.audio_path is not None or m.audio is not None)
    return next(with_sound, motions[0])


@dataclass(frozen=True)
class Stage:
    """Everything that is constant over a clip of several panels; it can be sent to a process.

    Attributes:
        scenes: One scene per panel, from left to right, all of the same size.
        shown: For each panel, the index of the motion that it shows.
        against: For each panel, the index of its reference motion, or -1.
        n_vertices: Number of vertices of each motion.
        strips: Labels and color bars that are drawn over the picture.
    """

    scenes: tuple[Scene, ...]
    shown: tuple[int, ...]
    against: tuple[int, ...]
    n_vertices: tuple[int, ...]
    strips: tuple[Strip, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a picture: (height, width, channels)."""
        height, width, channels = self.scenes[0].shape
        return height, width * len(self.scenes), channels

    def to_bytes(self) -> bytes:
        """Serialize the stage; ``from_bytes`` reverses it."""
        arrays = {k: np.array(getattr(self, k)) for k in ("shown", "against", "n_vertices")}
        for number, scene in enumerate(self.scenes):
            arrays |= {f"scene{number}_{k}": v for k, v in scene.to_arrays().items()}
        arrays["strip_places"] = np.array([(s.top, s.left) for s in self.strips]).reshape(-1, 2)
        arrays |= {f"strip{number}": s.pixels for number, s in enumerate(self.strips)}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Stage":
        """Restore a stage from the result of ``to_bytes``."""
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        shown, against, n_vertices = (
            tuple(int(i) for i in arrays[name]) for name in ("shown", "against", "n_vertices")
        )
        scenes = []
        for number in range(len(shown)):
            prefix = f"scene{number}_"
            scene_arrays = {
                k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)
            }
            scenes.append(Scene.from_arrays(scene_arrays))
        strips = tuple(
            Strip(int(top), int(left), arrays[f"strip{number}"])
            for number, (top, left) in enumerate(arrays["strip_places"])
        )
        return cls(tuple(scenes), shown, against, n_vertices, strips)


@dataclass(frozen=True)
class Source:
    """The vertices of one motion, which several panels may share.

    Attributes:
        vertices: (T, V, 3) vertex positions.
        name: Name of the motion in error messages.
        limit: The largest plausible coordinate.
        template: (V, 3) neutral face, or None: frames may have all vertices at one point.
    """

    vertices: Vertices
    name: str
    limit: float = np.inf
    template: np.ndarray | None = None

    def read(self, frames: Sequence[int]) -> np.ndarray:
        """Return the (n, V, 3) float32 vertices of the given frames.

        Raises:
            RenderError: A coordinate is NaN, infinite or above the limit, or all vertices of a
                frame are at one point.
        """
        vertices = np.asarray(self.vertices[np.asarray(frames, dtype=int)], np.float32)
        release_pages(self.vertices)
        finite = np.isfinite(vertices).all((1, 2))
        if not finite.all():
            bad = frames[int(np.flatnonzero(~finite)[0])]
            raise RenderError(
                f"{self.name}: frame {bad} of the motion contains NaN or infinite coordinates"
            )
        largest = np.abs(vertices).max((1, 2))
        if (largest > self.limit).any():
            bad = int(largest.argmax())
            raise RenderError(
                f"{self.name}: frame {frames[bad]} of the motion contains coordinates up to "
                f"{largest[bad]:.3g}, far away from the face"
            )
        if self.template is not None and (lost := collapsed(vertices, self.template)).any():
            raise RenderError(
                f"{self.name}: frame {frames[int(lost.argmax())]} of the motion has all vertices "
                "at one point, as if the face was not tracked; remove or repair it"
            )
        return vertices


def source_of(motion: Motion, name: str) -> Source:
    """Return the vertices of a motion, which are checked when they are read."""
    limit = ABSURD * float(np.abs(motion.template).max()) or np.inf
    return Source(motion.vertices, name, limit, motion.template)


def set_stage(
    panels: Sequence[Panel], settings: RenderSettings
) -> tuple[Stage, tuple[Source, ...]]:
    """Prepare the scenes, labels and color bars of panels.

    Returns:
        The stage, and each motion once, in the order of the stage's indices.

    Raises:
        RenderError: See ``build_scene``.
        DataError: See ``build_scene``.
    """
    sources: list[Source] = []
    source_numbers: dict[tuple[int, int], int] = {}

    def source_number(motion: Motion, name: str, *, turns: bool) -> int:
        key = id(motion.vertices), id(motion.head) if turns and motion.head is not None else 0
        if key not in source_numbers:
            source_numbers[key] = len(sources)
            sources.append(source_of(turned(motion) if turns else motion, name))
        return source_numbers[key]

    scenes: list[Scene] = []
    strips: list[Strip] = []
    # Heads stay still in heat maps, which show the distances of faces.
    shown = [source_number(p.motion, p.name, turns=p.against is None) for p in panels]
    against = []
    for index, panel in enumerate(panels):
        heat, left = 0.0, index * settings.size
        reference = panel.against
        against.append(
            -1
            if reference is None
            else source_number(reference, _reference_name(panel, panels), turns=False)
        )
        if reference is not None:
            topology = panel.motion.topology
            heat = heat_range(topology, np.asarray(panel.motion.template), settings)
            hottest = heat_label(heat, topology)
            strips.append(bar_strip(hottest, settings.size, left, settings.background))
        if panel.label:
            strips.append(label_strip(panel.label, settings.size, left, settings.background))
        scenes.append(_build_or_reuse_scene(panel, panels[:index], scenes, settings, heat))
    n_vertices = tuple(int(source.vertices.shape[1]) for source in sources)
    stage = Stage(tuple(scenes), tuple(shown), tuple(against), n_vertices, tuple(strips))
    return stage, tuple(sources)


def _build_or_reuse_scene(
    panel: Panel,
    earlier: Sequence[Panel],
    scenes: Sequence[Scene],
    settings: RenderSettings,
    heat: float,
) -> Scene:
    """Return the scene of a panel, reusing that of an earlier panel with the same face."""
    motion = panel.motion
    for other, scene in zip(earlier, scenes, strict=True):
        if not (
            np.array_equal(other.motion.template, motion.template)
            and np.array_equal(other.motion.topology.triangles, motion.topology.triangles)
            and other.motion.topology.parts == motion.topology.parts
        ):
            continue
        colors = None if heat > 0 else motion.colors
        materials = Materials.of(motion.topology, colors)
        return replace(scene, albedo=materials.albedo, heat=heat)
    return build_scene(motion, settings, heat)
