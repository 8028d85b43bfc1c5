"""Motion → pictures and videos, on any machine.

``comparison`` arranges motions side by side and writes the file; ``panels``, ``scene``, ``light``,
``heat`` and ``captions`` describe what is drawn; ``software`` (with ``rasterizer``) and ``gl`` draw
it; ``processes``, ``worker`` and ``subprocesses`` spread the frames over the cores; ``backends``
chooses the renderer; ``encoder``, ``video`` and ``stills`` write the results.
"""

from codetalker_cli.render.backends import render_frames
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
    "render_frames",
    "render_video",
]
