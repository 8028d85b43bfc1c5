"""Several faces in one picture: what each panel shows, and all of it ready to be drawn."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from codetalker_cli.arrays import release_pages
from codetalker_cli.errors import RenderError
from codetalker_cli.motion import Motion, Vertices
from codetalker_cli.render.captions import Strip, bar_strip, label_strip
from codetalker_cli.render.heat import heat_label, heat_range
from codetalker_cli.render.light import Materials
from codetalker_cli.render.scene import Scene, build_scene
from codetalker_cli.settings import RenderSettings

MAX_EXTRA_FRAMES = 2
"""Lengths of motions side by side may differ so much, by rounding; the shortest one ends them."""


@dataclass(frozen=True)
class Panel:
    """One face of a picture.

    Attributes:
        motion: What is shown.
        label: What is written above it; empty for nothing.
        against: Where given, vertices are colored by their distance to this motion, frame by
            frame, in place of the face's own colors.
        origin: What errors call the motion, such as its file; else the label or the subject.
    """

    motion: Motion
    label: str = ""
    against: Motion | None = None
    origin: str = ""

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.origin or self.label or f"subject {self.motion.subject}"


Shown = Motion | Sequence[Panel]
"""What can be drawn: a motion alone, or panels from left to right."""


def as_panels(shown: Shown) -> tuple[Panel, ...]:
    """Panels of what is to be drawn, checked.

    Raises:
        RenderError: No panel; no frames, vertices that do not fit the topology, a frame rate that
            is no rate; motions that differ in frame rate, in length by more than two frames, or
            in the number of vertices where one is held against the other.
    """
    panels = (Panel(shown),) if isinstance(shown, Motion) else tuple(shown)
    if not panels:
        raise RenderError("there is no motion to draw: give at least one")
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
                    "heat needs two motions of one mesh"
                )
    return panels


def _reference_name(panel: Panel, panels: Sequence[Panel]) -> str:
    """What errors call the motion that a panel is held against."""
    names = (other.name for other in panels if other.motion is panel.against)
    return next(names, f"what {panel.name} is held against")


def _check_motion(motion: Motion, name: str) -> None:
    expected = (motion.topology.n_vertices, 3)
    if motion.vertices.ndim != 3 or motion.vertices.shape[1:] != expected:
        raise RenderError(
            f"{name}: the motion's vertices are {motion.vertices.shape}, "
            f"topology {motion.topology.name} needs (frames, {expected[0]}, 3)"
        )
    if not motion.n_frames:
        raise RenderError(f"{name}: the motion has no frames to draw")
    if not (np.isfinite(motion.fps) and motion.fps > 0):
        raise RenderError(f"{name}: {motion.fps} frames a second is no rate")


def _check_pair(first: Motion, first_name: str, other: Motion, other_name: str) -> None:
    """Whether both can be shown in one video."""
    if first.fps != other.fps:
        raise RenderError(
            f"{first_name} has {first.fps:g} frames a second, {other_name} has {other.fps:g}; "
            "give `fps` to show all at one rate"
        )
    if abs(first.n_frames - other.n_frames) > MAX_EXTRA_FRAMES:
        raise RenderError(
            f"{first_name} has {first.n_frames} frames, {other_name} has {other.n_frames}; show "
            "motions of one recording"
        )


def n_frames(panels: Sequence[Panel]) -> int:
    """Frames that all panels have."""
    motions = [m for p in panels for m in (p.motion, p.against) if m is not None]
    return min(motion.n_frames for motion in motions)


@dataclass(frozen=True)
class Stage:
    """All that stays the same over a clip of several panels; it can be sent to other processes.

    Attributes:
        scenes: One a panel, from left to right, all of one size.
        shown: Of each panel the number of the motion that it shows.
        against: Of each panel the number of the motion that it is held against, or -1.
        n_vertices: Of each motion.
        strips: What lies over the picture.
    """

    scenes: tuple[Scene, ...]
    shown: tuple[int, ...]
    against: tuple[int, ...]
    n_vertices: tuple[int, ...]
    strips: tuple[Strip, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a picture."""
        height, width, channels = self.scenes[0].shape
        return height, width * len(self.scenes), channels

    def to_bytes(self) -> bytes:
        """As one block of bytes (inverse of ``from_bytes``)."""
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
        """Read back what ``to_bytes`` gave."""
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
    """Vertices of one motion, whatever many panels show it.

    Attributes:
        vertices: (T, V, 3).
        name: What errors call them.
    """

    vertices: Vertices
    name: str

    def read(self, frames: Sequence[int]) -> np.ndarray:
        """(n, V, 3) float32 of some frames.

        Raises:
            RenderError: They hold NaN or infinity.
        """
        vertices = np.asarray(self.vertices[np.asarray(frames, dtype=int)], np.float32)
        release_pages(self.vertices)
        finite = np.isfinite(vertices).all((1, 2))
        if not finite.all():
            bad = frames[int(np.flatnonzero(~finite)[0])]
            raise RenderError(
                f"{self.name}: frame {bad} of the motion holds NaN or infinite coordinates"
            )
        return vertices


def set_stage(
    panels: Sequence[Panel], settings: RenderSettings
) -> tuple[Stage, tuple[Source, ...]]:
    """Scenes, labels and color bars of panels, and the motions they show, each of them once.

    Raises:
        RenderError: As ``build_scene``.
        DataError: As ``build_scene``.
    """
    sources: list[Source] = []
    source_numbers: dict[int, int] = {}

    def source_number(motion: Motion, name: str) -> int:
        if id(motion.vertices) not in source_numbers:
            source_numbers[id(motion.vertices)] = len(sources)
            sources.append(Source(motion.vertices, name))
        return source_numbers[id(motion.vertices)]

    scenes: list[Scene] = []
    strips: list[Strip] = []
    shown = [source_number(panel.motion, panel.name) for panel in panels]
    against = []
    for index, panel in enumerate(panels):
        heat, left = 0.0, index * settings.size
        reference = panel.against
        against.append(
            -1 if reference is None else source_number(reference, _reference_name(panel, panels))
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
    """The panel's scene; what an earlier one of the same face has is not computed again."""
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
