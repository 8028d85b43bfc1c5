"""Which recordings are animated, how, and into which files.

They come as files, as folders (all recordings below them), or in a manifest: a CSV file with a
header and the columns ``audio`` (needed), ``out``, ``subject``, ``style``, ``seed`` and ``fps``.
Its paths are relative to its own folder.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio
from codetalker_cli.errors import InputError
from codetalker_cli.files import check_output

COLUMNS = ("audio", "out", "subject", "style", "seed", "fps")
"""Of a manifest."""


@dataclass(frozen=True)
class Request:
    """A recording and how to animate it; see ``Voice.animate``.

    Attributes:
        speech: Path of the recording, or (n,) float32 samples at 16 kHz.
        samples: The samples of a path, where they have been read already.
    """

    speech: str | Path | np.ndarray
    subject: str | None = None
    style: str | Mapping[str, float] | None = None
    seed: int = 0
    idle: bool = True
    fps: float | None = None
    samples: np.ndarray | None = None


@dataclass(frozen=True)
class Job:
    """A request for a recording in a file, and the file that the result is written to."""

    request: Request
    out: Path

    @property
    def speech(self) -> Path:
        """The recording."""
        assert isinstance(self.request.speech, Path)
        return self.request.speech


@dataclass(frozen=True)
class AnimationPlan:
    """Jobs that have passed every check that needs no model.

    Attributes:
        jobs: One for each recording.
        request: What all recordings have in common; rows of a manifest may differ from it.
        is_single: The arguments name one recording and one file: an error ends the command, and
            an existing result is refused. Of several recordings, an existing result is skipped
            and an error costs that recording.
    """

    jobs: tuple[Job, ...]
    request: Request
    is_single: bool


def plan(
    speech: Sequence[str],
    request: Request,
    *,
    endings: Sequence[str],
    out: str | None = None,
    manifest: Path | None = None,
    suffix: str | None = None,
    overwrite: bool = False,
) -> AnimationPlan:
    """Decide which recordings are animated into which files, and check them.

    Args:
        speech: Recordings and folders of them; see ``from_arguments``.
        request: What all recordings have in common.
        endings: Endings of the files that can be written.
        out: File of a single result, or folder of several.
        manifest: CSV file that lists the recordings, instead of ``speech``.
        suffix: Format of results whose names are not given; None: mp4.
        overwrite: Replace existing results.

    Raises:
        InputError: Nothing to animate, contradictory arguments, an unusable single recording, a
            result that cannot be written.
    """
    if not speech and manifest is None:
        raise InputError("no recording: give one, several, a folder of them, or `manifest` FILE")
    if speech and manifest is not None:
        raise InputError(f"`manifest` {manifest} names the recordings; give no others with it")
    ending = ".mp4" if suffix is None else f".{suffix.lower().removeprefix('.')}"
    is_single = manifest is None and _is_single(speech, out)
    if is_single:
        if out is not None and suffix is not None:
            raise InputError(f"`suffix` {suffix}: `out` {out} has an ending; give one of the two")
        path = Path(speech[0])
        # What cannot be used is reported before the seconds that a model takes to load.
        loaded = replace(request, speech=path, samples=audio.load(path))
        jobs = [Job(loaded, path.with_suffix(ending) if out is None else Path(out))]
    elif manifest is None:
        jobs = from_arguments(speech, out, ending, request)
    else:
        jobs = from_manifest(manifest, out, ending, request)
    for job in jobs:
        _check_target(job, endings)
    for target in {job.out.parent: job.out for job in jobs}.values():
        check_output(target, overwrite=overwrite or not is_single)
    return AnimationPlan(tuple(jobs), request, is_single)


def _is_single(speech: Sequence[str], out: str | None) -> bool:
    """Whether arguments name one recording and one file, not folders."""
    if len(speech) != 1 or Path(speech[0]).is_dir():
        return False
    return out is None or not _names_folder(out)


def _names_folder(text: str) -> bool:
    path = Path(text)
    return text.endswith(("/", os.sep)) or (path.is_dir() and not path.suffix)


def _check_target(job: Job, endings: Sequence[str]) -> None:
    if job.out.suffix.lower() not in endings:
        raise InputError(f"`out` {job.out}: the ending must be one of {', '.join(endings)}")
    if job.out.exists() and job.speech.exists() and job.out.samefile(job.speech):
        raise InputError(f"{job.out} is the recording itself; give another `out`")
    if job.out.is_dir():
        raise InputError(f"`out` {job.out} is a folder; give the name of a file")


def from_arguments(
    speech: Sequence[str], out: str | None, suffix: str, request: Request
) -> list[Job]:
    """Jobs of files and folders.

    Args:
        speech: Recordings and folders of them. As with ``cp``, a last one that is a folder without
            recordings, or a new name with a slash behind it, is where results go.
        out: Folder for the results; None: each beside its recording.
        suffix: Of the results.
        request: What all have in common.

    Raises:
        InputError: A recording that does not exist, a folder without any, or two with one result.
    """
    given_paths = [Path(text) for text in speech]
    folder = None if out is None else Path(out)
    if out is None and len(speech) > 1 and _is_target(speech[-1]):
        folder = given_paths.pop()
    jobs: list[Job] = []
    for given in given_paths:
        files = [(given, Path(given.name))]
        if not given.exists():
            raise InputError(f"{given}: no such audio file")
        if given.is_dir():
            files = [(file, file.relative_to(given)) for file in recordings(given)]
            if not files:
                raise InputError(
                    f"{given}: no recordings in it (looked for {', '.join(audio.AUDIO_SUFFIXES)})"
                )
        for file, name in files:
            target = file if folder is None else folder / name
            jobs.append(Job(replace(request, speech=file), target.with_suffix(suffix)))
    _check_distinct(jobs)
    return jobs


def recordings(folder: Path) -> list[Path]:
    """All recordings below a folder, hidden ones left out, in order of their names."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in audio.AUDIO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def from_manifest(manifest: Path, out: str | None, suffix: str, request: Request) -> list[Job]:
    """Jobs of a CSV file; what a row leaves empty is taken from ``request``.

    Args:
        manifest: See the module.
        out: Folder that the column ``out`` is relative to; None: the manifest's own.
        suffix: Of results without one.
        request: Defaults.

    Raises:
        InputError: No such file, an unknown column, a value that is none; it names the line.
    """
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            rows = [(reader.line_num, row) for row in reader]
            columns = reader.fieldnames or []
    except OSError as error:
        raise InputError(f"{manifest}: cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{manifest}: not a CSV file ({error})") from error
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or "audio" not in columns:
        problem = f"unknown column {unknown[0]!r}" if unknown else "no column 'audio'"
        raise InputError(f"{manifest}: {problem}; its first line names some of {','.join(COLUMNS)}")
    folder = None if out is None else Path(out)
    jobs = [_job(row, f"{manifest}:{n}", manifest, folder, suffix, request) for n, row in rows]
    if not jobs:
        raise InputError(f"{manifest}: no recordings in it, only the header")
    _check_distinct(jobs)
    return jobs


