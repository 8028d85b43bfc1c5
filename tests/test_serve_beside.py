"""The server of live streams: faults of clients, while another client speaks at its own pace."""

import contextlib
import http.client
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import served
import soundfile
import voices
from served import Client
from websockets.exceptions import ConnectionClosed

from codetalker_cli.animate.voice import Voice
from codetalker_cli.live.server import create_app
from codetalker_cli.live.server.protocol import REFUSALS
from codetalker_cli.settings import ServeSettings

LARGEST_DELAY = 10.0
"""The longest delay of the other client's frames in seconds; a busy test machine may be slow."""
SETTINGS = ServeSettings(
    batch_size=1,  # a batch changes the last bits
    connection_burst=300,
    message_mb=0.5,
    ping_seconds=1.0,
    outgoing_mb=1,
    recording_mb=1,
    proxies=["127.0.0.1"],
)
Reasons = list[tuple[str, str]]
"""The code and the sentence of each refusal that a client got."""


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return served.voice(tmp_path_factory.mktemp("serve"), motion_history=False)


@pytest.fixture(scope="module")
def port(speaker: Voice) -> Iterator[int]:
    with served.running(create_app(speaker, SETTINGS, None, served.UNITS)) as port:
        yield port


def refused(port: int, *messages: str | bytes, **config: Any) -> Reasons:
    """Return why the server refuses the messages of a client that has started an utterance."""
    with Client(port, **config) as client:
        client.send("start")
        with contextlib.suppress(ConnectionClosed):  # the server may close before the last ones
            for message in messages:
                client.socket.send(message)
        return [client.refusal()[:2]]


# Messages -----------------------------------------------------------------------------------------


def garbage(port: int) -> Reasons:
    return [*refused(port, "\x1b[2J{"), *refused(port, '{"type": "stop"}')]


def oversized_messages(port: int) -> Reasons:
    return [*refused(port, bytes(500_001)), *refused(port, bytes(8_000_000))]


def wrong_rate(port: int) -> Reasons:
    with Client(port, is_configured=False) as client:
        client.send("config", sampling_rate=7999)
        return [client.refusal()[:2]]


def nan_samples(port: int) -> Reasons:
    return refused(port, np.full(100, np.nan, "<f4").tobytes(), format="f32le")


def broken_frames(port: int) -> Reasons:
    """Break the protocol of WebSockets."""
    mask, reasons = bytes(4), []
    for content in (
        b"\x81\x02{}",  # without a mask
        b"\xf1\x82" + mask + b"{}",  # reserved bits
        b"\x81\x82" + mask + b"\xff\xff",  # not UTF-8
        b"\x80\x82" + mask + b"{}",  # the continuation of nothing
        b"\x82\xff" + struct.pack(">Q", 1 << 40) + mask,  # a terabyte
        b"\x89\xfe" + struct.pack(">H", 200) + mask + bytes(200),  # a long ping
        bytes(range(256)) * 100,
    ):
        one = served.opened(port)
        one.sendall(content)
        reasons.append(reason_of(served.rest_of(one)))
    return reasons


def floods_of_frames(port: int) -> Reasons:
    """Send frames that never become messages of the application, or far too many of them."""
    reasons = []
    for opcode in (9, 10, 2):
        one = served.opened(port)
        one.sendall(served.frame(b"", opcode) * 40_000)
        reasons.append(reason_of(served.rest_of(one)))
    return reasons


def reason_of(received: bytes) -> tuple[str, str]:
    """Return the code and the sentence of the error in the frames of the server."""
    text = received[received.index(b'{"type":"error"') :]
    error = json.JSONDecoder().raw_decode(text.decode("utf-8", "replace"))[0]
    return error["code"], error["message"]


def interrupt_storm(port: int) -> Reasons:
    with Client(port) as client:
        for _ in range(60):
            client.send("start")
            client.send_sound(voices.speech(0.1))
            client.send("interrupt")
        client.send("ping")
        client.until("pong")
    return refused(port, *['{"type": "interrupt"}'] * 1000)


