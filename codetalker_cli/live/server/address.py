"""Open the address of a server."""

import errno
import os
import socket
from ipaddress import ip_address

from codetalker_cli.errors import InputError, printable
from codetalker_cli.live.server.guard import check_own_token


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
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise InputError(
                f"{shown}: cannot listen, because another program uses this port; use another port"
            ) from error
        raise InputError(f"{shown}: cannot listen ({_reason(error)}); use another port") from error
    return listener


def _reason(error: Exception) -> str:
    """Return the reason without the address, which Python adds to that of the system."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)
