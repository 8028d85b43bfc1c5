"""A server of live streams in a thread, and a client of it."""

import base64
import json
import threading
import time
from collections.abc import Iterator
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


def voice(folder: Path) -> Voice:
    """Return a tiny voice of the subjects A and B."""
    return load_voice(voices.save(folder / "voice", "A", "B", family="whisper"), device="cpu")


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


def indices(messages: list[dict[str, Any]]) -> list[int]:
    return [one["index"] for one in messages if one["type"] == "frame"]


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def alone(speaker: Voice, samples: np.ndarray, **options: Any) -> list[StreamFrame]:
    """Return the frames of the library for the same sound."""
    stream = speaker.stream(units=UNITS, **options)
    return stream.feed(heard(samples)) + stream.finish()
