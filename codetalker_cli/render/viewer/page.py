"""Write a page that shows faces: one HTML file that needs no other file and no network."""

import base64
import binascii
import hashlib
import html
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from codetalker_cli.files import atomic_path
from codetalker_cli.motion import Motion
from codetalker_cli.progress import Progress, silent
from codetalker_cli.render.footage import Footage
from codetalker_cli.render.lip_charts import LipCurve
from codetalker_cli.render.panels import Panel, motion_with_sound
from codetalker_cli.render.viewer.bundle import boot_script, modules, notice, style_sheet
from codetalker_cli.render.viewer.content import (
    Content,
    arrange,
    curve_packets,
    face_packets,
    page_packet,
)
from codetalker_cli.render.viewer.film import encode_film
from codetalker_cli.render.viewer.sound import Sound, encode_sound
from codetalker_cli.settings import RenderSettings

SUFFIX = ".html"
"""The suffix of pages."""
_BODY_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; background: #f6f7f8; }
@media (prefers-color-scheme: dark) { body { background: #16191d; } }
main { max-width: 1600px; margin: 0 auto; padding: 12px; }
"""
_BASE64_BYTES = 3 << 16  # a multiple of 3, so that parts can be concatenated


@dataclass(frozen=True)
class Exhibit:
    """What a viewer shows.

    Attributes:
        panels: The panels of motions and heat maps, from left to right.
        footage: The filmed videos, each with its column.
        curves: A lip curve for each motion and film; empty: films are not tracked.
        title: The title of the page.
    """

    panels: tuple[Panel, ...]
    footage: tuple[Footage, ...] = ()
    curves: tuple[LipCurve, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class PageReport:
    """A summary of a written page.

    Attributes:
        n_frames: The number of frames.
        fps: The frame rate.
        has_sound: Whether the page has sound.
        n_bytes: The size of the file.
    """

    n_frames: int
    fps: float
    has_sound: bool
    n_bytes: int


def write_page(
    exhibit: Exhibit,
    path: Path,
    settings: RenderSettings,
    progress: Progress | None = None,
    *,
    overwrite: bool = True,
) -> PageReport:
    """Write a page with one viewer.

    The sound is that of the first motion with sound.

    Args:
        exhibit: What the page shows.
        path: The .html file.
        settings: The view at the start and the color scales of heat maps.
        progress: Called with the number of frames done and the total.
        overwrite: Whether an existing file may be replaced.

    Raises:
        RenderError: The motions cannot be shown (see ``as_panels``).
        InputError: A film or the sound cannot be read, or the file cannot be written.
    """
    content = arrange(exhibit.panels, exhibit.footage, settings)
    with (
        atomic_path(path, overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for text in _before():
            file.write(text)
        sound = _write_viewer(file, exhibit, content, settings, progress or silent)
        file.write(f"</main>\n<script>{boot_script()}</script>\n</body>\n</html>\n")
        file.flush()
        size = temporary.stat().st_size
    return PageReport(content.n_frames, content.fps, sound is not None, size)


def write_motion(
    motion: Motion,
    path: Path,
    settings: RenderSettings,
    progress: Progress | None = None,
    *,
    overwrite: bool = True,
) -> PageReport:
    """Write a page that shows one motion; the arguments and errors are those of ``write_page``."""
    exhibit = Exhibit((Panel(motion),), title=path.stem)
    return write_page(exhibit, path, settings, progress, overwrite=overwrite)


def embedded(exhibit: Exhibit, settings: RenderSettings) -> str:
    """Return a viewer as an HTML element for a page with ``viewer_parts``; a button opens it.

    The element consists of base64 text and constants; it contains no label as HTML.

    Args:
        exhibit: What the viewer shows.
        settings: See ``write_page``.

    Raises:
        RenderError: The motions cannot be shown (see ``as_panels``).
        InputError: A film or the sound cannot be read.
    """
    content = arrange(exhibit.panels, exhibit.footage, settings)
    file = io.StringIO()
    button = '<button type="button" class="open" hidden>Show in 3D</button>\n'
    _write_viewer(file, exhibit, content, settings, button=button)
    return file.getvalue()


def viewer_parts() -> dict[str, str]:
    """Return what a page with embedded viewers needs once.

    ``style`` is a style sheet, ``modules`` an element, and ``boot`` a script that follows all
    viewers and the element. ``script_policy`` is the part of a Content Security Policy that allows
    this script, and no other one.
    """
    return {
        "style": style_sheet(),
        "modules": modules_script(),
        "boot": boot_script(),
        "script_policy": _script_policy(),
    }


def _script_policy() -> str:
    return f"script-src {_hash(boot_script())} blob:"


def _before() -> Iterator[str]:
    """Yield the start of the page."""
    style = _BODY_STYLE + style_sheet()
    # Nothing can be loaded from elsewhere, and only the script and the style below are allowed.
    policy = (
        f"default-src 'none'; {_script_policy()}; style-src {_hash(style)}; "
        "img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'"
    )
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="color-scheme" content="light dark">\n'
    yield f"<title>Talking face</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
    yield modules_script()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def modules_script() -> str:
    """Return the element with all modules, which a page needs once."""
    comment = f"<!-- The page contains three.js:\n{html.escape(notice())}-->\n"
    return comment + _element("modules", base64.b64encode(modules()).decode())


def _element(part: str, text: str, kind: str = "") -> str:
    """Return a script element that does not run; base64 cannot end it."""
    mime = f' data-type="{html.escape(kind)}"' if kind else ""
    return f'<script type="text/plain" data-part="{part}"{mime}>{text}</script>\n'


def _write_viewer(
    file: IO[str],
    exhibit: Exhibit,
    content: Content,
    settings: RenderSettings,
    progress: Progress = silent,
    button: str = "",
) -> Sound | None:
    """Write the element of a viewer, which a button opens if one is given."""
    sound = encode_sound(motion_with_sound(exhibit.panels), content.seconds)
    films = [encode_film(film, content.fps, content.seconds) for film in exhibit.footage]
    file.write(f'<div class="codetalker-viewer"{" data-embedded" if button else ""}>\n{button}')
    file.write('<p class="status" role="status"></p>\n')
    file.write("<noscript>Please turn on JavaScript to see the faces.</noscript>\n")
    start, end = _element("packets", "\0").split("\0")
    file.write(start)
    for text in _base64(_gzip(_packets(exhibit, content, settings, sound, progress))):
        file.write(text)
    file.write(end)
    if sound is not None:
        file.write(_element("sound", base64.b64encode(sound.content).decode(), "audio/mp4"))
    for film in films:
        file.write(_element("film", base64.b64encode(film).decode(), "video/mp4"))
    file.write("</div>\n")
    return sound


def _packets(
    exhibit: Exhibit,
    content: Content,
    settings: RenderSettings,
    sound: Sound | None,
    progress: Progress,
) -> Iterator[bytes]:
    yield page_packet(content, exhibit.title, settings.view, sound)
    yield from face_packets(content, progress)
    yield from curve_packets(content, exhibit.curves, sound)


def _gzip(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def _base64(parts: Iterable[bytes]) -> Iterator[str]:
    rest = bytearray()
    for part in parts:
        rest += part
        while len(rest) >= _BASE64_BYTES:
            yield binascii.b2a_base64(rest[:_BASE64_BYTES], newline=False).decode()
            del rest[:_BASE64_BYTES]
    yield binascii.b2a_base64(rest, newline=False).decode()
