"""What the page asks of the server."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import Field

from codetalker_cli import resources
from codetalker_cli.datasets.clip_files import link_or_copy
from codetalker_cli.errors import CodeTalkerError, printable
from codetalker_cli.live.server.app import received
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.settings import Section
from codetalker_cli.studio.names import MAX_NAME, shown_name
from codetalker_cli.studio.options import TakeOptions, parse_options
from codetalker_cli.studio.studio import Studio, describe_character, describe_export
from codetalker_cli.studio.takes import Take

WAIT_SECONDS = 20.0
"""The longest time that a request waits for a change."""
_CHUNK_BYTES = 1 << 18
_MAX_OPTIONS = 40_000

router = APIRouter(prefix="/api")
files = APIRouter()
NameQuery = Annotated[str, Query(max_length=1000)]
OptionsQuery = Annotated[str, Query(max_length=_MAX_OPTIONS)]


class NewName(Section):
    """A request to rename a take."""

    name: str = Field(max_length=MAX_NAME)


class NewExport(Section):
    """A request to write a take in a format."""

    format: str = Field(max_length=40)
    character: str | None = Field(None, max_length=40)
    sound: bool = True


def studio_of(request: Request) -> Studio:
    """Return what all requests share."""
    studio: Studio = request.app.state.studio
    return studio


# Takes --------------------------------------------------------------------------------------------


@router.get("/studio")
async def _describe(request: Request) -> dict[str, Any]:
    return studio_of(request).describe()


@router.get("/takes")
async def _list(request: Request, after: int = -1) -> dict[str, Any]:
    studio = studio_of(request)
    number = await studio.changes.wait(after, WAIT_SECONDS)
    takes = [studio.describe_take(take) for take in studio.takes.all()]
    return {"number": number, "takes": takes}


@router.post("/takes")
async def _add(request: Request, name: NameQuery, options: OptionsQuery = "{}") -> dict[str, Any]:
    studio, chosen = studio_of(request), checked_options(request, options)
    take = studio.takes.begin(shown_name(name, "recording"), chosen)
    try:
        n_bytes = await _receive(request, take.recording, studio.settings.upload_mb, "recording")
    except BaseException:
        studio.takes.drop(take)
        raise
    if not n_bytes:  # listed, so that one of many files is not missed
        take.state, take.error = "failed", "the recording is empty (0 bytes)"
        studio.takes.add(take)
        return studio.describe_take(take)
    return _start(studio, take)


@router.post("/sample")
async def _add_sample(request: Request, options: OptionsQuery = "{}") -> dict[str, Any]:
    studio, chosen = studio_of(request), checked_options(request, options)
    take = studio.takes.begin("sample.wav", chosen)
    shutil.copyfile(resources.asset("sample.wav"), take.recording)
    return _start(studio, take)


@router.post("/takes/{id}/again")
async def _again(request: Request, id: str, options: OptionsQuery = "{}") -> dict[str, Any]:
    studio, chosen = studio_of(request), checked_options(request, options)
    former = studio.takes.get(id)
    take = studio.takes.begin(former.name, chosen)
    take.recording = take.folder / former.recording.name
    link_or_copy(former.recording, take.recording)
    return _start(studio, take)


@router.patch("/takes/{id}")
async def _rename(request: Request, id: str, given: NewName) -> dict[str, Any]:
    studio = studio_of(request)
    take = studio.takes.get(id)
    take.name = shown_name(given.name, take.name)
    take.save()
    studio.changes.add()
    return studio.describe_take(take)


@router.delete("/takes/{id}")
async def _delete(request: Request, id: str) -> dict[str, Any]:
    studio = studio_of(request)
    await asyncio.to_thread(studio.takes.delete, studio.takes.get(id))
    return {}


@router.get("/takes/{id}/frames")
async def _frames(request: Request, id: str) -> Response:
    studio = studio_of(request)
    take = studio.takes.get(id)
    return StreamingResponse(_growing(studio, take), media_type="application/octet-stream")


async def _growing(studio: Studio, take: Take) -> AsyncIterator[bytes]:
    """Yield the packets of a take, and those that are computed in the meantime."""
    at, number = 0, -1
    while not take.n_bytes and take.is_growing and not studio.changes.is_stopped:
        number = await studio.changes.wait(number, WAIT_SECONDS)
    if not take.frames.is_file():
        return
    with take.frames.open("rb") as file:
        while True:
            is_ended = not take.is_growing or studio.changes.is_stopped
            while at < (n_bytes := take.n_bytes):
                content = file.read(min(_CHUNK_BYTES, n_bytes - at))
                if not content:
                    return
                at += len(content)
                yield content
            if is_ended:
                return
            number = await studio.changes.wait(number, WAIT_SECONDS)


@router.post("/takes/{id}/sound")
async def _sound(request: Request, id: str) -> dict[str, str]:
    studio = studio_of(request)
    take = studio.takes.get(id)
    if not take.sound.is_file() or not take.n_bytes:
        raise Refusal("not_ready", "the sound of this take is not ready yet")
    return {"url": f"/files/{studio.tickets.add(take.sound)}"}


@router.get("/faces/{subject}")
async def _face(request: Request, subject: str) -> Response:
    content = await asyncio.to_thread(studio_of(request).face, subject)
    return Response(content, media_type="application/octet-stream")


# Exports ------------------------------------------------------------------------------------------


@router.post("/takes/{id}/exports")
async def _export(request: Request, id: str, given: NewExport) -> dict[str, Any]:
    studio = studio_of(request)
    take = studio.takes.get(id)
    made = studio.exports.begin(take, given.format, given.character, has_sound=given.sound)
    return describe_export(made)


@router.post("/takes/{id}/exports/{export_id}/file")
async def _export_file(request: Request, id: str, export_id: str) -> dict[str, str]:
    studio = studio_of(request)
    export = studio.takes.get(id).exports.get(export_id)
    if export is None:
        raise Refusal("not_found", "this file does not exist any more")
    if export.file is None or export.state != "done":
        raise Refusal("not_ready", "this file is not complete")
    return {
        "url": f"/files/{studio.tickets.add(export.file, export.name)}",
        "name": export.name,
    }


@files.get("/files/{number}")
async def _file(request: Request, number: str) -> Response:
    ticket = studio_of(request).tickets.get(number)
    if ticket.name is None:
        return FileResponse(ticket.path, media_type="audio/wav")
    return FileResponse(ticket.path, media_type="application/octet-stream", filename=ticket.name)


# Characters ---------------------------------------------------------------------------------------


@router.get("/characters")
async def _list_characters(request: Request) -> list[dict[str, Any]]:
    return [describe_character(one) for one in studio_of(request).characters.all()]


@router.post("/characters")
async def _add_character(request: Request, name: NameQuery) -> dict[str, Any]:
    studio, name = studio_of(request), shown_name(name, "character")
    path = studio.characters.begin(name)
    try:
        if not await _receive(request, path, studio.settings.character_mb, "character"):
            raise Refusal("bad_character", "the character is empty")
        made = await asyncio.to_thread(studio.characters.add, path, name)
    except CodeTalkerError as error:
        studio.characters.drop(path)
        text = str(error).replace(str(path), name).replace("`", "")
        raise Refusal("bad_character", text) from error
    except BaseException:
        studio.characters.drop(path)
        raise
    return describe_character(made)


@router.delete("/characters/{id}")
async def _delete_character(request: Request, id: str) -> dict[str, Any]:
    characters = studio_of(request).characters
    await asyncio.to_thread(characters.delete, characters.get(id))
    return {}


# Shared -------------------------------------------------------------------------------------------


def checked_options(request: Request, text: str) -> TakeOptions:
    """Return the options of a take.

    Raises:
        Refusal: The text is invalid, or the voice does not have a subject or a style.
    """
    options = parse_options(text)
    try:
        studio_of(request).check(options)
    except CodeTalkerError as error:
        raise Refusal("bad_option", str(error).replace("`", "")) from error
    return options


def _start(studio: Studio, take: Take) -> dict[str, Any]:
    studio.takes.add(take)
    studio.worker.put(take)
    return studio.describe_take(take)


async def _receive(request: Request, path: Path, megabytes: float, what: str) -> int:
    """Write the body of a request to a file; return the number of its bytes."""
    seconds = studio_of(request).settings.upload_seconds
    too_large = Refusal(f"{what}_too_large", f"a {what} may have {megabytes:g} MB")
    n_bytes = 0
    try:
        async with asyncio.timeout(seconds):
            with path.open("wb") as file:
                async for chunk in received(request, megabytes * 1e6, too_large):
                    n_bytes += file.write(chunk)
    except TimeoutError as error:
        raise Refusal(
            "upload_timeout", f"the {what} did not arrive within {seconds:g} s"
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refusal("overloaded", f"the {what} cannot be stored ({printable(reason)})") from error
    return n_bytes
