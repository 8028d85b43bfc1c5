"""The WebSocket of one client: its messages in, frames out."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from codetalker_cli.animate.live_windows import LOOKAHEAD_SECONDS
from codetalker_cli.animate.stream import Stream
from codetalker_cli.animate.voice import Voice
from codetalker_cli.errors import InputError
from codetalker_cli.failures import to_error
from codetalker_cli.live.server.channel import Channel, Wanted
from codetalker_cli.live.server.guard import check_token, client_address
from codetalker_cli.live.server.limits import Addresses, Bucket, Clock
from codetalker_cli.live.server.protocol import (
    PROTOCOL_VERSION,
    Command,
    Config,
    Pcm,
    Ping,
    Refusal,
    base64_of,
    encode,
    parse,
)
from codetalker_cli.live.server.scheduler import Scheduler
from codetalker_cli.live.server.statistics import Statistics
from codetalker_cli.rigs.units import UnitSet
from codetalker_cli.settings import ServeSettings

CONFIG_SECONDS = 10.0
"""The longest time until the first message of a client, which may contain its token."""
GRACE_SECONDS = 2.0
"""The time in which a client can receive the reason before its connection is cut."""
_BURST_SECONDS = 2.0
"""The messages of so much time can be sent at once."""

logger = logging.getLogger(__name__)


@dataclass
class Service:
    """What all sessions share."""

    voice: Voice
    settings: ServeSettings
    token: str | None
    units: UnitSet | None
    scheduler: Scheduler
    addresses: Addresses
    statistics: Statistics
    clock: Clock
    sessions: "set[Session]"
    is_stopping: bool = False
    on_stop: list[Callable[[], None]] = field(default_factory=list)

    async def stop(self) -> None:
        """End all streams with a message that says why."""
        self.is_stopping = True
        for call in self.on_stop:
            call()
        for session in self.sessions:
            session.deliver([Refusal("shutting_down", "the server stops; connect again later")])
        if waiting := [session.ended for session in self.sessions]:
            await asyncio.wait([asyncio.ensure_future(one.wait()) for one in waiting], timeout=3)


class Session:
    """A WebSocket of a client, from its first message to its end."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket, self._service = socket, service
        self._settings = settings = service.settings
        self._loop = asyncio.get_running_loop()
        self._outgoing: asyncio.Queue[str | Refusal] = asyncio.Queue()
        self._n_bytes, self._is_refused = 0, False
        rate = settings.messages_per_second
        self._messages = Bucket(rate, _BURST_SECONDS * rate, service.clock)
        self._sound = Bucket(settings.sound_rate, settings.burst_seconds, service.clock)
        self._end_time = self._loop.time() + settings.stream_hours * 3600
        # Only the event loop and the protocol of `listener` provide the transport.
        self._transport: Any = socket.scope.get("state", {}).get("transport")
        self._channel: Channel | None = None
        self._pcm, self._rate, self._is_speaking = Pcm("s16le"), 1, False
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Answer the client until it or the server ends the connection."""
        service, address = self._service, client_address(self._socket.scope)
        await self._socket.accept()
        writer = asyncio.create_task(self._write())
        has_place = False
        try:
            if service.is_stopping:
                raise Refusal("shutting_down", "the server stops; connect again later")
            service.addresses.open_stream(address)
            has_place = True
            service.sessions.add(self)
            reader = asyncio.create_task(self._read())
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            if not reader.cancelled() and (error := reader.exception()) is not None:
                raise error
        except Refusal as refusal:
            self.deliver([refusal])
            await asyncio.wait({writer}, timeout=GRACE_SECONDS)
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            logger.debug("a client has gone (%s)", type(error).__name__)
        except Exception as error:
            logger.error("a stream failed: %s", to_error(error))
            self.deliver([Refusal("internal", "the server failed")])
            await asyncio.wait({writer}, timeout=GRACE_SECONDS)
        finally:
            if self._channel is not None:
                service.scheduler.remove(self._channel)
            service.sessions.discard(self)
            if has_place:
                service.addresses.close_stream(address)
            writer.cancel()
            self._cut()
            self.ended.set()

    def _cut(self) -> None:
        """Cut the connection soon; a client that does not read would keep it open forever."""
        if self._transport is not None:
            self._loop.call_later(GRACE_SECONDS, self._transport.abort)

    # Messages to the client ------------------------------------------------------------------

    def deliver_soon(self, messages: list[str | Refusal]) -> None:
        """Send messages to the client; any thread can call this."""
        # RuntimeError: the event loop has ended.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.deliver, messages)

    def deliver(self, messages: list[str | Refusal]) -> None:
        """Send messages to the client; after a refusal, nothing more is sent."""
        for message in messages:
            if self._is_refused:
                return
            if isinstance(message, str):
                self._n_bytes += len(message)
                if self._n_bytes + self._n_buffered > self._settings.outgoing_mb * 1e6:
                    message = Refusal(
                        "slow_reader",
                        f"more than {self._settings.outgoing_mb:g} MB of frames wait for the "
                        "client; read faster, or ask for less in each frame",
                    )
            if isinstance(message, Refusal):
                self._is_refused = True
                self._service.statistics.count_refusal(message.code)
                while not self._outgoing.empty():
                    self._outgoing.get_nowait()
            self._outgoing.put_nowait(message)

    @property
    def _n_buffered(self) -> int:
        """The number of bytes that the operating system has not taken yet."""
        return 0 if self._transport is None else int(self._transport.get_write_buffer_size())

    async def _write(self) -> None:
        """Send what waits; end after a refusal or when the client has gone."""
        with contextlib.suppress(WebSocketDisconnect, OSError, RuntimeError):
            while True:
                message = await self._outgoing.get()
                if isinstance(message, Refusal):
                    await self._socket.send_text(message.message())
                    await self._socket.close(message.close_code, message.code)
                    return
                await self._socket.send_text(message)
                self._n_bytes -= len(message)

    # Messages of the client ------------------------------------------------------------------

    async def _read(self) -> None:
        await self._configure()
        while True:
            content = await self._receive(self._settings.idle_seconds)
            if isinstance(content, bytes):
                self._take_sound(content)
                continue
            message = parse(content)
            if isinstance(message, Config):
                raise Refusal("unexpected_message", "config can only be the first message")
            if isinstance(message, Ping):
                self._pong(message)
            else:
                self._take(message)

    async def _configure(self) -> None:
        """Take the messages up to ``config``, and answer ``ready``."""
        seconds = min(CONFIG_SECONDS, self._settings.idle_seconds)
        while True:
            content = await self._receive(seconds)
            message = None if isinstance(content, bytes) else parse(content)
            if isinstance(message, Config):
                break
            if self._service.token is not None or not isinstance(message, Ping):
                raise Refusal("unexpected_message", "the first message must be config")
            self._pong(message)
        await self._open(message)

    async def _receive(self, seconds: float) -> str | bytes:
        """Return the next message."""
        left = self._end_time - self._loop.time()
        try:
            async with asyncio.timeout(max(0.0, min(seconds, left))):
                event = await self._socket.receive()
        except TimeoutError as error:
            if left < seconds:
                hours = self._settings.stream_hours
                raise Refusal("too_long", f"a stream may be open for {hours:g} h") from error
            raise Refusal("idle", f"no message arrived within {seconds:g} s") from error
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1005))
        if not self._messages.take():
            raise Refusal(
                "too_many_messages",
                f"the client sends more than {self._settings.messages_per_second:g} messages per "
                "second; send larger chunks",
            )
        text = event.get("text")
        content = event["bytes"] if text is None else text
        if len(content) > self._settings.message_mb * 1e6:
            raise Refusal(
                "message_too_large",
                f"a message may have {self._settings.message_mb:g} MB; send smaller chunks",
            )
        return content

    async def _open(self, config: Config) -> None:
        """Open the stream of a client."""
        service, settings = self._service, self._settings
        # The header was checked before. A token in the first message is for browsers.
        if "authorization" not in self._socket.headers:
            check_token(config.token, service.token)
        backlog = config.backlog_seconds
        if backlog is not None and backlog > settings.max_backlog_seconds:
            raise Refusal(
                "bad_option",
                f"backlog_seconds {backlog:g}: at most {settings.max_backlog_seconds:g} s",
            )
        # A new stream can take a while, in which the event loop serves other clients.
        stream = await asyncio.to_thread(self._new_stream, config)
        frames = config.frames
        if frames is None:
            frames = ["weights"] if stream.units else ["vertices"]
        if "weights" in frames and not stream.units:
            raise Refusal("no_units", "the units of the face are unknown; ask for vertices instead")
        mesh = service.voice.checkpoint.mesh
        assert mesh is not None
        neutral = mesh.templates[config.subject or service.voice.subjects[0]].astype("float32")
        self._rate, self._pcm = config.sampling_rate, Pcm(config.format)
        wanted = Wanted(
            frames, self._rate, settings.backlog_seconds if backlog is None else backlog, neutral
        )
        self._channel = Channel(
            stream, wanted, self.deliver_soon, service.statistics, service.clock
        )
        service.scheduler.add(self._channel)
        service.statistics.count("streams")
        face = {}
        if "vertices" in frames:
            triangles = mesh.topology.triangles.astype("int32")
            face = {"neutral": base64_of(neutral), "triangles": base64_of(triangles)}
        ready = {
            "version": PROTOCOL_VERSION,
            "fps": stream.fps,
            "units": list(stream.units),
            "lookahead_seconds": stream.lookahead_seconds,
            "head_delay_seconds": stream.head_delay_seconds,
            "n_vertices": mesh.topology.n_vertices,
            "backlog_seconds": wanted.backlog_seconds,
            "limits": {
                "message_bytes": int(settings.message_mb * 1e6),
                "messages_per_second": settings.messages_per_second,
                "sound_rate": settings.sound_rate,
                "burst_seconds": settings.burst_seconds,
                "idle_seconds": settings.idle_seconds,
                "stream_seconds": settings.stream_hours * 3600,
            },
        }
        self.deliver([encode("ready", **ready, **face)])

    def _new_stream(self, config: Config) -> Stream:
        lookahead = config.lookahead_seconds
        try:
            return self._service.voice.stream(
                config.subject,
                config.style,
                sampling_rate=config.sampling_rate,
                lookahead_seconds=LOOKAHEAD_SECONDS if lookahead is None else lookahead,
                seed=config.seed,
                idle=config.idle,
                head=config.head,
                units=self._service.units,
            )
        except InputError as error:
            raise Refusal("bad_option", error) from error

    def _pong(self, ping: Ping) -> None:
        self.deliver([encode("pong", **({} if ping.id is None else {"id": ping.id}))])

    def _take_sound(self, content: bytes) -> None:
        assert self._channel is not None
        if not self._is_speaking:
            raise Refusal("unexpected_message", "send start before sound")
        samples = self._pcm.add(content)
        if not self._sound.take(len(samples) / self._rate):
            raise Refusal(
                "too_much_sound",
                f"the client sends more than {self._settings.sound_rate:g} s of sound per second, "
                f"beyond {self._settings.burst_seconds:g} s at once",
            )
        most = self._settings.burst_seconds + self._settings.max_backlog_seconds
        if self._channel.waiting_seconds > most:
            raise Refusal("overloaded", "the server cannot decode the sound; try again later")
        self._channel.put_sound(samples)
        self._service.scheduler.wake()

    def _take(self, message: Command) -> None:
        assert self._channel is not None
        if message.type == "interrupt":
            self._pcm.reset()
            self._is_speaking = False
            self._channel.put_interrupt()
        elif self._is_speaking == (message.type == "start"):
            state = "has begun already" if self._is_speaking else "has not begun"
            raise Refusal("unexpected_message", f"{message.type}: an utterance {state}")
        elif message.type == "start":
            self._is_speaking = True
            return
        else:
            self._pcm.end()
            self._is_speaking = False
            self._channel.put_end()
        self._service.scheduler.wake()
