"""Motion → pictures and videos, on any machine.

``panels`` say what stands beside what, ``scene``, ``light`` and ``heat`` what is seen, ``captions``
what is written over it; ``software`` (on ``rasteriser``) and ``gl`` draw, ``processes`` and
``worker`` spread the frames over the cores, ``backends`` chooses, ``encoder`` writes; ``video`` and
``stills`` are what comes out.
"""

from codetalker_cli.render.backends import render_frames
from codetalker_cli.render.heat import heat_colours
from codetalker_cli.render.panels import Panel
from codetalker_cli.render.stills import contact_sheet, heat_picture
from codetalker_cli.render.video import RenderReport, render_video
from codetalker_cli.settings import RenderSettings

__all__ = [
    "Panel",
    "RenderReport",
    "RenderSettings",
    "contact_sheet",
    "heat_colours",
    "heat_picture",
    "render_frames",
    "render_video",
]
