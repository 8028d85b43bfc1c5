"""Draw the contact sheet of films: moments of a film, and the head at the same moments below.

It shows whether the head moves like the person. Where there is no film, the landmarks are drawn.
"""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codetalker_cli.capture.film import Film
from codetalker_cli.datasets.prepared import Clip, PreparedDataSet
from codetalker_cli.datasets.readers.takes import Place
from codetalker_cli.datasets.readers.video import Films, FilmTake
from codetalker_cli.errors import InputError
from codetalker_cli.face_track import FaceTrack
from codetalker_cli.files import atomic_path
from codetalker_cli.motion import Motion
from codetalker_cli.settings import RenderSettings

if TYPE_CHECKING:
    from codetalker_cli.render.backends import Renderer

N_CLIPS, N_MOMENTS = 5, 8
"""The most clips of the sheet, and the moments of each."""
TILE = 220
"""The size of a picture in pixels."""
DECODED_SECONDS = 120.0
"""Clips that start later in their film are shown only if there are no others, to save decoding."""
_MARGIN = 0.15
"""The margin around the landmarks, as a fraction of their extent."""
_STRIP = 22
_PAPER, _INK, _DIM = (32, 36, 42), (232, 234, 238), (150, 158, 168)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """A clip of the sheet.

    Attributes:
        clip: The prepared clip.
        take: Its take.
        start_seconds: When its first frame is shown in the take.
        track: The face track of the take.
        frames: The frames of the clip that are shown.
    """

    clip: Clip
    take: FilmTake
    start_seconds: float
    track: FaceTrack
    frames: list[int]


def draw_films(path: Path, films: Films, folder: Path) -> None:
    """Draw the contact sheet of a data set that was made from films.

    Args:
        path: The .png file; an existing one is replaced.
        films: The films.
        folder: The prepared folder.
    """
    from PIL import Image

    data = PreparedDataSet(folder)
    rows = [_row(data, films, clip, place) for clip, place in _chosen(data, films)]
    if not rows:
        return
    renderers = {
        subject: _renderer(data, subject)
        for subject in dict.fromkeys(row.clip.entry.subject for row in rows)
    }
    pictures = [_draw_row(data, row, renderers[row.clip.entry.subject]) for row in rows]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(pictures)).save(temporary, format="png")


def _chosen(data: PreparedDataSet, films: Films) -> list[tuple[Clip, Place]]:
    """Return clips of all people, spread over the data set, that are not parts of a raw clip."""
    entries = [e for e in data.manifest.clips if e.name == e.source and e.name in films.places]
    early = [e for e in entries if films.places[e.name].start_seconds < DECODED_SECONDS]
    usable = early or entries
    of_person = {entry.subject: entry for entry in reversed(usable)}
    chosen = [*of_person.values()][:N_CLIPS]
    for k in np.linspace(0, len(usable) - 1, min(N_CLIPS, len(usable))).astype(int):
        if len(chosen) < N_CLIPS and usable[k] not in chosen:
            chosen.append(usable[k])
    return [(Clip(entry, data.folder), films.places[entry.name]) for entry in chosen]


def _row(data: PreparedDataSet, films: Films, clip: Clip, place: Place) -> _Row:
    take = next(take for take in films.takes if take.name.name == place.take)
    track, _ = films.tracks.of(take)
    opening, found = track.opening(), track.found
    times = place.start_seconds + np.arange(clip.entry.n_frames) / data.manifest.fps
    curve = np.interp(times, track.times[found], opening[found])
    frames = []
    for k, window in enumerate(np.array_split(np.arange(len(curve)), N_MOMENTS)):
        if len(window):  # open and shut lips in turn
            frames.append(int(window[(curve[window] * (-1) ** k).argmax()]))
    return _Row(clip, take, place.start_seconds, track, frames)


