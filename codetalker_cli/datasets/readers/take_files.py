"""Find the takes of people below a folder: files of faces, and the sound that belongs to them."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from codetalker_cli import media
from codetalker_cli.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from codetalker_cli.datasets.prepared import MESH, TRACKS
from codetalker_cli.datasets.readers.custom_motion import safe_name
from codetalker_cli.errors import InputError, printable
from codetalker_cli.settings import CaptureSettings
from codetalker_cli.workspace import MANIFEST

SOUND_SUFFIXES = (*AUDIO_SUFFIXES, *VIDEO_SUFFIXES)
_APP_FOLDER = re.compile(r"\d{8}_(.+)")
"""A take of Live Link Face is in a folder that is called by the date and the take."""
_APP_FILE = "take.json"
_TRACK_FOLDER = re.compile(r".+-[0-9a-f]{16}(\.blocks)?")
"""A folder in which ``capture.tracking`` keeps the track of a film."""


@dataclass(frozen=True)
class TakeName:
    """Who and what a take is.

    Attributes:
        person: The person.
        title: The name of the take.
    """

    person: str
    title: str

    @property
    def name(self) -> str:
        """PERSON_TITLE, safe as a file name."""
        return safe_name(f"{self.person}_{self.title}")


class TakeFolder:
    """A folder of takes; prepared data sets below it are not searched.

    Args:
        root: The folder.
        left_out: A folder below it that is not searched, or None.

    Raises:
        InputError: The folder does not exist.
    """

    def __init__(self, root: Path, left_out: Path | None = None) -> None:
        if not root.is_dir():
            fault = "is not a folder" if root.exists() else "no such folder"
            raise InputError(f"{root}: {fault}; give the folder that contains the takes")
        self.root = root
        avoided = None if left_out is None else left_out.resolve()
        self._files = list(_files_below(root, avoided))
        self._by_stem: dict[tuple[Path, str], list[Path]] = {}
        for path in self._files:
            self._by_stem.setdefault((path.parent, path.stem.casefold()), []).append(path)

    def files(self, suffixes: Sequence[str]) -> list[Path]:
        """Return the files with these suffixes, sorted by path."""
        return [path for path in self._files if path.suffix.lower() in suffixes]

    def same_named(self, path: Path, suffixes: Sequence[str], stems: Sequence[str]) -> Path | None:
        """Return the file next to ``path`` with one of the stems, by the order of ``suffixes``."""
        keys = ((path.parent, stem.casefold()) for stem in dict.fromkeys(stems))
        files = [file for key in keys for file in self._by_stem.get(key, [])]
        order = {suffix: k for k, suffix in enumerate(suffixes)}
        usable = [file for file in files if file.suffix.lower() in order and file != path]
        return min(usable, key=lambda f: (order[f.suffix.lower()], f.name), default=None)

    def name_of(self, path: Path, stem: str, subject: str | None, default: str) -> TakeName:
        """Return the person and the title of a take.

        The person is ``subject``, else the first folder below the root, else ``default``. The
        folder that an app makes for each take is not a person.
        """
        folders = list(path.relative_to(self.root).parts[:-1])
        if folders and _is_app_folder(path.parent, stem):
            folders.pop()
        if subject is None and folders:
            return TakeName(safe_name(folders[0]), safe_name("_".join([*folders[1:], stem])))
        return TakeName(safe_name(subject or default), safe_name("_".join([*folders, stem])))


def _files_below(root: Path, left_out: Path | None) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and Path(folder, name).resolve() != left_out
            and not _is_prepared(Path(folder, name))
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def _is_prepared(folder: Path) -> bool:
    """Return whether a folder is a prepared data set, or the tracks of an interrupted run."""
    if (folder / MANIFEST).is_file() and (folder / MESH).is_file():
        return True
    tracks = folder / TRACKS
    return tracks.is_dir() and any(
        _TRACK_FOLDER.fullmatch(entry.name) for entry in tracks.iterdir()
    )


def _is_app_folder(folder: Path, stem: str) -> bool:
    match = _APP_FOLDER.fullmatch(folder.name)
    return bool(match and stem.startswith(match[1])) or (folder / _APP_FILE).is_file()


def sound_fault(path: Path) -> tuple[Literal["missing", "broken"], str] | None:
    """Return the kind of problem and why a film has no usable sound; audio files are not opened."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return None
    try:
        facts = media.probe(path)
    except InputError as error:
        return "broken", str(error)
    if facts.reason:
        return "broken", f"{path}: {facts.reason}"
    return None if facts.sound_tracks else ("missing", f"{path}: the film has no sound")


def data_set_name(root: Path, settings: CaptureSettings) -> str:
    """Return the name of the data set, which is also that of a person in no folder.

    Raises:
        InputError: The name or the person in the settings is not a valid folder name.
    """
    for key in ("name", "subject"):
        value = getattr(settings, key)
        if value and value != safe_name(value):
            raise InputError(
                f"capture.{key}: {printable(repr(value))} is not a valid folder name; use "
                f"{printable(repr(safe_name(value)))}"
            )
    return settings.name or safe_name(root.resolve().name)
