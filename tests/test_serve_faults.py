"""The server of live streams: faults of clients, while another client is served without a gap."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served
import voices
from served import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from codetalker_cli.animate.voice import Voice
from codetalker_cli.live.server import create_app, scheduler
from codetalker_cli.live.server.channel import Channel, Wanted
from codetalker_cli.live.server.limits import Addresses, Bucket
from codetalker_cli.live.server.protocol import REFUSALS, Pcm, Refusal, parse
from codetalker_cli.live.server.statistics import Statistics
from codetalker_cli.settings import ServeSettings

ROOT = Path(__file__).resolve().parent.parent
SPEECH = voices.speech(0.6)
SETTINGS = ServeSettings(
    connection_burst=10_000,
    message_mb=0.5,
    streams_per_address=6,
    ping_seconds=1.0,
    burst_seconds=15,
    outgoing_mb=1,
)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return served.voice(tmp_path_factory.mktemp("serve"), motion_history=False)


@pytest.fixture(scope="module")
def port(speaker: Voice) -> Iterator[int]:
    with served.running(create_app(speaker, SETTINGS, None, served.UNITS)) as port:
        yield port


@pytest.fixture(scope="module", autouse=True)
def witness(port: int) -> Iterator[served.Witness]:
    one = served.Witness(port)
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture
def started(port: int) -> Iterator[Client]:
    with Client(port) as client:
        client.send("start")
        yield client


# Messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("", "bad_message", "not valid JSON"),
        ("{", "bad_message", "not valid JSON"),
        ("[" * 5000, "bad_message", "nested too deeply"),
        ('{"type": "config", "seed": 1' + "0" * 200 + "}", "bad_message", "digits"),
        ("[]", "bad_message", "needs a type"),
        ('{"type": "\\ud800\\u001b[2J"}', "bad_message", "needs a type"),
        ('{"type": "start"}', "unexpected_message", "must be config"),
        (b"\0\0", "unexpected_message", "must be config"),
        ('{"type": "config", "volume": 1}', "bad_message", "volume: Extra inputs"),
        ('{"type": "config", "version": 2}', "bad_message", "version: Input should be 1"),
        ('{"type": "config", "sampling_rate": 7999}', "bad_message", "or equal to 8000"),
        ('{"type": "config", "sampling_rate": "16000"}', "bad_message", "valid integer"),
        ('{"type": "config", "sampling_rate": NaN}', "bad_message", "NaN is not a valid number"),
        ('{"type": "config", "format": "mp3"}', "bad_message", "'s16le' or 'f32le'"),
        ('{"type": "config", "seed": -1}', "bad_message", "seed"),
        ('{"type": "config", "subject": "../../etc/passwd"}', "bad_option", "has: A, B"),
        ('{"type": "config", "style": "A:x"}', "bad_option", "expected a name, or weights"),
        ('{"type": "config", "style": {"\\u001b[2J": 1}}', "bad_option", "is unknown"),
        ('{"type": "config", "lookahead_seconds": 3}', "bad_option", "from 0 to 2"),
        ('{"type": "config", "backlog_seconds": 31}', "bad_option", "at most 30 s"),
    ],
)
def test_invalid_first_messages_are_refused(
    port: int, message: str | bytes, code: str, words: str
) -> None:
    with Client(port, is_configured=False) as client:
        client.socket.send(message)
        found, sentence, closed = client.refusal()
    assert (found, closed) == (code, REFUSALS[code][0])
    assert words in sentence and sentence.isprintable() and len(sentence) <= 500
    assert "/" not in sentence.replace("../../etc/passwd", "")


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (['{"type": "config"}'], "unexpected_message"),
        (['{"type": "start"}'], "unexpected_message"),
        (['{"type": "end"}', '{"type": "end"}'], "unexpected_message"),
        (['{"type": "end"}', b"\0\0"], "unexpected_message"),
        ([b"\0\0\0", '{"type": "end"}'], "bad_sound"),
        ([bytes(500_001)], "message_too_large"),
        (["x" * 500_001], "message_too_large"),
        ([bytes(16_000 * 2 * 8)] * 2, "too_much_sound"),
    ],
)
def test_invalid_messages_in_a_stream_are_refused(
    started: Client, messages: list[str | bytes], code: str
) -> None:
    for message in messages:
        started.socket.send(message)
    found, sentence, closed = started.refusal()
    assert (found, closed) == (code, REFUSALS[code][0]) and sentence


def test_far_too_large_message_is_refused_while_it_is_sent(started: Client) -> None:
    with contextlib.suppress(ConnectionClosed):
        started.socket.send(bytes(80_000_000))
    code, sentence, closed = started.refusal()
    assert (code, closed) == ("message_too_large", 1009) and "0.5 MB" in sentence


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 32767.0])
def test_invalid_samples_are_refused(port: int, value: float) -> None:
    with Client(port, format="f32le") as client:
        client.send("start")
        client.socket.send(np.array([0.0, value], "<f4").tobytes())
        code, sentence, _ = client.refusal()
    assert code == "bad_sound" and "NaN, infinite or far beyond full scale" in sentence


def test_chunks_can_end_within_a_sample() -> None:
    content = served.pcm16(SPEECH)
    pcm = Pcm("s16le")
    parts = [pcm.add(content[k : k + 7]) for k in range(0, len(content), 7)]
    pcm.end()
    np.testing.assert_array_equal(np.concatenate(parts), served.heard(SPEECH))
    pcm.add(b"\0")
    with pytest.raises(Refusal, match="ends within a sample: 1 of its 2 bytes"):
        pcm.end()
    pcm.end()


def test_too_many_messages_are_refused(speaker: Voice) -> None:
    settings = ServeSettings(messages_per_second=5)
    with (
        served.running(create_app(speaker, settings, None, served.UNITS)) as port,
        Client(port) as client,
    ):
        with contextlib.suppress(ConnectionClosed):  # the server may close before the last ones
            for _ in range(50):
                client.send("ping")
        assert client.refusal()[0] == "too_many_messages"


# Connections --------------------------------------------------------------------------------------


def test_slow_reader_gets_the_reason(speaker: Voice) -> None:
    settings = ServeSettings(outgoing_mb=0.001)
    with (
        served.running(create_app(speaker, settings, None, served.UNITS)) as port,
        Client(port, is_configured=False) as client,
    ):
        client.send("config", frames=["weights", "vertices", "sound"])
        client.send("start")
        client.send_sound(SPEECH)
        code, sentence, closed = client.refusal()
    assert (code, closed) == ("slow_reader", 1008) and "read faster" in sentence


def test_idle_client_is_disconnected(speaker: Voice) -> None:
    settings = ServeSettings(idle_seconds=0.2)
    with (
        served.running(create_app(speaker, settings, None, served.UNITS)) as port,
        Client(port, is_configured=False) as client,
    ):
        assert client.refusal()[:2] == ("idle", "no message arrived within 0.2 s")
    settings = ServeSettings(stream_hours=0.5 / 3600)
    with (
        served.running(create_app(speaker, settings, None, served.UNITS)) as port,
        Client(port, is_configured=False) as client,
    ):
        assert client.refusal()[0] == "too_long"


def test_streams_of_an_address_are_limited(port: int) -> None:
    served.wait_until(lambda: served.open_streams(port) == 1)
    clients = [Client(port) for _ in range(5)]
    with Client(port, is_configured=False) as another:
        code, sentence, closed = another.refusal()
    assert (code, closed) == ("too_many_streams", 1013) and "6 streams, its limit" in sentence
    for client in clients:
        client.socket.close()
    served.wait_until(lambda: served.open_streams(port) == 1)


def test_places_are_counted_per_address_and_in_total() -> None:
    places = Addresses(ServeSettings(streams=3, streams_per_address=2))
    for address in ("1.2.3.4", "1.2.3.4", "2001:db8::1"):
        places.open_stream(address)
    with pytest.raises(Refusal, match="the server has 3 streams"):
        places.open_stream("5.6.7.8")
    places.close_stream("2001:db8::2")  # of the same site
    with pytest.raises(Refusal, match="the address has 2 streams"):
        places.open_stream("1.2.3.4")
    places.open_stream("5.6.7.8")


def test_rates_allow_bursts_and_recover() -> None:
    now = [0.0]
    bucket = Bucket(2.0, 30.0, lambda: now[0])
    assert bucket.take(30.0) and not bucket.take(0.1)
    now[0] += 10.0  # a stall of ten seconds, and then all of its sound at once
    assert bucket.take(10.0) and bucket.take(10.0) and not bucket.take(0.1)
    now[0] += 3600.0
    assert bucket.is_full and not bucket.take(30.1)
    places = Addresses(ServeSettings(connection_burst=2), lambda: now[0])
    for k in range(10_000):  # the memory for addresses is bounded
        places.connect(f"10.0.{k // 256}.{k % 256}")
    places.connect("2001:db8::1")
    places.connect("2001:db8::2")
    with pytest.raises(Refusal, match="too_many_connections"):
        places.connect("2001:db8::3")


def test_hundreds_of_connections_are_refused(speaker: Voice) -> None:
    settings = ServeSettings(connection_burst=20, connections_per_second=1)
    with (
        served.running(create_app(speaker, settings, None, served.UNITS)) as port,
        Client(port) as client,
    ):
        client.send("start")
        client.send_sound(SPEECH[:4000])
        codes = []
        for _ in range(200):
            try:
                connect(f"ws://127.0.0.1:{port}/v1/stream", proxy=None).close()
            except InvalidStatus as error:
                assert error.response.status_code == 429
                codes.append(json.loads(error.response.body or b"")["error"]["code"])
        assert len(codes) > 100 and set(codes) == {"too_many_connections"}
        client.send_sound(SPEECH[4000:])
        client.send("end")
        frames = client.until("ended")
    expected = [one.weights for one in served.alone(speaker, SPEECH)]
    np.testing.assert_allclose(served.weights(frames), expected, atol=2e-5)


# Stalls -------------------------------------------------------------------------------------------


def test_stalled_decoder_delays_no_socket(speaker: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    release, advance = threading.Event(), scheduler.advance

    def stalled(streams: Any) -> Any:
        # Only the stream of this test has this look-ahead.
        if any(one.lookahead_seconds > 0.3 for one in streams):
            assert release.wait(60)
        return advance(streams)

    with served.running(create_app(speaker, None, None, served.UNITS)) as port:
        monkeypatch.setattr(scheduler, "advance", stalled)
        with Client(port, backlog_seconds=1.0, lookahead_seconds=0.4) as client:
            client.send("start")
            client.send_sound(voices.speech(10.0))
            client.send("ping")
            first = client.until("pong")
            assert not served.indices(first)
            assert served.open_streams(port) == 1
            release.set()
            client.send("end")
            messages = first + client.until("ended")
    indices = served.indices(messages)
    n_dropped = sum(one.get("dropped_frames", 0) for one in messages)
    assert len(indices) + n_dropped == 250 and n_dropped > 150 and indices[-1] == 249


def test_small_chunks_are_taken_together(speaker: Voice) -> None:
    delivered: list[Any] = []
    neutral = np.zeros((12, 3), np.float32)
    wanted = Wanted(["weights"], served.RATE, 30.0, neutral)
    stream = speaker.stream(units=served.UNITS)
    channel = Channel(stream, wanted, delivered.extend, Statistics())
    chunks = SPEECH.reshape(-1, 160)  # 10 ms each; a round of the decoder lasts longer
    for chunk in chunks:
        channel.put_sound(chunk)
    channel.put_end()
    n_taken = 0
    while channel.take():
        n_taken += 1
        while stream.is_due:
            channel.accept(scheduler.advance([stream])[0])
    assert channel.waiting_seconds == 0 and len(chunks) == 60
    assert n_taken == 4  # at most 0.25 s of sound, three times, and the end
    assert [json.loads(one)["type"] for one in delivered] == ["frame"] * 15 + ["ended"]


def test_stream_that_fails_does_not_end_the_others(
    speaker: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = scheduler.advance

    def failing(streams: Any) -> Any:
        if any(one.fps_is_broken for one in streams if hasattr(one, "fps_is_broken")):
            raise RuntimeError("broken")
        return advance(streams)

    create = speaker.stream

    def stream(subject: str | None = None, *args: Any, **options: Any) -> Any:
        made = create(subject, *args, **options)
        if subject == "B":
            vars(made)["fps_is_broken"] = True
        return made

    monkeypatch.setattr(scheduler, "advance", failing)
    monkeypatch.setattr(speaker, "stream", stream)
    with (
        served.running(create_app(speaker, None, None, served.UNITS)) as port,
        Client(port, subject="A") as good,
        Client(port, subject="B") as bad,
    ):
        for client in (good, bad):
            client.send("start")
            client.send_sound(SPEECH)
            client.send("end")
        assert bad.refusal() == ("internal", "the server failed to animate the sound", 1011)
        assert served.indices(good.until("ended")) == list(range(15))


# The end ------------------------------------------------------------------------------------------


def test_other_client_lost_no_frame(witness: served.Witness, speaker: Voice) -> None:
    witness.stop()
    expected = served.alone(speaker, np.concatenate(witness.sent), subject="B")
    assert served.indices(witness.messages) == list(range(len(expected))) and len(expected) > 10
    got = served.weights(witness.messages)
    np.testing.assert_allclose(got, [one.weights for one in expected], atol=2e-5)
    assert {one["type"] for one in witness.messages} == {"frame", "ended"}


SERVE = """
import sys
from codetalker_cli.animate.voice import load_voice
from codetalker_cli.live.server import serve

import logging
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
serve(load_voice(sys.argv[1], device="cpu"), port=0)
"""


def test_sigterm_ends_streams_with_a_reason(speaker: Voice) -> None:
    folder = speaker.checkpoint.path
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "listening on http://" in line)
        port = int(line.rpartition(":")[2])
        with Client(port, frames=["vertices"]) as client:
            client.send("start")
            client.send_sound(SPEECH)
            client.receive()
            process.send_signal(signal.SIGTERM)
            code, sentence, closed = client.refusal()
        assert (code, closed) == ("shutting_down", 1012) and sentence
        assert process.wait(20) == -signal.SIGTERM
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()


def test_parse_accepts_what_the_page_documents() -> None:
    message = parse('{"type": "config", "style": {"A": 1}, "frames": ["sound"], "seed": 7}')
    assert message.type == "config"
