"""Refuse connections and requests before the application sees them."""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from codetalker_cli.errors import InputError, printable
from codetalker_cli.live.server.limits import Addresses
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.live.server.statistics import Statistics
from codetalker_cli.settings import ServeSettings

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
MIN_TOKEN = 16
"""The least number of characters of a token."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LATE = ("/v1/stream",)
"""Paths where the token can be in the first message."""


def needs_token(path: str) -> bool:
    """Return whether requests for a path of the server of live streams need a token."""
    return path != "/health"


class Guard:
    """An ASGI middleware that checks the host, the origin, the token and the connection rate.

    Args:
        app: The application.
        settings: The limits.
        token: The token, or None.
        addresses: The connections of each address.
        statistics: Counts the refusals.
        needs_token: Whether requests for a path need the token.
    """

    def __init__(
        self,
        app: App,
        settings: ServeSettings,
        token: str | None,
        addresses: Addresses,
        statistics: Statistics,
        needs_token: Callable[[str], bool] = needs_token,
    ) -> None:
        self._needs_token = needs_token
        self._app, self._addresses, self._statistics = app, addresses, statistics
        self._hosts = {name.lower() for name in settings.allowed_hosts} | {"localhost"}
        self._origins = {origin.lower() for origin in settings.allowed_origins}
        self._token = token

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a connection or a request."""
        if scope["type"] in ("http", "websocket"):
            try:
                self._check(scope)
            except Refusal as refusal:
                self._statistics.count_refusal(refusal.code)
                await deny(scope, send, refusal)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        self._addresses.connect(client_address(scope))
        host = _header(scope, b"host")
        if host is None or not self._is_own(host):
            raise Refusal(
                "forbidden_host",
                f"the host {printable(host, 60)!r} is not an address of this server; add it to the "
                "setting serve.allowed_hosts",
            )
        origin = _header(scope, b"origin")
        if origin is not None and not self._is_allowed(origin, host):
            raise Refusal(
                "forbidden_origin",
                f"pages of the origin {printable(origin, 60)!r} may not use this server; add it to "
                "the setting serve.allowed_origins",
            )
        is_preflight = scope["type"] == "http" and scope["method"] == "OPTIONS"
        if is_preflight or not self._needs_token(scope["path"]):
            return
        sent = _header(scope, b"authorization")
        if sent is None and scope["path"] in _LATE:
            return
        scheme, _, given = (sent or "").partition(" ")
        check_token(given.strip() if scheme.lower() == "bearer" else None, self._token)

    def _is_own(self, host: str) -> bool:
        """Return whether a Host header names this server.

        With DNS rebinding, a page of another name reaches this server. An IP address is not a name.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
            if name in self._hosts:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _is_allowed(self, origin: str, host: str) -> bool:
        if origin.lower() in self._origins:
            return True
        scheme, _, place = origin.lower().partition("://")
        if scheme not in _DEFAULT_PORTS:  # such as null
            return False
        default = f":{_DEFAULT_PORTS[scheme]}"
        return place.removesuffix(default) == host.lower().removesuffix(default)


def check_token(given: str | None, token: str | None) -> None:
    """Check the token of a client, in a time that does not depend on what is wrong.

    Raises:
        Refusal: The token is missing or wrong.
    """
    if token is None:
        return
    if given is None:
        raise Refusal("unauthorized", "the server needs a token; send Authorization: Bearer TOKEN")
    if not hmac.compare_digest(*(text.encode("utf-8", "replace") for text in (given, token))):
        raise Refusal("unauthorized", "the token is wrong")


def check_own_token(token: str | None) -> None:
    """Check the token that the server is started with.

    Raises:
        InputError: It is too short, or cannot be sent in a header.
    """
    if token is None:
        return
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"the token must have at least {MIN_TOKEN} printable ASCII characters without spaces; "
            "for example, use the output of `openssl rand -hex 32`"
        )


def client_address(scope: Scope) -> str:
    """Return the address of the client."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


async def deny(scope: Scope, send: Any, refusal: Refusal) -> None:
    """Answer with the status, the code and the sentence of a refusal."""
    body = refusal.body()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status in (429, 503):
        headers.append((b"retry-after", b"5"))
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": refusal.close_code})
            return
        kind = "websocket.http.response"
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})


def _header(scope: Scope, name: bytes) -> str | None:
    """Return a header, or None; a header that is sent twice has no valid value."""
    values = [value for key, value in scope["headers"] if key == name]
    return None if not values else values[0].decode("latin-1") if len(values) == 1 else "(several)"
