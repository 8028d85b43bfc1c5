"""Takes: recordings with options and their motions, in a folder that outlives the server.

Each take has a folder of its own, with a random name. ``take.json`` describes it, ``recording*`` is
the file that was sent, ``frames.bin`` the motion as the page plays it, and ``sound.wav`` its sound.
Exported files are in ``exports/``.
"""

import json
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from codetalker_cli.animate.jobs import MEDIA_SUFFIXES
from codetalker_cli.errors import printable
from codetalker_cli.files import atomic_path
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.settings import Section
from codetalker_cli.studio.changes import Changes
from codetalker_cli.studio.names import MAX_NAME, suffix_of
from codetalker_cli.studio.options import TakeOptions
from codetalker_cli.text_files import TEXT_BYTES, check_regular, parse_json

State = Literal["waiting", "computing", "done", "failed"]
TAKE, RECORDING, FRAMES, SOUND, TRANSCRIPT, EXPORTS = (
    "take.json", "recording", "frames.bin", "sound.wav", "transcript.txt", "exports",
)  # fmt: skip
_ID = re.compile(r"[0-9a-f]{16}")

logger = logging.getLogger(__name__)


class _Stored(Section):
    """The content of ``take.json``."""

    model_config = ConfigDict(strict=True)

    name: str = Field(max_length=MAX_NAME)
    options: TakeOptions
    recording: str = Field(pattern=r"^recording(\.[a-z0-9]{1,5})?$")
    created: float
    model: str
    state: State
    error: str | None = None
    fps: float = 0.0
    n_frames: int = Field(0, ge=0)


@dataclass
class Export:
    """A file that is made of a take.

    Attributes:
        id: Its name in addresses.
        format: The name of the format, e.g. ``glb``.
        character: The id of the character that is moved, or None.
        has_sound: Whether the sound is in the file, or next to it in an archive.
        state: Whether it is waiting, made, or failed.
        progress: The part that is done, from 0 to 1, or None if it is unknown.
        error: The reason of a failure, as a sentence.
        file: The file, when it is done.
        name: What the downloaded file is called.
        notes: What the user should know, as sentences.
    """

    id: str
    format: str
    character: str | None
    has_sound: bool = True
    state: State = "waiting"
    progress: float | None = None
    error: str | None = None
    file: Path | None = None
    name: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class Take:
    """A recording with options, and its motion as far as it is computed.

    Attributes:
        id: Its name in addresses, and that of its folder.
        folder: Its folder.
        name: What the user calls it.
        options: How the recording is animated.
        recording: The file of the recording.
        created: When it was added, in seconds since 1970.
        model: The checkpoint that animates it.
        state: Whether it is waiting, computed, or failed.
        error: The reason of a failure, as a sentence.
        progress: The part that is decoded, from 0 to 1.
        fps: The frame rate.
        n_frames: The number of frames of the whole motion, 0 until it is known.
        n_known: The number of frames in ``frames.bin``.
        n_bytes: The number of complete bytes in ``frames.bin``.
        is_deleted: Whether the take is deleted, so that nothing more is written.
        exports: Files that are made of it, the oldest first.
    """

    id: str
    folder: Path
    name: str
    options: TakeOptions
    recording: Path
    created: float
    model: str
    state: State = "waiting"
    error: str | None = None
    progress: float = 0.0
    fps: float = 0.0
    n_frames: int = 0
    n_known: int = 0
    n_bytes: int = 0
    is_deleted: bool = False
    exports: dict[str, Export] = field(default_factory=dict)
    _saving: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def is_growing(self) -> bool:
        """Whether frames can still be added."""
        return self.state in ("waiting", "computing") and not self.is_deleted

    @property
    def frames(self) -> Path:
        """The file of the motion as the page plays it."""
        return self.folder / FRAMES

    @property
    def sound(self) -> Path:
        """The file of the sound as the page plays it."""
        return self.folder / SOUND

    def transcript(self) -> Path | None:
        """Return the file of the transcript, or None if there is no transcript."""
        path = self.folder / TRANSCRIPT
        if not self.options.transcript.strip():
            return None
        if not path.exists():
            path.write_text(self.options.transcript, "utf-8")
        return path

    def save(self) -> None:
        """Write ``take.json``."""
        content = {
            "name": self.name,
            "options": self.options.model_dump(exclude_defaults=True),
            "recording": self.recording.name,
            "created": self.created,
            "model": self.model,
            "state": self.state,
            "error": self.error,
            "fps": self.fps,
            "n_frames": self.n_frames,
        }
        # Two threads cannot write the same file at once.
        with self._saving, atomic_path(self.folder / TAKE) as path:
            path.write_text(json.dumps(content), "utf-8")


