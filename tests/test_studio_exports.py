"""Downloads of the studio: every format, equal to what the command writes."""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import characters
import pytest
import soundfile
import studio_server
import voices
from studio_server import StudioClient

import codetalker_cli as ct
from codetalker_cli.export.formats import BY_NAME
from codetalker_cli.media import probe
from codetalker_cli.motion import Motion
from codetalker_cli.studio.exports import FORMATS

pytest_plugins = ("studio_fixtures",)
VIDEOS = ["mp4", "m4v", "mov", "mkv", "webm"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    soundfile.write(folder / "talk.wav", voices.speech(0.4), 16_000)
    return folder


@pytest.fixture(scope="module")
def motion(voice: ct.Voice, folder: Path) -> Motion:
    return voice.animate(folder / "talk.wav", subject="S02")


@pytest.fixture(scope="module")
def client(voice: ct.Voice, folder: Path) -> Iterator[StudioClient]:
    small = ["render.size=128", "render.workers=1", "render.renderer=software"]
    with studio_server.running(voice, folder / "takes", "demo", small) as client:
        yield client


@pytest.fixture(scope="module")
def take(client: StudioClient, folder: Path) -> str:
    added = client.add((folder / "talk.wav").read_bytes(), "talk.wav", subject="S02")
    return client.finished(added["id"])["id"]


def downloaded(
    client: StudioClient, take: str, format: str, character: str | None = None
) -> dict[str, bytes]:
    """Return the files of an export by their names."""
    made = client.export(take, format, character)
    assert made["state"] == "done", made
    name, content = client.file(take, made["id"])
    if not name.endswith(".zip"):
        return {name: content}
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_all_formats_are_offered() -> None:
    assert set(FORMATS.suffixes) == {*VIDEOS, "html", *BY_NAME}


@pytest.mark.parametrize("format", BY_NAME)
def test_files_equal_those_of_the_library(
    client: StudioClient, take: str, motion: Motion, tmp_path: Path, format: str
) -> None:
    files = downloaded(client, take, format)
    ct.export(motion, tmp_path / f"talk{FORMATS.ending(format)}", format=format)
    expected = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert set(files) == set(expected)
    for name, content in files.items():
        if format in ("usdz", "abc"):  # they contain the time or a name of their writing
            assert abs(len(content) - len(expected[name])) < 100
        else:
            assert content == expected[name], name


def test_video_can_be_read(client: StudioClient, take: str, tmp_path: Path) -> None:
    ((name, content),) = downloaded(client, take, "mp4").items()
    (tmp_path / name).write_bytes(content)
    facts = probe(tmp_path / name)
    assert facts is not None and name == "talk.mp4"


def test_page_is_one_file(client: StudioClient, take: str) -> None:
    ((name, content),) = downloaded(client, take, "html").items()
    assert name == "talk.html" and content.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(("kind", "formats"), [("arkit", ["glb"]), ("vrm1", ["vrma", "glb"])])
def test_characters_equal_those_of_the_library(
    client: StudioClient,
    take: str,
    motion: Motion,
    tmp_path: Path,
    kind: str,
    formats: list[str],
) -> None:
    suffix = ".vrm" if kind == "vrm1" else ".glb"
    path = getattr(characters, kind)().save(tmp_path / f"hero{suffix}")
    added = client.ask("POST", f"/api/characters?name=hero{suffix}", path.read_bytes())
    assert added["formats"] == formats
    assert any("moving mesh" in note for note in added["notes"]), added
    for format in formats:
        files = downloaded(client, take, format, added["id"])
        out = tmp_path / "out" / f"talk.{format}"
        out.parent.mkdir(exist_ok=True)
        ct.export(motion, out, avatar=path)
        assert files[f"talk.{format}"] == out.read_bytes()
    refused = client.export(take, "csv", added["id"])
    assert refused["code"] == "bad_option"
    client.ask("DELETE", f"/api/characters/{added['id']}")
    assert client.export(take, "glb", added["id"])["code"] == "not_found"
