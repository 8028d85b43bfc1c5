"""A local page in the browser: record or drop speech, see it animated, and download the result.

``studio`` is what all requests share: ``takes`` (recordings with options and their motions, in a
folder), ``worker`` (the thread that computes them), ``exports`` (files that are made of them) and
``characters``. ``options`` describes how a take is animated, and ``api`` what the page can ask for.
``pages`` are the files of the page in ``web/``. ``app`` combines all with the server of live
streams, whose guard checks every request.
"""

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codetalker_cli.errors import BusyError
from codetalker_cli.files import claim
from codetalker_cli.live.server import check_packages

if TYPE_CHECKING:
    from codetalker_cli.animate.voice import Voice
    from codetalker_cli.rigs.units import UnitSet
    from codetalker_cli.studio.options import Origin

__all__ = ["Address", "serve"]

DEFAULT_PORT = 8770
HOST = "127.0.0.1"
"""The only address: the studio is for the person at this machine."""
_LOCK = "studio"


@dataclass(frozen=True)
class Address:
    """Where the page is.

    Attributes:
        port: The port; 0 chooses a free one.
        token: The token in the address; None: a random one.
    """

    port: int = DEFAULT_PORT
    token: str | None = None


def serve(
    voice: "Voice",
    origin: "Origin",
    sections: Mapping[str, Any],
    address: Address,
    *,
    folder: Path | None = None,
    units: "tuple[Path, UnitSet] | None" = None,
    opened: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the page until the process gets SIGINT or SIGTERM.

    Args:
        voice: The voice that animates all takes.
        origin: How it was loaded.
        sections: The settings of the sections ``studio``, ``render``, ``export`` and ``solve``.
        address: Where the page is.
        folder: The folder of the takes; None: a temporary one, which is removed at the end.
        units: The file and the units in meters of a face that is not the bundled head.
        opened: Called with the address when the server accepts connections.

    Raises:
        InputError: The port, the token or the folder cannot be used.
        MissingDependencyError: A package of the extra ``live`` is not installed.
    """
    check_packages()
    from codetalker_cli.live.server.address import listen
    from codetalker_cli.live.server.listener import make_server
    from codetalker_cli.studio.app import build
    from codetalker_cli.studio.exports import ExportOptions
    from codetalker_cli.studio.studio import Studio

    token = secrets.token_urlsafe(24) if address.token is None else address.token
    with ExitStack() as stack:
        if folder is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="codetalker-studio-"))
            folder = Path(made)
        stack.enter_context(_claimed(folder))
        options = ExportOptions(sections, None if units is None else units[0])
        studio = Studio(voice, sections["studio"], origin, folder, options)
        listener = stack.enter_context(listen(HOST, address.port, token))
        app = build(studio, token, None if units is None else units[1])
        opened(f"http://{HOST}:{listener.getsockname()[1]}/#token={token}")
        make_server(app).run(sockets=[listener])


def check_place(address: Address, folder: Path | None) -> None:
    """Check the port, the token and the folder before the voice is loaded.

    Raises:
        InputError: One of them cannot be used.
    """
    from codetalker_cli.live.server.address import listen

    listen(HOST, address.port, address.token).close()
    if folder is not None:
        with _claimed(folder):
            pass


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Inside a ``with`` block, keep other studios out of a folder."""
    with ExitStack() as stack:
        try:
            stack.enter_context(claim(folder / _LOCK))
        except BusyError as error:
            raise BusyError(
                f"{folder}: another studio is using this folder; end it, or give another `out`"
            ) from error
        yield
