"""Export the weights of ARKit's units as tables: a Live Link Face recording, or Audio2Face JSON."""

from dataclasses import replace

from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.formats import audio2face, live_link
from codetalker_cli.settings import ExportSettings


def write_csv(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write a recording as the app Live Link Face does, with the head rotation of the take."""
    live_link.write(target.path, replace(take.arkit_curves, head=take.head))


def write_json(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write an Audio2Face export."""
    audio2face.write(target.path, take.arkit_curves, target.sound_name)


EXPORTERS = (
    Exporter(
        "csv",
        ".csv",
        write_csv,
        "weights of ARKit's 52 units, head and eye rotation, as Live Link Face records them",
        "Import {name} in Unreal Engine 5 (plugin Live Link Face Importer), or in Blender with an "
        "add-on such as Faceit.",
    ),
    Exporter(
        "json",
        ".json",
        write_json,
        "weights of ARKit's 52 units, as Audio2Face exports them",
        "Import {name} with a reader of Audio2Face weights, such as its add-on for Blender.",
    ),
)
