"""The files of the page, and the headers that keep everything else out of it."""

import base64
import hashlib
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from codetalker_cli import resources

_WEB = Path(__file__).resolve().parent / "web"
_VIEWER = "render/viewer/web"
_SUFFIXES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_OTHERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


class PageFiles:
    """The files that the page consists of. They contain nothing private, and need no token."""

    def __init__(self) -> None:
        folders = {
            "/web/": _WEB,
            "/viewer/": _WEB.parent.parent / _VIEWER,
            "/three/": resources.asset("three"),
        }
        self._paths = {
            prefix + path.relative_to(folder).as_posix(): path
            for prefix, folder in folders.items()
            for path in sorted(folder.rglob("*"))
            if path.suffix in _SUFFIXES and path.is_file()
        }
        self._paths["/"] = _WEB / "index.html"

    def find(self, path: str) -> tuple[Path, str] | None:
        """Return the file of a path in an address, and its type; or None."""
        found = self._paths.get(path)
        return None if found is None else (found, _SUFFIXES[found.suffix])

    def policy(self) -> str:
        """Return the Content-Security-Policy, which allows no other host."""
        match = _IMPORT_MAP.search((_WEB / "index.html").read_text("utf-8"))
        assert match is not None
        digest = base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()
        rules = {
            "default-src": "'none'",
            "script-src": f"'self' 'sha256-{digest}'",
            "style-src": "'self'",
            "img-src": "'self' blob: data:",  # textures of characters
            "media-src": "'self' blob:",
            "connect-src": "'self' blob: data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        return "; ".join(f"{name} {value}" for name, value in rules.items())


class SafeHeaders:
    """An ASGI middleware that adds headers of security to every response.

    Args:
        app: The application.
        policy: The Content-Security-Policy.
    """

    def __init__(self, app: Any, policy: str) -> None:
        self._app = app
        headers = _OTHERS | {"Content-Security-Policy": policy}
        self._headers = [(k.lower().encode(), v.encode()) for k, v in headers.items()]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a connection or a request."""

        async def send_with_headers(event: MutableMapping[str, Any]) -> None:
            if event["type"] in ("http.response.start", "websocket.http.response.start"):
                given = list(event.get("headers", []))
                names = {name.lower() for name, _ in given}
                if b"cache-control" not in names:
                    given.append((b"cache-control", b"no-store"))
                event["headers"] = given + [h for h in self._headers if h[0] not in names]
            await send(event)

        await self._app(scope, receive, send_with_headers)
