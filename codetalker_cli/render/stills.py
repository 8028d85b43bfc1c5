"""Render still pictures: contact sheets and heat maps of a neutral face."""

from collections.abc import Sequence

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render.backends import render_frames
from codetalker_cli.render.captions import bar_strip, font_for, label_strip
from codetalker_cli.render.footage import Footage, beside
from codetalker_cli.render.heat import heat_label
from codetalker_cli.render.panels import Shown, as_panels, n_frames
from codetalker_cli.render.scene import build_scene
from codetalker_cli.render.software import SoftwareRenderer
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import TRANSPARENT
from codetalker_cli.topology import Topology

_PAPER, _INK = "#20242a", "#e8eaee"


def contact_sheet(
    shown: Shown,
    settings: RenderSettings,
    frames: Sequence[int],
    labels: Sequence[str] | None = None,
    n_columns: int | None = None,
    footage: Sequence[Footage] = (),
) -> np.ndarray:
    """Draw several frames into one (H, W, 3 or 4) uint8 picture with a label below each.

    With several panels, each panel is a row and each frame a column.

    Args:
        shown: A motion, or panels from top to bottom.
        settings: The render settings; ``size`` is the size of one frame.
        frames: Frame indices.
        labels: One label per frame; None: the time in seconds.
        n_columns: Number of frames per row; None: all frames if there are several rows of panels,
            else a grid that is about square.
        footage: Filmed videos; each is a row as well.

    Raises:
        RenderError: The number of labels is wrong; see also ``render_frames``.
    """
    from PIL import Image, ImageDraw

    if not len(frames):
        raise RenderError("a contact sheet needs at least one frame")
    panels = as_panels(shown)
    n, fps = n_frames(panels), panels[0].motion.fps
    times = [f % n / fps for f in frames]
    texts = [f"{time:.2f} s" for time in times] if labels is None else labels
    if len(texts) != len(frames):
        raise RenderError(f"expected one label per frame ({len(frames)}), found {len(texts)}")
    n_panels = len(panels) + len(footage)
    if n_columns is None:
        n_columns = len(frames) if n_panels > 1 else -int(-(len(frames) ** 0.5) // 1)
    n_columns = min(len(frames), n_columns)
    n_rows = -(-len(frames) // n_columns)
    size, strip = settings.size, max(16, settings.size // 14)
    row = size * n_panels + strip
    transparent = settings.background == TRANSPARENT
    sheet = (
        Image.new("RGBA", (n_columns * size, n_rows * row))
        if transparent
        else Image.new("RGB", (n_columns * size, n_rows * row), _PAPER)
    )
    draw, font = ImageDraw.Draw(sheet), font_for("".join(texts), strip * 0.62)
    pictures = beside(render_frames(panels, settings, frames), footage, times, fps, settings)
    for index, picture in enumerate(pictures):
        x, y = index % n_columns * size, index // n_columns * row
        for number in range(n_panels):
            tile = np.ascontiguousarray(picture[:, number * size : (number + 1) * size])
            sheet.paste(Image.fromarray(tile), (x, y + number * size))
        middle = (x + size / 2, y + row - strip / 2)
        # On a transparent background, use a mid gray: it is legible on white and on black.
        draw.text(
            middle, texts[index], fill="#808080" if transparent else _INK, font=font, anchor="mm"
        )
    return np.asarray(sheet)


def heat_picture(
    topology: Topology,
    template: np.ndarray,
    values: np.ndarray,
    settings: RenderSettings,
    maximum: float,
    label: str = "",
    hottest: str | None = None,
) -> np.ndarray:
    """Draw a face as a heat map of one distance per vertex, with a color bar.

    The software renderer draws it in this process.

    Args:
        topology: The mesh; its unit is used for the color bar.
        template: (V, 3) neutral face.
        values: (V,) distances of 0 or more, in the unit of ``maximum``.
        settings: The size, view and background of the picture.
        maximum: Distance shown in the hottest color.
        label: Text above the face.
        hottest: Text at the hot end of the color bar; None: ``maximum`` with the topology's unit;
            empty: no color bar.

    Returns:
        (size, size, 3) uint8, with a fourth channel if the background is transparent.

    Raises:
        RenderError: The values do not fit the vertices or are not finite, the maximum is not
            above 0, or the face cannot be framed.
    """
    neutral = np.asarray(template, np.float32)
    distances = np.asarray(values, np.float64)
    if distances.shape != (topology.n_vertices,) or not np.isfinite(distances).all():
        raise RenderError(
            f"heat map: the values have shape {distances.shape}; topology {topology.name} needs "
            f"finite values of shape ({topology.n_vertices},)"
        )
    if not (np.isfinite(maximum) and maximum > 0):
        raise RenderError(f"heat map: the maximum must be above 0; it is {maximum}")
    scene = build_scene(Motion(neutral[None], 1.0, topology, "mean", neutral), settings, maximum)
    # The renderer shows distances to a reference, so displace a copy by exactly these values.
    displaced = neutral.astype(np.float64)
    displaced[:, 0] += distances
    picture = np.ascontiguousarray(SoftwareRenderer(scene).render(neutral, displaced))
    size, background = settings.size, settings.background
    text = heat_label(maximum, topology) if hottest is None else hottest
    if text:
        bar_strip(text, size, 0, background).blend_into(picture)
    if label:
        label_strip(label, size, 0, background).blend_into(picture)
    return picture
