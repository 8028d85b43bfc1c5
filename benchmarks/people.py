"""Measure voices and other tools against filmed people who speak the same recordings.

    python benchmarks/people.py PEOPLE [--voice demo] [--style S12] [--every 7] [--json]
    python benchmarks/people.py PEOPLE --curves mine=FOLDER --curves theirs=FOLDER
    python benchmarks/people.py PEOPLE --every 5 --probe demo
    python benchmarks/people.py PEOPLE --with-words a f k o t y one six --probe demo

PEOPLE is a folder of clips: films (NAME.mp4, …), or face tracks (NAME.npz) with NAME.flac, NAME.wav
or another recording; or PERSON/NAME for several people. Films are tracked once (docs/capture.md).
The default is the environment variable CODETALKER_CAPTURE. docs/evaluation.md defines the figures.
These rows are always printed, the last two only for clips with known words:

person       the person, compared with themselves: their own sizes, speed and rest
loudness     the level of the speech as opening, and its negative as width
word again   the same words from the next clip of the person that contains them (inside words only)
mean word    the mean of the same words in all other clips of the person

--voice adds a row for each style of each voice. The bundled subject --subject speaks (default: the
voice's first subject). --curves adds the curves of another tool, from a folder with one file for
each clip: NAME or PERSON/NAME, with one of these endings:

.csv         columns time (seconds), opening and optionally width, in distances of the outer eye
             corners; or opening_mm and width_mm (the eyes are 90 mm apart)
.csv, .json  a recording of Live Link Face or an export of Audio2Face; it moves the bundled head
.npz         a motion, or a face track
.npy         vertices of the bundled head at --fps

--probe fits a linear model (ridge regression) from seven frames of the encoder features of a voice
to opening and width, on the clips that are not measured.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.capture.tracking import cached_track
from codetalker_cli.face_track import TimedWord
from codetalker_cli.files import atomic_path
from codetalker_cli.formats.face_tracks import read_track
from codetalker_cli.metrics import mouth_curves, people
from codetalker_cli.metrics.clip import ClipScores, Value
from codetalker_cli.metrics.mouth_curves import EYE_DISTANCE_MM, MouthCurves
from codetalker_cli.metrics.repeated_words import repeat_words
from codetalker_cli.resources import cache_dir

VARIABLE = "CODETALKER_CAPTURE"
TRACK = ".npz"
ENDINGS = (".csv", ".json", ".npz", ".npy")
Curves = dict[str, MouthCurves]
"""The curves of a tool by the name of the clip."""


class Filmed(NamedTuple):
    """A clip of a person: its name (NAME or PERSON/NAME), recording, curves and words."""

    name: str
    person: str
    recording: Path
    curves: MouthCurves
    words: tuple[TimedWord, ...]

    @property
    def clip(self) -> people.Clip:
        """The curves and the words."""
        return people.Clip(self.curves, self.words)

    @property
    def has_words(self) -> bool:
        """Whether the words are known, not only the interval of the speech."""
        return any(word.label != mouth_curves.SPEECH for word in self.words)


# Clips --------------------------------------------------------------------------------------------


def read_clips(folder: Path) -> list[Filmed]:
    """Return the clips of a folder, in the order of their names. Unusable ones are reported."""
    clips = []
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        is_film = path.suffix.lower() in audio.VIDEO_SUFFIXES
        if path.suffix != TRACK and not (is_film and not path.with_suffix(TRACK).is_file()):
            continue
        sounds = [path.with_suffix(suffix) for suffix in audio.AUDIO_SUFFIXES]
        recording = next((sound for sound in sounds if sound.is_file()), path if is_film else None)
        if recording is None:
            print(f"{path}: skipped, because it has no recording", file=sys.stderr)
            continue
        try:
            track = cached_track(path, cache_dir() / "tracks") if is_film else read_track(path)
            words = track.words or mouth_curves.spoken(audio.load(recording))
        except ct.CodeTalkerError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        person = folder.name if path.parent == folder else path.parent.name
        clips.append(Filmed(name, person, recording, mouth_curves.of_track(track), words))
    return clips


def chosen(clips: list[Filmed], every: int, words: list[str] | None) -> list[Filmed]:
    """Return every n-th clip, or the clips that contain one of the words."""
    if words:
        return [clip for clip in clips if {word.label for word in clip.words} & set(words)]
    return clips[::every]


# Tools --------------------------------------------------------------------------------------------


def loudness(clips: list[Filmed]) -> Curves:
    """Return the level of the speech as curves."""
    found = {}
    for clip in clips:
        samples = audio.load(clip.recording)
        times = np.arange(0.0, len(samples) / audio.SAMPLE_RATE, 1 / people.FPS)
        found[clip.name] = mouth_curves.of_loudness(samples, times)
    return found


def repeated(measured: list[Filmed], clips: list[Filmed]) -> tuple[Curves, Curves]:
    """Return each clip made of the words in the next clips, and of the mean of all clips."""
    once, mean = {}, {}
    for clip in measured:
        own = [other for other in clips if other.person == clip.person]
        k = own.index(clip)
        others = [other.clip for other in (*own[k + 1 :], *own[:k])]
        once[clip.name], mean[clip.name] = repeat_words(clip.clip, others)
    return once, mean


def animated(voice: Any, style: str | None, subject: str | None, clips: list[Filmed]) -> Curves:
    """Return the curves of a voice without idle motion."""
    requests = [
        ct.Request(clip.recording, subject=subject, style=style, idle=False, head=False)
        for clip in clips
    ]
    found = {}
    for k, motion in voice.animate_many(requests):
        if isinstance(motion, ct.CodeTalkerError):
            raise motion
        found[clips[k].name] = mouth_curves.of_motion(motion)
    return found


def of_folder(folder: Path, fps: float, clips: list[Filmed]) -> Curves:
    """Return the curves in the files of a folder. Clips without a file are reported."""
    found, missing = {}, []
    for clip in clips:
        paths = [folder / f"{clip.name}{ending}" for ending in ENDINGS]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            missing.append(clip.name)
            continue
        found[clip.name] = read_file(path, fps)
    if missing:
        print(
            f"{folder}: {len(missing)} of {len(clips)} clips are missing, such as {missing[0]}",
            file=sys.stderr,
        )
    return found


def read_file(path: Path, fps: float) -> MouthCurves:
    """Return the curves in a file with one of ``ENDINGS``."""
    from codetalker_cli.arrays import read_arrays
    from codetalker_cli.formats.predictions import read_vertices
    from codetalker_cli.rigs.posing import motion_of
    from codetalker_cli.rigs.units import bundled_rig

    if path.suffix == ".npz" and "landmarks" in read_arrays(path):
        return mouth_curves.of_track(read_track(path))
    if path.suffix == ".npz":
        return mouth_curves.of_motion(ct.Motion.load(path))
    if path.suffix == ".npy":
        rig = bundled_rig()
        vertices = read_vertices(path, len(rig.neutral))
        motion = ct.Motion(vertices, fps, rig.topology, "", rig.neutral)
        return mouth_curves.of_motion(motion)
    table = read_table(path) if path.suffix == ".csv" else None
    return table or mouth_curves.of_motion(motion_of(ct.read_curves(path, fps), rotate_head=False))


def read_table(path: Path) -> MouthCurves | None:
    """Return the curves of a .csv file with the column opening, or None if it has none."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [
            {key.strip(): value for key, value in row.items() if key}
            for row in csv.DictReader(file)
        ]
    header = rows[0].keys() if rows else set()
    scale = 1.0 if "opening" in header else EYE_DISTANCE_MM
    opening, width = ("opening", "width") if scale == 1.0 else ("opening_mm", "width_mm")
    if opening not in header:
        return None
    if "time" not in header:
        raise ct.DataError(f"{path}: the column time is missing")

    def column(name: str) -> np.ndarray:
        try:
            return np.array([float(row.get(name) or "nan") for row in rows])
        except ValueError as error:
            raise ct.DataError(f"{path}: column {name}: {error}") from error

    return MouthCurves(column("time"), column(opening) / scale, column(width) / scale)


