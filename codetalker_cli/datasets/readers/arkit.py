"""Read face curves that were recorded with sound: takes of Live Link Face, Audio2Face exports.

    20261128_MySlate_1/MySlate_1_iPhone.csv        curves (61 columns)
    20261128_MySlate_1/MySlate_1_iPhone_cal.csv    the same relative to the calibrated neutral face
    20261128_MySlate_1/MySlate_1_iPhone.mov        film and sound
    PERSON/take.csv, PERSON/take.wav               takes of several people
    PERSON/export.json, PERSON/export.wav          an Audio2Face export

If the app has a calibrated neutral face, it writes _cal and _raw; calibrated curves are preferred.
"""

import csv
import logging
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from codetalker_cli import media
from codetalker_cli.audio import VIDEO_SUFFIXES
from codetalker_cli.datasets.raw_clips import Problem, RawDataSet
from codetalker_cli.datasets.readers.take_files import (
    SOUND_SUFFIXES,
    TakeFolder,
    TakeName,
    data_set_name,
    sound_fault,
)
from codetalker_cli.datasets.readers.takes import (
    HeadMotion,
    Take,
    check_face,
    common_rate,
    extra_seconds,
    raw_data_set,
)
from codetalker_cli.errors import InputError
from codetalker_cli.failures import error_of_item
from codetalker_cli.formats import audio2face, live_link, timecodes
from codetalker_cli.formats.arkit_names import unit_of
from codetalker_cli.formats.live_link import Recording
from codetalker_cli.progress import Stages, silent_stages
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import CaptureSettings
from codetalker_cli.text_files import TABLE_BYTES

DEFAULT_FPS = 60.0
"""The frame rate of a table that contains no times: that of the app."""
_VARIANT = re.compile(r"(.+)_(cal|raw|neutral)", re.IGNORECASE)
_ORDER = ("cal", "", "raw")
"""The variants of a take, the preferred one first."""
_LAST_FRAMES = 1e-6
_DAY_SECONDS = 24 * 3600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """A usable recording.

    Attributes:
        path: The file.
        name: The person and the title.
        sound: The file with the sound.
        offset_seconds: When the first frame is shown, in the time of the sound.
        fps: The frame rate.
        found: (T,) bool: the frames with a face.
        opening: (T,) jawOpen without mouthClose.
        problems: What is reported.
    """

    path: Path
    name: TakeName
    sound: Path
    offset_seconds: float
    fps: float
    found: np.ndarray
    opening: np.ndarray
    problems: tuple[Problem, ...]


def read_arkit(root: Path, settings: CaptureSettings, stages: Stages = silent_stages) -> RawDataSet:
    """Open a folder of recorded face curves as a data set on the bundled head.

    Args:
        root: The folder, which is searched with all folders below it.
        settings: The person, the face and the frame rate.
        stages: A function that returns the progress callback of a stage.

    Raises:
        InputError: The folder contains no curves, none of them is usable, or the bundled head lacks
            the face.
    """
    check_face(settings)
    folder = TakeFolder(root)
    paths = _recordings(folder)
    if not paths:
        raise InputError(
            f"{root}: contains no recording of Live Link Face (.csv) and no Audio2Face export "
            "(.json)"
        )
    entries: dict[str, _Entry] = {}
    problems: list[Problem] = []
    progress, person = stages("curves"), data_set_name(root, settings)
    for number, path in enumerate(paths):
        progress(number, len(paths))
        stem = _base(path.stem)[0]
        name = folder.name_of(path, stem, settings.subject, person)
        try:
            entry = _entry(folder, path, stem, name, settings)
        except Exception as error:
            problems.append(Problem(name.name, "broken", str(error_of_item(error))))
            continue
        if isinstance(entry, Problem):
            problems.append(entry)
        elif (other := entries.setdefault(name.name.casefold(), entry)) is not entry:
            reason = f"{path}: {other.path} has the same name; rename one"
            problems.append(Problem(name.name, "broken", reason))
    progress(len(paths), len(paths))
    used = list(entries.values())
    fps = settings.fps or common_rate([(e.fps, len(e.found) / e.fps) for e in used] or [(30, 0)])
    notes = {"layout": "recorded face curves", "captured": _rates(used)}
    return raw_data_set(
        [_take(e, fps) for e in used], problems, fps, settings, notes, stages("sound")
    ).raw


def _rates(entries: list[_Entry]) -> str:
    rates = sorted({f"{entry.fps:g}" for entry in entries})
    return f"{', '.join(rates)} frames per second"


def _base(stem: str) -> tuple[str, str]:
    """Split the variant from the name of a file: MySlate_1_iPhone_cal → MySlate_1_iPhone, cal."""
    match = _VARIANT.fullmatch(stem)
    return (match[1], match[2].lower()) if match else (stem, "")


