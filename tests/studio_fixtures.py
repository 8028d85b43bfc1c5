"""Fixtures: a studio, and its page in Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import browser
import pytest
import studio_server
from studio_pages import SAMPLE
from studio_server import StudioClient

import codetalker_cli as ct

MICROPHONE = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={SAMPLE}",
)


@pytest.fixture(scope="session")
def voice() -> ct.Voice:
    """The bundled voice, which is loaded once for all files of tests."""
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


@contextmanager
def opened(client: StudioClient, chromium: Any, **options: Any) -> Iterator[browser.Visit]:
    """Open the page with an empty profile and without takes; its console must stay empty.

    Args:
        client: The studio. The takes and characters of other tests are deleted.
        chromium: The browser.
        **options: As those of ``browser.visiting``.
    """
    for take in client.ask("GET", "/api/takes")["takes"]:
        client.ask("DELETE", f"/api/takes/{take['id']}")
    for one in client.ask("GET", "/api/characters"):
        client.ask("DELETE", f"/api/characters/{one['id']}")
    with browser.visiting(client.url, chromium, **options) as visit:
        visit.page.wait_for_selector("#face canvas")
        yield visit
        assert visit.console == []
        own = f"http://127.0.0.1:{client.port}/"
        assert all(url.startswith((own, own.replace("http", "ws"))) for url in visit.requests)


@pytest.fixture
def visit(client: StudioClient, chromium: Any) -> Iterator[browser.Visit]:
    with opened(client, chromium) as visit:
        yield visit


@pytest.fixture
def fine(client: StudioClient, chromium: Any) -> Iterator[browser.Visit]:
    """A visit with pictures that are not coarse."""
    with opened(client, chromium, device_scale_factor=1) as visit:
        yield visit