# Figures ------------------------------------------------------------------------------------------


def score(tool: str, curves: Curves, clips: list[Filmed]) -> list[ClipScores]:
    """Compare a tool with each clip. The control is the tool in the person's next clip."""
    scores = []
    for clip in clips:
        if clip.name not in curves:
            continue
        own = [c.name for c in clips if c.person == clip.person and c.name in curves]
        other = own[(own.index(clip.name) + 1) % len(own)]
        control = curves[other] if other != clip.name else None
        found = people.compare(clip.curves, curves[clip.name], clip.words, control)
        n_frames = len(clip.curves.times)
        scores.append(ClipScores(clip.name, clip.person, tool, n_frames, found))
    return scores


def table(rows: dict[str, dict[str, Value]]) -> str:
    """Return the figures as lines and the tools as columns."""
    tools = list(rows)
    size = max(14, *(len(tool) + 2 for tool in tools))
    lines = [" " * 22 + "".join(f"{tool:>{size}s}" for tool in tools)]
    for name in people.FIGURES:
        values = [rows[tool].get(name) for tool in tools]
        if any(value is not None for value in values):
            lines.append(f"{name:22s}" + "".join(f"{cell(value):>{size}s}" for value in values))
    return "\n".join(lines)


def cell(value: Value | None) -> str:
    """Return a value with half of its interval, such as 0.734±0.021."""
    if value is None or value.value is None:
        return "–"
    text = f"{value.value:.3f}"
    if value.low is None or value.high is None:
        return text
    return f"{text}±{(value.high - value.low) / 2:.3f}"


