"""Write takes in the formats of the commands, in the background."""

import logging
import shutil
import threading
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetalker_cli.animate.voice import Voice
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.export.avatar_formats import Avatar
from codetalker_cli.export.formats import BY_NAME, EXPORTERS
from codetalker_cli.export.table import Exporter
from codetalker_cli.export.take import make_take
from codetalker_cli.export.write import write
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.live.server.recordings import lower_priority
from codetalker_cli.motion import Motion
from codetalker_cli.outputs import Formats
from codetalker_cli.render import render_video
from codetalker_cli.render.video import SUFFIXES as VIDEO_SUFFIXES
from codetalker_cli.render.viewer.page import SUFFIX as PAGE_SUFFIX
from codetalker_cli.render.viewer.page import write_motion
from codetalker_cli.settings import StudioSettings
from codetalker_cli.studio.characters import Characters, StudioCharacter
from codetalker_cli.studio.memory import release_memory
from codetalker_cli.studio.names import file_stem
from codetalker_cli.studio.takes import EXPORTS, Export, Take, Takes, new_id
from codetalker_cli.studio.worker import CanceledError, sentence_of

_PAGE = {"html": PAGE_SUFFIX}
_VIDEOS = {suffix.removeprefix("."): suffix for suffix in VIDEO_SUFFIXES}
FORMATS = Formats(_VIDEOS | _PAGE | {one.name: one.suffix for one in EXPORTERS})
"""All formats in which takes can be written."""

logger = logging.getLogger(__name__)


def format_list() -> list[dict[str, str]]:
    """Return the name, the suffix and the content of each format, for the page."""
    rows = [{"name": n, "suffix": s, "content": "video"} for n, s in _VIDEOS.items()]
    rows += [{"name": n, "suffix": s, "content": "page to turn the face"} for n, s in _PAGE.items()]
    return rows + [
        {"name": one.name, "suffix": one.suffix, "content": one.content} for one in EXPORTERS
    ]


@dataclass(frozen=True)
class ExportOptions:
    """How takes are written.

    Attributes:
        sections: The settings of the sections ``render``, ``export`` and ``solve``.
        units: The units of a face that is not the bundled head, or None.
    """

    sections: Mapping[str, Any]
    units: Path | None = None


class ExportWorker:
    """A thread that writes takes, with a lower priority than live streams.

    Args:
        voice: The voice.
        takes: All takes.
        characters: All characters.
        settings: The limits.
        options: How takes are written.
    """

    def __init__(
        self,
        voice: Voice,
        takes: Takes,
        characters: Characters,
        settings: StudioSettings,
        options: ExportOptions,
    ) -> None:
        self._voice, self._takes, self._characters = voice, takes, characters
        self._settings, self._options = settings, options
        self._pool = ThreadPoolExecutor(1, "exports", initializer=lower_priority)
        self._stop = threading.Event()
        self._recent: tuple[str, Motion] | None = None

    def stop(self) -> None:
        """End the thread soon."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(
        self, take: Take, format: str, character_id: str | None, *, has_sound: bool = True
    ) -> Export:
        """Write a take in a format, after the exports that wait.

        Args:
            take: The take.
            format: The name of the format.
            character_id: The character that is moved, or None.
            has_sound: Whether the sound is in the file, or next to it in an archive.

        Raises:
            Refusal: The format or the character is unknown, or the motion is not there yet.
        """
        character = None if character_id is None else self._characters.get(character_id)
        known = FORMATS.suffixes if character is None else character.formats
        if format not in known:
            raise Refusal("bad_option", f"format {format!r}: expected one of {', '.join(known)}")
        if take.state != "done":
            raise Refusal("not_ready", "the motion of this take is not complete")
        export = Export(new_id(), format, character_id, has_sound)
        while len(take.exports) >= self._settings.exports:
            oldest = next(iter(take.exports))
            shutil.rmtree(take.folder / EXPORTS / oldest, ignore_errors=True)
            del take.exports[oldest]
        take.exports[export.id] = export
        self._pool.submit(self._write_or_fail, take, export, character)
        self._takes.changes.add()
        return export

    def _write_or_fail(self, take: Take, export: Export, character: StudioCharacter | None) -> None:
        export.state = "computing"
        self._takes.changes.add()
        try:
            self._write(take, export, character)
            export.state = "done"
        except CanceledError:
            pass
        except Exception as error:
            export.state = "failed"
            export.error = sentence_of(error, take, self._settings)
            if character is not None:
                export.error = export.error.replace(str(character.path), character.name)
        self._takes.changes.add()
        release_memory()

    def _write(self, take: Take, export: Export, character: StudioCharacter | None) -> None:
        def progress(done: float, total: float) -> None:
            if self._stop.is_set() or take.is_deleted or export.id not in take.exports:
                raise CanceledError
            export.progress = done / max(total, 1)
            self._takes.changes.add()

        progress(0, 1)
        motion = self._motion(take)
        folder = take.folder / EXPORTS / export.id
        folder.mkdir(parents=True)
        stem = file_stem(take.name, "take")
        out = folder / f"{stem}{FORMATS.ending(export.format)}"
        if export.format in _VIDEOS:
            render_video(motion, out, self._options.sections["render"], progress)
        elif export.format in _PAGE:
            write_motion(motion, out, self._options.sections["render"], progress)
        else:
            export.progress = None
            exporter = self._exporter(export.format, character)
            units = self._options.units if character is None else None
            made = make_take(motion, units, self._options.sections["solve"])
            settings = self._options.sections["export"]
            if not export.has_sound:
                settings = settings.model_copy(update={"sound": False})
            written = write(made, out, exporter, settings)
            export.notes = [note for note in (written.opening,) if note]
            export.notes += written.facts.get("avatar", {}).get("lines", [])
        export.file = _one_file(folder, stem)
        export.name = export.file.name

    def _exporter(self, format: str, character: StudioCharacter | None) -> Exporter:
        return BY_NAME[format] if character is None else Avatar(character.path).exporters()[format]

    def _motion(self, take: Take) -> Motion:
        """Return the motion of a take, which is computed again unless it is the last one."""
        if self._recent is not None and self._recent[0] == take.id:
            return self._recent[1]
        self._recent = None  # frees its memory first
        request = take.options.request(take.recording, take.transcript())
        ((_, motion),) = self._voice.animate_many([request])
        if isinstance(motion, CodeTalkerError):
            raise motion
        if motion.vertices.nbytes <= self._settings.motion_mb * 1e6:
            self._recent = take.id, motion
        return motion


def _one_file(folder: Path, stem: str) -> Path:
    """Return the only file of an export, or an archive of its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) == 1 and files[0].parent == folder:
        return files[0]
    target = folder / f"{stem}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder))
    for path in files:
        path.unlink()
    return target
