"""Run one exporter of geometry."""

from pathlib import Path

from codetalker_cli.export import alembic, mesh_frames, point_cache, usd
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.settings import ExportSettings

MODULES = (alembic, mesh_frames, point_cache, usd)
EXPORTERS: dict[str, Exporter] = {one.name: one for module in MODULES for one in module.EXPORTERS}


def export(
    take: Take, path: Path, name: str = "", sound: Path | None = None, **settings: object
) -> Path:
    """Write a take with the exporter of that name (default: the suffix) and return the path.

    Args:
        take: The take.
        path: The file or folder to write.
        name: The name of the exporter.
        sound: A .wav file that formats contain or refer to.
        **settings: Values of the section ``export``.
    """
    exporter = EXPORTERS[name or path.suffix[1:]]
    target = Target(
        path,
        path,
        {suffix: path.with_suffix(suffix) for suffix in exporter.beside},
        sound if exporter.sound == "inside" else None,
        f"{path.stem}.wav" if sound is not None and exporter.sound == "beside" else None,
    )
    exporter.write(take, target, ExportSettings.model_validate(settings))
    return path
