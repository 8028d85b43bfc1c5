"""Names that a page sends: shown as text, and never used as paths."""

import re
from pathlib import PurePosixPath

from codetalker_cli.errors import printable

MAX_NAME = 200
"""The most characters of a name."""
_MAX_STEM = 80
_UNSAFE = re.compile(r"[^\w.() -]+")


def shown_name(text: str, default: str) -> str:
    """Return a name as text on one line, without folders."""
    name = printable(text.replace("\\", "/").rsplit("/", 1)[-1].strip(), MAX_NAME).strip()
    return name or default


def file_stem(name: str, default: str) -> str:
    """Return what a downloaded file can be called, from the name of a take."""
    stem = _UNSAFE.sub("_", PurePosixPath(name).stem)[:_MAX_STEM].strip(" ._-")
    return stem or default


def suffix_of(name: str, known: tuple[str, ...]) -> str:
    """Return the suffix of a name if it is a known one, or an empty string."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in known else ""
