"""Pictures and videos."""

from typing import Literal

from pydantic import Field, field_validator

from codetalker_cli.settings.base import Section

BACKDROPS = {"black": "#000000", "white": "#ffffff"}
"""Backgrounds with a name; they are of one colour all over."""
TRANSPARENT = "transparent"


class RenderSettings(Section):
    """How a motion is shown."""

    size: int = Field(
        720, ge=32, le=4096, description="width and height of a panel in pixels (even)"
    )
    samples: Literal[1, 2, 4, 8, 16] = Field(
        4, description="samples in a pixel against stair-steps; pyrender always takes 4"
    )
    renderer: Literal["auto", "software", "pyrender"] = Field(
        "auto", description="software runs everywhere; auto takes pyrender where OpenGL works"
    )
    view: Literal["front", "three-quarter", "profile", "mouth"] = Field(
        "front", description="from where: sets yaw, pitch and framing as far as they are not given"
    )
    framing: str | None = Field(
        None, description="what fills the picture: head, or a vertex region such as mouth"
    )
    zoom: float = Field(1.0, gt=0, le=50, description="enlargement of the framed picture")
    yaw: float | None = Field(
        None, ge=-180, le=180, description="degrees the camera goes round to the subject's left"
    )
    pitch: float | None = Field(None, ge=-89, le=89, description="degrees the camera goes up")
    background: str = Field(
        "#8b96a5",
        pattern=f"^({'|'.join(BACKDROPS)}|{TRANSPARENT}|#[0-9a-fA-F]{{6}})$",
        description="black, white, transparent, or the sRGB colour #rrggbb in the middle",
    )
    vignette: float | None = Field(
        None,
        ge=0,
        le=1,
        description="how much darker the backdrop's corners are; 0: one colour; not given: 0.45, "
        "and 0 on black and white",
    )
    heat_max_mm: float = Field(
        10.0, gt=0, description="millimetres that are shown as the hottest colour"
    )
    heat_max_share: float = Field(
        0.04,
        gt=0,
        description="the same where no unit is known: in parts of the neutral face's height",
    )
    workers: int = Field(0, ge=0, le=256, description="processes that draw; 0: one a core")
    codec: str | None = Field(
        None,
        min_length=1,
        description="video encoder of ffmpeg; not given: libx264, libvpx-vp9 for .webm, prores_ks "
        "for a transparent .mov",
    )
    crf: int = Field(
        18, ge=0, le=51, description="constant rate factor of x264: lower is better and larger"
    )

    @field_validator("size")
    @classmethod
    def _even(cls, size: int) -> int:
        if size % 2:
            raise ValueError(f"size {size} must be even: H.264 halves the colour planes")
        return size
