"""Record the progress of a preparation, so that an interrupted run can resume.

While a folder is being written, it contains the file ``.unfinished``. Its first line is a header
with the recipe of the data set and the clips that it replaces. Each further line records one
finished raw clip.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from codetalker_cli.datasets.manifest import UNFINISHED, ClipEntry, Manifest
from codetalker_cli.datasets.raw_clips import Problem
from codetalker_cli.errors import InputError
from codetalker_cli.files import atomic_path
from codetalker_cli.text_files import TABLE_BYTES, parse_json, read_json, read_text
from codetalker_cli.workspace import MANIFEST

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipRecord:
    """The outcome of one raw clip.

    Attributes:
        stamp: A hash of the files that the clip was read from (see ``stamp_of``).
        entries: The prepared clips made from it; empty if the raw clip is broken.
        problems: The problems reported for it.
    """

    stamp: str
    entries: tuple[ClipEntry, ...]
    problems: tuple[Problem, ...] = ()


@dataclass
class ResumeState:
    """The state that an interrupted run left behind.

    Attributes:
        recipe: A hash of the settings and faces of that run.
        replaces: The clips whose files are removed at the end unless they are written again.
        done: The outcome of each finished raw clip, by name.
    """

    recipe: str = ""
    replaces: set[str] = field(default_factory=set)
    done: dict[str, ClipRecord] = field(default_factory=dict)


def begin(folder: Path, recipe: str, replaces: set[str], records: Mapping[str, ClipRecord]) -> None:
    """Start a journal with the raw clips that are already finished."""
    header = json.dumps({"recipe": recipe, "replaces": sorted(replaces)})
    lines = [header, *(_to_line(source, record) for source, record in records.items())]
    with atomic_path(folder / UNFINISHED) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def note(folder: Path, source: str, record: ClipRecord) -> None:
    """Append the record of a finished raw clip."""
    with (folder / UNFINISHED).open("a", encoding="utf-8") as file:
        file.write(_to_line(source, record) + "\n")


def read(folder: Path) -> ResumeState:
    """Read the journal of an interrupted run, up to the first damaged line."""
    state = ResumeState()
    try:
        lines = read_text(folder / UNFINISHED, TABLE_BYTES).splitlines()
        header = parse_json(lines[0]) if lines else {}
        state.recipe, state.replaces = str(header["recipe"]), set(header["replaces"])
        for line in lines[1:]:
            content = parse_json(line)
            entries = tuple(ClipEntry(**entry) for entry in content["entries"])
            problems = tuple(Problem(**problem) for problem in content["problems"])
            state.done[content["source"]] = ClipRecord(content["stamp"], entries, problems)
            state.replaces |= {entry.name for entry in entries}
    except (ValueError, KeyError, TypeError) as error:  # the last line may be cut short
        logger.debug("%s: the journal ends early (%s)", folder, error)
    return state


def _to_line(source: str, record: ClipRecord) -> str:
    content = {"source": source, "stamp": record.stamp}
    entries, problems = map(asdict, record.entries), map(asdict, record.problems)
    return json.dumps({**content, "entries": list(entries), "problems": list(problems)})


def records_of(manifest: Manifest) -> dict[str, ClipRecord]:
    """Return the record of each raw clip in a finished data set."""
    records: dict[str, ClipRecord] = {}
    for source, stamp in manifest.sources.items():
        entries = tuple(entry for entry in manifest.clips if entry.source == source)
        problems = tuple(Problem(**p) for p in manifest.problems if p["clip"] == source)  # type: ignore[arg-type]
        records[source] = ClipRecord(stamp, entries, problems)
    return records


def clip_names_of(folder: Path) -> set[str]:
    """Return the names of the clips in a folder's manifest; empty if it cannot be read.

    Raises:
        InputError: The manifest belongs to another program, so its files must not be replaced.
    """
    try:
        content = read_json(folder / MANIFEST, TABLE_BYTES)
    except (OSError, ValueError):
        return set()
    if not isinstance(content, dict) or not {"format_version", "clips"} <= content.keys():
        raise InputError(
            f"{folder / MANIFEST}: not a codetalker manifest; give another output folder"
        )
    try:
        return {str(clip["name"]) for clip in content["clips"]}
    except (KeyError, TypeError):
        return set()
