"""Read films of talking faces, or their stored face tracks, as a data set on the bundled head.

    take.mp4                   one person, called like the data set or ``capture.subject``
    PERSON/take.mp4            several people, with any number of takes
    PERSON/take.npz, .flac     a face track and its sound instead of a film

A film is tracked (``capture.tracking``), and the units of the head are fitted to the track
(``capture.fitting``). Tracks are kept, so an interrupted run resumes with the next film.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from codetalker_cli.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from codetalker_cli.capture import FIT_VERSION
from codetalker_cli.capture.fitting import PersonRest, fit_track, rest_of
from codetalker_cli.capture.landmarker import ModelFileError
from codetalker_cli.capture.tracking import TrackFacts, cached_with_facts
from codetalker_cli.datasets.prepared import TRACKS
from codetalker_cli.datasets.prepared_writer import refuse_foreign
from codetalker_cli.datasets.raw_clips import Problem, RawDataSet, stamp_of
from codetalker_cli.datasets.readers.take_files import (
    TakeFolder,
    TakeName,
    data_set_name,
    sound_fault,
)
from codetalker_cli.datasets.readers.takes import (
    HeadMotion,
    Place,
    Take,
    check_face,
    common_rate,
    extra_seconds,
    raw_data_set,
)
from codetalker_cli.errors import InputError, MissingDependencyError, OutputError
from codetalker_cli.face_track import EYE_CORNERS, FaceTrack, TimedWord
from codetalker_cli.failures import error_of_item
from codetalker_cli.formats.face_tracks import read_track
from codetalker_cli.formats.timecodes import RATES
from codetalker_cli.progress import Progress, Stages, silent, silent_stages
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import CaptureSettings

TRACK_SUFFIX = ".npz"
MIN_EYE_PIXELS = 40.0
"""A smaller distance of the outer eye corners, in pixels, is reported."""
SECOND_FACE_SHARE = 0.02
"""The share of frames with a second face from which a film is reported."""
NO_FACE_SHARE = 0.2
"""The share of frames without a face from which a film is reported."""
REST_FRAMES, REST_BLOCK = 100_000, 250
"""The frames of a person from which the neutral face is found; of more frames, only some blocks are
used."""
_GAP_SECONDS = 0.1
"""Frames of a film that are farther apart are a gap, even if both show a face."""
_STEPS = 1.6
"""So are frames that are farther apart than this many frames of the film."""
_RATE_ERROR = 2e-3
"""The relative distance from a common frame rate that counts as an error of the times."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class FilmTake:
    """A take, as files.

    Attributes:
        name: The person and the title.
        film: The film, or None if there is only a track.
        stored: The face track in the folder of the takes, or None.
        sound: The file with the sound.
    """

    name: TakeName
    film: Path | None
    stored: Path | None
    sound: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the motion comes from."""
        return tuple(path for path in (self.film, self.stored) if path is not None)


@dataclass(frozen=True)
class Tracks:
    """The source of face tracks: files in the raw data, or the tracker.

    Attributes:
        folder: The folder in which the tracks of films are kept.
        landmarker: The model file of the tracker; None: that of the installed package.
    """

    folder: Path
    landmarker: Path | None

    def of(
        self, take: FilmTake, progress: Progress = silent
    ) -> tuple[FaceTrack, TrackFacts | None]:
        """Return the track of a take, and what was seen if it was tracked here."""
        if take.stored is not None:
            return read_track(take.stored), None
        assert take.film is not None
        return cached_with_facts(take.film, self.folder, self.landmarker, progress=progress)


@dataclass(frozen=True)
class Films:
    """An opened folder of films.

    Attributes:
        raw: The raw data set.
        places: Name of a raw clip → its place in a take.
        takes: The usable takes.
        tracks: The tracks of the takes.
    """

    raw: RawDataSet
    places: dict[str, Place]
    takes: tuple[FilmTake, ...]
    tracks: Tracks


@dataclass(frozen=True)
class _Tracked:
    """A tracked take: what is needed of its track, which is not kept in memory."""

    take: FilmTake
    fps: float
    times: np.ndarray
    found: np.ndarray
    opening: np.ndarray
    words: tuple[TimedWord, ...]
    problems: tuple[Problem, ...]
    tracker: str


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
        InputError: The folder contains no films, none of them is usable, ``out`` contains something
            else, the bundled head has no such face, or the model file cannot be used.
        MissingDependencyError: The tracker is not installed.
    """
    check_face(settings)
    folder, person = TakeFolder(root, out), data_set_name(root, settings)
    takes, problems = _find_takes(folder, settings, person)
    refuse_foreign(out)
    tracks = Tracks(out / TRACKS, landmarker)
    usable = _track_all(takes, tracks, problems, stages("track"))
    rates = [(one.fps, float(one.times[-1])) for one in usable] or [(25.0, 0.0)]
    fps = settings.fps or common_rate(rates)
    by_person: dict[str, list[_Tracked]] = {}
    for one in usable:
        by_person.setdefault(one.take.name.person, []).append(one)
    problems += _mixed_trackers(by_person)
    rests = {name: _Rest(tuple(group), tracks) for name, group in by_person.items()}
    fitted = [_take(one, rests[one.take.name.person], fps) for one in usable]
    cut = raw_data_set(fitted, problems, fps, settings, _notes(usable), stages("sound"))
    return Films(cut.raw, cut.places, tuple(one.take for one in usable), tracks)


