"""Render motions to pictures and videos, on any machine.

- ``comparison`` arranges motions side by side and writes the output file.
- ``panels``, ``scene``, ``light``, ``heat`` and ``captions`` describe what is drawn.
- ``software`` (with ``rasterizer``) and ``gl`` draw it; ``backends`` chooses between them.
- ``processes``, ``worker`` and ``subprocesses`` distribute the frames over the CPU cores.
- ``encoder``, ``video`` and ``stills`` write the results; ``footage`` adds filmed videos.

The package itself can be called: ``codetalker_cli.render(motion, path)`` calls ``render``.
"""

from codetalker_cli.packages import make_callable
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


make_callable(__name__, render)
