"""The manifest of a prepared data set: the facts about the data set, and its clip table.

``read_manifest`` refuses a damaged manifest, or reports each fault and reads the rest.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, get_origin

from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.files import name_fault
from codetalker_cli.motion import MAX_FPS
from codetalker_cli.text_files import TABLE_BYTES, read_json
from codetalker_cli.workspace import MANIFEST

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
UNFINISHED = ".unfinished"
"""The file that marks a folder whose data set is still being written or was interrupted."""
NO_SPEECH = "[no speech]"
"""The text of a clip without speech, whose face may be motionless."""
UNKNOWN = -1
"""The number of frames or samples of a clip whose row does not contain it."""
PREPARE_AGAIN = "prepare the data again"
_NAMES = ("name", "subject", "split")
"""The keys whose values become parts of paths."""
_DERIVED = {"splits", "data_id"}
"""The keys that ``Manifest.to_json`` adds for human readers."""

Report = Callable[[str, str, str], None]
"""A callback that receives a fault: its kind, the clip or file, and a one-line message."""


@dataclass(frozen=True)
class ClipEntry:
    """One row of the clip table.

    Attributes:
        name: The unique name of the clip; both of its files have this name.
        subject: The subject whose template the motion belongs to.
        split: train, val, test, or one of several test splits such as test-a.
        n_frames: T; ``UNKNOWN`` only if a damaged manifest was read leniently.
        sha256: The hash of the bytes of the vertices.
        text: The spoken text, if known; ``NO_SPEECH`` if there is no speech.
        sentence: The name of the sentence, unique for the subject.
        n_samples: The number of samples of the speech.
        audio_sha256: The hash of the bytes of the samples.
        source: The raw clip that the clip was made from; one raw clip can be split into several.
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
        """Whether the clip contains no speech, so that its face may be motionless."""
        return self.text == NO_SPEECH


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        name: The name of the data set.
        fps: The frame rate of the motion, in frames per second.
        train_subjects: The training subjects; their order defines the index of each style.
        clips: The clip table.
        unit: The unit of length; see ``codetalker_cli.topology.UNITS``.
        topology: ``name``, ``n_vertices`` and ``n_faces``.
        subjects: The subjects that have a template.
        mesh_sha256: The hash of mesh.npz.
        problems: A ``{clip, kind, reason}`` for each clip that was missing, broken, filled or
            split.
        sources: A hash of the files of each raw clip, by the name of the raw clip.
        recipe: A hash of the settings and faces that the data set was made with.
        notes: Facts about how the data set was made.
        format_version: The version of the prepared format.
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
        """A short hash of everything that training reads; it changes with any clip or face."""
        keys = ("name", "subject", "split", "n_frames", "sha256", "audio_sha256", "text")
        rows = [[getattr(clip, key) for key in keys] for clip in self.clips]
        table = json.dumps([self.fps, self.mesh_sha256, rows], sort_keys=True)
        return hashlib.sha256(table.encode()).hexdigest()[:12]

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """The number of clips and frames, and the subjects, of each split."""
        summaries: dict[str, dict[str, Any]] = {}
        for clip in self.clips:
            summary = summaries.setdefault(clip.split, {"clips": 0, "frames": 0, "subjects": []})
            summary["clips"] += 1
            summary["frames"] += clip.n_frames
            if clip.subject not in summary["subjects"]:
                summary["subjects"].append(clip.subject)
        return summaries

    def to_json(self) -> str:
        """Return the text of manifest.json, with derived values for human readers."""
        content = {**asdict(self), "splits": self.splits, "data_id": self.data_id}
        order = ["format_version", "name", "data_id", "fps", "unit", "topology", "subjects"]
        order += ["train_subjects", "splits"]
        content = {key: content.pop(key) for key in order} | content
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def find_manifest(folder: Path) -> Path:
    """Return the path of the manifest.

    Raises:
        InputError: The folder contains no manifest.
    """
    path = folder / MANIFEST
    if not path.is_file() and (folder / UNFINISHED).exists():
        raise InputError(
            f"{folder}: the data set is unfinished; run the same `codetalker prepare-data` "
            "command again to resume"
        )
    if not path.is_file():
        raise InputError(
            f"{folder}: no prepared data set (no {MANIFEST}); "
            "make one with `codetalker prepare-data`"
        )
    return path


