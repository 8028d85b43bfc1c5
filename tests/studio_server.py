"""A studio in a thread, and a client of it."""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import served

from codetalker_cli.animate.voice import Voice
from codetalker_cli.cli.same_command import command_of
from codetalker_cli.presets import resolve_sections
from codetalker_cli.studio.app import build
from codetalker_cli.studio.exports import ExportOptions
from codetalker_cli.studio.options import Origin
from codetalker_cli.studio.studio import Studio

TOKEN = served.TOKEN
SECTIONS = ("studio", "render", "decode", "export", "solve")


@contextmanager
def running(
    voice: Voice, folder: Path, model: str = "voice", more: Sequence[str] = (), **settings: Any
) -> Iterator["StudioClient"]:
    """Run a studio on a free port, and yield a client.

    Args:
        voice: The voice.
        folder: The folder of the takes.
        model: What the voice is called.
        more: Settings of other sections, such as ``render.size=64``.
        **settings: Settings of ``studio``.
    """
    assignments = [*more, *(f"studio.{key}={value}" for key, value in settings.items())]
    sections = resolve_sections(SECTIONS, None, assignments, {}).sections
    origin = Origin(model, {}, lambda name, options: command_of(name, options, model))
    studio = Studio(voice, sections["studio"], origin, folder, ExportOptions(sections))
    with served.running(build(studio, TOKEN)) as port:
        yield StudioClient(port)


class StudioClient:
    """A client with the token."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/#token={TOKEN}"

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the content of a response, as they are sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    @contextmanager
    def opened(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """Yield a response to a request with the token, which is still being received."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, None, {"Authorization": f"Bearer {TOKEN}"})
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the JSON of a response to a request with the token."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers.setdefault("Authorization", f"Bearer {TOKEN}")
        if not isinstance(body, bytes | None):
            headers["Content-Type"] = "application/json"
        status, _, answer = self.request(method, path, content, **headers)
        result = json.loads(answer)
        assert isinstance(result, dict | list)
        return result if status == 200 else {"status": status, **result["error"]}

    def content(self, method: str, path: str) -> bytes:
        """Return the content of a response to a request with the token."""
        status, _, content = self.request(method, path, None, Authorization=f"Bearer {TOKEN}")
        assert status == 200, content
        return content

    def add(self, content: bytes, name: str = "speech.wav", **options: Any) -> Any:
        """Send a recording; return the take or the error."""
        query = f"name={quote(name)}&options={quote(json.dumps(options))}"
        return self.ask("POST", f"/api/takes?{query}", content)

    def take(self, id: str) -> Any:
        """Return a take as it is now, or None."""
        takes = self.ask("GET", "/api/takes")["takes"]
        return next((one for one in takes if one["id"] == id), None)

    def finished(self, id: str) -> Any:
        """Wait until a take is done or has failed, and return it."""
        return _until(lambda: self.take(id))

    def export(self, id: str, format: str, character: str | None = None) -> Any:
        """Make a file of a take, and return the export when it is done or has failed."""
        made = self.ask(
            "POST", f"/api/takes/{id}/exports", {"format": format, "character": character}
        )
        if "id" not in made:
            return made

        def now() -> Any:
            return next(one for one in self.take(id)["exports"] if one["id"] == made["id"])

        return _until(now)

    def file(self, id: str, export: str) -> tuple[str, bytes]:
        """Return the name and the content of an exported file."""
        found = self.ask("POST", f"/api/takes/{id}/exports/{export}/file")
        status, headers, content = self.request("GET", found["url"])  # as a link, without a token
        assert status == 200 and "attachment" in headers["content-disposition"]
        return found["name"], content


def _until(now: Any, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while (found := now())["state"] in ("waiting", "computing"):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found