def _recordings(folder: TakeFolder) -> list[Path]:
    """Return one file of curves for each take; other tables and JSON files are skipped."""
    best: dict[tuple[Path, str], Path] = {}
    for path in folder.files((live_link.SUFFIX, audio2face.SUFFIX)):
        base, variant = _base(path.stem)
        if variant == "neutral" or not _contains_curves(path):
            logger.debug("%s: skipped, because it contains no face curves", path)
            continue
        other = best.setdefault((path.parent, base), path)
        if _ORDER.index(variant) < _ORDER.index(_base(other.stem)[1]):
            best[path.parent, base] = path
    return sorted(best.values())


def _contains_curves(path: Path) -> bool:
    """Return whether a file seems to contain curves; so does an empty or unreadable one."""
    try:
        if path.suffix.lower() == audio2face.SUFFIX:
            return path.stat().st_size > TABLE_BYTES or b'"facsNames"' in path.read_bytes()
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = file.readline(1 << 16)
    except OSError:
        return True
    names = next(csv.reader([header.replace(";", ",")]), [])
    return not names or any(unit_of(name) is not None for name in names)


def _entry(
    folder: TakeFolder, path: Path, stem: str, name: TakeName, settings: CaptureSettings
) -> _Entry | Problem:
    sound = folder.same_named(path, SOUND_SUFFIXES, (stem, path.stem))
    if sound is None:
        reason = (
            f"{path}: no sound; expected {stem}.mov, {stem}.wav or another recording next to it"
        )
        return Problem(name.name, "missing", reason)
    if fault := sound_fault(sound):
        return Problem(name.name, *fault)
    recording = _read(path, settings.fps)
    offset, problems = _offset(recording, sound, name.name)
    curves = recording.curves
    jaw, closed = (curves.weights[:, curves.names.index(u)] for u in ("jawOpen", "mouthClose"))
    return _Entry(
        path, name, sound, offset, curves.fps, recording.found, jaw - closed, tuple(problems)
    )


def _read(path: Path, fps: float | None) -> Recording:
    if path.suffix.lower() == audio2face.SUFFIX:
        curves = audio2face.read(path)
        return Recording(curves, np.ones(curves.n_frames, bool), None)
    return live_link.read_recording(path, fps or DEFAULT_FPS)


def _offset(recording: Recording, sound: Path, name: str) -> tuple[float, list[Problem]]:
    """Return when the curves start in the time of the sound, from the timecodes of both.

    If one of them has no timecode, both start at the same time.
    """
    if recording.start_seconds is None or sound.suffix.lower() not in VIDEO_SUFFIXES:
        return 0.0, []
    facts = media.probe(sound)
    try:
        whole, frames = timecodes.parse(facts.timecode)
    except ValueError:
        return 0.0, []
    film = whole + frames / max(round(facts.fps), 1)
    offset = recording.start_seconds - film
    offset -= _DAY_SECONDS * round(offset / _DAY_SECONDS)
    if -recording.curves.seconds < offset < (facts.seconds or _DAY_SECONDS):
        return offset, []
    reason = (
        f"the timecodes of the curves and of {sound.name} are {abs(offset):.0f} s apart, so both "
        "are assumed to start together; check them"
    )
    return 0.0, [Problem(name, "sync", reason)]


def _take(entry: _Entry, fps: float) -> Take:
    position = _positions(entry, fps)
    last = len(entry.found) - 1
    end = last + extra_seconds(entry.fps, fps) * entry.fps
    inside = (position >= -_LAST_FRAMES) & (position <= end + _LAST_FRAMES)
    before, after = (
        np.clip(rounded, 0, last).astype(int)
        for rounded in (np.floor(position + _LAST_FRAMES), np.ceil(position - _LAST_FRAMES))
    )
    return Take(
        entry.name.name,
        entry.name.person,
        entry.name.title,
        (entry.path,),
        entry.sound,
        inside & entry.found[before] & entry.found[after],
        np.interp(position, np.arange(last + 1), entry.opening),
        partial(_motion, entry, fps),
        problems=entry.problems,
        recipe=(entry.offset_seconds,),
    )


def _positions(entry: _Entry, fps: float) -> np.ndarray:
    """Return the (T,) frame of the recording at k / fps seconds of the sound, for each k."""
    end = entry.offset_seconds + (len(entry.found) - 1) / entry.fps
    end += extra_seconds(entry.fps, fps)
    n_frames = int(end * fps + _LAST_FRAMES) + 1
    return (np.arange(n_frames) / fps - entry.offset_seconds) * entry.fps


def _motion(entry: _Entry, fps: float) -> HeadMotion:
    """Return the motion of the bundled head; head rotations are left out."""
    curves = _read(entry.path, entry.fps).curves.select(bundled_rig().unit_names)
    position, source = _positions(entry, fps), np.arange(curves.n_frames)
    columns = [np.interp(position, source, column) for column in curves.weights.T]
    return HeadMotion(np.stack(columns, 1).astype(np.float32), np.ones(len(position), bool))
