"""Send frames by UDP: to VTuber programs as OSC messages, and to Unreal Engine as Live Link."""

import logging
import socket
from typing import TYPE_CHECKING

import numpy as np

from codetalker_cli.errors import InputError, printable
from codetalker_cli.export.head_rotation import quaternions
from codetalker_cli.formats.live_link_packets import PORT as LIVE_LINK_PORT
from codetalker_cli.formats.live_link_packets import LiveLinkPackets
from codetalker_cli.live.frames import LiveFrame
from codetalker_cli.live.packages import import_pythonosc
from codetalker_cli.settings import LiveSettings

if TYPE_CHECKING:
    from pythonosc.osc_bundle_builder import OscBundleBuilder
    from pythonosc.osc_message import OscMessage

VMC_PORT = 39539
"""The port at which programs receive the VMC protocol."""
MAX_BUNDLE_BYTES = 1400
"""The largest OSC bundle, which fits into one packet of an Ethernet."""
_BUNDLE_HEAD_BYTES, _ITEM_HEAD_BYTES = 16, 4

logger = logging.getLogger(__name__)


def parse_address(text: str, default_port: int, name: str) -> tuple[str, int]:
    """Return the host and the port of HOST:PORT, HOST, [IPv6]:PORT or :PORT.

    Args:
        text: The address.
        default_port: The port if the address contains none.
        name: The parameter, for the message.

    Raises:
        InputError: This is not an address.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or text.endswith("]") or (host.count(":") and not host.startswith("[")):
        host, port = text.strip(), str(default_port)
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    # A number alone is a port without a host.
    is_host = host.isprintable() and " " not in host and "/" not in host and not host.isdecimal()
    if not text.strip() or not is_host or not (port.isdecimal() and 0 < int(port) < 1 << 16):
        raise InputError(
            f"`{name}` {printable(text)}: expected HOST:PORT, such as 127.0.0.1:{default_port}"
        )
    return host, int(port)


class UdpSender:
    """Sends packets to one receiver; a fault is reported once.

    Args:
        host: The host.
        port: The port.
        what: What is sent, for messages.

    Attributes:
        is_usable: Whether the host was found.
    """

    def __init__(self, host: str, port: int, what: str) -> None:
        self._where = f"{what} to {printable(host)}:{port}"
        self._socket: socket.socket | None = None
        self._is_reported = False
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            # A connected socket gets an error if nothing listens at the port.
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:
            self.close()
            self._report(f"the host cannot be reached ({_reason(error)})")
        self.is_usable = self._socket is not None

    def send(self, packet: bytes) -> None:
        """Send a packet, which can get lost."""
        if self._socket is None:
            return
        try:
            self._socket.send(packet)
        except BlockingIOError:
            pass  # the buffer of the system is full, so this frame is lost
        except ConnectionRefusedError:
            self._report("no program receives there yet; frames are still sent")
        except OSError as error:
            self._report(f"frames cannot be sent ({_reason(error)})")

    def _report(self, text: str) -> None:
        if not self._is_reported:
            self._is_reported = True
            logger.warning("%s: %s", self._where, text)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text)


class OscSink:
    """Sends the weights to a program that receives the VMC protocol.

    A frame is the rotation of the head if it moves, one message per unit, then Apply, OK and T.
    They are sent in as few bundles as fit into a packet each, as the samples of the protocol do.

    Args:
        address: HOST:PORT.
        settings: The spelling of the units.
    """

    def __init__(self, address: str, settings: LiveSettings) -> None:
        host, port = parse_address(address, VMC_PORT, "osc")
        self._messages, self._bundles = import_pythonosc()
        self._has_capitals = settings.osc_names == "perfect-sync"
        self._sender = UdpSender(host, port, "OSC")

    @property
    def is_usable(self) -> bool:
        """Whether the host was found."""
        return self._sender.is_usable

    def send(self, frame: LiveFrame) -> None:
        """Send the weights of a frame, and the rotation of the head."""
        messages = [] if frame.head is None else [self._bone("Head", unity_rotation(frame.head))]
        messages += [
            self._message("/VMC/Ext/Blend/Val", (self._spelled(name), "s"), (float(weight), "f"))
            for name, weight in zip(frame.names, frame.weights, strict=True)
        ]
        messages += [
            self._message("/VMC/Ext/Blend/Apply"),
            self._message("/VMC/Ext/OK", (1, "i")),
            self._message("/VMC/Ext/T", (frame.seconds, "f")),
        ]
        bundle, n_bytes = self._new_bundle(), _BUNDLE_HEAD_BYTES
        for message in messages:
            size = message.size + _ITEM_HEAD_BYTES
            if n_bytes + size > MAX_BUNDLE_BYTES:
                self._sender.send(bundle.build().dgram)
                bundle, n_bytes = self._new_bundle(), _BUNDLE_HEAD_BYTES
            bundle.add_content(message)
            n_bytes += size
        self._sender.send(bundle.build().dgram)

    def _bone(self, name: str, rotation: np.ndarray) -> "OscMessage":
        numbers = [0.0, 0.0, 0.0, *rotation.tolist()]  # the position, and the rotation
        return self._message("/VMC/Ext/Bone/Pos", (name, "s"), *((x, "f") for x in numbers))

    def _spelled(self, name: str) -> str:
        return name[:1].upper() + name[1:] if self._has_capitals else name

    def _message(self, address: str, *values: tuple[str | int | float, str]) -> "OscMessage":
        builder = self._messages.OscMessageBuilder(address)
        for value, kind in values:
            builder.add_arg(value, kind)
        return builder.build()

    def _new_bundle(self) -> "OscBundleBuilder":
        return self._bundles.OscBundleBuilder(self._bundles.IMMEDIATELY)

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()


def unity_rotation(head: np.ndarray) -> np.ndarray:
    """Return the rotation of the head in Unity: +y up, +z forward and +x to the subject's right.

    Args:
        head: (3,) rotation, as in ``RigCurves.head``.

    Returns:
        The (4,) quaternion x, y, z, w. Its axes are those of the model, as in a normalized rig.
    """
    x, y, z, w = quaternions(head[None])[0]
    # The mirrored axis x makes the coordinates left-handed, and reverses turns about y and z.
    return np.array([x, -y, -z, w])


class LiveLinkSink:
    """Sends the weights as packets of the app Live Link Face.

    Args:
        address: HOST:PORT.
        settings: The name of the subject.
        fps: The frame rate.
    """

    def __init__(self, address: str, settings: LiveSettings, fps: float) -> None:
        host, port = parse_address(address, LIVE_LINK_PORT, "livelink")
        self._packets = LiveLinkPackets(settings.livelink_subject, fps)
        self._sender = UdpSender(host, port, "Live Link")

    @property
    def is_usable(self) -> bool:
        """Whether the host was found."""
        return self._sender.is_usable

    def send(self, frame: LiveFrame) -> None:
        """Send the weights of a frame, and the rotation of the head."""
        packet = self._packets.packet(frame.index, frame.names, frame.weights, frame.head)
        self._sender.send(packet)

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()
