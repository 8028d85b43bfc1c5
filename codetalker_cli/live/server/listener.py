"""Run the application with uvicorn."""

import logging
import socket
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from codetalker_cli.errors import InputError, printable
from codetalker_cli.live.server.guard import check_own_token
from codetalker_cli.live.server.session import Service
from codetalker_cli.live.server.wire import protocols_of

_STOP_SECONDS = 5

logger = logging.getLogger(__name__)


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        InputError: The address cannot be used; or other machines can reach it, but there is no
            token.
    """
    check_own_token(token)
    shown = f"{printable(host, 60)}:{port}"
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"{shown}: not an address of this machine ({error})") from error
    if token is None and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise InputError(
            f"{shown}: other machines can reach this address, so a `token` is needed; give one, or "
            "use 127.0.0.1"
        )
    try:
        listener = socket.create_server(
            (str(address[0]), port), family=socket.AddressFamily(kind), backlog=2048
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown}: cannot listen ({reason}); use another port") from error
    logger.info("listening on http://%s:%d", printable(host, 60), listener.getsockname()[1])
    return listener


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