def write_csv(path: Path, scores: Iterable[ClipScores]) -> None:
    """Write a line for each clip and tool, with an empty cell for a figure that it lacks."""
    names = [
        n for n in people.FIGURES if not n.endswith(("_lag", "_near", "_best"))
    ]  # of all clips
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tool", "person", "clip", *names])
        for one in scores:
            values = [one.value(name) for name in names]
            cells = ["" if value is None else f"{value:.6g}" for value in values]
            writer.writerow([one.style, one.subject, one.clip, *cells])


# Program ------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "people",
        nargs="?",
        type=Path,
        help=f"folder of films or tracked clips (default: ${VARIABLE})",
    )
    add("--voice", nargs="*", default=[], metavar="MODEL", help="voices to measure")
    add("--style", nargs="*", default=[None], help="styles (default: that of the subject)")
    add("--subject", default=None, help="subject to animate (default: the voice's first subject)")
    add("--curves", nargs="*", default=[], metavar="NAME=FOLDER", help="curves of other tools")
    add("--fps", type=float, default=30.0, help="frame rate of files without times (default: 30)")
    add("--every", type=int, default=1, metavar="N", help="measure every N-th clip (default: 1)")
    add("--with-words", nargs="*", metavar="WORD", help="measure the clips with these words")
    add("--probe", default=None, metavar="MODEL", help="fit a probe on the other clips")
    add("--device", default="auto", help="device of voices and probe (default: auto)")
    add("--csv", type=Path, default=None, metavar="FILE", help="write the figures of each clip")
    add("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def tools(
    given: argparse.Namespace, clips: list[Filmed], measured: list[Filmed]
) -> Iterator[tuple[str, Curves]]:
    """Yield the name and the curves of each row."""
    yield "person", {clip.name: clip.curves for clip in measured}
    yield "loudness", loudness(measured)
    known, others = ([one for one in part if one.has_words] for part in (measured, clips))
    if known:
        yield from zip(("word again", "mean word"), repeated(known, others), strict=True)
    for model in given.voice:
        voice = ct.load(model, device=given.device)
        for style in given.style:
            label = Path(model).name if style is None else f"{Path(model).name} {style}"
            yield label, animated(voice, style, given.subject, measured)
    for text in given.curves:
        name, _, folder = text.rpartition("=")
        yield name or Path(folder).name, of_folder(Path(folder), given.fps, measured)
    if given.probe is not None:
        from encoder_probe import probe

        rest = [clip for clip in clips if clip not in measured]
        if not rest:
            sys.exit("--probe is fitted on the other clips; give --every or --with-words")
        yield (
            f"probe {Path(given.probe).name}",
            probe(
                ct.load(given.probe, device=given.device),
                [(clip.recording, clip.curves) for clip in rest],
                {clip.name: clip.recording for clip in measured},
            ),
        )


def main() -> None:
    """Print the figures of all rows."""
    given = arguments()
    folder = given.people or Path(os.environ.get(VARIABLE, ""))
    clips = read_clips(folder) if given.people or os.environ.get(VARIABLE) else []
    measured = chosen(clips, given.every, given.with_words)
    if not measured:
        sys.exit(f"no films or tracked clips were found; give a folder or set {VARIABLE}")
    scores = {name: score(name, curves, measured) for name, curves in tools(given, clips, measured)}
    rows = {name: people.summarize(found) for name, found in scores.items()}
    if given.csv is not None:
        write_csv(given.csv, [one for found in scores.values() for one in found])
    if given.json:
        n_people = len({clip.person for clip in measured})
        values = {
            name: {figure: asdict(value) for figure, value in row.items()}
            for name, row in rows.items()
        }
        print(json.dumps({"clips": len(measured), "people": n_people, "rows": values}))
        return
    print(table(rows))


if __name__ == "__main__":
    main()
