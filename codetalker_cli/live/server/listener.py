"""Run the application with uvicorn."""

import asyncio
import socket

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from codetalker_cli.live.server.session import Service

_STOP_SECONDS = 5
_MARGIN_BYTES = 1_000_000


def make_server(app: FastAPI) -> uvicorn.Server:
    """Return a server for an application of ``create_app``."""
    service: Service = app.state.service
    settings = service.settings
    largest = round(settings.outgoing_mb * 1e6) + _MARGIN_BYTES

    class Protocol(WebSocketsSansIOProtocol):
        """A WebSocket whose transport the sessions know.

        Sending never waits, because a session limits the size of the transport's buffer itself.
        """

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert isinstance(transport, asyncio.Transport)
            transport.set_write_buffer_limits(high=largest)
            self.app_state = {**self.app_state, "transport": transport}

    config = uvicorn.Config(
        app,
        ws=Protocol,
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
