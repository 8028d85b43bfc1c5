"""Run the application with uvicorn."""

import socket

import uvicorn
from fastapi import FastAPI

from codetalker_cli.live.server.session import Service
from codetalker_cli.live.server.wire import protocols_of

_STOP_SECONDS = 5


def make_server(app: FastAPI) -> uvicorn.Server:
    """Return a server for an application of ``create_app``."""
    service: Service = app.state.service
    settings = service.settings
    http, websocket = protocols_of(service)
    config = uvicorn.Config(
        app,
        http=http,
        ws=websocket,
        # The session refuses large messages with a reason; far larger ones are not received.
        ws_max_size=round(2 * settings.message_mb * 1e6),
        ws_ping_interval=settings.ping_seconds,
        ws_ping_timeout=settings.ping_seconds,
        ws_per_message_deflate=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return _Server(config, service)


class _Server(uvicorn.Server):
    """A server that ends its streams with a reason."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.stop()
        await super().shutdown(sockets)
