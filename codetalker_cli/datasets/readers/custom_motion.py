"""Find the motion files of a custom data set, with the subject and the sentence of each clip."""

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
)
from codetalker_cli.formats.point_caches import read_pc2_header
from codetalker_cli.settings import CustomSettings

MOTION_SUFFIXES = (".npy", ".pc2")
_WILD = re.compile(r"[*?\[]")
_MAX_LISTED = 8


@dataclass(frozen=True)
class MotionFile:
    """The motion of one clip.

    Attributes:
        name: SUBJECT_SENTENCE, safe as a file name.
        subject: The subject, parsed from ``key`` or taken from the settings.
        sentence: The sentence, parsed from ``key``.
        path: A motion file, or a folder with one mesh per frame.
        key: The path from the first folder that varies, without suffix.
    """

    name: str
    subject: str
    sentence: str
    path: Path
    key: str

    @property
    def files(self) -> list[Path]:
        """The files that contain the motion."""
        return meshes_in(self.path) if self.path.is_dir() else [self.path]

    @property
    def step(self) -> float:
        """The number of scene frames per sample, which is 1 except in point caches (.pc2)."""
        if self.path.is_dir() or self.path.suffix.lower() != ".pc2":
            return 1.0
        return round(read_pc2_header(self.path).step, 6)

    def open(self, n_vertices: int) -> FrameSource:
        """Open the frames in the unit and axes of the file.

        Raises:
            InputError: The file does not exist.
            DataError: The file is damaged or has an unexpected number of vertices.
        """
        if self.path.is_dir():
            return MeshSequence(self.path, n_vertices)
        kind = Pc2Frames if self.path.suffix.lower() == ".pc2" else NpyFrames
        return kind(self.path, n_vertices)


def find_motion_files(
    base: Path, settings: CustomSettings
) -> tuple[list[MotionFile], list[Problem]]:
    """Find the motion of every clip.

    Args:
        base: The folder that ``settings.motion`` is relative to.
        settings: The settings of the data set.

    Returns:
        The motion files sorted by clip name, and one problem for each path that is not usable.

    Raises:
        InputError: Nothing matches ``settings.motion``, no path fits ``settings.pattern``, or two
            paths belong to the same clip.
    """
    motions, problems = _match_motions(base, settings)
    if not motions:
        if problems:
            raise InputError(f"{problems[0].reason}; there is no other clip in {base}")
        raise InputError(
            f"{base}: custom.motion {settings.motion!r} matches no .npy or .pc2 file and no folder "
            f"of meshes; {describe_contents(base, settings.motion)}"
        )
    motion_files: dict[str, MotionFile] = {}
    unmatched: list[Problem] = []
    for path, key, whole_key in motions:
        subject_and_sentence = _subject_and_sentence(key, settings) or _subject_and_sentence(
            whole_key, settings
        )
        if subject_and_sentence is None:
            reason = f"{path}: {key!r} does not match custom.pattern {settings.pattern!r}"
            unmatched.append(Problem(safe_name(key), "broken", reason))
            continue
        motion_file = MotionFile(
            safe_name("_".join(subject_and_sentence)), *subject_and_sentence, path, key
        )
        # Some file systems ignore case, so names that differ only in case would collide.
        other = motion_files.setdefault(motion_file.name.casefold(), motion_file)
        if other is not motion_file:
            raise InputError(
                f"{other.path} and {path} both belong to the clip {motion_file.name}; rename one"
            )
    if not motion_files:
        raise InputError(
            f"{unmatched[0].reason}; change custom.pattern, or set custom.subject if the paths do "
            "not contain one"
        )
    return sorted(
        motion_files.values(), key=lambda motion_file: motion_file.name
    ), problems + unmatched


