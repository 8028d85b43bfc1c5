"""A server of live streams: WebSockets for live sound, HTTP for whole recordings.

One thread decodes all streams. The event loop of the server never waits for it.
"""

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from codetalker_cli.errors import MissingDependencyError, printable
from codetalker_cli.resources import install_command
from codetalker_cli.settings import ServeSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from codetalker_cli.animate.voice import Voice
    from codetalker_cli.rigs.units import UnitSet

__all__ = ["create_app", "serve"]

DEFAULT_PORT = 8765

logger = logging.getLogger(__name__)


def create_app(
    voice: "Voice",
    settings: ServeSettings | None = None,
    token: str | None = None,
    units: "UnitSet | None" = None,
) -> "FastAPI":
    """Return the application, for any ASGI server.

    Args:
        voice: The voice that animates all sound.
        settings: The limits; None: the defaults.
        token: The token that clients must send; None: every client is accepted.
        units: The units of the face in meters, whose weights the frames contain; None: ARKit's 52
            units for the bundled head, and no weights for other faces.

    Raises:
        InputError: The token is too short.
        MissingDependencyError: A package of the extra ``live`` is not installed.
    """
    check_packages()
    from codetalker_cli.live.server.app import build

    return build(voice, settings or ServeSettings.model_validate({}), token, units)


def serve(
    voice: "Voice",
    settings: ServeSettings | None = None,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    token: str | None = None,
    units: "UnitSet | None" = None,
) -> None:
    """Serve streams until the process gets SIGINT or SIGTERM.

    Args:
        voice: As for ``create_app``, like ``settings``, ``token`` and ``units``.
        settings: See ``voice``.
        host: The address to listen on.
        port: The port; 0 chooses a free one, which is logged.
        token: See ``voice``. It is required for an address that other machines can reach.
        units: See ``voice``.

    Raises:
        InputError: The address cannot be used, or needs a token.
        MissingDependencyError: A package of the extra ``live`` is not installed.
    """
    app = create_app(voice, settings, token, units)
    from codetalker_cli.live.server.address import listen
    from codetalker_cli.live.server.listener import make_server

    with listen(host, port, token) as listener:
        logger.info("listening on http://%s:%d", printable(host, 60), listener.getsockname()[1])
        make_server(app).run(sockets=[listener])


def check_packages() -> None:
    """Check that the packages of the server are installed.

    Raises:
        MissingDependencyError: A package of the extra ``live`` is not installed.
    """
    missing = [name for name in ("fastapi", "uvicorn", "websockets") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the server needs {', '.join(missing)}, which is not installed; run "
            f"{install_command('live')}"
        )