def ten_seconds_at_once(port: int) -> Reasons:
    with Client(port) as client:
        client.send("start")
        client.send_sound(voices.speech(10.0))
        client.send("end")
        messages = client.until("ended")
    n_dropped = sum(one.get("dropped_frames", 0) for one in messages)
    assert len(served.indices(messages)) + n_dropped == 250 and n_dropped > 150
    return []


def stall_of_ten_seconds(port: int) -> Reasons:
    """Send nothing for ten seconds, and then all of their sound."""
    with Client(port, backlog_seconds=30) as client:
        client.send("start")
        client.send_sound(voices.speech(0.4))
        time.sleep(10)
        for _ in range(20):
            client.send_sound(voices.speech(0.5))
        client.send("end")
        assert served.indices(client.until("ended")) == list(range(260))
    return []


def random_message(rng: random.Random) -> str | bytes:
    """Return a message that is valid, nearly valid, or noise."""
    kind = rng.choice(["config", "start", "end", "interrupt", "ping", "bytes", "noise", "json"])
    if kind == "bytes":
        return rng.randbytes(rng.choice([0, 1, 2, 333, 6400, 32_000]))
    if kind == "noise":
        return "".join(chr(rng.randrange(0x20, 0x2FF)) for _ in range(rng.randrange(50)))
    values: list[Any] = [None, -1, 0, 1e300, "", "A", "\x1b[2J", [], {}, True, [["x"]], 16_000]
    message: dict[str, Any] = {"type": kind}
    if kind == "json" or rng.random() < 0.2:
        keys = ["type", "seed", "subject", "style", "frames", "id", "token", "format", "version"]
        message |= {rng.choice(keys): rng.choice(values) for _ in range(3)}
    return json.dumps(message)


def random_messages(port: int) -> Reasons:
    reasons = []
    for seed in range(200):
        rng = random.Random(seed)
        with Client(port, is_configured=False) as client:
            messages = [random_message(rng) for _ in range(rng.randrange(1, 8))]
            if rng.random() < 0.7:
                messages[0] = '{"type": "config", "format": "f32le"}'
            # A second config is refused in every state, so each run ends with a reason.
            with contextlib.suppress(ConnectionClosed):
                for message in [*messages, *['{"type": "config"}'] * 2]:
                    client.socket.send(message)
            code, sentence, closed = client.refusal()
        assert REFUSALS[code][0] == closed and code not in ("internal", "idle")
        reasons.append((code, sentence))
    return reasons


# Connections --------------------------------------------------------------------------------------


