"""What tests do with the page of the studio."""

import time
from typing import Any

from codetalker_cli import resources

SAMPLE = resources.asset("sample.wav")


def until(page: Any, expression: str, seconds: float = 120) -> Any:
    """Wait until an expression is true in the page, whose policy forbids Playwright's own way."""
    deadline = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)
    return value


def until_text(page: Any, selector: str, text: str, seconds: float = 120) -> None:
    """Wait until an element shows a text: a page answers some time after a click."""
    deadline = time.monotonic() + seconds
    while (shown := page.inner_text(selector)) != text:
        assert time.monotonic() < deadline, (selector, shown, text)
        time.sleep(0.05)


def upload(page: Any, content: bytes, name: str = "speech.wav") -> None:
    file = {"name": name, "mimeType": "audio/wav", "buffer": content}
    page.set_input_files("#files", [file])


def until_done(page: Any, n: int = 1) -> None:
    until(page, f"document.querySelectorAll('#takes [data-state=done]').length === {n}")


def until_whole(page: Any) -> None:
    until(page, "studio.player.playback && !studio.player.playback.open")
