"""The server of live streams: what clients get, and who may connect."""

import http.client
import json
import re
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served
import soundfile
import voices
from served import Client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from codetalker_cli.animate.voice import Voice
from codetalker_cli.errors import InputError, SettingsError
from codetalker_cli.live.server import create_app
from codetalker_cli.live.server.address import listen
from codetalker_cli.presets import resolve
from codetalker_cli.rigs.solve import solve_curves
from codetalker_cli.settings import ServeSettings

SPEECH = voices.speech(0.6)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return served.voice(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def port(speaker: Voice) -> Iterator[int]:
    settings = ServeSettings(
        recording_minutes=0.05, recording_mb=1, allowed_origins=["https://page.example"]
    )
    with served.running(create_app(speaker, settings, None, served.UNITS)) as port:
        yield port


@pytest.fixture(scope="module")
def guarded(speaker: Voice) -> Iterator[int]:
    """The port of a server with a token."""
    settings = ServeSettings(connection_burst=1000, allowed_hosts=["face.example"])
    with served.running(create_app(speaker, settings, served.TOKEN, served.UNITS)) as port:
        yield port


def request(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    """Return the status and the content of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    is_json = answer.headers.get_content_type() == "application/json"
    return answer.status, json.loads(content) if is_json else content.decode()


def wav(seconds: float) -> bytes:
    file = BytesIO()
    soundfile.write(file, voices.speech(seconds), served.RATE, format="WAV")
    return file.getvalue()


# Streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [333, 40_000])
def test_frames_equal_those_of_the_library(port: int, speaker: Voice, size: int) -> None:
    content = served.pcm16(SPEECH)
    with Client(port, subject="B", style="A:0.5,B:0.5", seed=3) as client:
        client.send("start")
        for k in range(0, len(content), size):
            client.socket.send(content[k : k + size])
        client.send("end")
        messages = client.until("ended")
    expected = served.alone(speaker, SPEECH, subject="B", style="A:0.5,B:0.5", seed=3)
    assert len(expected) == 15 and served.indices(messages) == list(range(15))
    got = served.weights(messages)
    np.testing.assert_allclose(got, [one.weights for one in expected], atol=2e-5)
    heads = served.heads(messages)
    np.testing.assert_allclose(heads, [one.head for one in expected], atol=1e-5)
    assert np.abs(heads).max() > 1e-3 and client.ready["head_delay_seconds"] > 0
    assert messages[-1] == {"type": "ended", "next_index": 15}
    assert messages[5]["seconds"] == 0.2
    assert client.ready["units"] == ["jawOpen", "mouthFunnel"] and client.ready["fps"] == 25


@pytest.mark.parametrize(
    ("options", "moves"),
    [({"head": False}, False), ({"idle": False}, False), ({"idle": False, "head": True}, True)],
)
def test_head_is_an_option(port: int, options: dict[str, bool], moves: bool) -> None:
    with Client(port, **options) as client:
        client.send("start")
        client.send_sound(SPEECH)
        client.send("end")
        frames = client.until("ended")[:-1]
    assert frames and all(("head" in frame) == moves for frame in frames)


def test_frames_contain_vertices_and_sound_on_request(port: int, speaker: Voice) -> None:
    with Client(port, frames=["vertices", "sound"], format="f32le", idle=False) as client:
        client.send("start")
        client.socket.send(served.heard(SPEECH).astype("<f4").tobytes())
        client.send("end")
        frames = client.until("ended")[:-1]
    neutral = served.array(client.ready["neutral"], "<f4").reshape(-1, 3)
    triangles = served.array(client.ready["triangles"], "<i4").reshape(-1, 3)
    mesh = speaker.checkpoint.mesh
    assert mesh is not None
    np.testing.assert_array_equal(neutral, mesh.templates["A"])
    np.testing.assert_array_equal(triangles, mesh.topology.triangles)
    expected = served.alone(speaker, SPEECH, idle=False)
    assert len(frames) == len(expected) == 15
    for one, frame in zip(frames, expected, strict=True):
        assert "weights" not in one
        offsets = served.array(one["vertices"], "<f2").reshape(-1, 3)
        np.testing.assert_allclose(neutral + offsets, frame.vertices, atol=2e-3, rtol=1e-3)
    sound = np.concatenate([served.array(one["sound"], "<i2") for one in frames])
    np.testing.assert_array_equal(sound.tobytes(), served.pcm16(SPEECH))


def test_frames_arrive_before_the_sound_ends(port: int) -> None:
    with Client(port) as client:
        client.send("start")
        client.send_sound(SPEECH[: served.RATE // 2])
        assert client.receive()["index"] == 0
        client.send("end")
        client.until("ended")


def test_interrupted_face_comes_to_rest_and_can_speak_again(port: int, speaker: Voice) -> None:
    with Client(port, idle=False) as client:
        client.send("start")
        client.send_sound(SPEECH)
        client.receive()
        client.send("interrupt")
        messages = client.until("interrupted")
        assert np.abs(messages[-2]["weights"]).max() == 0
        assert messages[-1]["next_index"] == messages[-2]["index"] + 1
        client.send("start")
        client.send_sound(SPEECH)
        client.send("end")
        again = client.until("ended")
    first = messages[-1]["next_index"]
    assert served.indices(again) == list(range(first, first + 15))
    expected = [frame.weights for frame in served.alone(speaker, SPEECH, idle=False)]
    np.testing.assert_allclose(served.weights(again)[5:], expected[5:], atol=2e-5)


def test_next_utterance_waits_for_the_end_of_the_former_one(port: int) -> None:
    with Client(port) as client:
        for _ in range(2):
            client.send("start")
            client.send_sound(SPEECH)
            client.send("end")
        messages = client.until("ended") + client.until("ended")
    assert served.indices(messages) == list(range(30))
    assert [k for k, one in enumerate(messages) if one["type"] == "ended"] == [15, 31]


def test_ping_is_answered(port: int) -> None:
    with Client(port, is_configured=False) as client:
        client.send("ping", id="x")
        assert client.receive() == {"type": "pong", "id": "x"}
        client.send("config")
        assert client.receive()["type"] == "ready"
        client.send("ping")
        assert client.receive() == {"type": "pong"}


def test_sound_beyond_the_backlog_is_dropped_and_reported(port: int) -> None:
    with Client(port, backlog_seconds=0.2) as client:
        client.send("start")
        client.send_sound(voices.speech(4.0))
        client.send("end")
        messages = client.until("ended")
    dropped = [one for one in messages if one["type"] == "behind"]
    n_dropped = sum(one["dropped_frames"] for one in dropped)
    assert dropped[-1]["total"] == n_dropped > 50
    assert len(served.indices(messages)) == 100 - n_dropped
    assert served.indices(messages)[-1] == 99


# Recordings and metrics ---------------------------------------------------------------------------


def test_posted_recording_gives_the_curves_of_its_motion(port: int, speaker: Voice) -> None:
    path = "/v1/animate?subject=B&style=A&fps=30&seed=2"
    status, content = request(port, "POST", path, wav(1.0))
    assert status == 200
    motion = speaker.animate(wav(1.0), "B", "A", fps=30, seed=2)
    curves = solve_curves(motion, served.UNITS)
    assert content["fps"] == 30 and content["names"] == list(curves.names)
    assert content["subject"] == "B" and len(content["weights"]) == motion.n_frames == 30
    np.testing.assert_allclose(content["weights"], curves.weights, atol=2e-5)
    np.testing.assert_allclose(content["head"], curves.head, atol=2e-5)
    status, content = request(port, "POST", path + "&head=false", wav(0.3))
    assert status == 200 and content["head"] is None


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("/v1/animate", b"no recording", 400, "bad_recording", "not an audio file"),
        ("/v1/animate", b"", 400, "bad_recording", "empty"),
        ("/v1/animate?subject=Z", wav(0.3), 400, "bad_option", "this model has: A, B"),
        ("/v1/animate?fps=nan", wav(0.3), 400, "bad_option", "frames per second"),
        ("/v1/animate?sytle=A", wav(0.3), 400, "bad_option", "`sytle` is unknown; expected"),
        ("/v1/animate?seed=x", wav(0.3), 400, "bad_option", "`seed`: Input should be"),
        ("/v1/animate", wav(4.0), 413, "recording_too_long", "3 min, the limit"),
        ("/v1/animate", bytes(1_000_001), 413, "recording_too_large", "1 MB"),
        ("/v1/nothing", b"", 404, "not_found", "nothing at this path"),
        ("/health", b"", 405, "wrong_method", "use GET"),
    ],
)
def test_refused_recordings_have_a_code_and_a_sentence(
    port: int, path: str, body: bytes, status: int, code: str, words: str
) -> None:
    found, content = request(port, "POST", path, body)
    assert (found, content["error"]["code"]) == (status, code)
    assert words.replace("3 min", "0.05 min") in content["error"]["message"]
    assert "/tmp" not in content["error"]["message"]


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/v1/animate", "POST")])
def test_wrong_method_lists_the_allowed_ones(
    port: int, method: str, path: str, allowed: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Allow")) == (405, allowed)
    message = json.loads(answer.read())["error"]["message"]
    assert message == f"this path does not support {method}; use {allowed}"
    connection.close()


def test_stream_at_another_path_is_refused_with_the_right_path(port: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{port}/")
    response = refused.value.response
    assert response.status_code == 404
    error = json.loads(response.body)["error"]
    assert error["code"] == "not_found" and "/v1/stream" in error["message"]


def test_metrics_count_streams_frames_and_refusals(speaker: Voice) -> None:
    with served.running(create_app(speaker, None, None, served.UNITS)) as port:
        with Client(port) as client:
            client.send("start")
            client.send_sound(SPEECH)
            client.send("end")
            client.until("ended")
            text = request(port, "GET", "/metrics")[1]
        request(port, "GET", "/nothing")
        values = dict(re.findall(r"^(codetalker_\S+) (\S+)$", text, flags=re.MULTILINE))
        assert values["codetalker_open_streams"] == values["codetalker_streams_total"] == "1"
        assert values["codetalker_frames_total"] == "15"
        assert values["codetalker_dropped_frames_total"] == "0"
        assert 0 < float(values['codetalker_frame_delay_seconds{quantile="0.95"}']) < 20
        assert float(values["codetalker_load"]) > 0
        again = request(port, "GET", "/metrics")[1]
        assert 'codetalker_refusals_total{code="not_found"} 1' in again
        assert request(port, "GET", "/health") == (200, {"status": "ok", "version": 1})


# Security -----------------------------------------------------------------------------------------


def test_token_is_required_in_a_header_or_in_the_first_message(guarded: int) -> None:
    url = f"ws://127.0.0.1:{guarded}/v1/stream"
    bearer = {"Authorization": f"Bearer {served.TOKEN}"}
    with connect(url, additional_headers=bearer, proxy=None) as socket:
        socket.send('{"type": "config"}')
        assert json.loads(socket.recv())["type"] == "ready"
    with Client(guarded, token=served.TOKEN) as client:
        assert client.ready["version"] == 1
    assert request(guarded, "GET", "/metrics", **bearer)[0] == 200
    assert request(guarded, "GET", "/health")[0] == 200


@pytest.mark.parametrize("token", [None, "", served.TOKEN[:-1], served.TOKEN + "x", "ü"])
def test_wrong_token_is_refused(guarded: int, token: str | None) -> None:
    with Client(guarded, is_configured=False) as client:
        client.send("config", **({} if token is None else {"token": token}))
        code, sentence, closed = client.refusal()
    assert (code, closed) == ("unauthorized", 1008)
    assert "needs a token" in sentence or sentence == "the token is wrong"
    headers = (
        {}
        if token is None
        else {"Authorization": f"Bearer {token}".encode("latin-1", "replace").decode("latin-1")}
    )
    for method, path in (("GET", "/metrics"), ("POST", "/v1/animate")):
        status, content = request(guarded, method, path, **headers)
        assert (status, content["error"]["code"]) == (401, "unauthorized")
    if headers:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{guarded}/v1/stream", additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == 401


def test_client_without_a_token_cannot_ping(guarded: int) -> None:
    with Client(guarded, is_configured=False) as client:
        client.send("ping")
        assert client.refusal()[0] == "unexpected_message"


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("localhost:{port}", True),
        ("127.0.0.1", True),
        ("[::1]:1", True),
        ("face.example", True),
        ("FACE.example.:80", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("face.example@evil.example", False),
        ("", False),
        ("[", False),
        ("\x7f", False),
    ],
)
def test_only_own_hosts_are_answered(guarded: int, host: str, is_allowed: bool) -> None:
    host = host.format(port=guarded)
    status, content = request(guarded, "GET", "/health", Host=host)
    assert status == (200 if is_allowed else 403) or (not is_allowed and status == 400)
    if status == 403:
        assert content["error"]["code"] == "forbidden_host"


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (None, True),
        ("https://page.example", True),
        ("http://127.0.0.1:{port}", True),
        ("http://127.0.0.1:1", False),
        ("https://page.example.evil.example", False),
        ("http://page.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_pages_of_allowed_origins_connect(
    port: int, origin: str | None, is_allowed: bool
) -> None:
    headers = {} if origin is None else {"Origin": origin.format(port=port)}
    url = f"ws://127.0.0.1:{port}/v1/stream"
    if is_allowed:
        connect(url, additional_headers=headers, proxy=None).close()
    else:
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers, proxy=None)
        body = json.loads(refused.value.response.body or b"")
        assert refused.value.response.status_code == 403
        assert body["error"]["code"] == "forbidden_origin" and body["error"]["message"]
    assert request(port, "GET", "/health", **headers)[0] == (200 if is_allowed else 403)


def test_allowed_pages_get_cross_origin_headers(port: int) -> None:
    headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    preflight = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/animate", headers=headers, method="OPTIONS"
    )
    with urllib.request.urlopen(preflight) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_addresses_need_a_token(host: str) -> None:
    with pytest.raises(InputError, match="so a `token` is needed"):
        listen(host, 0, None)


def test_token_must_be_long_and_plain() -> None:
    for token in ("", "short", "x" * 15, "x" * 20 + "\n", "ü" * 20, "two words of a token"):
        with pytest.raises(InputError, match="at least 16 printable ASCII"):
            listen("127.0.0.1", 0, token)
    listen("0.0.0.0", 0, served.TOKEN).close()


def test_unusable_address_is_one_error() -> None:
    with (
        listen("127.0.0.1", 0, None) as taken,
        pytest.raises(InputError, match=r"cannot listen, because .* use another port"),
    ):
        listen("127.0.0.1", taken.getsockname()[1], None)
    for host, number in (("no-such-host.invalid", 0), ("127.0.0.1", 70_000), ("x" * 80, 0)):
        with pytest.raises(InputError):
            listen(host, number, None)


@pytest.mark.parametrize("origin", ["*", "page.example", "https://page.example/", "https://a b"])
def test_allowed_origins_are_checked(origin: str) -> None:
    with pytest.raises(SettingsError, match="expected origins such as"):
        resolve("demo", assignments=[f'serve.allowed_origins=["{origin}"]'])


def test_page_of_an_unknown_face_gets_vertices(speaker: Voice, tmp_path: Path) -> None:
    with served.running(create_app(speaker)) as port:
        with Client(port) as client:
            assert client.ready["units"] == [] and client.ready["n_vertices"] == 12
            client.send("start")
            client.send_sound(SPEECH)
            client.send("end")
            assert "vertices" in client.until("ended")[0]
        with Client(port, is_configured=False) as client:
            client.send("config", frames=["weights"])
            assert client.refusal()[0] == "no_units"
        status, content = request(port, "POST", "/v1/animate", wav(0.3))
        assert (status, content["error"]["code"]) == (422, "no_units")
