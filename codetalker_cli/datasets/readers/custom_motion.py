"""The motion of anybody's own recordings: which files are clips, and whose they are."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.datasets.raw_clips import Problem
from codetalker_cli.errors import InputError
from codetalker_cli.formats import meshes
from codetalker_cli.formats.frames import (
    FrameSource,
    MeshSequence,
    NpyFrames,
    Pc2Frames,
    meshes_in,
    read_pc2_header,
)
from codetalker_cli.settings import CustomSettings

MOTION_SUFFIXES = (".npy", ".pc2")
_WILD = re.compile(r"[*?\[]")
_MAX_LISTED = 8


@dataclass(frozen=True)
class MotionFile:
    """The motion of one clip.

    Attributes:
        name: SUBJECT_SENTENCE, safe as a file name.
        subject: Whose face it is.
        sentence: What is told of the rest of its path.
        path: A file, or a folder of meshes.
        key: Its path from the first folder that varies, without suffix.
    """

    name: str
    subject: str
    sentence: str
    path: Path
    key: str

    @property
    def files(self) -> list[Path]:
        """What it is read from."""
        return meshes_in(self.path) if self.path.is_dir() else [self.path]

    @property
    def step(self) -> float:
        """Frames of the scene between two samples; only point caches have another than 1."""
        if self.path.is_dir() or self.path.suffix.lower() != ".pc2":
            return 1.0
        return round(read_pc2_header(self.path).step, 6)

    def open(self, n_vertices: int) -> FrameSource:
        """Its frames, as recorded.

        Raises:
            InputError: It is gone.
            DataError: Damaged, or of another vertex count.
        """
        if self.path.is_dir():
            return MeshSequence(self.path, n_vertices)
        kind = Pc2Frames if self.path.suffix.lower() == ".pc2" else NpyFrames
        return kind(self.path, n_vertices)


def find_motion_files(
    base: Path, settings: CustomSettings
) -> tuple[list[MotionFile], list[Problem]]:
    """Every clip's motion, by name, and what is wrong with the names of others.

    Raises:
        InputError: There is none, none fits the pattern of names, or two are the same clip.
    """
    motions, problems = _match_motions(base, settings)
    if not motions:
        if problems:
            raise InputError(f"{base}: {problems[0].reason}; no clip is left")
        raise InputError(
            f"{base}: custom.motion {settings.motion!r} matches no .npy, no .pc2 and no folder of "
            f"meshes; {describe_contents(base, settings.motion)}"
        )
    motion_files: dict[str, MotionFile] = {}
    unmatched: list[Problem] = []
    for path, key, whole_key in motions:
        subject_and_sentence = _subject_and_sentence(key, settings) or _subject_and_sentence(
            whole_key, settings
        )
        if subject_and_sentence is None:
            reason = f"{path}: {key!r} does not fit custom.pattern {settings.pattern!r}"
            unmatched.append(Problem(safe_name(key), "broken", reason))
            continue
        motion_file = MotionFile(
            safe_name("_".join(subject_and_sentence)), *subject_and_sentence, path, key
        )
        # Two names that differ in case alone are one file on many disks.
        other = motion_files.setdefault(motion_file.name.casefold(), motion_file)
        if other is not motion_file:
            raise InputError(
                f"{other.path} and {path} are both the clip {motion_file.name}; rename one"
            )
    if not motion_files:
        raise InputError(
            f"{unmatched[0].reason}; say how names tell subject and sentence, or subject"
        )
    return sorted(
        motion_files.values(), key=lambda motion_file: motion_file.name
    ), problems + unmatched


def _match_motions(
    base: Path, settings: CustomSettings
) -> tuple[list[tuple[Path, str, str]], list[Problem]]:
    """(path, key, key with suffix) of all that the pattern matches and that is motion."""
    motions, problems, single_meshes = [], [], []
    for path, relative in matches(base, settings.motion):
        suffix = path.suffix.lower()
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            if any(entry.suffix.lower() in meshes.SUFFIXES for entry in entries):
                motions.append((path, relative, relative))
            elif not any(entry.is_dir() or is_motion(entry) for entry in entries):
                reason = f"{path}: holds no {meshes.SUFFIX_LIST} files"
                problems.append(Problem(safe_name(relative), "missing", reason))
        elif suffix in MOTION_SUFFIXES:
            motions.append((path, relative[: -len(suffix)], relative))
        elif suffix in meshes.SUFFIXES:
            single_meshes.append(path)
    if single_meshes and not motions:
        raise InputError(
            f"{single_meshes[0]}: custom.motion {settings.motion!r} matches single meshes; it "
            "shall match the folders that hold the meshes of a clip each"
        )
    return motions, problems


def is_motion(path: Path) -> bool:
    """Whether a file is motion by its suffix."""
    return path.suffix.lower() in MOTION_SUFFIXES


def _subject_and_sentence(key: str, settings: CustomSettings) -> tuple[str, str] | None:
    if settings.subject is not None and "{subject}" in settings.pattern:
        return settings.subject, key.replace("/", "_")
    # The subject takes as much as it can: FaceTalk_1_TA_sentence01 is of FaceTalk_1_TA.
    fields = {"{subject}": r"(?P<subject>[^/]+)", "{sentence}": r"(?P<sentence>[^/]+?)"}
    parts = re.split(r"(\{subject\}|\{sentence\})", settings.pattern)
    expression = "".join(fields.get(part, re.escape(part)) for part in parts)
    match = re.fullmatch(expression, key)
    if match is None:
        return None
    return settings.subject or match["subject"], match["sentence"]


def safe_name(text: str) -> str:
    """A name that every file system takes: letters, digits, ``_``, ``-`` and inner points."""
    plain = unicodedata.normalize("NFC", text)
    return re.sub(r"[^\w.-]+", "_", plain).strip(".") or "_"


def matches(base: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """Files and folders that a pattern of paths matches, sorted, hidden ones left out.

    Args:
        base: What a relative pattern starts from.
        pattern: With ``*``, ``?``, ``[…]`` and ``**``, or plain.

    Yields:
        The path, and the part of it from the first folder that varies, with ``/``.
    """
    fixed, rest = _split_pattern(base, pattern)
    paths = sorted(fixed.glob(rest)) if _WILD.search(rest) else [fixed / rest]
    for path in paths:
        relative = path.relative_to(fixed)
        if path.exists() and not any(part.startswith(".") for part in relative.parts):
            yield path, relative.as_posix()


def _split_pattern(base: Path, pattern: str) -> tuple[Path, str]:
    """The folder that a pattern always goes through, and what varies below it."""
    parts = Path(pattern).expanduser().parts
    varies = [bool(_WILD.search(part)) for part in parts]
    n_fixed = varies.index(True) if any(varies) else max(len(parts) - 1, 0)
    return base.joinpath(*parts[:n_fixed]), "/".join(parts[n_fixed:]) or "."


def describe_contents(base: Path, pattern: str) -> str:
    """What the folder of a pattern holds, or the nearest one above it that there is."""
    folder = _split_pattern(base, pattern)[0]
    folder = next(f for f in (folder, *folder.absolute().parents) if f.is_dir())
    names: Sequence[str] = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in folder.iterdir()
        if not entry.name.startswith(".")
    )
    more = f", and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"{folder} holds " + (", ".join(names[:_MAX_LISTED]) + more if names else "nothing")
