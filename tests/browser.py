"""Open pages in the Chromium of this machine, and note everything that goes wrong in them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-compositing",  # without a graphics card, it only adds work
    "--autoplay-policy=no-user-gesture-required",
)
COARSE = {"device_scale_factor": 0.25}
"""Options of a page whose pictures have few pixels, because Chromium draws them on the CPU."""
REQUIRED = "CODETALKER_NEEDS_BROWSER"
"""If this variable is set, as in CI, a missing Chromium is an error and not a skipped test."""


def find_browser() -> str:
    """Return the path of Chromium, or skip the test where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        message = f"no Chromium is installed ({' or '.join(_NAMES)})"
        if os.environ.get(REQUIRED):
            pytest.fail(message)
        pytest.skip(message)
    return found


@dataclass
class Visit:
    """A page that is open, and what happened in it.

    Attributes:
        page: Playwright's page.
        console: All messages of the console and all uncaught errors.
        requests: The addresses that the page has requested, except its own, data and blobs.
    """

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda one: self._note(f"{one.type}: {one.text}"))
        self.page.on("pageerror", lambda error: self._note(f"error: {error}"))
        self.page.on("request", lambda one: self._request(one.url))

    def _note(self, text: str) -> None:
        # Chromium without a graphics card warns that reading pixels is slow.
        if "GPU stall due to ReadPixels" not in text:
            self.console.append(text)

    def _request(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.requests.append(url)


@contextmanager
def launched(flags: Sequence[str] = ()) -> Iterator[Any]:
    """Launch Chromium for several pages. Inside the block, ``asyncio.run`` does not work.

    Args:
        flags: Further flags of Chromium.
    """
    from playwright.sync_api import sync_playwright

    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_OPTIONS, *flags])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(
    url: str = "about:blank", browser: Any = None, *, flags: Sequence[str] = (), **options: Any
) -> Iterator[Visit]:
    """Open a page, with an empty profile and coarse pictures.

    Args:
        url: The address.
        browser: A browser of ``launched``; None: a new one.
        flags: Further flags of Chromium, if it is a new one.
        **options: Of Playwright's ``new_page``, such as ``viewport`` or ``color_scheme``; with
            ``device_scale_factor=1``, pictures are not coarse.
    """
    with ExitStack() as stack:
        browser = browser or stack.enter_context(launched(flags))
        page = browser.new_page(**{**COARSE, **options})
        stack.callback(page.close)
        visit = Visit(page)
        page.goto(url)
        yield visit
