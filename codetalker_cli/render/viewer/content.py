"""The packets of a page: which columns it has, the faces, their frames, and the curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.progress import Progress, silent
from codetalker_cli.render.footage import Footage
from codetalker_cli.render.heat import heat_label, heat_range
from codetalker_cli.render.lip_charts import LipCurve
from codetalker_cli.render.panels import Panel, Source, as_panels, n_frames, source_of
from codetalker_cli.render.scene import check_template, frame
from codetalker_cli.render.viewer.basis import BasisCoder, tolerance_of
from codetalker_cli.render.viewer.face import face_packet, mouth_of
from codetalker_cli.render.viewer.packets import pack
from codetalker_cli.render.viewer.sound import PEAKS_PER_SECOND, Sound
from codetalker_cli.settings import RenderSettings

BLOCK_BYTES = 8 << 20
"""The size of the frames that are encoded at once."""
_FITTED_BYTES = 32 << 20
"""The most bytes of the sample of frames from which the first basis vectors are computed."""
_FITTED_FRAMES = 256
MAX_FACES = 15
"""The most faces and heat maps in a page; browsers keep 16 drawings, and one is a test drawing."""


@dataclass(frozen=True)
class Face:
    """A motion in a page; several columns may show it.

    Attributes:
        motion: The motion.
        label: The text above the first column that shows it.
        source: Its vertices, which are checked when they are read.
    """

    motion: Motion
    label: str
    source: Source


@dataclass(frozen=True)
class Content:
    """Everything that a page shows, except films and sound.

    Attributes:
        faces: Each motion once.
        columns: What each column shows, as the page reads it.
        n_frames: The number of frames that all motions have.
        fps: The frame rate.
    """

    faces: tuple[Face, ...]
    columns: tuple[dict[str, Any], ...]
    n_frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.n_frames / self.fps


def arrange(
    shown: Sequence[Panel], footage: Sequence[Footage], settings: RenderSettings
) -> Content:
    """Return what a page shows.

    Args:
        shown: The panels of motions and heat maps, from left to right.
        footage: The filmed videos, each with its column.
        settings: The upper ends of the color scales of heat maps.

    Raises:
        RenderError: The motions cannot be shown together (see ``as_panels``), there are more than
            ``MAX_FACES``, or a template does not fit its topology or has no size.
        DataError: The view is ``mouth``, and a mesh has no region of the mouth.
    """
    panels = as_panels(shown)
    if len(panels) > MAX_FACES:
        raise RenderError(
            f"a page shows at most {MAX_FACES} faces and heat maps, got {len(panels)}; show fewer, "
            "or write a video"
        )
    faces: list[Face] = []
    numbers: dict[tuple[int, ...], int] = {}

    def number_of(motion: Motion, panel: Panel) -> int:
        """Return the number of a motion in ``faces``, which contains it once."""
        looks = (motion.topology, motion.template, motion.colors)
        key = tuple(map(id, (motion.vertices, motion.head, *looks)))
        if key not in numbers:
            _check_face(motion, settings.view)
            numbers[key] = len(faces)
            faces.append(Face(motion, panel.label, source_of(motion, panel.name)))
        return numbers[key]

    columns: list[dict[str, Any]] = []
    for panel in panels:
        face = number_of(panel.motion, panel)
        column: dict[str, Any] = {"kind": "face", "label": panel.label, "face": face}
        if panel.against is not None:
            topology = panel.motion.topology
            hottest = heat_range(topology, np.asarray(panel.motion.template), settings)
            column |= {"kind": "heat", "against": number_of(panel.against, panel)}
            column |= {"maximum": hottest, "maximum_label": heat_label(hottest, topology)}
        columns.append(column)
    for number, film in enumerate(footage):
        columns.insert(film.column, {"kind": "film", "label": film.label, "film": number})
    fps = float(panels[0].motion.fps)
    return Content(tuple(faces), tuple(columns), n_frames(panels), fps)


def _check_face(motion: Motion, view: str) -> None:
    topology = motion.topology
    check_template(motion)
    frame(np.asarray(motion.template)[np.unique(topology.triangles)], (1, 1))  # can it be framed?
    if view == "mouth" and mouth_of(topology) is None:
        raise DataError(
            f"view mouth: topology {topology.name} has no region lips or mouth; choose another view"
        )


def page_packet(content: Content, title: str, view: str, sound: Sound | None) -> bytes:
    """Return the packet of kind ``page``, which is the first one.

    Args:
        content: What the page shows.
        title: The title of the page.
        view: The view at the start: ``front``, ``three-quarter``, ``profile`` or ``mouth``.
        sound: The sound, or None.
    """
    header = {
        "title": title,
        "fps": content.fps,
        "n_frames": content.n_frames,
        "columns": content.columns,
        "view": view,
        "sound": None if sound is None else {"seconds": sound.seconds, "priming": sound.priming},
    }
    return pack("page", header, {})


def curve_packets(
    content: Content, curves: Sequence[LipCurve], sound: Sound | None
) -> Iterator[bytes]:
    """Yield packets of kind ``curve`` for tracked films, and ``wave`` for the sound.

    Args:
        content: What the page shows.
        curves: A curve for each motion and film, from left to right; empty: no film was tracked.
        sound: The sound, or None.
    """
    given = [column for column in content.columns if column["kind"] != "heat"]
    for column, curve in zip(given, curves, strict=False):
        if column["kind"] == "film":
            header = {"film": column["film"]}
            yield pack("curve", header, {"values": curve.opening, "times": curve.times})
    if sound is not None:
        yield pack("wave", {"per_second": PEAKS_PER_SECOND}, {"peaks": sound.peaks})


def face_packets(content: Content, progress: Progress = silent) -> Iterator[bytes]:
    """Yield the packets of all faces: each face, its basis and its frames.

    The frames are read in blocks, so a long recording needs little memory.

    Args:
        content: What the page shows.
        progress: Called with the number of encoded frames and the total.

    Raises:
        RenderError: A frame contains coordinates that cannot be shown.
        DataError: See ``BasisCoder.encode``.
    """
    total, done = len(content.faces) * content.n_frames, 0
    heated = {column["face"] for column in content.columns if column["kind"] == "heat"}
    for number, face in enumerate(content.faces):
        motion = face.motion
        frame_bytes = 12 * motion.topology.n_vertices
        yield face_packet(motion, face.label, heated=number in heated)
        coder = BasisCoder(motion.template, tolerance_of(motion.topology, motion.template))
        count = min(_FITTED_FRAMES, content.n_frames, max(1, _FITTED_BYTES // frame_bytes))
        sample = np.unique(np.linspace(0, content.n_frames - 1, count).round().astype(int)).tolist()
        coder.fit(face.source.read(sample))
        size = max(1, BLOCK_BYTES // frame_bytes)
        for start in range(0, content.n_frames, size):
            frames = range(start, min(start + size, content.n_frames))
            encoded = coder.encode(face.source.read(frames))
            if (packet := encoded.basis_packet()) is not None:
                yield packet
            yield encoded.frames_packet(
                None if motion.head is None else motion.head[start : frames.stop]
            )
            done += len(frames)
            progress(done, total)
