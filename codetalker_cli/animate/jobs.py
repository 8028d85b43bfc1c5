"""Plan which recordings are animated, with which options and to which files.

Recordings are given as files, as folders (all recordings below them), or in a manifest. A manifest
is a CSV file with a header and the columns ``audio`` (required), ``out``, ``subject``, ``style``,
``seed`` and ``fps``. Its paths are relative to its folder.
"""

import csv
import io
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codetalker_cli import audio
from codetalker_cli.animate.request import Request
from codetalker_cli.errors import InputError, printable
from codetalker_cli.files import check_output, is_inside
from codetalker_cli.motion import SUFFIXES as MOTION_SUFFIXES
from codetalker_cli.outputs import Formats, check_distinct, check_path, names_folder
from codetalker_cli.text_files import read_text

COLUMNS = ("audio", "out", "subject", "style", "seed", "fps")
"""The columns of a manifest."""


MEDIA_SUFFIXES = (*audio.AUDIO_SUFFIXES, *audio.VIDEO_SUFFIXES)
"""The endings of recordings, in order of preference."""
_IN_MANIFEST = "specify the outputs in a manifest"
_NAMED = 5
"""The number of files that are named in a message."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A request for an audio file, and the output file.

    Attributes:
        request: The request.
        out: The output file.
        fault: Why the job cannot be done, or None. The other jobs of the plan are not affected.
        format: The name of the format of the output.
    """

    request: Request
    out: Path
    fault: str | None = None
    format: str = ""

    @property
    def speech(self) -> Path:
        """The path of the recording."""
        assert isinstance(self.request.speech, Path)
        return self.request.speech


@dataclass(frozen=True)
class AnimationPlan:
    """Jobs that have passed all checks that do not need the model.

    Attributes:
        jobs: One job for each recording.
        request: The default options, which rows of a manifest can override.
        is_single: Whether the arguments specify one recording and one output file. If so, a failure
            and an existing output are errors. If not, a failed recording is reported and existing
            outputs are skipped.
    """

    jobs: tuple[Job, ...]
    request: Request
    is_single: bool


def plan(
    speech: Sequence[str],
    request: Request,
    *,
    formats: Formats,
    out: str | None = None,
    manifest: Path | None = None,
    format: str | None = None,
    overwrite: bool = False,
) -> AnimationPlan:
    """Determine the output file of each recording, and check recordings and outputs.

    Args:
        speech: Recordings and folders of recordings; see ``from_arguments``.
        request: The default options.
        formats: The supported formats of outputs.
        out: The output file of a single recording, or the output folder of several.
        manifest: A CSV file that lists the recordings, instead of ``speech``.
        format: The format of outputs; None: that of the suffix of ``out``, or else mp4.
        overwrite: Replace existing outputs.

    Raises:
        InputError: There are no recordings, the arguments contradict each other, a single recording
            is unusable, or an output cannot be written.
    """
    if "" in (*speech, out, format):
        raise InputError("an empty name was given; check the shell variables in the command")
    if not speech and manifest is None:
        raise InputError("no recordings: give files or folders, or `manifest` with a CSV file")
    if speech and manifest is not None:
        raise InputError(
            f"`manifest` {manifest}: recordings were also given; give only one of the two"
        )
    format = None if format is None else formats.check_name(format)
    request = replace(request, needs_speech=True)
    ending = ".mp4" if format is None else formats.ending(format)
    is_single = manifest is None and _is_single(speech, out, formats.is_folder(format))
    if is_single:
        path = Path(speech[0])
        # Read the recording now to report an error before the slow loading of the model.
        loaded = replace(request, speech=path, samples=audio.load(path))
        jobs = [Job(loaded, path.with_suffix(ending) if out is None else Path(out))]
        _check_agreement(jobs[0].out, format, formats)
    elif manifest is None:
        jobs = from_arguments(speech, out, ending, request)
    else:
        jobs = from_manifest(manifest, out, ending, request)
    jobs = [_checked(job, format, formats) for job in jobs]
    for target in {job.out if is_single else job.out.with_name(ending or "frames") for job in jobs}:
        check_output(target, overwrite=overwrite or not is_single)
    return AnimationPlan(tuple(jobs), request, is_single)


