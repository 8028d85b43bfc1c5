"""The table of all export formats."""

from collections.abc import Collection, Iterable
from pathlib import Path

from codetalker_cli.errors import SettingsError
from codetalker_cli.export import (
    alembic,
    animation_clips,
    gltf,
    mesh_frames,
    point_cache,
    rig_tables,
    usd,
    visemes,
    vrma,
)
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.outputs import Formats
from codetalker_cli.settings import ExportSettings


def _write_motion(take: Take, target: Target, settings: ExportSettings) -> None:
    take.motion.save(target.path)


MOTIONS = (
    Exporter(
        "npz",
        ".npz",
        _write_motion,
        "motion with its face and sound",
        "",
        sound="inside",
        has_weights=False,
    ),
    Exporter(
        "npy",
        ".npy",
        _write_motion,
        "vertices",
        "",
        sound="none",
        has_weights=False,
    ),
)
EXPORTERS: tuple[Exporter, ...] = (
    *gltf.EXPORTERS,
    *rig_tables.EXPORTERS,
    *usd.EXPORTERS,
    *alembic.EXPORTERS,
    *point_cache.EXPORTERS,
    *mesh_frames.EXPORTERS,
    *vrma.EXPORTERS,
    *animation_clips.EXPORTERS,
    *visemes.EXPORTERS,
    *MOTIONS,
)
"""All formats. Where several have the same suffix, the first one is its default."""
BY_NAME = {exporter.name: exporter for exporter in EXPORTERS}
FORMATS = Formats({exporter.name: exporter.suffix for exporter in EXPORTERS})
"""The formats as a command needs them."""


def find(path: Path, format: str | None = None) -> Exporter:
    """Return the format of an output.

    Args:
        path: The output.
        format: The name of the format, for suffixes with several formats and for folders.

    Raises:
        InputError: The suffix or the name is unknown, or they contradict each other.
    """
    name = None if format is None else FORMATS.check_name(format)
    return BY_NAME[FORMATS.choose(path, name)]


def check_effective(exporters: Collection[Exporter], keys: Iterable[str]) -> None:
    """Refuse settings that have no effect in any of the formats.

    Args:
        exporters: The formats that are written; none: videos.
        keys: The settings that were given, such as ``export.targets`` or ``solve.l2``,
            and ``units`` if units were given.

    Raises:
        SettingsError: A setting has no effect. The message lists the formats to which it applies.
    """
    for key in keys:
        effective = [one.name for one in EXPORTERS if _has_effect(one, key)]
        if not any(_has_effect(one, key) for one in exporters):
            if any(one.is_character for one in exporters):
                raise SettingsError(
                    f"{key}: has no effect on a character, which keeps its own morph targets; "
                    "omit it, or export without `avatar`"
                )
            names = " and ".join(sorted({one.name for one in exporters}))
            where = f"the format {names}" if names else "a video"
            raise SettingsError(
                f"{key}: has no effect in {where}; it applies to {', '.join(effective)}"
            )


def _has_effect(exporter: Exporter, key: str) -> bool:
    section, _, name = key.partition(".")
    if section in ("solve", "units"):
        return exporter.has_weights
    return exporter.sound != "none" if name == "sound" else name in exporter.settings