def client_gone_within_a_chunk(port: int) -> Reasons:
    one = served.opened(port)
    one.sendall(served.frame(b'{"type": "config"}', 1) + served.frame(b'{"type": "start"}', 1))
    one.sendall(served.frame(bytes(30_000), 2)[:1000])
    served.wait_until(lambda: served.open_streams(port) > 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()  # with a reset
    return []


def half_open_connection(port: int) -> Reasons:
    one = served.opened(port)  # it never answers a ping
    one.sendall(served.frame(b'{"type": "config"}', 1))
    assert b"keepalive ping timeout" in served.rest_of(one)
    return []


def client_that_never_reads(port: int) -> Reasons:
    one = served.opened(port, is_reading=False)
    content = b'{"type": "config", "frames": ["vertices", "weights", "sound"], "seed": 1}'
    one.sendall(served.frame(content, 1))
    ping = served.frame(json.dumps({"type": "ping", "id": "x" * 20_000}).encode(), 1)
    with one, pytest.raises(OSError):
        for _ in range(1000):
            one.sendall(ping)
            time.sleep(0.006)
    return []


def many_connections(port: int) -> Reasons:
    """Open 500 connections within a second."""
    begin = time.monotonic()
    opened = [served.raw(port, address="203.0.113.9") for _ in range(500)]
    reasons = []
    for one in opened:
        with one:
            head = one.recv(65536)
            if b" 429 " in head.split(b"\r\n")[0]:
                body = head.partition(b"\r\n\r\n")[2] or one.recv(65536)
                error = json.loads(body)["error"]
                reasons.append((error["code"], error["message"]))
    # The server may answer late, and connections are allowed again until then.
    seconds = time.monotonic() - begin
    assert len(reasons) >= 500 - 300 - 10 * (seconds + 1)
    return reasons


# Requests -----------------------------------------------------------------------------------------


def posted(port: int, body: bytes) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/animate", body)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def bad_recordings(port: int) -> Reasons:
    reasons = []
    for body in (b"", b"RIFF" + bytes(5000), recording(1.0)[:40], bytes(1_000_001), bytes(10**8)):
        error = posted(port, body)["error"]
        reasons.append((error["code"], error["message"]))
    return reasons


def long_recording(port: int) -> Reasons:
    answer = posted(port, recording(20.0))
    assert len(answer["weights"]) == 500
    return []


def recording(seconds: float) -> bytes:
    file = BytesIO()
    soundfile.write(file, voices.speech(seconds), served.RATE, format="WAV")
    return file.getvalue()


def broken_requests(port: int) -> Reasons:
    """Break HTTP, the handshake of a WebSocket, or a body."""
    socket_head = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    reasons = []
    for request in (
        "\x16\x03\x01\r\n\r\n",
        "GET /health HTTP/1.1\r\nX: " + "x" * 200_000 + "\r\n\r\n",
        f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{socket_head}\r\n",
        f"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n{socket_head}{key}"
        "Sec-WebSocket-Version: 13\r\n\r\n",
        "POST /v1/animate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            one.sendall(request.encode())
            head, _, body = served.rest_of(one).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4")
        error = json.loads(body)["error"]
        reasons.append((error["code"], error["message"]))
    return reasons


def test_messages_do_not_wait_for_each_other(port: int) -> None:
    seconds = []
    for _ in range(9):
        with Client(port, is_configured=False) as client:
            client.send("end")
            assert client.receive()["type"] == "error"
            begin = time.monotonic()
            with pytest.raises(ConnectionClosed):
                client.socket.recv(timeout=20)
            seconds.append(time.monotonic() - begin)
    assert np.median(seconds) < 0.03  # a delayed acknowledgment takes 0.04 s


# The other client ---------------------------------------------------------------------------------

FAULTS: dict[Callable[[int], Reasons], set[str]] = {
    garbage: {"bad_message"},
    oversized_messages: {"message_too_large"},
    wrong_rate: {"bad_message"},
    nan_samples: {"bad_sound"},
    broken_frames: {"bad_message", "message_too_large"},
    floods_of_frames: {"too_many_messages"},
    interrupt_storm: {"too_many_messages"},
    ten_seconds_at_once: set(),
    client_gone_within_a_chunk: set(),
    random_messages: {"bad_message", "unexpected_message", "bad_sound"},
    bad_recordings: {"bad_recording", "recording_too_large"},
    long_recording: set(),
    broken_requests: {"bad_message", "not_found"},
    many_connections: {"too_many_connections"},
}
LONG_FAULTS = (stall_of_ten_seconds, half_open_connection, client_that_never_reads)
"""Faults that take long, and run during the others."""


def test_other_client_loses_no_frame_during_any_fault(port: int, speaker: Voice) -> None:
    witness = served.Witness(port)
    try:
        with ThreadPoolExecutor(len(LONG_FAULTS)) as pool:
            running = [pool.submit(fault, port) for fault in LONG_FAULTS]
            for fault, codes in FAULTS.items():
                reasons = fault(port)
                assert {code for code, _ in reasons} == codes, fault.__name__
                for code, sentence in reasons:
                    assert code in REFUSALS and " " in sentence and sentence.isprintable()
            assert all(one.result(60) == [] for one in running)
        served.wait_until(lambda: served.open_streams(port) == 1)
    finally:
        witness.stop()
    assert {one["type"] for one in witness.messages} == {"frame", "ended"}  # and never "behind"
    expected = served.alone(speaker, np.concatenate(witness.sent), subject="B")
    assert served.indices(witness.messages) == list(range(len(expected))) and len(expected) > 100
    rounded = [np.round(one.weights.astype(float), 5) for one in expected]
    np.testing.assert_array_equal(served.weights(witness.messages), rounded)
    assert max(witness.delays) < LARGEST_DELAY
