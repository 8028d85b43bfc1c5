"""Draw the labels at the top of panels and the color bar of heat maps.

They are drawn once per clip with Pillow and blended into every frame with NumPy.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from codetalker_cli.render.heat import heat_colors
from codetalker_cli.settings.render import BACKDROPS, TRANSPARENT

_FONT_SHARE, _BAR_FONT_SHARE = 1 / 22, 1 / 30
"""Font sizes of labels and color bars, as fractions of the panel height."""
_MIN_FONT, _MIN_BAR_FONT = 10, 8  # pixels; smaller text is not legible
_WIDTH_SHARE = 0.94
"""The largest width of a label, as a fraction of the panel width."""
_BAR_TOP, _BAR_BOTTOM, _BAR_WIDTH = 0.30, 0.72, 0.028
"""Position and width of the color bar, as fractions of the panel."""
_LIGHT, _DARK = "#ffffff", "#30343a"
_BRIGHT_BACKGROUND = 0.7
"""The luminance of the background above which text is dark."""


@dataclass(frozen=True)
class Strip:
    """A rectangular overlay.

    Attributes:
        top: Row of its upper edge, in pixels.
        left: Column of its left edge, in pixels.
        pixels: (h, w, 4) uint8 RGBA with straight alpha.
    """

    top: int
    left: int
    pixels: np.ndarray

    def blend_into(self, picture: np.ndarray) -> None:
        """Blend into a (H, W, 3 or 4) uint8 picture, in place."""
        height, width = self.pixels.shape[:2]
        target = picture[self.top : self.top + height, self.left : self.left + width]
        overlay = self.pixels[: target.shape[0], : target.shape[1]].astype(np.float32)
        alpha = overlay[..., 3:] / 255
        if picture.shape[2] == 3:
            target[:] = target + alpha * (overlay[..., :3] - target) + 0.5
            return
        background_alpha = target[..., 3:] / np.float32(255) * (1 - alpha)
        total_alpha = alpha + background_alpha
        blended = (overlay[..., :3] * alpha + target[..., :3] * background_alpha) / np.maximum(
            total_alpha, 1e-6
        )
        target[..., :3] = np.where(total_alpha > 0, blended + 0.5, target[..., :3])
        target[..., 3:] = 255 * total_alpha + 0.5


def label_height(size: int) -> int:
    """Return the number of pixel rows at the top of a panel that its label may cover."""
    return 2 * _font_size(size)


def label_strip(text: str, size: int, left: int, background: str) -> Strip:
    """Return a label centered at the top of a panel, without its middle if too long.

    Args:
        text: The label.
        size: Width of the panel in pixels.
        left: Column of the panel's left edge in pixels.
        background: ``RenderSettings.background``; it decides between dark and light text.
    """
    font_size = _font_size(size)
    image, draw = _canvas(size, label_height(size))
    font = font_for(text, font_size)
    draw.text(
        (size / 2, 0.4 * font_size),
        _truncate(text, font, _WIDTH_SHARE * size),
        font=font,
        anchor="ma",
        **_letter_style(background, font_size),
    )
    return Strip(0, left, np.asarray(image))


def bar_strip(hottest: str, size: int, left: int, background: str) -> Strip:
    """Return the color bar at the right edge of a panel, from 0 to ``hottest``.

    Args:
        hottest: Text at the hot end of the bar: a number with its unit.
        size: Width and height of the panel in pixels.
        left: Column of the panel's left edge in pixels.
        background: See ``label_strip``.
    """
    font_size = max(_MIN_BAR_FONT, round(size * _BAR_FONT_SHARE))
    top, bottom = round(_BAR_TOP * size), round(_BAR_BOTTOM * size)
    gap = round(1.5 * font_size)
    height = bottom - top
    image, draw = _canvas(size, height + 2 * gap)
    font = font_for(hottest, font_size)
    width, margin = max(4, round(_BAR_WIDTH * size)), max(3, round(0.02 * size))
    style = _letter_style(background, font_size)
    right = size - margin
    draw.text((right, gap - font_size // 3), hottest, font=font, anchor="rs", **style)
    draw.text((right, gap + height + font_size // 3), "0", font=font, anchor="rt", **style)
    pixels = np.array(image)
    ramp = heat_colors((height - np.arange(height) - 0.5) / height)
    border = np.array([int(style["fill"][i : i + 2], 16) for i in (1, 3, 5)] + [255])
    pixels[gap - 1 : gap + height + 1, right - width - 1 : right + 1] = border
    pixels[gap : gap + height, right - width : right, :3] = ramp[:, None]
    first_column = np.flatnonzero(pixels[..., 3].any(0))[0]
    return Strip(
        top - gap, left + int(first_column), np.ascontiguousarray(pixels[:, first_column:])
    )


def _font_size(size: int) -> int:
    return max(_MIN_FONT, round(size * _FONT_SHARE))


def font_for(text: str, size: float) -> Any:
    """Return a font for a text: Pillow's own, which has no letters beyond ASCII, or DejaVu Sans."""
    from PIL import ImageFont

    if text.isascii():
        return ImageFont.load_default(size)
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def _canvas(width: int, height: int) -> tuple[Any, Any]:
    """Return a transparent picture and its drawing context."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (width, height))
    return image, ImageDraw.Draw(image)


def _truncate(text: str, font: Any, width: float) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    # The middle is left out, because names in a comparison often differ only at the end.
    for n_kept in range(len(text) - 1, 0, -1):
        ends = text[: (n_kept + 1) // 2].rstrip(), text[len(text) - n_kept // 2 :].lstrip()
        if font.getlength("…".join(ends)) <= width:
            return "…".join(ends)
    return "…"


def _letter_style(background: str, font_size: int) -> dict[str, Any]:
    color = BACKDROPS.get(background, background)
    luminance = 0.0
    if color != TRANSPARENT:
        red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        luminance = 0.3 * red + 0.59 * green + 0.11 * blue
    fill, stroke = (_DARK, _LIGHT) if luminance > _BRIGHT_BACKGROUND else (_LIGHT, _DARK)
    return {"fill": fill, "stroke_fill": stroke, "stroke_width": max(1, font_size // 14)}
