"""USD files: binary (.usdc), text (.usda), and a package with the sound (.usdz).

``usd_stage`` builds the scene.
"""

import os
import time
from pathlib import Path

from codetalker_cli.errors import InputError, MissingDependencyError, SettingsError, printable
from codetalker_cli.export.space import check_space, full_disk_is_reported
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.export.usd_stage import write_frames, write_shapes
from codetalker_cli.files import scratch_folder
from codetalker_cli.resources import install_command
from codetalker_cli.settings import ExportSettings

TARGETS = ("units", "arkit", "frames")
"""The values of ``export.targets`` that apply to USD."""
_SCENE_NAME, _SOUND_NAME = "face.usdc", "speech.wav"
_PACKAGE_TIME = (1980, 1, 1, 0, 0, 0, 0, 1, 0)
"""The local time of the files in a package, so that equal takes give equal bytes; .zip files store
local times from 1980 on."""


def _write_layer(take: Take, target: Target, settings: ExportSettings) -> None:
    _check(take, settings)
    with scratch_folder(target.final) as scratch, full_disk_is_reported(target.path):
        _write_scene(take, target.path, target.sound_name, settings, scratch)


def _write_package(take: Take, target: Target, settings: ExportSettings) -> None:
    _check(take, settings)
    from pxr import Sdf

    with scratch_folder(target.final) as scratch, full_disk_is_reported(target.path):
        scene = scratch / _SCENE_NAME
        sound_name = None if target.sound is None else _SOUND_NAME
        _write_scene(take, scene, sound_name, settings, scratch)
        files = [scene]
        if target.sound is not None:
            files.append(scratch / _SOUND_NAME)
            files[1].write_bytes(target.sound.read_bytes())
        check_space(target.path, sum(file.stat().st_size for file in files) + 4096)
        seconds = time.mktime(_PACKAGE_TIME)
        writer = Sdf.ZipFileWriter.CreateNew(str(target.path))
        for file in files:
            os.utime(file, (seconds, seconds))
            writer.AddFile(str(file), file.name)
        writer.Save()


def _write_scene(
    take: Take, path: Path, sound_name: str | None, settings: ExportSettings, scratch: Path
) -> None:
    if settings.targets == "frames":
        # The frames are written twice, and a number takes up to 13 bytes as text.
        per_number = 4 + (13 if path.suffix == ".usda" else 4)
        check_space(path, take.n_frames * take.template.size * per_number)
        write_frames(take, path, sound_name, scratch)
    elif settings.targets == "arkit":
        write_shapes(take, take.arkit_units, take.arkit_curves, path, sound_name)
    else:
        write_shapes(take, take.units, take.curves, path, sound_name)


def _check(take: Take, settings: ExportSettings) -> None:
    """Refuse targets that USD files cannot contain.

    Raises:
        SettingsError: The targets do not apply to USD.
        InputError: The targets are units, which the face does not have.
        MissingDependencyError: usd-core is not installed.
    """
    if settings.targets not in TARGETS:
        raise SettingsError(
            f"export.targets: {settings.targets!r} does not apply to USD files; use "
            f"{', '.join(TARGETS[:-1])} or {TARGETS[-1]}"
        )
    if settings.targets != "frames" and not take.has_units:
        raise InputError(
            f"the face {printable(take.motion.topology.name)!r} has no known units; set "
            "export.targets to frames, which needs none, or give `units`"
        )
    try:
        import pxr  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "writing USD files needs usd-core, which is not installed; run "
            f"`{install_command('usd')}`"
        ) from error


_CONTENT = "a USD scene with the face and its animation"
_OPENING = (
    "Open {name} in Blender (File > Import > Universal Scene Description; set the frame rate of "
    "the scene first), Houdini, Maya, Unreal Engine or usdview."
)
EXPORTERS = (
    Exporter("usdc", ".usdc", _write_layer, _CONTENT, _OPENING, settings=("targets",)),
    Exporter(
        "usda", ".usda", _write_layer, f"{_CONTENT}, as text", _OPENING, settings=("targets",)
    ),
    Exporter(
        "usdz",
        ".usdz",
        _write_package,
        f"{_CONTENT}, and the sound",
        "Open {name} on an iPhone, iPad or Mac, or in any program that reads USD.",
        sound="inside",
        settings=("targets",),
    ),
)
