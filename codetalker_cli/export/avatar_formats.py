"""The formats in which a character is written, and what users say about the character."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import InputError, counted, printable
from codetalker_cli.export.avatar import AvatarReport, AvatarSettings, export_avatar
from codetalker_cli.export.character import Character
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.outputs import Formats
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import drive
from codetalker_cli.settings import ExportSettings
from codetalker_cli.text_files import check_file, read_yaml

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".png", ".jpg", ".jpeg")
"""Suffixes of pictures and videos, which are not made of a character."""
_NAMED = 8
"""The most names in a message."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Avatar:
    """A character that is moved.

    Attributes:
        path: Its file: .glb, .vrm or .gltf.
        node: The name or index of one of its nodes, if the file contains several characters.
        overrides: Morph target → factors of the units or visemes that drive it, in place of what
            its name means.
        strength: Factors of the groups jaw, mouth, tongue, eyes and brows.
    """

    path: Path | str
    node: str | None = None
    overrides: Mapping[str, Mapping[str, float]] | None = None
    strength: Mapping[str, float] | None = None

    def exporters(self) -> dict[str, Exporter]:
        """Return the formats that the character can be written in, the usual one first.

        The file of the character and the options are checked, so that errors appear before a
        recording is animated.

        Raises:
            InputError: The file is missing or cannot be driven, or an option does not fit it.
            DataError: The file is damaged.
        """
        path = Path(self.path)
        check_file(path)
        character = Character.read(path, self.node)
        still = RigCurves(ARKIT_UNITS, 30.0, np.zeros((1, len(ARKIT_UNITS)), np.float32))
        drive(still, character.names, self.overrides, self.strength, character.expressions or None)
        settings = AvatarSettings(self.node, self.overrides, self.strength)
        write = partial(_write, path, settings)
        glb = Exporter(
            "glb",
            ".glb",
            write,
            "the character with an animation of its face",
            "Open {name} as you open the character, and play its animation speech.",
        )
        vrma = Exporter(
            "vrma",
            ".vrma",
            write,
            "an animation for the VRM avatar",
            f"Load {{name}} with {printable(path.name)} in a program that plays VRM animations.",
        )
        chosen = [vrma, glb] if path.suffix.lower() == ".vrm" else [glb, vrma]
        return {exporter.name: exporter for exporter in chosen}


def formats_of(exporters: Mapping[str, Exporter]) -> Formats:
    """Return formats as a command needs them."""
    return Formats({name: exporter.suffix for name, exporter in exporters.items()})


def refuse_video(out: Path | str | None) -> None:
    """Refuse a picture or a video of a character.

    Raises:
        InputError: The output is one.
    """
    if out is not None and Path(out).suffix.lower() in VIDEOS:
        raise InputError(
            f"`out` {printable(out)}: videos show the bundled head, not a character; write .glb, "
            "and make the video in the program that shows your character"
        )


def read_overrides(path: Path) -> dict[str, dict[str, float]]:
    """Read a YAML or JSON file that says what drives morph targets.

    It maps each morph target to a unit or viseme, or to several with factors:
    ``Mouth_Open: jawOpen`` or ``Mouth_Open: {jawOpen: 0.8, mouthFunnel: 0.2}``.

    Raises:
        InputError: The file is missing or has other content.
    """
    check_file(path)
    where = printable(path)
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: not a YAML or JSON file ({printable(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected morph targets with units, e.g. Mouth_Open: jawOpen")
    result: dict[str, dict[str, float]] = {}
    for name, value in content.items():
        given = {value: 1.0} if isinstance(value, str) else {} if value is None else value
        if not isinstance(name, str) or not isinstance(given, dict):
            raise InputError(
                f"{where}: {printable(name)}: expected a unit such as jawOpen, or units with "
                "factors"
            )
        result[name] = {str(unit): factor for unit, factor in given.items()}
    return result


def parse_strength(text: str) -> dict[str, float]:
    """Convert ``jaw=0.8,mouth=1.1`` to factors.

    Raises:
        InputError: The text has another form.
    """
    result: dict[str, float] = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        try:
            if name.strip() in result:
                raise InputError(f"`strength` {printable(text)!r}: {name.strip()} is listed twice")
            result[name.strip()] = float(value)
        except ValueError:
            sign = ""
        if not sign:
            raise InputError(
                f"`strength` {printable(text)!r}: expected GROUP=FACTOR, e.g. jaw=0.8,mouth=1.1"
            )
    return result


def _write(
    path: Path, settings: AvatarSettings, take: Take, target: Target, export: ExportSettings
) -> dict[str, Any]:
    report = export_avatar(take, path, target, replace(settings, export=export))
    _log(path, report)
    return {"avatar": report.to_dict()}


def _log(path: Path, report: AvatarReport) -> None:
    """Report what was matched and what was not."""
    bones = set(report.bones.values())
    moved = sorted({name for names in report.matched.values() for name in names} - bones)
    naming = f" ({report.naming})" if report.naming else ""
    logger.info(
        "%s: %s%s: %s",
        printable(path),
        counted(len(moved) + len(bones), "driven part"),
        naming,
        _listed([*(f"bone {name}" for name in sorted(bones)), *moved]),
    )
    if report.unmatched:
        logger.info("%s: nothing shows %s", printable(path), _listed(report.unmatched))
    if report.unused:
        logger.info("%s: not driven: %s", printable(path), _listed(report.unused))
    for change in report.changes:
        logger.info("%s: %s", printable(path), change)


def _listed(names: list[str]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:_NAMED])
    more = len(names) - _NAMED
    return shown + (f" and {more} more" if more > 0 else "")
