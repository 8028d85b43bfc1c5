"""The application: the page, what it asks for, and live streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse

from codetalker_cli.live.server.app import make_app, make_service, running, streams
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.rigs.units import UnitSet
from codetalker_cli.settings import ServeSettings, StudioSettings, limits
from codetalker_cli.studio.api import files, router
from codetalker_cli.studio.pages import PageFiles, SafeHeaders
from codetalker_cli.studio.studio import Studio

_BURST_SECONDS = 5


def build(studio: Studio, token: str, units: UnitSet | None = None) -> FastAPI:
    """Return the application.

    Args:
        studio: The takes and the characters.
        token: The token that the page must send.
        units: The units of the face in meters, for live streams, or None.
    """
    pages = PageFiles()

    def needs_token(path: str) -> bool:
        # A ticket, which is the name of such a file, cannot be guessed either.
        return pages.find(path) is None and not path.startswith("/files/")

    service = make_service(studio.voice, serve_settings(studio.settings), token, units)
    service.on_stop.append(studio.changes.stop)
    app = make_app(service, _lifespan, needs_token)
    app.state.studio, app.state.pages = studio, pages
    app.include_router(streams)
    app.include_router(router)
    app.include_router(files)
    app.add_api_route("/{path:path}", _page, methods=["GET", "HEAD"])
    # The middleware that is added last comes first, also before the guard.
    app.add_middleware(SafeHeaders, policy=pages.policy())
    return app


def serve_settings(settings: StudioSettings) -> ServeSettings:
    """Return the settings of the server of live streams.

    All pages have the same address, so its limits are those of the server.
    """
    rate = settings.requests_per_second
    return ServeSettings(
        streams=settings.streams,
        streams_per_address=settings.streams,
        connections_per_second=rate,
        connection_burst=round(_BURST_SECONDS * rate),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    studio: Studio = app.state.studio
    studio.changes.start()
    # The limit is that of the process, and the threads of the studio read recordings.
    with limits.at_most_hours(studio.settings.recording_minutes / 60):
        async with running(app.state.service):
            studio.worker.start()
            try:
                yield
            finally:
                studio.worker.stop()
                studio.exports.stop()
                studio.characters.close()


async def _page(request: Request) -> Response:
    found = request.app.state.pages.find(request.url.path)
    if found is None:
        raise Refusal("not_found", "there is nothing at this path")
    path, kind = found
    return FileResponse(path, media_type=kind, headers={"cache-control": "no-cache"})
