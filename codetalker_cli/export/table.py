"""The table of export formats. Each format is a function in a module of this package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from codetalker_cli.export.take import Take
from codetalker_cli.settings import ExportSettings


@dataclass(frozen=True)
class Target:
    """Where an exporter writes; the files get their final names when all of them are complete.

    Attributes:
        path: The file or the folder to write. A folder does not exist yet.
        final: The final name of ``path``.
        beside: The files to write next to it, by suffix, e.g. ``.obj``. The sound is not listed,
            because exporters do not write it.
        sound: The .wav file with the sound for formats that contain it, or None if there is none.
        sound_name: The name of the .wav file that will be next to ``final``, for formats that
            refer to it; None: there is none.
    """

    path: Path
    final: Path
    beside: dict[str, Path] = field(default_factory=dict)
    sound: Path | None = None
    sound_name: str | None = None


Write = Callable[[Take, Target, ExportSettings], Mapping[str, Any] | None]
"""Writes a take; it may return facts for the report, as data that JSON can store."""


@dataclass(frozen=True)
class Exporter:
    """An export format.

    Attributes:
        name: The name, as in ``format``.
        suffix: The suffix of its files; an empty string: a folder of files.
        write: Writes a take.
        content: What the file contains, in a few words.
        opening: One sentence that explains how to open it, or an empty string. ``{name}`` is the
            name of the file, and ``{stem}`` the name without its suffix.
        sound: Whether the sound is in the file, next to it as a .wav, or nowhere.
        beside: The suffixes of further files that it writes.
        settings: The settings of the section ``export`` that have an effect, besides ``sound``.
        has_weights: Whether unit weights are stored, so that the section ``solve`` has an effect.
        is_character: Whether it writes a character instead of the face of the motion.
    """

    name: str
    suffix: str
    write: Write
    content: str
    opening: str
    sound: Literal["inside", "beside", "none"] = "beside"
    beside: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    has_weights: bool = True
    is_character: bool = False