def _draw_row(data: PreparedDataSet, row: _Row, renderer: "Renderer") -> np.ndarray:
    """Return a (H, W, 3) uint8 picture of one clip."""
    from PIL import Image, ImageDraw

    from codetalker_cli.render.captions import font_for

    fps, topology = data.manifest.fps, data.mesh.topology
    times = [row.start_seconds + frame / fps for frame in row.frames]
    vertices = np.asarray(row.clip.vertices[row.frames], np.float32)
    gaps = topology.inner_lip_gap(vertices) * 1e3 * (topology.meters_per_unit or 1.0)
    found = np.flatnonzero(row.track.found)
    openings = np.interp(times, row.track.times[found], row.track.opening()[found])
    sheet = Image.new("RGB", (N_MOMENTS * TILE, 2 * TILE + 2 * _STRIP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    source = row.take.film or row.take.files[0]
    title = f"{row.clip.entry.name}   ({source.name}; above the film, below the head)"
    draw.text((8, _STRIP / 2), title, fill=_INK, font=font_for(title, 13), anchor="lm")
    faces = _film_faces(row, times)
    heads = [renderer.render(frame)[..., :3] for frame in vertices]
    for k, (face, head) in enumerate(zip(faces, heads, strict=True)):
        sheet.paste(Image.fromarray(face), (k * TILE, _STRIP))
        sheet.paste(Image.fromarray(head), (k * TILE, _STRIP + TILE))
        caption = f"{times[k]:.2f} s   film {openings[k]:.3f}   head {gaps[k]:.1f} mm"
        place = (k * TILE + TILE / 2, 2 * TILE + 1.5 * _STRIP)
        draw.text(place, caption, fill=_DIM, font=font_for(caption, 13), anchor="mm")
    return np.asarray(sheet)


def _renderer(data: PreparedDataSet, subject: str) -> "Renderer":
    from codetalker_cli.render.backends import make_renderer
    from codetalker_cli.render.scene import build_scene

    mesh, template = data.mesh, data.mesh.templates[subject]
    settings = RenderSettings(size=TILE, samples=2, zoom=1.4, renderer="software", workers=1)
    colors = mesh.colors.get(subject)
    motion = Motion(template[None], 1.0, mesh.topology, subject, template, colors)
    return make_renderer("software", build_scene(motion, settings))


def _film_faces(row: _Row, times: Sequence[float]) -> list[np.ndarray]:
    """Return square pictures of the face in the film, or of its landmarks."""
    track = row.track
    frames = [int(np.abs(track.times - time).argmin()) for time in times]
    points = track.landmarks[track.found][..., :2]
    low, high = np.percentile(points.reshape(-1, 2), [1, 99], axis=0)
    half = float((high - low).max()) * (0.5 + _MARGIN)
    corner = (low + high) / 2 - half
    if row.take.film is not None:
        try:
            pictures = _film_frames(row.take.film, track.times[frames])
        except InputError as error:
            logger.warning("%s", error)
        else:
            return [_cropped(picture, corner, half, track.size) for picture in pictures]
    return [_dots(track.landmarks[frame, :, :2], corner, half) for frame in frames]


def _film_frames(path: Path, times: np.ndarray) -> list[np.ndarray]:
    """Return the pictures that are nearest to ascending times."""
    nearest: list[tuple[float, np.ndarray]] = [(np.inf, np.zeros((1, 1, 3), np.uint8))] * len(times)
    with closing(Film.open(path).frames()) as frames:
        for time, picture in frames:
            for k, wanted in enumerate(times):
                if abs(time - wanted) < nearest[k][0]:
                    nearest[k] = (abs(time - wanted), picture)
            if time > times[-1]:
                break
    return [picture for _, picture in nearest]


def _cropped(
    picture: np.ndarray, corner: np.ndarray, half: float, size: tuple[int, int]
) -> np.ndarray:
    """Return the square around the face; ``size`` is the one that the corner refers to."""
    from PIL import Image

    scale = picture.shape[1] / size[0]
    left, top = corner * scale
    side = 2 * half * scale
    box = (round(left), round(top), round(left + side), round(top + side))
    return np.asarray(Image.fromarray(picture).crop(box).resize((TILE, TILE)))


def _dots(points: np.ndarray, corner: np.ndarray, half: float) -> np.ndarray:
    """Return a picture of landmarks (L, 2); frames without a face are empty."""
    tile = np.full((TILE, TILE, 3), _PAPER, np.uint8)
    inside = points[np.isfinite(points).all(1)]
    columns, rows = ((inside - corner) / (2 * half) * TILE).astype(int).T
    for down in (0, 1):
        for right in (0, 1):
            x, y = columns + right, rows + down
            usable = (x >= 0) & (y >= 0) & (x < TILE) & (y < TILE)
            tile[y[usable], x[usable]] = _INK
    return tile
