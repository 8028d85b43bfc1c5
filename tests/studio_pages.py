"""The page of the studio in Chromium: fixtures and what the tests do with it."""

import time
from collections.abc import Iterator
from typing import Any

import browser
import pytest
import studio_server
from studio_server import StudioClient

import codetalker_cli as ct
from codetalker_cli import resources

SAMPLE = resources.asset("sample.wav")
MICROPHONE = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={SAMPLE}",
)


@pytest.fixture(scope="module")
def voice() -> ct.Voice:
    return ct.load("demo", device="cpu")


@pytest.fixture(scope="module")
def client(voice: ct.Voice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioClient]:
    browser.find_browser()
    with studio_server.running(voice, tmp_path_factory.mktemp("takes"), "demo") as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser whose microphone hears the sample again and again."""
    with browser.launched(MICROPHONE) as chromium:
        yield chromium


@pytest.fixture
def visit(client: StudioClient, chromium: Any) -> Iterator[browser.Visit]:
    """The page with an empty profile, without takes of other tests; its console must stay empty."""
    for take in client.ask("GET", "/api/takes")["takes"]:
        client.ask("DELETE", f"/api/takes/{take['id']}")
    for one in client.ask("GET", "/api/characters"):
        client.ask("DELETE", f"/api/characters/{one['id']}")
    with browser.visiting(client.url, chromium) as visit:
        visit.page.wait_for_selector("#face canvas")
        yield visit
        assert visit.console == []
        own = f"http://127.0.0.1:{client.port}/"
        assert all(url.startswith((own, own.replace("http", "ws"))) for url in visit.requests)


def until(page: Any, expression: str, seconds: float = 120) -> Any:
    """Wait until an expression is true in the page, whose policy forbids Playwright's own way."""
    deadline = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < deadline, expression
        time.sleep(0.02)
    return value


def upload(page: Any, content: bytes, name: str = "speech.wav") -> None:
    file = {"name": name, "mimeType": "audio/wav", "buffer": content}
    page.set_input_files("#files", [file])


def until_done(page: Any, n: int = 1) -> None:
    until(page, f"document.querySelectorAll('#takes [data-state=done]').length === {n}")


def until_whole(page: Any) -> None:
    until(page, "studio.player.playback && !studio.player.playback.open")