def _match_motions(
    base: Path, settings: CustomSettings
) -> tuple[list[tuple[Path, str, str]], list[Problem]]:
    """Return (path, key, key with suffix) for all motion, and the problems with other matches."""
    motions, problems, single_meshes = [], [], []
    for path, relative in matches(base, settings.motion):
        suffix = path.suffix.lower()
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            if any(entry.suffix.lower() in meshes.SUFFIXES for entry in entries):
                motions.append((path, relative, relative))
            elif suffix in MOTION_SUFFIXES:
                reason = f"{path}: it is a folder, expected a motion file"
                problems.append(Problem(safe_name(path.stem), "broken", reason))
            elif not any(entry.is_dir() or is_motion(entry) for entry in entries):
                reason = f"{path}: the folder contains no {meshes.SUFFIX_LIST} files"
                problems.append(Problem(safe_name(relative), "missing", reason))
        elif suffix in MOTION_SUFFIXES:
            motions.append((path, relative[: -len(suffix)], relative))
        elif suffix in meshes.SUFFIXES:
            single_meshes.append(path)
    if single_meshes and not motions:
        raise InputError(
            f"{single_meshes[0]}: custom.motion {settings.motion!r} matches individual meshes; it "
            "must match folders, each with the meshes of one clip"
        )
    return motions, problems


def is_motion(path: Path) -> bool:
    """Return whether the suffix of a file is one of ``MOTION_SUFFIXES``."""
    return path.suffix.lower() in MOTION_SUFFIXES


def _subject_and_sentence(key: str, settings: CustomSettings) -> tuple[str, str] | None:
    if settings.subject is not None and "{subject}" in settings.pattern:
        return settings.subject, key.replace("/", "_")
    # The subject is greedy: in FaceTalk_1_TA_sentence01 it is FaceTalk_1_TA.
    fields = {"{subject}": r"(?P<subject>[^/]+)", "{sentence}": r"(?P<sentence>[^/]+?)"}
    parts = re.split(r"(\{subject\}|\{sentence\})", settings.pattern)
    expression = "".join(fields.get(part, re.escape(part)) for part in parts)
    match = re.fullmatch(expression, key)
    if match is None:
        return None
    return settings.subject or match["subject"], match["sentence"]


def safe_name(text: str) -> str:
    """Return a portable file name with only letters, digits, ``_``, ``-`` and inner periods."""
    plain = unicodedata.normalize("NFC", text)
    return re.sub(r"[^\w.-]+", "_", plain).strip(".") or "_"


def matches(base: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """Yield the files and folders that match a path pattern, sorted, without hidden ones.

    Args:
        base: The folder that a relative pattern starts from.
        pattern: A path, optionally with the wildcards ``*``, ``?``, ``[…]`` and ``**``.

    Yields:
        The path, and the part of it from the first folder that varies, separated by ``/``.
    """
    fixed, rest = _split_pattern(base, pattern)
    paths = sorted(fixed.glob(rest)) if _WILD.search(rest) else [fixed / rest]
    for path in paths:
        relative = path.relative_to(fixed)
        if path.exists() and not any(part.startswith(".") for part in relative.parts):
            yield path, relative.as_posix()


def _split_pattern(base: Path, pattern: str) -> tuple[Path, str]:
    """Split a pattern into the folder before the first wildcard, and the rest."""
    parts = Path(pattern).expanduser().parts
    varies = [bool(_WILD.search(part)) for part in parts]
    n_fixed = varies.index(True) if any(varies) else max(len(parts) - 1, 0)
    return base.joinpath(*parts[:n_fixed]), "/".join(parts[n_fixed:]) or "."


def describe_contents(base: Path, pattern: str) -> str:
    """Return a phrase that lists the contents of a pattern's folder, for error messages.

    If the folder does not exist, its nearest existing parent is described.
    """
    folder = _split_pattern(base, pattern)[0]
    folder = next(f for f in (folder, *folder.absolute().parents) if f.is_dir())
    names: Sequence[str] = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in folder.iterdir()
        if not entry.name.startswith(".")
    )
    more = f", and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"{folder} contains " + (", ".join(names[:_MAX_LISTED]) + more if names else "nothing")
