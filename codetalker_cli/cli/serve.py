"""The options ``--serve`` and ``--token`` of ``codetalker live``."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.errors import InputError

if TYPE_CHECKING:
    from codetalker_cli.animate import Voice
    from codetalker_cli.live.take import TakeFace

    Loader = Callable[[dict[str, Any]], tuple[Voice, TakeFace]]

ServeOption = Annotated[
    str | None,
    typer.Option(
        "--serve",
        metavar="HOST:PORT",
        help="Serve streams to other programs over WebSocket and HTTP (port 8765).",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="CODETALKER_TOKEN",
        help="Token that the clients of --serve must send; needed beyond 127.0.0.1.",
    ),
]


def refuse_others(given: dict[str, Any]) -> None:
    """Refuse options of a single stream.

    Raises:
        InputError: One of the options is given.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise InputError(
                f"`{name}` has no effect with `serve`, whose clients send the sound and receive "
                "the frames; leave it out"
            )


def serve_streams(
    address: str, token: str | None, load: "Loader", sections: dict[str, Any]
) -> None:
    """Serve streams until Ctrl-C or SIGTERM.

    Raises:
        InputError: The address is invalid, cannot be used, or needs a token.
        MissingDependencyError: A package of the server is not installed.
    """
    from codetalker_cli.live.network import parse_address
    from codetalker_cli.live.server import DEFAULT_PORT, check_packages, serve
    from codetalker_cli.live.server.address import listen

    check_packages()
    host, port = parse_address(address, DEFAULT_PORT, "serve")
    listen(host, port, token).close()  # an unusable address is reported before a model is loaded
    voice, face = load(sections)
    with suppress(KeyboardInterrupt):  # the usual end, so the exit code is 0
        serve(voice, sections["serve"], host, port, token, face.units)
