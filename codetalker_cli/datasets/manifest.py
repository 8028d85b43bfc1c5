"""The manifest of a prepared data set: what the data set is, and its clip table.

``read_manifest`` refuses a damaged one, or reports each fault of it and reads the rest.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, get_origin

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.workspace import MANIFEST

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
UNFINISHED = ".unfinished"
"""Marks a folder whose data set is being written, or was when something stopped it."""
NO_SPEECH = "[no speech]"
"""Text of a clip in which nobody speaks, so that the face may rest."""
UNKNOWN = -1
"""Number of frames or samples of a clip whose row does not give it."""
PREPARE_AGAIN = "prepare the data again"
_DERIVED = {"splits", "data_id"}
"""Keys that ``Manifest.to_json`` adds for people."""

Report = Callable[[str, str, str], None]
"""Takes a fault: its kind, where it is (a clip or a file), and a line on what is wrong."""


@dataclass(frozen=True)
class ClipEntry:
    """One row of the clip table.

    Attributes:
        name: Unique; names both files.
        subject: Whose template the motion belongs to.
        split: train, val, test, or one of several tests such as test-a.
        n_frames: T; ``UNKNOWN`` only where a damaged manifest was read leniently.
        sha256: Of the vertices' bytes.
        text: What is said, where known; ``NO_SPEECH``: nothing.
        sentence: Which sentence of the subject it is.
        n_samples: The number of samples of the speech.
        audio_sha256: Of the samples' bytes.
        source: The raw clip it is made of; several parts may come of one.
    """

    name: str
    subject: str
    split: str
    n_frames: int
    sha256: str
    text: str = ""
    sentence: str = ""
    n_samples: int = 0
    audio_sha256: str = ""
    source: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether nobody speaks in the clip, so that the face may rest."""
        return self.text == NO_SPEECH


