"""Export one motion from Python."""

import os
from pathlib import Path
from typing import Any

from codetalker_cli.errors import InputError
from codetalker_cli.export.avatar_formats import Avatar, check_vrma, formats_of, refuse_video
from codetalker_cli.export.formats import check_effective, find
from codetalker_cli.export.table import Exporter
from codetalker_cli.export.take import make_take
from codetalker_cli.export.write import write
from codetalker_cli.motion import Motion
from codetalker_cli.outputs import check_inputs_kept, check_path
from codetalker_cli.presets import changed
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.units import UnitSet
from codetalker_cli.settings import ExportSettings, SolveSettings


def export(
    motion: Motion | RigCurves,
    path: Path | str,
    *,
    format: str | None = None,
    units: UnitSet | Path | str | None = None,
    solve: SolveSettings | None = None,
    avatar: Avatar | Path | str | None = None,
    overwrite: bool = True,
    **settings: Any,
) -> Path:
    """Write a motion for another program: .glb, .csv, .usdz and others; docs/export.md lists them.

    The sound is in the file if its format allows it, otherwise in a .wav file next to it.

    Args:
        motion: The motion, or rig curves, which are posed on the bundled head.
        path: The file; for a folder of frames, the folder.
        format: The name of the format, if the suffix has several, and for folders.
        units: The units of a face that is not the bundled head: a .glb with morph targets, a folder
            of .obj or .ply files, an .npz of deltas, or a unit set in meters.
        solve: How unit weights are found for the vertices; None: the defaults.
        avatar: A character that is moved: its file (.glb, .vrm, .gltf), or an ``Avatar`` with
            options. The result is its file with one more animation, or a .vrma for a .vrm.
        overwrite: Whether existing files may be replaced.
        **settings: Settings of the section ``export``, such as ``targets="arkit"``;
            docs/settings.md lists them.

    Returns:
        The path.

    Raises:
        SettingsError: A setting is unknown, has an invalid value, or has no effect in this format.
        InputError: The suffix is unknown, the face has no units but the format needs them, or the
            file cannot be written.
        DataError: The units do not fit the face.
        MissingDependencyError: The format needs an optional package.
    """
    target = _checked_path("path", path)
    if format is not None and not isinstance(format, str):
        raise InputError(f"`format`: expected text, got a {type(format).__name__}")
    exporter, character = _exporter(target, format, avatar)
    chosen = changed("export", ExportSettings.model_validate({}), settings)
    given = [f"export.{key}" for key in settings] + ["solve"] * (solve is not None)
    check_effective([exporter], given + ["units"] * (units is not None))
    if not isinstance(motion, Motion | RigCurves):
        raise InputError(
            f"export expects a motion or rig curves, got a {type(motion).__name__}; read a file "
            "with Motion.load"
        )
    if not isinstance(units, UnitSet | None):
        units = _checked_path("units", units)
    if not isinstance(solve, SolveSettings | None):
        raise InputError(f"solve: expected SolveSettings, got a {type(solve).__name__}")
    read = [motion.audio_path, units if isinstance(units, Path) else None, character]
    for output in (target, *(target.with_suffix(suffix) for suffix in exporter.beside)):
        check_inputs_kept(output, read)
    take = make_take(motion, units, solve)
    return write(take, target, exporter, chosen, overwrite=overwrite).path


def _exporter(
    target: Path, format: str | None, avatar: Avatar | Path | str | None
) -> tuple[Exporter, Path | None]:
    """Return the format, and the file of the character or None."""
    if avatar is None:
        return find(target, format), None
    if not isinstance(avatar, Avatar):
        avatar = Avatar(_checked_path("avatar", avatar))
    refuse_video(target)
    exporters = avatar.exporters()
    check_vrma(target, avatar.path, exporters)
    return exporters[formats_of(exporters).choose(target, format)], Path(avatar.path)


def _checked_path(name: str, path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{name}: expected a path, got a {type(path).__name__}")
    checked = Path(os.fsdecode(path))
    check_path(checked, f"`{name}`")
    return checked