def _is_single(speech: Sequence[str], out: str | None, is_folder_output: bool) -> bool:
    """Return whether the arguments specify one recording and one output."""
    if len(speech) != 1 or Path(speech[0]).is_dir():
        return False
    return out is None or not names_folder(out, is_folder_output=is_folder_output)


def _check_agreement(out: Path, format: str | None, formats: Formats) -> None:
    if format is not None and formats.choose(out, format) != format:
        raise InputError(
            f"`format` {format}: `out` {out} already determines the format; give only one of the "
            "two"
        )


def _checked(job: Job, format: str | None, formats: Formats) -> Job:
    """Return the job with its format, after checking the name of its output."""
    check_path(job.out, "`out`")
    job = replace(job, format=formats.choose(job.out, format))
    if job.out.exists() and job.speech.exists() and job.out.samefile(job.speech):
        raise InputError(f"`out` {job.out}: this is the recording itself; give another `out`")
    if job.out.is_dir() and not formats.is_folder(job.format):
        raise InputError(f"`out` {job.out}: expected a file, but this is a folder")
    return job


def from_arguments(
    speech: Sequence[str], out: str | None, suffix: str, request: Request
) -> list[Job]:
    """Return the jobs for recordings and folders of recordings.

    Args:
        speech: The recordings and folders. As with ``cp``, the last one of several can be the
            output folder: an existing folder without recordings, or a new name that ends with a
            slash.
        out: The output folder; None: next to each recording.
        suffix: The suffix of the output files.
        request: The options.

    Raises:
        InputError: A recording does not exist, a folder contains none, or two recordings have the
            same output.
    """
    given_paths = [Path(text) for text in speech]
    folder = None if out is None else Path(out)
    if out is None and len(speech) > 1 and _is_target(speech[-1], given_paths[:-1]):
        folder = given_paths.pop()
    jobs: list[Job] = []
    for given in given_paths:
        files = [(given, Path(given.name))]
        if not given.exists():
            raise InputError(f"{given}: no such audio file")
        if given.is_dir():
            files = [(f, f.relative_to(given)) for f in _chosen(given, folder is None, suffix)]
            if not files:
                raise InputError(
                    f"{given}: the folder contains no recordings "
                    f"(searched for {', '.join(MEDIA_SUFFIXES)})"
                )
        for file, name in files:
            target = file if folder is None else folder / name
            jobs.append(Job(replace(request, speech=file), target.with_suffix(suffix)))
    check_distinct([(job.speech, job.out) for job in jobs], "recording", _IN_MANIFEST)
    return jobs


def recordings(folder: Path) -> list[Path]:
    """Return all recordings below a folder, sorted by path; hidden files are skipped."""
    return [path for path in _visible_files(folder) if path.suffix.lower() in MEDIA_SUFFIXES]


def _visible_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _chosen(folder: Path, is_target: bool, suffix: str) -> list[Path]:
    """Return the recordings of a folder that are animated, and report the other files.

    Of several recordings with the same result, the one with the preferred ending is used. A video
    that is itself the result of another recording is not a recording.

    Args:
        folder: The folder.
        is_target: Whether results are written into the same folder.
        suffix: The ending of results.
    """
    by_name: dict[Path, list[Path]] = {}
    for path in recordings(folder):
        by_name.setdefault(path.with_suffix(""), []).append(path)
    chosen = []
    for name, paths in by_name.items():
        inputs = [p for p in paths if not (is_target and p == name.with_suffix(suffix))]
        if not inputs:
            logger.warning(
                "%s: skipped, because the result would replace it; give `out`", printable(paths[0])
            )
            continue
        inputs.sort(key=lambda path: MEDIA_SUFFIXES.index(path.suffix.lower()))
        chosen.append(inputs[0])
    stems = {path.with_suffix("") for path in chosen}
    results = (*MOTION_SUFFIXES, suffix)
    left_out = [
        path
        for path in _visible_files(folder)
        if path not in chosen
        and not (path.suffix == ".txt" and path.with_suffix("") in stems)  # a transcript
        and not (is_target and path.suffix.lower() in results and path.with_suffix("") in stems)
    ]
    if left_out:
        names = ", ".join(printable(path.relative_to(folder)) for path in left_out[:_NAMED])
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        logger.info("%s: not animated: %s%s", printable(folder), names, more)
    return sorted(chosen)