@dataclass(frozen=True)
class Manifest:
    """What manifest.json holds.

    Attributes:
        name: The name of the data set.
        fps: Motion frames a second.
        train_subjects: Their order numbers the speaking styles.
        clips: The clip table.
        unit: The unit of length; see ``codetalker_cli.topology.UNITS``.
        topology: ``name``, ``n_vertices``, ``n_faces``.
        subjects: All that have a template.
        mesh_sha256: Of mesh.npz.
        problems: ``{clip, kind, reason}`` of what was missing, broken, filled or split.
        sources: Raw clip → stamp of the files it was read from.
        recipe: Stamp of the settings and faces it was made with.
        notes: How it was made.
    """

    name: str
    fps: float
    train_subjects: tuple[str, ...]
    clips: tuple[ClipEntry, ...]
    unit: str = ""
    topology: dict[str, Any] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    mesh_sha256: str = ""
    problems: tuple[dict[str, str], ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    recipe: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def data_id(self) -> str:
        """Short hash of what training sees: changes when any clip or any face does."""
        keys = ("name", "subject", "split", "n_frames", "sha256", "audio_sha256", "text")
        rows = [[getattr(clip, key) for key in keys] for clip in self.clips]
        table = json.dumps([self.fps, self.mesh_sha256, rows], sort_keys=True)
        return hashlib.sha256(table.encode()).hexdigest()[:12]

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """Split → how many clips and frames it has, and whose."""
        summaries: dict[str, dict[str, Any]] = {}
        for clip in self.clips:
            summary = summaries.setdefault(clip.split, {"clips": 0, "frames": 0, "subjects": []})
            summary["clips"] += 1
            summary["frames"] += clip.n_frames
            if clip.subject not in summary["subjects"]:
                summary["subjects"].append(clip.subject)
        return summaries

    def to_json(self) -> str:
        """As manifest.json has it; what follows from the rest is written for people."""
        content = {**asdict(self), "splits": self.splits, "data_id": self.data_id}
        order = ["format_version", "name", "data_id", "fps", "unit", "topology", "subjects"]
        order += ["train_subjects", "splits"]
        content = {key: content.pop(key) for key in order} | content
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def find_manifest(folder: Path) -> Path:
    """The manifest's file.

    Raises:
        InputError: There is none.
    """
    path = folder / MANIFEST
    if not path.is_file() and (folder / UNFINISHED).exists():
        raise InputError(
            f"{folder}: an unfinished data set; run the same `codetalker prepare-data` again, "
            "it resumes where it stopped"
        )
    if not path.is_file():
        raise InputError(
            f"{folder}: no prepared data set (no {MANIFEST}); "
            "make one with `codetalker prepare-data`"
        )
    return path


def read_manifest(folder: Path, report: Report | None = None) -> Manifest:
    """The manifest of a prepared folder.

    Args:
        folder: The prepared folder.
        report: Gets each fault; what can be understood is read. None: a fault is an error.

    Raises:
        InputError: There is none.
        DataError: It is damaged, or of a newer format, and there is no ``report``.
    """
    path = find_manifest(folder)

    def refuse(_kind: str, where: str, message: str) -> NoReturn:
        place = "" if where == MANIFEST else f"{where}: "
        raise DataError(f"{path}: damaged manifest ({place}{message})")

    parser = _Parser(report or refuse)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        parser.fault(f"is no JSON ({error}); {PREPARE_AGAIN}")
        content = {}
    if not isinstance(content, dict):
        parser.fault(f"is a {type(content).__name__}; {PREPARE_AGAIN}")
        content = {}
    version = content.get("format_version")
    if report is None and isinstance(version, int) and version > FORMAT_VERSION:
        raise DataError(
            f"{path}: format {version}, this codetalker reads up to {FORMAT_VERSION}; upgrade it"
        )
    manifest = parser.manifest(content, folder.name)
    if version == 1:  # told neither unit nor topology (mesh.npz does), nor hashes of the speech
        logger.info("%s: format 1 is read as format %d", path, FORMAT_VERSION)
    return manifest


class _Parser:
    """Makes a manifest of parsed JSON, and reports what is not as it should be."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._allows_unknown_keys = False

    def fault(self, message: str, where: str = MANIFEST) -> None:
        self._report("manifest", where, message)

    def manifest(self, content: Mapping[str, Any], default_name: str) -> Manifest:
        """The manifest; ``default_name`` is its name if it has none."""
        version = content.get("format_version")
        if content and not (isinstance(version, int) and 1 <= version <= FORMAT_VERSION):
            self.fault(
                f"format_version {version!r}, expected 1 to {FORMAT_VERSION}; upgrade codetalker"
            )
            self._allows_unknown_keys = True
        fps = content.get("fps")
        if not isinstance(fps, int | float) or not 0 < fps <= sys.float_info.max:
            self.fault(f"fps {fps!r}, expected a rate in hertz; {PREPARE_AGAIN}")
            fps = 0.0
        if not content:
            return Manifest(default_name, fps, (), ())
        values = self._values(Manifest, content, MANIFEST)
        entries = [self._entry(number, row) for number, row in enumerate(values["clips"])]
        values["clips"] = tuple(entry for entry in entries if entry is not None)
        values["name"] = values["name"] if "name" in content else default_name
        values["train_subjects"] = tuple(str(subject) for subject in values["train_subjects"])
        return Manifest(**values | {"fps": fps, "format_version": FORMAT_VERSION})

    def _entry(self, number: int, row: Any) -> ClipEntry | None:
        where = f"{MANIFEST}, clip {number}"
        name = row.get("name") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name:
            self.fault(f"the row has no name; {PREPARE_AGAIN}", where)
            return None
        if Path(name).name != name or name in (".", ".."):
            self.fault(f"name {name!r} is no file name; {PREPARE_AGAIN}", where)
            return None
        return ClipEntry(**self._values(ClipEntry, row, name))

    def _values(self, kind: type, content: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The fields of a class as the JSON gives them, each of the field's type."""
        values: dict[str, Any] = {}
        for each in fields(kind):
            key, kind_of_value = each.name, get_origin(each.type) or each.type
            if key in content or each.default is each.default_factory is MISSING:
                values[key] = self._value(key, kind_of_value, content.get(key), where)
            if key not in content and kind_of_value is str:
                values[key] = ""
        unknown = sorted(content.keys() - {each.name for each in fields(kind)} - _DERIVED)
        if unknown and not self._allows_unknown_keys:
            self.fault(f"unknown key {unknown[0]!r}; {PREPARE_AGAIN}", where)
        return values

    def _value(self, key: str, kind: Any, value: Any, where: str) -> Any:
        if kind is tuple:
            if not isinstance(value, list):
                self.fault(f"{key} is no list; {PREPARE_AGAIN}", where)
            return tuple(value) if isinstance(value, list) else ()
        if kind is dict:
            if not isinstance(value, dict):
                self.fault(f"{key} is no object; {PREPARE_AGAIN}", where)
            return value if isinstance(value, dict) else {}
        if kind is int and key != "format_version":
            is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if not is_count:
                self.fault(f"{key} {value!r} is no count; {PREPARE_AGAIN}", where)
            return value if is_count else UNKNOWN
        if kind is str:
            is_name = key in ("subject", "split")
            if not isinstance(value, str) or (is_name and not value):
                noun = "name" if is_name else "text"
                self.fault(f"{key} {value!r} is no {noun}; {PREPARE_AGAIN}", where)
            return str(value)
        return value
