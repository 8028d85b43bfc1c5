"""The formats in which a character is written, and what users say about the character."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import InputError, printable
from codetalker_cli.export.avatar import AvatarSettings, export_avatar
from codetalker_cli.export.character import Character, part_of
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.outputs import Formats
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import drive_meshes
from codetalker_cli.settings import ExportSettings
from codetalker_cli.text_files import check_file, read_yaml

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".html", ".png", ".jpg", ".jpeg")
"""Suffixes of pictures, videos and pages, which are not made of a character."""
_BONES = "bones"
"""The entry of a map that contains bones."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Avatar:
    """A character that is moved.

    Attributes:
        path: Its file: .glb, .vrm or .gltf.
        node: The name or index of one of its nodes, if the file contains several characters.
        overrides: Morph target → factors of the units or visemes that drive it, in place of what
            its name means. In the meshes that have the morph target, these units and visemes drive
            nothing else.
        bones: The names of the bones jaw, head, left_eye and right_eye, where they are not
            recognized; None: the bone is not turned.
        strength: Factors of the groups jaw, mouth, tongue, eyes and brows.
    """

    path: Path | str
    node: str | None = None
    overrides: Mapping[str, Mapping[str, float]] | None = None
    strength: Mapping[str, float] | None = None
    bones: Mapping[str, str | None] | None = None

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
        character = Character.read(path, self.node, self.bones)
        still = RigCurves(ARKIT_UNITS, 30.0, np.zeros((1, len(ARKIT_UNITS)), np.float32))
        meshes = [mesh.targets for mesh in character.meshes]
        drive_meshes(still, meshes, self.overrides, self.strength, character.expressions)
        settings = AvatarSettings(self.node, self.overrides, self.bones, self.strength)
        write = _Writer(path, settings)
        glb = Exporter(
            "glb",
            ".glb",
            write,
            "the character with an animation of its face",
            "Open {name} as you open the character, and play its animation speech.",
            is_character=True,
        )
        vrma = Exporter(
            "vrma",
            ".vrma",
            write,
            "an animation for the VRM avatar",
            f"Load {{name}} with {printable(path.name)} in a program that plays VRM animations.",
            is_character=True,
        )
        chosen = [glb]
        if character.is_vrm:
            chosen = [vrma, glb] if path.suffix.lower() == ".vrm" else [glb, vrma]
        return {exporter.name: exporter for exporter in chosen}


def formats_of(exporters: Mapping[str, Exporter]) -> Formats:
    """Return formats as a command needs them."""
    return Formats({name: exporter.suffix for name, exporter in exporters.items()})


def refuse_video(out: Path | str | None) -> None:
    """Refuse a picture, a video or a page of a character.

    Raises:
        InputError: The output is one.
    """
    if out is not None and Path(out).suffix.lower() in VIDEOS:
        raise InputError(
            f"`out` {printable(out)}: videos and pages show the bundled head, not a character; "
            "write .glb, and make the video in the program that shows your character"
        )


@dataclass(frozen=True)
class AvatarMap:
    """The content of a file that maps morph targets and bones.

    Attributes:
        overrides: See ``Avatar``.
        bones: See ``Avatar``.
    """

    overrides: dict[str, dict[str, float]]
    bones: dict[str, str | None]


def check_vrma(out: Path | str | None, path: Path | str, formats: Collection[str]) -> None:
    """Refuse a .vrma for a character that is not a VRM avatar.

    Args:
        out: The output.
        path: The file of the character.
        formats: The names of the formats that it can be written in.

    Raises:
        InputError: The output is one.
    """
    if out is not None and Path(out).suffix.lower() == ".vrma" and "vrma" not in formats:
        raise InputError(
            f"`out` {printable(out)}: {printable(Path(path).name)} is not a VRM avatar, and a "
            ".vrma moves only these; give a name that ends with .glb"
        )


def read_map(path: Path) -> AvatarMap:
    """Read a YAML or JSON file that says what drives morph targets, and which bones to turn.

    It maps each morph target to a unit or viseme, or to several with factors:
    ``Mouth_Open: jawOpen`` or ``Mouth_Open: {jawOpen: 0.8, mouthFunnel: 0.2}``. The entry
    ``bones: {jaw: Chin}`` names bones.

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
    content = dict(content)
    bones = _bones(where, content.pop(_BONES, None))
    result: dict[str, dict[str, float]] = {}
    for name, value in content.items():
        given = {value: 1.0} if isinstance(value, str) else {} if value is None else value
        if not isinstance(name, str) or not isinstance(given, dict):
            raise InputError(
                f"{where}: {printable(name)}: expected a unit such as jawOpen, or units with "
                "factors"
            )
        result[name] = {str(unit): factor for unit, factor in given.items()}
    return AvatarMap(result, bones)


def _bones(where: str, given: Any) -> dict[str, str | None]:
    entries = {} if given is None else given
    if not isinstance(entries, dict) or not all(
        isinstance(part, str) and (bone is None or isinstance(bone, str))
        for part, bone in entries.items()
    ):
        raise InputError(
            f"{where}: {_BONES}: expected the names of bones, e.g. {{jaw: Chin, left_eye: Eye_L}}"
        )
    bones: dict[str, str | None] = {}
    for part, bone in entries.items():
        if part_of(part) in bones:
            raise InputError(f"{where}: {_BONES}: {printable(part)} is listed twice")
        bones[part_of(part)] = bone
    return bones


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


class _Writer:
    """Writes the character, and reports what moves once, not for each motion of a batch."""

    def __init__(self, path: Path, settings: AvatarSettings) -> None:
        self._path, self._settings = path, settings
        self._is_reported = False

    def __call__(self, take: Take, target: Target, export: ExportSettings) -> dict[str, Any]:
        settings = replace(self._settings, export=export)
        report = export_avatar(take, self._path, target, settings)
        for line in () if self._is_reported else report.lines():
            logger.info("%s: %s", printable(self._path), line)
        self._is_reported = True
        return {"avatar": report.to_dict()}
