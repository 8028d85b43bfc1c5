"""Characters of the user (.glb, .vrm), which can be moved instead of the face of the voice."""

import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.export.avatar_formats import Avatar
from codetalker_cli.export.take import make_take
from codetalker_cli.export.write import write
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.settings import ExportSettings
from codetalker_cli.studio.names import suffix_of
from codetalker_cli.studio.takes import is_id, new_id

SUFFIXES = (".glb", ".vrm")
"""The suffixes of characters. A .gltf refers to further files, so it cannot be sent alone."""


@dataclass(frozen=True)
class StudioCharacter:
    """A character.

    Attributes:
        id: Its name in addresses.
        name: What the user calls it.
        path: Its file.
        formats: The names of the formats that it can be written in.
        notes: What moves, and what does not: one sentence each.
    """

    id: str
    name: str
    path: Path
    formats: tuple[str, ...]
    notes: tuple[str, ...]


class Characters:
    """All characters; threads can share them. They are removed at the end.

    Args:
        folder: The folder of their files.
        most: The maximum number of characters.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._all: dict[str, StudioCharacter] = {}
        self.close()  # those of a studio that was killed

    def close(self) -> None:
        """Remove the files of all characters, but no other ones."""
        with self._lock:
            self._all.clear()
        for path in self._folder.glob("*/character.*"):
            if is_id(path.parent.name):
                self.drop(path)
        with suppress(OSError):
            self._folder.rmdir()  # if it is empty

    def all(self) -> list[StudioCharacter]:
        """Return all characters, the oldest first."""
        with self._lock:
            return list(self._all.values())

    def get(self, id: str) -> StudioCharacter:
        """Return a character.

        Raises:
            Refusal: There is no such character.
        """
        with self._lock:
            if id not in self._all:
                raise Refusal("not_found", "this character does not exist any more")
            return self._all[id]

    def begin(self, name: str) -> Path:
        """Return the path to which the file of a character is written; ``add`` lists it.

        Raises:
            Refusal: The name has another suffix, or there are too many characters.
        """
        suffix = suffix_of(name, SUFFIXES)
        if not suffix:
            raise Refusal(
                "bad_character",
                f"{name}: a character is a file with the suffix .glb or .vrm; a .gltf refers to "
                "other files, so save it as .glb",
            )
        if len(self._all) >= self._most:
            raise Refusal(
                "too_many_files",
                f"there are {self._most} characters, the limit; delete some of them",
            )
        folder = self._folder / new_id()
        folder.mkdir(parents=True)
        return folder / f"character{suffix}"

    def add(self, path: Path, name: str) -> StudioCharacter:
        """Check a character with a face that does not move, and list it.

        Raises:
            CodeTalkerError: It cannot be moved.
        """
        exporters = Avatar(path).exporters()
        still = RigCurves(ARKIT_UNITS, 30.0, np.zeros((2, len(ARKIT_UNITS)), np.float32))
        settings = ExportSettings.model_validate({"sound": False})
        trial = path.with_name("trial.glb")
        facts = write(make_take(still), trial, exporters["glb"], settings).facts
        trial.unlink()
        notes = tuple(facts["avatar"]["lines"])
        made = StudioCharacter(path.parent.name, name, path, tuple(exporters), notes)
        with self._lock:
            self._all[made.id] = made
        return made

    def drop(self, path: Path) -> None:
        """Remove the file of a character that was not listed."""
        shutil.rmtree(path.parent, ignore_errors=True)

    def delete(self, character: StudioCharacter) -> None:
        """Remove a character and its file."""
        with self._lock:
            self._all.pop(character.id, None)
        self.drop(character.path)
