"""The protocols of connections, which answer what breaks HTTP or the WebSocket protocol.

The session refuses invalid messages. This module refuses what never becomes a message, with a code
and a sentence too, and limits how long one client can keep the event loop busy.
"""

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response

from codetalker_cli.live.server.limits import Bucket
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.live.server.session import GRACE_SECONDS, Service

_MARGIN_BYTES = 1_000_000
_PART_BYTES = 4096
"""The bytes that are parsed between two checks of the limits."""
_FRAMES_PER_MESSAGE = 2
"""Pings, pongs and fragments are frames, but not messages of the application."""
_BURST_SECONDS = 2.0


def protocols_of(given: Service) -> tuple[type[H11Protocol], type[WebSocketsSansIOProtocol]]:
    """Return the protocol of HTTP and the one of WebSockets, with the limits of a service."""

    class Http(_Http):
        service = given

    class WebSocket(_WebSocket):
        service = given

    return Http, WebSocket


class _Http(H11Protocol):
    """HTTP whose refusals have a code and a sentence."""

    service: Service
    _is_discarding = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio sets this only where the listening socket names its protocol. Without it, a
        # message waits for the acknowledgment of the last one, which takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if not self._is_discarding:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        self._is_discarding = True
        # Otherwise a response was sent already.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refusal = Refusal("bad_message", "the request is not valid HTTP, or its head is large")
            self.service.statistics.count_refusal(refusal.code)
            self.transport.write(_response(refusal).serialize())
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        _end_writing(self.transport)
        self.transport.resume_reading()
        self.loop.call_later(GRACE_SECONDS, self.transport.abort)


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose transport the sessions know.

    Sending never waits, because a session limits the size of the transport's buffer itself.
    """

    service: Service

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        settings = self.service.settings
        self._largest = round(settings.outgoing_mb * 1e6) + _MARGIN_BYTES
        self._rate = _FRAMES_PER_MESSAGE * settings.messages_per_second
        self._frames = Bucket(self._rate, _BURST_SECONDS * self._rate, self.service.clock)
        self._is_discarding = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=self._largest)
        self.app_state = {**self.app_state, "transport": transport}

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:  # otherwise, a refused handshake is logged as a fault
            self.handshake_complete = True

    def data_received(self, data: bytes) -> None:
        # In parts, so that a flood of small frames is noticed before all of it is parsed.
        for start in range(0, len(data), _PART_BYTES):
            if self._is_discarding:
                return
            super().data_received(data[start : start + _PART_BYTES])

    def handle_events(self) -> None:
        # The base class takes the events in one go, so they are counted on their way.
        events = self.conn.events_received()
        n_frames = sum(isinstance(event, Frame) for event in events)
        if n_frames and not self._frames.take(n_frames):
            self._refuse(
                Refusal(
                    "too_many_messages",
                    f"the client sends more than {self._rate:g} frames per second; "
                    "send larger chunks, and fewer pings",
                )
            )
            return
        self.conn.events = events
        super().handle_events()

    def handle_ping(self) -> None:
        super().handle_ping()
        # Answers to pings do not pass through the session, which limits everything else.
        if self.transport.get_write_buffer_size() > self._largest:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self._refuse(Refusal("bad_message", "a text message is not valid UTF-8"))
                return
        super().send_receive_event_to_app()

    def handle_connect(self, event: Request) -> None:
        answer = self.conn.accept(event)
        if answer.status_code == 101:
            super().handle_connect(event)
            return
        # The reason is a line such as "Failed to open a WebSocket connection: missing … header."
        reason = (answer.body or b"").decode("utf-8", "replace").strip().splitlines()
        refusal = Refusal("bad_message", reason[0] if reason else "the handshake is not valid")
        self.service.statistics.count_refusal(refusal.code)
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(_response(refusal).serialize())
        self.transport.close()

    def handle_parser_exception(self) -> None:
        closed = self.conn.close_sent
        if not self.handshake_complete or closed is None or self.close_sent:
            super().handle_parser_exception()
            self._end()
            return
        if closed.code == CloseCode.MESSAGE_TOO_BIG:
            refusal = Refusal(
                "message_too_large",
                f"a message may have {self.service.settings.message_mb:g} MB; send smaller chunks",
            )
        else:
            refusal = Refusal("bad_message", f"not the WebSocket protocol: {closed.reason}")
        self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Send the reason, and close the connection."""
        if not self.close_sent and self.handshake_complete:
            self.service.statistics.count_refusal(refusal.code)
            # The close frame of a parser error is written already, and must follow the reason.
            reason = Frame(Opcode.TEXT, refusal.message().encode())
            self.transport.write(reason.serialize(mask=False))
            if self.conn.close_sent is None:
                self.conn.send_close(refusal.close_code, refusal.code)
            self.transport.write(b"".join(self.conn.data_to_send()))
        code = refusal.close_code
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._end()

    def _end(self) -> None:
        """Discard what the client still sends, and cut the connection soon.

        Closing at once would reset the connection, and the client would not receive the reason.
        """
        self._is_discarding = self.close_sent = True
        self.stop_keepalive()
        if self.transport.is_closing():
            return
        _end_writing(self.transport)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.close_timer is not None:
            self.close_timer.cancel()
        # With a timer, the end of the session does not close the transport.
        self.close_timer = self.loop.call_later(GRACE_SECONDS, self.transport.abort)


def _end_writing(transport: asyncio.Transport) -> None:
    """Let the client see the end after what was written."""
    if transport.can_write_eof():
        transport.write_eof()


def _response(refusal: Refusal) -> Response:
    """Return the HTTP response of a refusal, after which the connection is closed."""
    body = refusal.body()
    headers = Headers(
        {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    return Response(refusal.status, "Bad Request", headers, body)
