"""The paths of the server."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRouter
from starlette.requests import ClientDisconnect

from codetalker_cli.animate.voice import Voice
from codetalker_cli.errors import printable
from codetalker_cli.live.server.guard import Guard, check_own_token, deny, needs_token
from codetalker_cli.live.server.limits import Addresses, Clock
from codetalker_cli.live.server.protocol import PROTOCOL_VERSION, Refusal
from codetalker_cli.live.server.recordings import Recordings
from codetalker_cli.live.server.scheduler import Scheduler
from codetalker_cli.live.server.session import Service, Session
from codetalker_cli.live.server.statistics import Statistics
from codetalker_cli.rigs.units import UnitSet
from codetalker_cli.settings import ServeSettings

_WARMUP_SECONDS = 0.5
STREAM_PATH = "/v1/stream"
"""The path of the WebSockets."""
RECORDING_OPTIONS = ("subject", "style", "fps", "seed", "idle", "head")
"""The query parameters of a whole recording."""

logger = logging.getLogger(__name__)
streams, recordings = APIRouter(), APIRouter()
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build(
    voice: Voice,
    settings: ServeSettings,
    token: str | None,
    units: UnitSet | None,
    clock: Clock = time.monotonic,
) -> FastAPI:
    """Return the application; ``create_app`` describes the arguments.

    Args:
        voice: See above.
        settings: See above.
        token: See above.
        units: See above.
        clock: Returns the time in seconds, for rates and delays.
    """
    app = make_app(make_service(voice, settings, token, units, clock), _lifespan)
    app.include_router(streams)
    app.include_router(recordings)
    return app


def make_service(
    voice: Voice,
    settings: ServeSettings,
    token: str | None,
    units: UnitSet | None,
    clock: Clock = time.monotonic,
) -> Service:
    """Return what all streams share; ``build`` describes the arguments.

    Raises:
        InputError: The token is too short.
    """
    check_own_token(token)
    statistics, addresses = Statistics(), Addresses(settings, clock)
    scheduler = Scheduler(settings.batch_size, statistics)
    return Service(
        voice, settings, token, units, scheduler, addresses, statistics, clock, sessions=set()
    )


def make_app(
    service: Service, lifespan: Lifespan, needs_token: Callable[[str], bool] = needs_token
) -> FastAPI:
    """Return an application without paths, which the guard protects.

    Args:
        service: What all streams share.
        lifespan: Starts and stops the service; see ``running``.
        needs_token: Whether the token must be in the header of requests for a path.
    """
    # The pages of the API's documentation would load scripts of other sites.
    app = FastAPI(
        title="codetalker", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.service = service
    settings = service.settings
    for status, code, sentence in (
        (404, "not_found", "there is nothing at this path"),
        (500, "internal", "the server failed"),
    ):
        app.add_exception_handler(status, _always(Refusal(code, sentence)))
    app.router.default = _no_path(app.router.default)
    app.add_exception_handler(405, _refuse_method)
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_parameter)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    # The middleware that is added last comes first.
    app.add_middleware(
        Guard,
        settings=settings,
        token=service.token,
        addresses=service.addresses,
        statistics=service.statistics,
        needs_token=needs_token,
    )
    return app


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Decode the streams of a service inside the block."""
    _warm_up(service)
    service.scheduler.start()
    try:
        yield
    finally:
        service.scheduler.stop()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with running(service):
        app.state.recordings = Recordings(service.voice, service.settings, service.units)
        try:
            yield
        finally:
            app.state.recordings.stop()


def _warm_up(service: Service) -> None:
    """Load what the first stream needs, so that its first frame is not late."""
    stream = service.voice.stream(units=service.units)
    noise = np.random.default_rng(0).standard_normal(round(_WARMUP_SECONDS * 16_000))
    for frame in stream.feed(noise.astype(np.float32) / 10):
        assert frame.weights is not None if stream.units else frame.vertices is not None


@streams.get("/health")
async def _health(request: Request) -> dict[str, Any]:
    if request.app.state.service.is_stopping:
        raise Refusal("shutting_down", "the server stops")
    return {"status": "ok", "version": PROTOCOL_VERSION}


@recordings.get("/metrics")
async def _metrics(request: Request) -> PlainTextResponse:
    service: Service = request.app.state.service
    text = service.statistics.text(len(service.sessions))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


@recordings.post("/v1/animate")
async def _animate(
    request: Request,
    subject: str | None = None,
    style: str | None = None,
    fps: float | None = None,
    seed: int = 0,
    idle: bool = True,
    head: bool | None = None,
) -> Response:
    service: Service = request.app.state.service
    if unknown := sorted(set(request.query_params) - set(RECORDING_OPTIONS)):
        raise Refusal(
            "bad_option",
            f"`{printable(unknown[0])}` is unknown; expected {', '.join(RECORDING_OPTIONS)}",
        )
    largest = service.settings.recording_mb * 1e6
    too_large = Refusal("recording_too_large", f"a recording may have {largest / 1e6:g} MB")

    async def receive() -> bytes:
        return b"".join([chunk async for chunk in received(request, largest, too_large)])

    options = {"subject": subject, "style": style, "fps": fps, "seed": seed, "idle": idle}
    options["head"] = head
    body = await request.app.state.recordings.animate(receive, request.is_disconnected, options)
    service.statistics.count("recordings")
    return Response(body, media_type="application/json")


async def received(request: Request, largest: float, too_large: Refusal) -> AsyncIterator[bytes]:
    """Yield the body of a request, in chunks.

    Args:
        request: The request.
        largest: The most bytes that it may have.
        too_large: The refusal if it has more.

    Raises:
        Refusal: The body is too large, or the client has gone.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > largest:
        raise too_large
    n_bytes = 0
    try:
        async for chunk in request.stream():
            n_bytes += len(chunk)
            if n_bytes > largest:
                raise too_large
            yield chunk
    except ClientDisconnect as error:  # no client gets this answer, but it is counted
        raise Refusal("bad_message", "the request ended within its body") from error


@streams.websocket(STREAM_PATH)
async def _stream(socket: WebSocket) -> None:
    await Session(socket, socket.app.state.service).run()


def _response(
    request: Request, refusal: Refusal, more: Mapping[str, str] | None = None
) -> Response:
    request.app.state.service.statistics.count_refusal(refusal.code)
    headers = {"retry-after": "5"} if refusal.status in (429, 503) else {}
    headers |= more or {}
    return Response(refusal.body(), refusal.status, headers, "application/json")


def _always(refusal: Refusal) -> Any:
    async def answer(request: Request, error: Exception) -> Response:
        return _response(request, refusal)

    return answer


def _no_path(default: Any) -> Any:
    """Return the application of unknown paths, which also answers WebSockets with a reason."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await default(scope, receive, send)
            return
        refusal = Refusal(
            "not_found",
            f"there is no stream at {printable(scope['path'], 60)}; connect to {STREAM_PATH}",
        )
        scope["app"].state.service.statistics.count_refusal(refusal.code)
        await deny(scope, send, refusal)

    return answer


async def _refuse_method(request: Request, error: Exception) -> Response:
    allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
    refusal = Refusal(
        "wrong_method",
        f"this path does not support {printable(request.method, 20)}; use {allowed}",
    )
    return _response(request, refusal, {"allow": allowed})


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _response(request, error)


async def _refuse_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    return _response(request, Refusal("bad_option", f"`{fault['loc'][-1]}`: {fault['msg']}"))