# Find ------------------------------------------------------------------------------------------


def _find_takes(
    folder: TakeFolder, settings: CaptureSettings, person: str
) -> tuple[list[FilmTake], list[Problem]]:
    """Return the takes with sound, and the problems of the others."""
    paths = folder.files((*VIDEO_SUFFIXES, TRACK_SUFFIX))
    if not paths:
        raise InputError(f"{folder.root}: contains no film (.mp4, .mov, …) or face track (.npz)")
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
            problems.append(Problem(name.name, *fault))
            continue
        take = FilmTake(name, film, stored, sound)
        other = takes.setdefault(name.name.casefold(), take)
        if other is not take:
            reason = f"{path}: {other.files[0]} has the same name; rename one"
            problems.append(Problem(name.name, "broken", reason))
    return list(takes.values()), problems


# Track -----------------------------------------------------------------------------------------


def _track_all(
    takes: Sequence[FilmTake], tracks: Tracks, problems: list[Problem], progress: Progress
) -> list[_Tracked]:
    """Return the tracked takes; add a problem for each of the others.

    Films are tracked one after another, because the tracker uses several threads.
    """
    tracked: list[_Tracked] = []
    for number, take in enumerate(takes):

        def within(done: float, total: float, number: int = number) -> None:
            progress(number + min(done / max(total, 1e-9), 0.999), len(takes))

        progress(number, len(takes))
        try:
            tracked.append(_track(take, tracks, within))
        except (MissingDependencyError, ModelFileError, OutputError):
            raise
        except Exception as error:
            problems.append(Problem(take.name.name, "broken", str(error_of_item(error))))
    progress(len(takes), len(takes))
    return tracked


def _track(take: FilmTake, tracks: Tracks, progress: Progress) -> _Tracked:
    track, facts = tracks.of(take, progress)
    where = take.files[0]
    if track.n_frames < 2:
        raise InputError(f"{where}: the film has fewer than two frames")
    if not track.found.any():
        raise InputError(f"{where}: no frame shows a face")
    if track.times[-1] <= 0:
        raise InputError(f"{where}: the pictures end before the sound starts")
    nearest = min(RATES, key=lambda rate: abs(rate / track.fps - 1))
    fps = nearest if abs(nearest / track.fps - 1) < _RATE_ERROR else track.fps
    second = facts.second_face_share if facts else 0.0
    return _Tracked(
        take,
        fps,
        track.times,
        track.found,
        track.opening().astype(np.float32),
        track.words,
        tuple(Problem(take.name.name, "face", reason) for reason in _face_faults(track, second)),
        facts.tracker if facts else "stored tracks",
    )


