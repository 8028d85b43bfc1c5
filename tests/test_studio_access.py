"""Who may use the studio, and what cannot leave it: tokens, hosts, origins, names, headers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import characters
import pytest
import studio_server
import voices
from served import Client
from studio_server import TOKEN, StudioClient
from test_studio import wav
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import codetalker_cli as ct
from codetalker_cli.animate.voice import Voice, load_voice

PRIVATE = [
    ("GET", "/api/studio"),
    ("GET", "/api/takes"),
    ("POST", "/api/takes?name=a.wav"),
    ("POST", "/api/sample"),
    ("GET", "/api/takes/0123456789abcdef/frames"),
    ("DELETE", "/api/takes/0123456789abcdef"),
    ("GET", "/api/faces/A"),
    ("GET", "/api/characters"),
    ("POST", "/api/characters?name=a.glb"),
    ("GET", "/api/nothing"),
    ("GET", "/nothing"),
    ("GET", "/metrics"),
]
PUBLIC = [
    "/",
    "/web/main.js",
    "/web/studio.css",
    "/viewer/face.js",
    "/three/build/three.module.min.js",
    "/three/examples/jsm/loaders/GLTFLoader.js",
]


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    folder = tmp_path_factory.mktemp("access") / "voice"
    return load_voice(voices.save(folder, "A", family="whisper", motion_history=False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("takes")


@pytest.fixture(scope="module")
def client(speaker: Voice, folder: Path) -> Iterator[StudioClient]:
    with studio_server.running(speaker, folder) as client:
        yield client


# Tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), PRIVATE)
@pytest.mark.parametrize("token", [None, "", TOKEN[:-1], TOKEN + "0", "Ünïcode"])
def test_private_paths_need_the_token(
    client: StudioClient, method: str, path: str, token: str | None
) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    status, _, content = client.request(method, path, b"" if method == "POST" else None, **headers)
    assert status == 401 and json.loads(content)["error"]["code"] == "unauthorized"


def test_token_in_the_address_is_not_accepted(client: StudioClient) -> None:
    assert client.request("GET", f"/api/takes?token={TOKEN}")[0] == 401


@pytest.mark.parametrize("path", PUBLIC)
def test_page_itself_needs_no_token_and_contains_none(client: StudioClient, path: str) -> None:
    status, _, content = client.request("GET", path)
    assert status == 200 and content and TOKEN.encode() not in content


def test_tickets_cannot_be_guessed_and_end_with_the_take(client: StudioClient) -> None:
    assert client.request("GET", "/files/x")[0] == 404
    take = client.finished(client.add(wav())["id"])
    url = client.ask("POST", f"/api/takes/{take['id']}/sound")["url"]
    assert len(url) > 30 and client.request("GET", url)[0] == 200
    client.ask("DELETE", f"/api/takes/{take['id']}")
    assert client.request("GET", url)[0] == 404


# Other sites --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/takes", "/files/x", "/web/main.js"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_foreign_hosts_are_refused(client: StudioClient, path: str, host: str) -> None:
    # A page of another name that leads to 127.0.0.1 (DNS rebinding) sends its own name.
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    status, found, content = client.request("GET", path, None, **headers)
    assert status == 403 and json.loads(content)["error"]["code"] == "forbidden_host"
    assert "content-security-policy" in found


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost.evil.example",
        "file://",
    ],
)
def test_foreign_origins_are_refused(client: StudioClient, origin: str) -> None:
    for method, path in (
        ("POST", "/api/sample"),
        ("GET", "/api/takes"),
        ("OPTIONS", "/api/sample"),
    ):
        headers = {"Origin": origin, "Authorization": f"Bearer {TOKEN}"}
        status, found, _ = client.request(method, path, None, **headers)
        assert status == 403 and "access-control-allow-origin" not in found
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{client.port}/v1/stream", origin=origin, proxy=None)


def test_own_page_is_accepted(client: StudioClient) -> None:
    origin = f"http://127.0.0.1:{client.port}"
    assert "id" in client.ask("POST", "/api/sample", b"", Origin=origin)


def test_live_streams_need_the_token_in_the_first_message(client: StudioClient) -> None:
    with Client(client.port, is_configured=False) as stream:
        stream.send("config", token="x" * 32)
        assert stream.refusal()[0] == "unauthorized"
    with Client(client.port, token=TOKEN, frames=["vertices"]) as stream:
        stream.send("start")
        stream.send_sound(voices.speech(0.6))
        stream.send("end")
        assert len(stream.until("ended")) > 10


def test_live_streams_are_limited(speaker: Voice, tmp_path: Path) -> None:
    with (
        studio_server.running(speaker, tmp_path, streams=1) as client,
        Client(client.port, token=TOKEN, frames=["vertices"]),
        Client(client.port, is_configured=False) as second,
    ):
        assert second.refusal()[0] == "too_many_streams"


# Headers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/web/main.js", "/api/takes", "/nothing", "/files/x"])
def test_every_response_is_locked_to_this_host(client: StudioClient, path: str) -> None:
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
        _, found, _ = client.request("GET", path, None, **headers)
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "no-referrer"
        assert found["x-frame-options"] == "DENY"
        assert found["cache-control"] in ("no-store", "no-cache")
        policy = found["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        allowed = {word for rule in policy.split("; ") for word in rule.split(" ")[1:]}
        allowed -= {"'none'", "'self'", "blob:", "data:"}
        assert len(allowed) == 1 and re.fullmatch(r"'sha256-[\w+/=]+'", allowed.pop())
        assert "server" not in found


def test_page_loads_only_its_own_files_and_has_no_inline_code(client: StudioClient) -> None:
    page = client.request("GET", "/")[2].decode()
    assert not re.search(r"\son\w+=|javascript:|<style|style=", page)
    assert not re.search(r"(?:src|href)=\"(?!/|#)", page)
    for name in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        assert client.request("GET", name)[0] == 200
    scripts = list((Path(ct.__file__).parent / "studio" / "web").glob("*.js"))
    assert len(scripts) > 10
    for script in scripts:
        text = script.read_text("utf-8")
        assert len(text.splitlines()) <= 400
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, script.name
        assert not re.search(r"https?://", text), script.name


# Paths and names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/web/../app.py",
        "/web/..%2fapp.py",
        "/web/%2e%2e/app.py",
        "/three/../SOURCES.md",
        "/web/",
        "/web/main.js/",
        "//etc/passwd",
        "/files/../../etc/passwd",
        "/api/takes/../studio/frames",
        "/api/takes/..%2f..%2fetc/frames",
        "/api/faces/..%2f..%2fvoice",
    ],
)
def test_paths_lead_only_to_listed_files(client: StudioClient, path: str) -> None:
    status, _, content = client.request("GET", path, None, Authorization=f"Bearer {TOKEN}")
    assert status == 404 and json.loads(content)["error"]["code"] == "not_found"


NAMES = {
    "../../../etc/cron.d/x.wav": "x.wav",
    "..\\..\\x.wav": "x.wav",
    "/absolute/x.wav": "x.wav",
    "<img src=x onerror=alert(1)>.wav": "<img src=x onerror=alert(1)>.wav",
    "a\nb\r\nSet-Cookie: x.wav": "a\\nb\\r\\nSet-Cookie: x.wav",
    "\u202egnp.wav": None,
    "..": None,
    "": "recording",
    "x" * 900 + ".wav": None,
    "CON.wav": "CON.wav",
}


@pytest.mark.parametrize("name", NAMES, ids=[repr(name[:20]) for name in NAMES])
def test_hostile_names_stay_text(client: StudioClient, folder: Path, name: str) -> None:
    take = client.finished(client.add(wav(0.4), name)["id"])
    assert take["state"] == "done", take
    expected = NAMES[name]
    assert expected is None or take["name"] == expected
    assert take["name"].isprintable() and len(take["name"]) <= 200
    made = client.export(take["id"], "npz")
    file, content = client.file(take["id"], made["id"])
    assert re.fullmatch(r"[\w() .-]{1,90}\.npz", file) and not file.startswith("."), file
    assert content[:2] == b"PK"
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        assert re.fullmatch(r"[0-9a-f]{16}|characters|\.studio.*", relative.parts[0]), path
        assert "x.wav" not in relative.parts and "<" not in str(relative)


@pytest.mark.parametrize("name", ["a.gltf", "a.glb.exe", "glb", "../a", "a.zip"])
def test_other_files_are_no_characters(client: StudioClient, name: str) -> None:
    answer = client.ask("POST", f"/api/characters?name={quote(name)}", b"glTF")
    assert answer["code"] == "bad_character" and ".glb or .vrm" in answer["message"]


def test_transcript_is_text_and_never_a_path(client: StudioClient, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret words 12345")
    take = client.finished(client.add(wav(), transcript=str(secret))["id"])
    assert "12345" not in json.dumps(take) and "secret words" not in json.dumps(take)


def test_characters_are_removed_at_the_end(speaker: Voice, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    mine = folder / "characters" / "mine" / "character.glb"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"another file")
    hero = characters.arkit().save(tmp_path / "hero.glb")
    with studio_server.running(speaker, folder) as client:
        client.ask("POST", "/api/characters?name=hero.glb", hero.read_bytes())
        assert len(list(folder.glob("characters/*/character.glb"))) == 2
    assert list(folder.glob("characters/*/*")) == [mine]


# Characters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"glTF", b"", b"PK\x03\x04" * 100, b"glTF\x02\0\0\0" + b"\xff" * 99]
)
def test_damaged_character_is_a_sentence(
    client: StudioClient, folder: Path, content: bytes
) -> None:
    answer = client.ask("POST", "/api/characters?name=hero.glb", content)
    assert answer["code"] == "bad_character" and str(folder) not in answer["message"]
    assert client.ask("GET", "/api/characters") == []
    assert not list((folder / "characters").glob("*"))
