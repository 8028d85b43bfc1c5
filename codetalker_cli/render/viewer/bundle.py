"""The modules of the page: our own and three.js, linked to each other for blob URLs.

A page on disk cannot import modules by their path, so ``web/boot.js`` loads each one from a blob
URL. In the sources that it gets, an import of another module is the name of that module between
``@@``, which it replaces by a URL. The files themselves contain ordinary imports.
"""

import gzip
import json
import posixpath
import re
from functools import lru_cache
from pathlib import Path

from codetalker_cli.resources import asset

WEB = Path(__file__).with_name("web")
"""The folder of our modules."""
_ENTRY = "viewer.js"
_THREE = {
    "three": "build/three.module.min.js",
    "three/addons/": "examples/jsm/",
}
"""Names that modules import three.js by → files and folders of ``assets/three``."""
_IMPORT = re.compile(r"""(\bfrom\s*)(["'])([^"'\n]+)\2""")


@lru_cache(maxsize=1)
def boot_script() -> str:
    """Return the script that runs in the page itself."""
    return (WEB / "boot.js").read_text("utf-8")


@lru_cache(maxsize=1)
def style_sheet() -> str:
    """Return the style sheet of viewers."""
    return (WEB / "viewer.css").read_text("utf-8")


@lru_cache(maxsize=1)
def notice() -> str:
    """Return the license of three.js, which every copy of it must contain."""
    return asset("three/LICENSE").read_text("utf-8")


@lru_cache(maxsize=1)
def modules() -> bytes:
    """Return all modules as gzipped JSON: [name, source] pairs, each after those it imports."""
    found: dict[str, str] = {}
    _collect(f"web/{_ENTRY}", found)
    # A fixed time, so that equal contents give equal pages.
    return gzip.compress(json.dumps(list(found.items())).encode(), 9, mtime=0)


def _collect(name: str, found: dict[str, str]) -> None:
    """Add a module and everything that it imports."""
    folder, _, path = name.partition("/")
    file = WEB / path if folder == "web" else asset("three") / path
    source = file.read_text("utf-8")

    def link(match: re.Match[str]) -> str:
        line = source[source.rfind("\n", 0, match.start()) + 1 : match.start()]
        if line.lstrip().startswith(("*", "//")):  # an example in a comment
            return match[0]
        imported = _resolve(name, match[3])
        if imported not in found:
            _collect(imported, found)
        return f"{match[1]}{match[2]}@@{imported}@@{match[2]}"

    found[name] = _IMPORT.sub(link, source)


def _resolve(importer: str, name: str) -> str:
    if name.startswith("."):
        return posixpath.normpath(posixpath.join(posixpath.dirname(importer), name))
    for prefix, path in _THREE.items():
        if name == prefix or (prefix.endswith("/") and name.startswith(prefix)):
            return f"three/{path}{name.removeprefix(prefix)}"
    raise ValueError(f"{importer} imports {name}, which is not part of the page")