def read_manifest(folder: Path, report: Report | None = None) -> Manifest:
    """Read the manifest of a prepared folder.

    Args:
        folder: The prepared folder.
        report: Receives each fault; all valid parts are still read. None: a fault is an error.

    Raises:
        InputError: The folder contains no manifest.
        DataError: The manifest is damaged or has a newer format, and there is no ``report``.
    """
    path = find_manifest(folder)

    def refuse(_kind: str, where: str, message: str) -> NoReturn:
        place = "" if where == MANIFEST else f"{where}: "
        raise DataError(f"{path}: damaged manifest ({place}{message})")

    parser = _Parser(report or refuse)
    try:
        content = read_json(path, TABLE_BYTES)
    except (ValueError, OSError) as error:
        parser.fault(f"not valid JSON ({error}); {PREPARE_AGAIN}")
        content = {}
    if not isinstance(content, dict):
        parser.fault(f"expected a JSON object, found {type(content).__name__}; {PREPARE_AGAIN}")
        content = {}
    version = content.get("format_version")
    if report is None and isinstance(version, int) and version > FORMAT_VERSION:
        raise DataError(
            f"{path}: the format version is {version}, but this version of codetalker reads "
            f"only up to {FORMAT_VERSION}; upgrade codetalker-cli"
        )
    manifest = parser.manifest(content, folder.name)
    # Format 1 has no hashes of the speech. Its unit and topology are only in mesh.npz.
    if version == 1:
        logger.info("%s: format 1 is read as format %d", path, FORMAT_VERSION)
    return manifest


class _Parser:
    """Makes a manifest from parsed JSON and reports each fault."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._allows_unknown_keys = False

    def fault(self, message: str, where: str = MANIFEST) -> None:
        self._report("manifest", where, message)

    def manifest(self, content: Mapping[str, Any], default_name: str) -> Manifest:
        """Return the manifest; ``default_name`` is used if the JSON contains no name."""
        version = content.get("format_version")
        if content and not (isinstance(version, int) and 1 <= version <= FORMAT_VERSION):
            self.fault(
                f"format_version is {version!r}, expected 1 to {FORMAT_VERSION}; upgrade "
                "codetalker-cli"
            )
            self._allows_unknown_keys = True
        fps = content.get("fps")
        if not isinstance(fps, int | float) or not 0 < fps <= MAX_FPS:
            self.fault(f"fps is {fps!r}, expected a number of frames per second; {PREPARE_AGAIN}")
            fps = 0.0
        if not content:
            return Manifest(default_name, fps, (), ())
        values = self._values(Manifest, content, MANIFEST)
        entries = [self._entry(number, row) for number, row in enumerate(values["clips"])]
        values["clips"] = tuple(entry for entry in entries if entry is not None)
        values["name"] = values["name"] if "name" in content else default_name
        for key in ("train_subjects", "subjects"):
            values[key] = tuple(str(subject) for subject in values.get(key, ()))
            for fault, name in ((name_fault(name), name) for name in values[key]):
                if fault is not None:
                    self.fault(f"{key}: {printable(name)!r} {fault}; {PREPARE_AGAIN}")
        return Manifest(**values | {"fps": fps, "format_version": FORMAT_VERSION})

    def _entry(self, number: int, row: Any) -> ClipEntry | None:
        where = f"{MANIFEST}, clip {number}"
        name = row.get("name") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name:
            self.fault(f"the row has no name; {PREPARE_AGAIN}", where)
            return None
        if fault := name_fault(name):
            self.fault(f"name {printable(name)!r} {fault}; {PREPARE_AGAIN}", where)
            return None
        return ClipEntry(**self._values(ClipEntry, row, name))

    def _values(self, kind: type, content: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the field values of a class; JSON values of a wrong type are reported."""
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
                self.fault(f"{key} is not a list; {PREPARE_AGAIN}", where)
            return tuple(value) if isinstance(value, list) else ()
        if kind is dict:
            if not isinstance(value, dict):
                self.fault(f"{key} is not a JSON object; {PREPARE_AGAIN}", where)
            return value if isinstance(value, dict) else {}
        if kind is int and key != "format_version":
            is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if not is_count:
                self.fault(f"{key} is {value!r}, expected a count; {PREPARE_AGAIN}", where)
            return value if is_count else UNKNOWN
        if kind is str:
            if not isinstance(value, str) or (key in _NAMES and not value):
                noun = "a name" if key in _NAMES else "text"
                self.fault(f"{key} is {value!r}, expected {noun}; {PREPARE_AGAIN}", where)
            elif key in _NAMES and (fault := name_fault(value)):
                self.fault(f"{key} {printable(value)!r} {fault}; {PREPARE_AGAIN}", where)
            return str(value)
        return value