def _face_faults(track: FaceTrack, second_face_share: float) -> list[str]:
    """Return what makes the face of a film hard to track; empty if nothing does."""
    faults: list[str] = []
    found = track.found
    if second_face_share >= SECOND_FACE_SHARE:
        faults.append(
            f"{100 * second_face_share:.0f} % of the frames show a second face; the person who is "
            "largest and longest in the film is used"
        )
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


def _mixed_trackers(by_person: Mapping[str, Sequence[_Tracked]]) -> list[Problem]:
    """Return a problem for each person whose takes were tracked in different ways."""
    problems = []
    for person, group in by_person.items():
        trackers = sorted({one.tracker for one in group})
        if len(trackers) > 1:
            reason = f"the takes were tracked in different ways ({', '.join(trackers)})"
            problems.append(Problem(person, "face", f"{reason}; their speeds and closings differ"))
    return problems


# Fit -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rest:
    """The neutral face of one person, found when it is first needed."""

    tracked: tuple[_Tracked, ...]
    tracks: Tracks

    @cached_property
    def found(self) -> PersonRest:
        n_frames = sum(len(one.times) for one in self.tracked)
        step = max(1, n_frames // REST_FRAMES)
        return rest_of([_excerpt(self.tracks.of(one.take)[0], step) for one in self.tracked])

    @cached_property
    def stamp(self) -> str:
        """A hash that changes with the takes of the person."""
        return stamp_of(sorted(path for one in self.tracked for path in one.take.files))


def _excerpt(track: FaceTrack, step: int) -> FaceTrack:
    """Return every n-th block of a track, which bounds the memory for a person's takes."""
    frames = np.arange(track.n_frames) // REST_BLOCK % step == 0
    arrays = {name: getattr(track, name)[frames] for name in ("landmarks", "weights", "head")}
    return replace(track, times=track.times[frames], **arrays)


def _take(one: _Tracked, rest: _Rest, fps: float) -> Take:
    end = one.times[-1] + extra_seconds(one.fps, fps)
    times = np.arange(int(end * fps + _ROUNDING) + 1) / fps
    last = len(one.times) - 1
    after = np.clip(np.searchsorted(one.times, times - _ROUNDING), 0, last)
    before = np.where(one.times[after] <= times + _ROUNDING, after, np.maximum(after - 1, 0))
    gap = np.maximum(one.times[after] - one.times[before], np.abs(one.times[before] - times))
    found = one.found[before] & one.found[after] & (gap <= max(_GAP_SECONDS, _STEPS / one.fps))
    return Take(
        one.take.name.name,
        one.take.name.person,
        one.take.name.title,
        one.take.files,
        one.take.sound,
        found,
        np.interp(times, one.times[one.found], one.opening[one.found]),
        partial(_motion, one, rest, fps, len(times)),
        one.words,
        one.problems,
        (rest.stamp, one.tracker, FIT_VERSION),
    )


def _motion(one: _Tracked, rest: _Rest, fps: float, n_frames: int) -> HeadMotion:
    fitted = fit_track(rest.tracks.of(one.take)[0], rest.found, fps)
    weights = fitted.curves.select(bundled_rig().unit_names).weights
    frames = np.minimum(np.arange(n_frames), len(weights) - 1)
    return HeadMotion(weights[frames], fitted.valid[frames])


def _notes(tracked: Sequence[_Tracked]) -> dict[str, object]:
    rates = sorted({f"{one.fps:g}" for one in tracked})
    return {
        "layout": "films and face tracks",
        "captured": f"{', '.join(rates)} frames per second",
        "tracker": sorted({one.tracker for one in tracked}),
        "fit": f"version {FIT_VERSION}",
    }
