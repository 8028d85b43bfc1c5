"""Render motions to pictures and videos, on any machine.

- ``comparison`` arranges motions side by side and writes the output file.
- ``panels``, ``scene``, ``light``, ``heat`` and ``captions`` describe what is drawn.
- ``software`` (with ``rasterizer``) and ``gl`` draw it; ``backends`` chooses between them.
- ``processes``, ``worker`` and ``subprocesses`` distribute the frames over the CPU cores.
- ``encoder``, ``video`` and ``stills`` write the results; ``footage`` adds filmed videos.

The package itself can be called: ``codetalker_cli.render(motion, path)`` calls ``render``.
"""

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from codetalker_cli.render.backends import render_frames
from codetalker_cli.render.comparison import render
from codetalker_cli.render.heat import heat_colors
from codetalker_cli.render.panels import Panel
from codetalker_cli.render.stills import contact_sheet, heat_picture
from codetalker_cli.render.video import RenderReport, render_video
from codetalker_cli.settings import RenderSettings

__all__ = [
    "Panel",
    "RenderReport",
    "RenderSettings",
    "contact_sheet",
    "heat_colors",
    "heat_picture",
    "render",
    "render_frames",
    "render_video",
]


class _CallablePackage(ModuleType):
    """A package that is also a function.

    Importing any module of a subpackage stores the subpackage as an attribute of its package. The
    name ``codetalker_cli.render`` therefore always refers to this package, so the call must work
    on it.
    """

    def __call__(self, *args: Any, **options: Any) -> Path:
        """Render motions to a file; see the function ``render``."""
        return render(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage
__signature__ = inspect.signature(render)
