"""A server of live streams in a thread, and a client of it."""

import base64
import contextlib
import json
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import voices
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from codetalker_cli.animate.stream_frames import StreamFrame
from codetalker_cli.animate.voice import Voice, load_voice
from codetalker_cli.live.server.address import listen
from codetalker_cli.live.server.listener import make_server
from codetalker_cli.rigs.units import UnitSet

TOKEN = "a token of-tests-0123456789".replace(" ", "-")
RATE = 16_000
UNITS = UnitSet(
    ("jawOpen", "mouthFunnel"),
    np.random.default_rng(1).standard_normal((2, tiny.N_VERTICES, 3)).astype(np.float32),
)


def voice(folder: Path, *, motion_history: bool = True) -> Voice:
    """Return a tiny voice of the subjects A and B; it is much faster without a motion history."""
    saved = voices.save(folder / "voice", "A", "B", family="whisper", motion_history=motion_history)
    return load_voice(saved, device="cpu")


@contextmanager
def running(app: FastAPI) -> Iterator[int]:
    """Run an application on a free port in a thread, and yield the port."""
    listener = listen("127.0.0.1", 0, None)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Client:
    """A client that speaks the protocol; ``config`` contains fields of its first message."""

    def __init__(self, port: int, *, is_configured: bool = True, **config: Any) -> None:
        self.socket: ClientConnection = connect(
            f"ws://127.0.0.1:{port}/v1/stream", compression=None, proxy=None, max_size=None
        )
        self.ready: dict[str, Any] = {}
        if is_configured:
            self.send("config", **config)
            self.ready = self.receive()
            assert self.ready["type"] == "ready", self.ready

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def send_sound(self, samples: np.ndarray) -> None:
        self.socket.send(pcm16(samples))

    def receive(self) -> dict[str, Any]:
        return json.loads(self.socket.recv(timeout=20))

    def until(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages up to the first one of a kind, with it."""
        messages = [self.receive()]
        while messages[-1]["type"] != kind:
            assert messages[-1]["type"] != "error", messages[-1]
            messages.append(self.receive())
        return messages

    def refusal(self) -> tuple[str, str, int]:
        """Return the code and the sentence of the error, and the code of the close frame."""
        message: dict[str, Any] = {}
        try:
            while message.get("type") != "error":
                message = self.receive()
            self.socket.recv(timeout=20)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return message["code"], message["message"], closed.rcvd.code
        raise AssertionError(message)


def pcm16(samples: np.ndarray) -> bytes:
    return np.rint(samples * 32767).astype("<i2").tobytes()


def heard(samples: np.ndarray) -> np.ndarray:
    """Return what the server gets of samples that are sent by ``pcm16``."""
    return np.frombuffer(pcm16(samples), "<i2").astype(np.float32) / np.float32(2**15)


def weights(messages: list[dict[str, Any]]) -> np.ndarray:
    return np.array([one["weights"] for one in messages if one["type"] == "frame"])


def heads(messages: list[dict[str, Any]]) -> np.ndarray:
    return np.array([one["head"] for one in messages if one["type"] == "frame"])


def indices(messages: list[dict[str, Any]]) -> list[int]:
    return [one["index"] for one in messages if one["type"] == "frame"]


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def alone(speaker: Voice, samples: np.ndarray, **options: Any) -> list[StreamFrame]:
    """Return the frames of the library for the same sound."""
    stream = speaker.stream(units=UNITS, **options)
    return stream.feed(heard(samples)) + stream.finish()


class Witness:
    """A client that speaks at its own pace all the time, in chunks of one frame.

    Attributes:
        messages: What it received.
        sent: The sound that it sent.
    """

    CHUNK_SECONDS = 0.04

    def __init__(self, port: int) -> None:
        self.client = Client(port, subject="B", backlog_seconds=30)
        self.messages: list[dict[str, Any]] = []
        self.sent: list[np.ndarray] = []
        self._times: tuple[list[float], list[float]] = ([], [])
        self._is_stopping = threading.Event()
        self._threads = [threading.Thread(target=one) for one in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        self.client.send("start")
        begin = time.monotonic()
        while True:
            wait = begin + (len(self.sent) + 1) * self.CHUNK_SECONDS - time.monotonic()
            if self._is_stopping.wait(max(0.0, wait)):
                break
            self.sent.append(voices.speech(self.CHUNK_SECONDS, seed=len(self.sent)))
            self._times[0].append(time.monotonic())
            self.client.send_sound(self.sent[-1])
        self.client.send("end")

    def _receive(self) -> None:
        while not self.messages or self.messages[-1]["type"] not in ("ended", "error"):
            self.messages.append(json.loads(self.client.socket.recv(timeout=60)))
            if self.messages[-1]["type"] == "frame":
                self._times[1].append(time.monotonic())

    @property
    def delays(self) -> list[float]:
        """The time from sending the sound of each frame to receiving the frame."""
        return [got - sent for sent, got in zip(*self._times, strict=False)]

    def stop(self) -> None:
        self._is_stopping.set()
        for thread in self._threads:
            thread.join(30)
        self.client.socket.close()


# Connections without a client library -------------------------------------------------------------


def raw(port: int, *, address: str = "", is_reading: bool = True) -> socket.socket:
    """Return a TCP connection after the request for a WebSocket, before its answer."""
    one = socket.socket()
    one.settimeout(20)
    if not is_reading:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", port))
    forwarded = f"X-Forwarded-For: {address}\r\n" if address else ""
    one.sendall(
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{forwarded}"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return one


def opened(port: int, *, is_reading: bool = True) -> socket.socket:
    """Return a TCP connection after the handshake of a WebSocket."""
    one = raw(port, is_reading=is_reading)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += one.recv(1)
    assert b" 101 " in answer
    return one


def frame(content: bytes, opcode: int) -> bytes:
    """Return a WebSocket frame with a mask of zeros."""
    size = len(content)
    head = bytes([0x80 | opcode]) + (
        bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack(">H", size)
    )
    return head + bytes(4) + content


def rest_of(one: socket.socket) -> bytes:
    """Return all that a connection still receives, and close it."""
    received = b""
    with one, contextlib.suppress(ConnectionResetError):
        while part := one.recv(65536):
            received += part
    return received


def open_streams(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return int(text.split("\ncodetalker_open_streams ")[1].split("\n")[0])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