def is_id(name: str) -> bool:
    """Return whether a name has the form of those that ``new_id`` returns."""
    return _ID.fullmatch(name) is not None


def new_id() -> str:
    """Return a name that cannot be guessed."""
    return secrets.token_hex(8)


class Takes:
    """All takes in a folder; threads can share them.

    Args:
        folder: The folder. Takes of an earlier server in it are read.
        model: The checkpoint that animates takes. Those of another one are computed again.
        most: The maximum number of takes.
        changes: Gets a change whenever a take changes.
    """

    def __init__(self, folder: Path, model: str, most: int, changes: Changes) -> None:
        self._folder, self._model, self._most = folder, model, most
        self.changes = changes
        self._lock = threading.Lock()
        found = sorted(self._read_all(), key=lambda take: take.created)
        self._takes = {take.id: take for take in found}

    def all(self) -> list[Take]:
        """Return all takes, the oldest first."""
        with self._lock:
            return list(self._takes.values())

    def get(self, id: str) -> Take:
        """Return a take.

        Raises:
            Refusal: There is no such take.
        """
        with self._lock:
            if id not in self._takes:
                raise Refusal("not_found", "this take does not exist any more")
            return self._takes[id]

    def check_room(self) -> None:
        """Refuse another take if there are too many.

        Raises:
            Refusal: There are.
        """
        if len(self._takes) >= self._most:
            raise Refusal(
                "too_many_files", f"there are {self._most} takes, the limit; delete some of them"
            )

    def begin(self, name: str, options: TakeOptions) -> Take:
        """Return a take whose recording is not there yet; ``add`` lists it."""
        self.check_room()
        id = new_id()
        folder = self._folder / id
        folder.mkdir(parents=True)
        recording = folder / f"{RECORDING}{suffix_of(name, MEDIA_SUFFIXES)}"
        return Take(id, folder, name, options, recording, time.time(), self._model)

    def add(self, take: Take) -> None:
        """List a take whose recording is complete."""
        with self._lock:
            self._takes[take.id] = take
        take.save()
        self.changes.add()

    def drop(self, take: Take) -> None:
        """Remove a take that was not listed."""
        shutil.rmtree(take.folder, ignore_errors=True)

    def delete(self, take: Take) -> None:
        """Remove a take and all of its files."""
        take.is_deleted = True
        with self._lock:
            self._takes.pop(take.id, None)
        self.drop(take)
        self.changes.add()

    def _read_all(self) -> Iterator[Take]:
        for path in self._folder.glob(f"*/{TAKE}"):
            if not is_id(path.parent.name):
                continue
            try:
                yield self._read(path)
            except (OSError, ValueError) as error:
                logger.warning("%s: skipped (%s)", printable(path), _reason(error))

    def _read(self, path: Path) -> Take:
        check_regular(path)
        if path.stat().st_size > TEXT_BYTES:
            raise ValueError("the file is too large")
        stored = _Stored.model_validate(parse_json(path.read_text("utf-8")))
        folder = path.parent
        values: dict[str, Any] = {key: getattr(stored, key) for key in ("name", "options", "error")}
        take = Take(
            folder.name,
            folder,
            **values,
            recording=folder / stored.recording,
            created=stored.created,
            model=self._model,
            state=stored.state,
            fps=stored.fps,
        )
        check_regular(take.recording)
        is_whole = stored.state == "done" and take.frames.is_file() and take.sound.is_file()
        if is_whole and stored.model == self._model:
            take.n_frames = take.n_known = stored.n_frames
            take.n_bytes, take.progress = take.frames.stat().st_size, 1.0
        elif stored.state != "failed":
            take.state = "waiting"  # it was interrupted, or another model computed it
        shutil.rmtree(folder / EXPORTS, ignore_errors=True)
        return take


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return printable(error.errors(include_input=False, include_url=False)[0]["msg"])
    return printable(error)
