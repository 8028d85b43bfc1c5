"""What all requests of the studio share."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.animate.voice import Voice
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.motion import Motion
from codetalker_cli.render.viewer.face import face_packet
from codetalker_cli.settings import StudioSettings
from codetalker_cli.studio.changes import Changes
from codetalker_cli.studio.characters import Characters, StudioCharacter
from codetalker_cli.studio.exports import ExportOptions, ExportWorker, format_list
from codetalker_cli.studio.options import Origin, TakeOptions, python_of
from codetalker_cli.studio.takes import Export, Take, Takes
from codetalker_cli.studio.worker import Worker

_MAX_TICKETS = 1000


@dataclass(frozen=True)
class Ticket:
    """A file that whoever knows the ticket may read.

    Attributes:
        path: The file.
        name: What the downloaded file is called; None: it is played, not saved.
    """

    path: Path
    name: str | None


class Tickets:
    """Addresses of files for the elements of a page, which cannot send a token.

    A ticket cannot be guessed, and is made only for a request that contains the token.
    """

    def __init__(self) -> None:
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()

    def add(self, path: Path, name: str | None = None) -> str:
        """Return the ticket of a file."""
        number = secrets.token_urlsafe(24)
        self._tickets[number] = Ticket(path, name)
        while len(self._tickets) > _MAX_TICKETS:
            self._tickets.popitem(last=False)
        return number

    def get(self, number: str) -> Ticket:
        """Return a ticket.

        Raises:
            Refusal: There is none, or its file was deleted.
        """
        ticket = self._tickets.get(number)
        if ticket is None or not ticket.path.is_file():
            raise Refusal("not_found", "this file does not exist any more")
        return ticket


@dataclass
class Studio:
    """The takes, the characters, and the threads that compute them."""

    voice: Voice
    settings: StudioSettings
    origin: Origin
    folder: Path
    options: ExportOptions
    changes: Changes = field(default_factory=Changes)

    def __post_init__(self) -> None:
        self.tickets = Tickets()
        model = self.origin.model
        self.takes = Takes(self.folder, model, self.settings.takes, self.changes)
        self.characters = Characters(self.folder / "characters", self.settings.characters)
        self.worker = Worker(self.voice, self.takes, self.settings)
        self.exports = ExportWorker(
            self.voice, self.takes, self.characters, self.settings, self.options
        )
        self.face = lru_cache(maxsize=16)(self._face)

    def describe(self) -> dict[str, Any]:
        """Return what the page needs to know about the voice and the limits."""
        voice, settings = self.voice, self.settings
        mesh = voice.checkpoint.mesh
        assert mesh is not None
        return {
            "model": self.origin.model,
            "subjects": voice.subjects,
            "styles": voice.styles,
            "fps": voice.checkpoint.settings.data.fps,
            "has_idle": bool(mesh.idle_units),
            "formats": format_list(),
            "upload_mb": settings.upload_mb,
            "character_mb": settings.character_mb,
            "recording_minutes": settings.recording_minutes,
        }

    def check(self, options: TakeOptions) -> None:
        """Refuse options that the voice does not have.

        Raises:
            InputError: The subject, the style or the frame rate is invalid.
        """
        self.voice.check(options.request(Path(), None))

    def _face(self, subject: str) -> bytes:
        """Return the packet of a face for the page."""
        mesh, fps = self.voice.checkpoint.mesh, self.voice.checkpoint.settings.data.fps
        assert mesh is not None
        if subject not in mesh.templates:
            raise Refusal("not_found", f"the face {subject!r} is unknown")
        template = mesh.templates[subject]
        still = np.asarray(template, np.float32)[None]
        colors = mesh.colors.get(subject)
        return face_packet(Motion(still, fps, mesh.topology, subject, template, colors), subject)

    def describe_take(self, take: Take) -> dict[str, Any]:
        """Return a take for the page."""
        return {
            "id": take.id,
            "name": take.name,
            "options": take.options.model_dump(exclude_defaults=True),
            "subject": take.options.subject or self.voice.subjects[0],
            "created": take.created,
            "state": take.state,
            "error": take.error,
            "progress": round(take.progress, 3),
            "fps": take.fps,
            "n_frames": take.n_frames,
            "n_known": take.n_known,
            "command": self.origin.command(take.name, take.options),
            "python": python_of(take.name, take.options, self.origin),
            "exports": [describe_export(one) for one in list(take.exports.values())],
        }


def describe_export(export: Export) -> dict[str, Any]:
    """Return an export for the page."""
    return {
        "id": export.id,
        "format": export.format,
        "character": export.character,
        "state": export.state,
        "progress": export.progress,
        "error": export.error,
        "name": export.name,
        "notes": export.notes,
    }


def describe_character(character: StudioCharacter) -> dict[str, Any]:
    """Return a character for the page."""
    return {
        "id": character.id,
        "name": character.name,
        "formats": list(character.formats),
        "notes": list(character.notes),
    }
