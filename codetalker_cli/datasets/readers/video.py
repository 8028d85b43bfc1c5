"""Read films of talking faces, or their stored face tracks, as a data set on the bundled head.

    take.mp4                   one person, called like the data set or ``capture.subject``
    PERSON/take.mp4            several people, with any number of takes
    PERSON/take.npz, .flac     a face track and its sound instead of a film

The film is tracked (``capture.tracking``), and the units of the head are fitted to the track
(``capture.fitting``). Tracks are kept, so an interrupted run continues with the next film.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codetalker_cli.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from codetalker_cli.datasets.prepared import TRACKS
from codetalker_cli.datasets.prepared_writer import refuse_foreign
from codetalker_cli.datasets.raw_clips import Problem, RawDataSet
from codetalker_cli.datasets.readers.arkit import data_set_name
from codetalker_cli.datasets.readers.take_files import TakeFolder, TakeName, sound_fault
from codetalker_cli.datasets.readers.takes import Take, common_rate, raw_data_set
from codetalker_cli.errors import InputError, MissingDependencyError, OutputError
from codetalker_cli.face_track import EYE_CORNERS, FaceTrack
from codetalker_cli.failures import error_of_item
from codetalker_cli.formats.face_tracks import read_track
from codetalker_cli.formats.timecodes import RATES
from codetalker_cli.progress import Stages, silent_stages
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import CaptureSettings

if TYPE_CHECKING:
    from codetalker_cli.capture.fitting import PersonRest

TRACK_SUFFIX = ".npz"
MIN_EYE_PIXELS = 40.0
"""A smaller distance of the outer eye corners is reported: tracking noise is then above 1 % of it."""
SECOND_FACE_SHARE = 0.02
"""The share of frames with a second face from which a film is reported."""
NO_FACE_SHARE = 0.2
"""The share of frames without a face from which a film is reported."""
REST_FRAMES = 6000
"""The approximate number of frames of a person from which the neutral face is found."""
_GAP_SECONDS = 0.1
"""Frames of a film that are farther apart are a gap, even if both show a face."""
_STEPS = 1.6
"""So are frames that are farther apart than this many frames of the film."""
_RATE_ERROR = 2e-3
_ROUNDING = 1e-6

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmTake:
    """A take, as files.

    Attributes:
        name: The person and the title.
        film: The film, or None if there is only a track.
        stored: The face track in the folder of the takes, or None.
        sound: The file with the sound.
        track: The face track that is used.
    """

    name: TakeName
    film: Path | None
    stored: Path | None
    sound: Path
    track: Path | None = None


@dataclass(frozen=True)
class Films:
    """An opened folder of films.

    Attributes:
        raw: The raw data set.
        takes: The usable takes, by their name.
    """

    raw: RawDataSet
    takes: dict[str, FilmTake]


@dataclass(frozen=True)
class _Tracked:
    """A tracked take: what is needed of its track without keeping it in memory."""

    take: FilmTake
    fps: float
    times: np.ndarray
    found: np.ndarray
    opening: np.ndarray
    words: tuple
    problems: tuple[Problem, ...]

    @property
    def path(self) -> Path:
        assert self.take.track is not None
        return self.take.track


def read_video(
    root: Path,
    out: Path,
    settings: CaptureSettings,
    landmarker: Path | None = None,
    stages: Stages = silent_stages,
) -> Films:
    """Open a folder of films as a data set on the bundled head.

    Args:
        root: The folder, which is searched with all folders below it except ``out``.
        out: The prepared folder, which keeps the face tracks.
        settings: The person, the face and the frame rate.
        landmarker: The model file of the tracker; None: that of the installed package.
        stages: A function that returns the progress callback of a stage.

    Raises:
        InputError: The folder contains no films, none of them is usable, or ``out`` contains
            something else.
        MissingDependencyError: The tracker is not installed.
    """
    folder, person = TakeFolder(root, out), data_set_name(root, settings)
    takes, problems = _find_takes(folder, settings, person)
    refuse_foreign(out)
    progress, tracked = stages("track"), list[_Tracked]()
    for number, take in enumerate(takes):
        progress(number, len(takes))
        try:
            tracked.append(_track(take, out, landmarker))
        except (MissingDependencyError, OutputError):
            raise
        except Exception as error:
            problems.append(Problem(take.name.name, "broken", str(error_of_item(error))))
    progress(len(takes), len(takes))
    usable = [one for one in tracked if one.found.any()]
    for one in tracked:
        if not one.found.any():
            where = one.take.film or one.path
            problems.append(Problem(one.take.name.name, "face", f"{where}: no frame shows a face"))
    rates = [(one.fps, float(one.times[-1])) for one in usable] or [(25.0, 0.0)]
    fps = settings.fps or common_rate(rates)
    by_person: dict[str, list[_Tracked]] = {}
    for one in usable:
        by_person.setdefault(one.take.name.person, []).append(one)
    takes_of_head = [
        _take(one, rest, fps)
        for group in by_person.values()
        for rest in [_Rest(tuple(group))]
        for one in group
    ]
    raw = raw_data_set(
        takes_of_head, problems, fps, settings, _notes(usable, landmarker), stages("sound")
    )
    return Films(raw, {one.take.name.name: one.take for one in usable})


# Find ------------------------------------------------------------------------------------------


def _find_takes(
    folder: TakeFolder, settings: CaptureSettings, person: str
) -> tuple[list[FilmTake], list[Problem]]:
    """Return the takes with sound, and the problems of the others."""
    paths = folder.files((*VIDEO_SUFFIXES, TRACK_SUFFIX))
    if not paths:
        raise InputError(
            f"{folder.root}: contains no film (.mp4, .mov, …) and no face track (.npz)"
        )
    takes: dict[str, FilmTake] = {}
    problems: list[Problem] = []
    for path in paths:
        is_track = path.suffix.lower() == TRACK_SUFFIX
        if is_track and folder.same_named(path, VIDEO_SUFFIXES, [path.stem]):
            continue  # the track of a film, which is found with the film
        name = folder.name_of(path, path.stem, settings.subject, person)
        film = None if is_track else path
        stored = path if is_track else folder.same_named(path, (TRACK_SUFFIX,), [path.stem])
        sound = folder.same_named(path, AUDIO_SUFFIXES, [path.stem]) or film
        if sound is None:
            expected = f"expected {path.stem}.wav, {path.stem}.flac or another recording next to it"
            problems.append(Problem(name.name, "missing", f"{path}: no sound; {expected}"))
            continue
        if fault := sound_fault(sound):
            problems.append(Problem(name.name, "missing", f"{sound}: {fault}"))
            continue
        take = FilmTake(name, film, stored, sound)
        other = takes.setdefault(name.name.casefold(), take)
        if other is not take:
            reason = f"{path}: {other.film or other.stored} has the same name; rename one"
            problems.append(Problem(name.name, "broken", reason))
    return list(takes.values()), problems


# Track -----------------------------------------------------------------------------------------


def _track(take: FilmTake, out: Path, landmarker: Path | None) -> _Tracked:
    if take.stored is not None:
        track = read_track(take.stored)
    else:
        from codetalker_cli.capture.tracking import cached_track

        assert take.film is not None
        track = cached_track(take.film, out / TRACKS, landmarker)
    assert track.path is not None
    if track.n_frames < 2:
        raise InputError(f"{take.film or track.path}: the film has only one frame")
    nearest = min(RATES, key=lambda rate: abs(rate / track.fps - 1))
    fps = nearest if abs(nearest / track.fps - 1) < _RATE_ERROR else track.fps
    return _Tracked(
        replace(take, track=track.path),
        fps,
        track.times,
        track.found,
        track.opening().astype(np.float32),
        track.words,
        tuple(Problem(take.name.name, "face", reason) for reason in _face_faults(track)),
    )


def _face_faults(track: FaceTrack) -> list[str]:
    """Return what makes the face of a film hard to track; empty if nothing does."""
    faults: list[str] = []
    found = track.found
    if not found.any():
        return faults
    if (lost := 1 - float(found.mean())) >= NO_FACE_SHARE:
        faults.append(f"{100 * lost:.0f} % of the frames show no face")
    ends = track.points(EYE_CORNERS)[found, :, :2]
    pixels = float(np.median(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)))
    if pixels < MIN_EYE_PIXELS:
        faults.append(
            f"the face is small: its eye corners are {pixels:.0f} pixels apart, at least "
            f"{MIN_EYE_PIXELS:.0f} are advised; film it closer"
        )
    return faults


# Fit -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rest:
    """The neutral face of one person, found when it is first needed."""

    tracked: tuple[_Tracked, ...]

    @cached_property
    def found(self) -> "PersonRest":
        from codetalker_cli.capture.fitting import rest_of

        n_frames = sum(len(one.times) for one in self.tracked)
        stride = max(1, n_frames // REST_FRAMES)
        return rest_of([_thinned(read_track(one.path), stride) for one in self.tracked])

    @cached_property
    def stamp(self) -> str:
        """A hash that changes with the takes of the person."""
        facts = [(one.path.name, one.path.stat().st_size) for one in self.tracked]
        return hashlib.sha256(repr(sorted(facts)).encode()).hexdigest()[:16]


def _thinned(track: FaceTrack, stride: int) -> FaceTrack:
    if stride == 1:
        return track
    arrays = {name: getattr(track, name)[::stride] for name in ("landmarks", "weights", "head")}
    return replace(track, times=track.times[::stride], **arrays)


def _take(one: _Tracked, rest: _Rest, fps: float) -> Take:
    times = np.arange(int(one.times[-1] * fps + _ROUNDING) + 1) / fps
    last = len(one.times) - 1
    after = np.clip(np.searchsorted(one.times, times - _ROUNDING), 0, last)
    before = np.where(one.times[after] <= times + _ROUNDING, after, np.maximum(after - 1, 0))
    gap = np.maximum(one.times[after] - one.times[before], np.abs(one.times[before] - times))
    longest = max(_GAP_SECONDS, _STEPS / one.fps)
    found = one.found[before] & one.found[after] & (gap <= longest)
    opening = np.interp(times, one.times[one.found], one.opening[one.found])
    return Take(
        one.take.name.name,
        one.take.name.person,
        one.take.name.title,
        (one.path,),
        one.take.sound,
        found,
        opening,
        partial(_weights, one, rest, fps, len(times)),
        one.words,
        one.problems,
        (rest.stamp, _fit_version()),
    )


def _weights(one: _Tracked, rest: _Rest, fps: float, n_frames: int) -> np.ndarray:
    from codetalker_cli.capture.fitting import fit_track

    fitted = fit_track(read_track(one.path), rest.found, fps)
    weights = fitted.curves.select(bundled_rig().unit_names).weights
    return weights[np.minimum(np.arange(n_frames), len(weights) - 1)]


def _fit_version() -> int:
    from codetalker_cli.capture import fitting

    return fitting.FIT_VERSION


def _notes(tracked: Sequence[_Tracked], landmarker: Path | None) -> dict[str, object]:
    rates = ", ".join(sorted({f"{one.fps:g}" for one in tracked}))
    notes: dict[str, object] = {
        "layout": "films and face tracks",
        "captured": f"{rates} frames per second",
        "fit_version": _fit_version(),
    }
    return notes
