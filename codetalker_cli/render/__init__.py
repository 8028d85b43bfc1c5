"""Motion → pictures and videos, on any machine.

``scene`` and ``light`` say what is seen, ``software`` and ``gl`` draw it, ``processes`` and
``worker`` spread the frames over the cores, ``backends`` chooses, ``video`` encodes.
"""

from codetalker_cli.render.backends import contact_sheet, render_frames
from codetalker_cli.render.video import RenderReport, render_video
from codetalker_cli.settings import RenderSettings

__all__ = ["RenderReport", "RenderSettings", "contact_sheet", "render_frames", "render_video"]
