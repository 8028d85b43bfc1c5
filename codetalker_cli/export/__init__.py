"""Write motions for other programs: game engines, 3D editors and browsers.

- ``take`` is what an exporter receives, and ``table`` describes an exporter.
- ``formats`` lists all exporters. Each of the other modules contains one family of formats.
- ``avatar_formats`` describes a character that is moved, and ``avatar`` writes it; the modules
  ``character*`` read its file.
- ``write`` writes all files of an export, or none.
- ``batch`` exports several motions.

The package itself can be called: ``codetalker_cli.export(motion, path)`` calls ``export``.
"""

from codetalker_cli.export.avatar_formats import Avatar
from codetalker_cli.export.formats import EXPORTERS, FORMATS, find
from codetalker_cli.export.single import export
from codetalker_cli.export.table import Exporter
from codetalker_cli.export.take import Take
from codetalker_cli.export.write import Exported, write
from codetalker_cli.packages import make_callable
from codetalker_cli.settings import ExportSettings, SolveSettings

__all__ = [
    "EXPORTERS",
    "FORMATS",
    "Avatar",
    "ExportSettings",
    "Exported",
    "Exporter",
    "SolveSettings",
    "Take",
    "export",
    "find",
    "write",
]

make_callable(__name__, export)