def _job(
    row: Mapping[str, Any],
    where: str,
    manifest: Path,
    out: Path | None,
    suffix: str,
    request: Request,
) -> Job:
    if "" in row:
        raise InputError(f"{where}: more values than columns; a value with a comma needs quotes")
    given = {key: value.strip() for key, value in row.items() if value and value.strip()}
    if "audio" not in given:
        raise InputError(f"{where}: the column 'audio' is empty")
    speech = manifest.parent / given.pop("audio")
    name = given.pop("out", None)
    folder = manifest.parent if out is None else out
    if name is None:
        target = speech if out is None else out / speech.name
        target = target.with_suffix(suffix)
    else:
        target = folder / name
        target = target if target.suffix else target.with_suffix(suffix)
    values: dict[str, Any] = dict(given)
    for key, kind in (("seed", int), ("fps", float)):
        if key in given:
            try:
                values[key] = kind(given[key])
            except ValueError as error:
                raise InputError(f"{where}: {key} is {given[key]!r}, expected a number") from error
    return Job(replace(request, speech=speech, **values), target)


def _is_target(text: str) -> bool:
    path = Path(text)
    if path.is_dir():
        return not recordings(path)
    return not path.exists() and text.endswith(("/", os.sep))


def _check_distinct(jobs: Sequence[Job]) -> None:
    first: dict[Path, Path] = {}
    for job in jobs:
        target = job.out.absolute()
        if target in first and first[target] != job.speech:
            raise InputError(
                f"{first[target]} and {job.speech} would both become {job.out}; "
                "name the results in a manifest"
            )
        if target in first:
            raise InputError(f"{job.speech}: is listed twice; both would write {job.out}")
        if target == job.speech.absolute():
            raise InputError(f"{job.out} is the recording itself; give another `out`")
        first[target] = job.speech
