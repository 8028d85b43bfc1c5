"""What is done of a data set that is being written: so a run that was stopped can go on.

While a folder is being written, ``.unfinished`` lies in it: a line that says what the data set is
made with and whose files it replaces, then a line for each raw clip that is done.
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
from codetalker_cli.workspace import MANIFEST

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipRecord:
    """What became of one raw clip.

    Attributes:
        stamp: Of the files it was read from.
        entries: Its prepared clips; none: it is broken.
        problems: What was said about it.
    """

    stamp: str
    entries: tuple[ClipEntry, ...]
    problems: tuple[Problem, ...] = ()


@dataclass
class ResumeState:
    """What an earlier run left.

    Attributes:
        recipe: Stamp of what the data set was to be made with.
        replaces: Clips whose files are not to stay unless they are made again.
        done: Raw clip → what became of it.
    """

    recipe: str = ""
    replaces: set[str] = field(default_factory=set)
    done: dict[str, ClipRecord] = field(default_factory=dict)


def begin(folder: Path, recipe: str, replaces: set[str], records: Mapping[str, ClipRecord]) -> None:
    """Start a journal with what is done already."""
    header = json.dumps({"recipe": recipe, "replaces": sorted(replaces)})
    lines = [header, *(_to_line(source, record) for source, record in records.items())]
    with atomic_path(folder / UNFINISHED) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def note(folder: Path, source: str, record: ClipRecord) -> None:
    """Add a raw clip that is done."""
    with (folder / UNFINISHED).open("a", encoding="utf-8") as file:
        file.write(_to_line(source, record) + "\n")


def read(folder: Path) -> ResumeState:
    """The journal of a run that was stopped, as far as it was written."""
    state = ResumeState()
    try:
        lines = (folder / UNFINISHED).read_text(encoding="utf-8").splitlines()
        header = json.loads(lines[0]) if lines else {}
        state.recipe, state.replaces = str(header["recipe"]), set(header["replaces"])
        for line in lines[1:]:
            content = json.loads(line)
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
    """What a finished data set says of its raw clips."""
    records: dict[str, ClipRecord] = {}
    for source, stamp in manifest.sources.items():
        entries = tuple(entry for entry in manifest.clips if entry.source == source)
        problems = tuple(Problem(**p) for p in manifest.problems if p["clip"] == source)  # type: ignore[arg-type]
        records[source] = ClipRecord(stamp, entries, problems)
    return records


def clip_names_of(folder: Path) -> set[str]:
    """Clips of the data set in a folder, by its table as far as it can be read.

    Raises:
        InputError: The manifest is one of something else, whose files are not ours to replace.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    if not isinstance(content, dict) or not {"format_version", "clips"} <= content.keys():
        raise InputError(f"{folder / MANIFEST} is of something else; give another folder")
    try:
        return {str(clip["name"]) for clip in content["clips"]}
    except (KeyError, TypeError):
        return set()