def from_manifest(manifest: Path, out: str | None, suffix: str, request: Request) -> list[Job]:
    """Return the jobs in a CSV file.

    Args:
        manifest: The CSV file; see the module docstring.
        out: The folder that the column ``out`` is relative to; None: the folder of the manifest.
        suffix: The suffix of outputs that have none in the manifest.
        request: The default options, used for empty values.

    Raises:
        InputError: The file is missing, a column is unknown, or a line names no recording or an
            invalid output. The message contains the line number. Another invalid value fails only
            its own job.
    """
    try:
        # Spreadsheet programs write a byte order mark, which "utf-8-sig" removes.
        file = io.StringIO(read_text(manifest, encoding="utf-8-sig"), newline="")
        reader = csv.DictReader(file, restkey="", strict=True)
        rows = [(reader.line_num, row) for row in reader]
        columns = reader.fieldnames or []
    except OSError as error:
        raise InputError(f"{manifest}: the file cannot be read ({error.strerror})") from error
    except (csv.Error, ValueError) as error:
        raise InputError(f"{manifest}: the file is not a CSV file ({error})") from error
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise InputError(f"{manifest}: the column {printable(twice)!r} is listed twice")
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or "audio" not in columns:
        problem = (
            f"unknown column {printable(repr(unknown[0]))}" if unknown else "no column 'audio'"
        )
        raise InputError(
            f"{manifest}: {problem}; the first line must be a header with columns from "
            f"{','.join(COLUMNS)}"
        )
    folder = None if out is None else Path(out)
    jobs = [_job(row, f"{manifest}:{n}", manifest, folder, suffix, request) for n, row in rows]
    if not jobs:
        raise InputError(f"{manifest}: the file lists no recordings, only the header")
    check_distinct([(job.speech, job.out) for job in jobs], "recording", _IN_MANIFEST)
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
        raise InputError(f"{where}: more values than columns; quote values that contain a comma")
    given = {key: value.strip() for key, value in row.items() if value and value.strip()}
    if "audio" not in given:
        raise InputError(f"{where}: the column 'audio' is empty")
    speech = manifest.parent / given.pop("audio")
    name = given.pop("out", None)
    check_path(speech, f"{where}: audio")
    check_path(Path(name or ""), f"{where}: out")
    folder = manifest.parent if out is None else out
    if name is None:
        target = speech if out is None else out / speech.name
        target = target.with_suffix(suffix)
    else:
        if name.endswith(("/", os.sep)) or not Path(name).name or Path(name).name == "..":
            raise InputError(f"{where}: out {printable(name)!r} is not the name of a file")
        target = folder / name
        target = target if target.suffix else target.with_suffix(suffix)
        if not is_inside(target, folder):
            raise InputError(
                f"{where}: out {printable(name)!r} leads out of {printable(folder)}; give another "
                "`out` folder, or a name inside it"
            )
    values, fault = dict[str, Any](given), None
    for key, kind, expected in (
        ("seed", int, "an integer from 0 on"),
        ("fps", float, "a number above 0"),
    ):
        if key in given:
            try:
                values[key] = kind(given[key])
                if not 0 <= values[key] < math.inf or (key == "fps" and not values[key]):
                    raise ValueError("out of range")
            except ValueError:
                del values[key]
                fault = f"{where}: {key} is {printable(repr(given[key]))}, expected {expected}"
    return Job(replace(request, speech=speech, **values), target, fault)


def _is_target(text: str, given: Sequence[Path]) -> bool:
    """Return whether the last argument is the output folder of the others."""
    path = Path(text)
    if path.is_dir():
        # Videos in it may be the results of an earlier run.
        files = [f for g in given for f in (recordings(g) if g.is_dir() else [g])]
        stems = {file.stem for file in files}
        return all(
            found.suffix.lower() in audio.VIDEO_SUFFIXES and found.stem in stems
            for found in recordings(path)
        )
    return not path.exists() and text.endswith(("/", os.sep))
