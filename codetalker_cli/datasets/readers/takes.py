"""Make raw clips of the bundled head from takes: unit weights of a person's face, with sound.

A long take is cut at quiet moments:

    take    |-------------------|~~|----------------|~~|-------|     ~~: a quiet moment
    clips   [  NAME_01             ][  NAME_02         ][ NAME_03 ]
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from codetalker_cli import audio
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.datasets.lag import best_lag, correlation, loudness, loudness_curve
from codetalker_cli.datasets.raw_clips import Problem, RawAudio, RawClip, RawDataSet, stamp_of
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.face_track import TimedWord
from codetalker_cli.failures import error_of_item
from codetalker_cli.formats.frames import FrameSource
from codetalker_cli.progress import Progress
from codetalker_cli.rigs.idle import IDLE_UNITS, subject_mesh
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import CaptureSettings

MAX_LAG_SECONDS = 0.2
"""A larger lag between the opening of the mouth and the loudness is reported."""
_LAG_RANGE_SECONDS = 1.0
_LAG_PEAK, _LAG_GAIN = 0.35, 0.15
"""The minimum correlation, and gain over lag 0, for reporting a lag."""
_LAG_LEAST_SECONDS = 8.0
"""The minimum length of a take, or of all takes of a person, for an estimate of the lag."""
_QUIET_SECONDS = 0.3
"""The length of the moment whose mean level decides where a take is cut."""
_EARLIEST_CUT, _SHORTEST_END = 0.5, 0.3
"""The earliest cut and the shortest last clip, as fractions of the longest clip."""
_SILENT = ("sil", "sp", "")


@dataclass(frozen=True, eq=False)
class Take:
    """The face of a person during one recording.

    Attributes:
        name: PERSON_TITLE, safe as a file name.
        person: The person.
        title: The name of the take, unique for the person.
        files: The files that the motion comes from.
        sound: The audio or video file with the sound.
        found: (T,) bool: whether the face is known in frame k, at k / fps seconds of the sound.
        opening: (T,) the opening of the mouth in any unit.
        read: A function that returns the motion of the T frames.
        words: The words that are spoken, if they are known.
        problems: What is reported about the take.
        recipe: Everything else that the weights depend on.
    """

    name: str
    person: str
    title: str
    files: tuple[Path, ...]
    sound: Path
    found: np.ndarray
    opening: np.ndarray
    read: "Callable[[], HeadMotion]"
    words: tuple[TimedWord, ...] = ()
    problems: tuple[Problem, ...] = ()
    recipe: tuple[Any, ...] = ()

    def text(self, start_seconds: float, stop_seconds: float) -> str:
        """Return the words whose middle is in an interval."""
        words = (
            word.label
            for word in self.words
            if word.label not in _SILENT
            and start_seconds <= (word.start_seconds + word.end_seconds) / 2 < stop_seconds
        )
        return " ".join(words)


class HeadMotion(NamedTuple):
    """The motion of the bundled head in a take.

    Attributes:
        weights: (T, U) float32 weights of the units.
        valid: (T,) bool: the frames that can be used.
    """

    weights: np.ndarray
    valid: np.ndarray


class Place(NamedTuple):
    """The part of a take that a raw clip shows.

    Attributes:
        take: The name of the take.
        start_seconds: When the first frame of the clip is shown in the take.
    """

    take: str
    start_seconds: float


class CutTakes(NamedTuple):
    """A raw data set, and where its clips are in the takes.

    Attributes:
        raw: The raw data set.
        places: Name of a raw clip → its place.
    """

    raw: RawDataSet
    places: dict[str, Place]


class _PosedFrames(FrameSource):
    """Frames of the bundled head with the face of one of its subjects."""

    def __init__(self, weights: np.ndarray, numbers: np.ndarray, face: str) -> None:
        self.numbers = numbers.astype(np.int64)
        self._weights, self._face = weights, face

    def read(self, positions: np.ndarray) -> np.ndarray:
        return bundled_rig().pose(self._face, self._weights[self.numbers[positions]])


@dataclass
class _Lags:
    """Correlations of opening and loudness of one person, to be averaged."""

    curves: list[np.ndarray] = field(default_factory=list)
    n_frames: list[int] = field(default_factory=list)


def raw_data_set(
    takes: Sequence[Take],
    problems: Iterable[Problem],
    fps: float,
    settings: CaptureSettings,
    notes: dict[str, Any],
    progress: Progress,
) -> CutTakes:
    """Return a data set on the bundled head with the clips of these takes.

    Args:
        takes: The takes, whose sound is read to cut them and to measure their lag.
        problems: The problems with other takes.
        fps: The frame rate of the motion.
        settings: The face of all people and the longest clip.
        notes: Facts for the manifest.
        progress: Called with the number of takes whose sound was read.

    Raises:
        InputError: There is no usable take.
    """
    rig = bundled_rig()
    clips: list[RawClip] = []
    places: dict[str, Place] = {}
    found_problems, lags = list(problems), dict[str, _Lags]()
    for number, take in enumerate(takes):
        progress(number, len(takes))
        try:
            level = loudness(_sound(take.sound), SAMPLE_RATE, fps, len(take.found))
        except Exception as error:
            found_problems.append(Problem(take.name, "broken", str(error_of_item(error))))
            continue
        late = _lag_problems(take, level, fps, lags.setdefault(take.person, _Lags()))
        new = _clips_of(take, level, fps, settings, late, places)
        if not new:
            reason = "no part of the take shows a face"
            found_problems.append(Problem(take.name, "face", reason))
        clips += new
    progress(len(takes), len(takes))
    if not clips:
        raise _no_clips_error(found_problems)
    found_problems += _common_lags(lags, fps)
    people = dict.fromkeys(clip.subject for clip in clips)
    mesh = subject_mesh(rig, dict.fromkeys(people, settings.face), idle=not settings.blinks)
    eyes = "as captured" if settings.blinks else "at rest; blinks and gaze are left out"
    notes = {**notes, "face": f"{settings.face} of the bundled head", "eyes": eyes}
    found_problems.sort(key=lambda problem: problem.clip)
    return CutTakes(RawDataSet(fps, mesh, tuple(clips), tuple(found_problems), notes), places)


def check_face(settings: CaptureSettings) -> None:
    """Refuse a face that the bundled head does not have, before films are tracked for hours."""
    names = bundled_rig().subject_names
    if settings.face not in names:
        raise InputError(
            f"capture.face: the bundled head has no subject {settings.face!r}; the choices are "
            f"{', '.join(names)}"
        )


def _no_clips_error(problems: Sequence[Problem]) -> InputError:
    if not problems:
        return InputError("no take is usable")
    first, more = problems[0], f" (and {len(problems) - 1} more)" * (len(problems) > 1)
    return InputError(f"no take is usable; {first.clip}: {first.reason}{more}")


def extra_seconds(own_fps: float, fps: float) -> float:
    """Return how long the last frame of a take is repeated at a higher frame rate.

    It is shown for 1 / own_fps seconds, so the motion would otherwise seem shorter than its sound.
    """
    return max(0.0, 1 / own_fps - 1 / fps)


def common_rate(rates: Sequence[tuple[float, float]]) -> float:
    """Return the frame rate with the most seconds, of pairs (frame rate, seconds)."""
    total: dict[float, float] = {}
    for rate, seconds in rates:
        total[rate] = total.get(rate, 0.0) + seconds
    return max(total, key=lambda rate: (total[rate], rate))


def _sound(path: Path) -> np.ndarray:
    """Return the (n,) samples of a file at 16 kHz; the clips of one take need them in turn."""
    status = path.stat()
    return _decoded(path.resolve(), path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _decoded(_file: Path, path: Path, _mtime_ns: int, _size: int) -> np.ndarray:
    recorded, rate = audio.read(path)
    samples = audio.resample(recorded, rate, SAMPLE_RATE)
    if np.abs(recorded).max(initial=0.0) <= 1:  # the low-pass filter can overshoot slightly
        samples = samples / max(1.0, float(np.abs(samples).max(initial=0.0)))
    return samples


@lru_cache(maxsize=1)
def _motion(take: Take) -> HeadMotion:
    return take.read()


# Cut -------------------------------------------------------------------------------------------


def _clips_of(
    take: Take,
    level: np.ndarray,
    fps: float,
    settings: CaptureSettings,
    late: Sequence[Problem],
    places: dict[str, Place],
) -> list[RawClip]:
    """Return the clips of a take that show a face, and add where they are to ``places``."""
    limit = settings.clip_seconds * fps
    cuts = cut_at_quiet_moments(level, limit, max(1, round(_QUIET_SECONDS * fps)))
    bounds = [0, *cuts, len(take.found)]
    width = max(2, len(str(len(cuts) + 1)))
    clips: list[RawClip] = []
    noted = [*take.problems, *late]
    for number, (start, stop) in enumerate(itertools.pairwise(bounds), 1):
        n_found = int(take.found[start:stop].sum())
        if not n_found:
            reason = f"no face from {start / fps:.1f} to {stop / fps:.1f} s; left out"
            noted.append(Problem(take.name, "face", reason))
            continue
        suffix = f"_{number:0{width}d}" if cuts else ""
        name, is_last = take.name + suffix, stop == len(take.found)
        places[name] = Place(take.name, (start + int(take.found[start:stop].argmax())) / fps)
        recipe = (fps, start, stop, settings.face, settings.blinks, *take.recipe)
        clips.append(
            RawClip(
                name,
                take.person,
                take.title + suffix,
                n_found,
                stamp_of(dict.fromkeys([*take.files, take.sound]), *recipe),
                partial(_open, take, start, stop, settings),
                partial(_read_audio, take.sound, start / fps, None if is_last else stop / fps),
                take.text(start / fps, np.inf if is_last else stop / fps),
                first_number=0,
            )
        )
    if clips:  # the problems of a take are reported with its first clip
        named = tuple(replace(problem, clip=clips[0].name) for problem in noted)
        clips[0] = replace(clips[0], problems=named)
    return clips


def cut_at_quiet_moments(level: np.ndarray, limit: float, n_quiet: int) -> list[int]:
    """Return the frames at which a take is cut so that no part is longer than ``limit`` frames.

    Args:
        level: (T,) loudness in dB.
        limit: The longest part, in frames.
        n_quiet: The number of frames of a moment whose mean level is compared.
    """
    smooth = np.convolve(level, np.ones(n_quiet) / n_quiet, "same")
    cuts: list[int] = []
    start = 0
    while len(level) - start > limit:
        rest = len(level) - start
        last = int(min(limit, rest - _SHORTEST_END * limit))
        first = min(int(_EARLIEST_CUT * limit), last - 1)
        start += first + 1 + int(smooth[start + first + 1 : start + last + 1].argmin())
        cuts.append(start)
    return cuts


def _open(take: Take, start: int, stop: int, settings: CaptureSettings) -> FrameSource:
    rig = bundled_rig()
    weights, valid = (values[start:stop] for values in _motion(take))
    numbers = np.flatnonzero(take.found[start:stop] & valid)
    if not len(numbers):
        raise DataError("no frame shows a face that looks toward the camera")
    if not settings.blinks:
        resting = [name.startswith(IDLE_UNITS) for name in rig.unit_names]
        weights = np.where(resting, np.float32(0), weights)
    return _PosedFrames(weights, numbers, settings.face)


def _read_audio(path: Path, start_seconds: float, stop_seconds: float | None) -> RawAudio:
    stop = None if stop_seconds is None else round(stop_seconds * SAMPLE_RATE)
    return RawAudio(_sound(path)[round(start_seconds * SAMPLE_RATE) : stop], SAMPLE_RATE)


# Lag -------------------------------------------------------------------------------------------


def _lag_problems(take: Take, level: np.ndarray, fps: float, lags: _Lags) -> list[Problem]:
    """Return a problem if the mouth and the sound of a take are shifted; add to the person's lags.

    Unknown frames are set to the mean, which does not contribute to the correlation.
    """
    known = take.found & np.isfinite(take.opening)
    if known.sum() < 2:
        return []
    opening = np.where(known, take.opening, take.opening[known].mean())
    n_lags = max(1, round(_LAG_RANGE_SECONDS * fps))
    curve = correlation(opening, loudness_curve(level), n_lags)
    lags.curves.append(curve)
    lags.n_frames.append(len(opening))
    reason = _lag_reason(curve, len(opening), fps)
    return [Problem(take.name, "sync", reason)] if reason else []


def _common_lags(lags: dict[str, _Lags], fps: float) -> list[Problem]:
    """Return a problem for each person whose takes, all together, are shifted."""
    problems = []
    for person, one in lags.items():
        if len(one.curves) < 2:
            continue
        curve = np.average(one.curves, axis=0, weights=one.n_frames)
        if reason := _lag_reason(curve, sum(one.n_frames), fps):
            problems.append(Problem(person, "sync", f"all takes together: {reason}"))
    return problems


def _lag_reason(curve: np.ndarray, n_frames: int, fps: float) -> str:
    lag = best_lag(curve, n_frames)
    if (
        n_frames < _LAG_LEAST_SECONDS * fps
        or abs(lag.frames) <= MAX_LAG_SECONDS * fps
        or lag.peak < _LAG_PEAK
        or lag.peak - lag.without < _LAG_GAIN
    ):
        return ""
    return (
        f"the mouth seems to move {abs(lag.frames) / fps:.2f} s "
        f"{'after' if lag.frames > 0 else 'before'} the sound (correlation {lag.peak:.2f} at this "
        f"lag, {lag.without:.2f} without it); check the sound of the film"
    )
