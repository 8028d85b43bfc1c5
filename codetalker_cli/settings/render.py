"""Settings of images and videos."""

from typing import Literal

from pydantic import Field, field_validator

from codetalker_cli.settings.base import Section

BACKDROPS = {"black": "#000000", "white": "#ffffff"}
"""Background name → its flat color."""
TRANSPARENT = "transparent"


class RenderSettings(Section):
    """How a motion is rendered."""

    size: int = Field(
        720, ge=32, le=4096, description="width and height of a panel in pixels (even)"
    )
    samples: Literal[1, 2, 4, 8, 16] = Field(
        4, description="number of anti-aliasing samples per pixel; pyrender always uses 4"
    )
    renderer: Literal["auto", "software", "pyrender"] = Field(
        "auto",
        description="renderer: software runs everywhere; auto uses pyrender if OpenGL works, "
        "otherwise software",
    )
    view: Literal["front", "three-quarter", "profile", "mouth"] = Field(
        "front", description="camera view; it sets yaw, pitch and framing unless they are given"
    )
    framing: str | None = Field(
        None,
        description="what fills the image: head, or a vertex region such as mouth; null: set by "
        "view",
    )
    zoom: float = Field(1.0, gt=0, le=50, description="zoom factor of the framed image")
    yaw: float | None = Field(
        None,
        ge=-180,
        le=180,
        description="rotation of the camera toward the subject's left, in degrees; null: set by "
        "view",
    )
    pitch: float | None = Field(
        None, ge=-89, le=89, description="elevation of the camera, in degrees; null: set by view"
    )
    background: str = Field(
        "#8b96a5",
        pattern=f"^({'|'.join(BACKDROPS)}|{TRANSPARENT}|#[0-9a-fA-F]{{6}})$",
        description="background: black, white, transparent, or an sRGB color #rrggbb, which the "
        "vignette darkens toward the corners",
    )
    vignette: float | None = Field(
        None,
        ge=0,
        le=1,
        description="darkening of the corners of the background, between 0 and 1; 0: one flat "
        "color; null: 0.45, or 0 on black and white",
    )
    heat_max_mm: float = Field(
        10.0, gt=0, description="upper end of the heat map's color scale, in millimeters"
    )
    heat_max_share: float = Field(
        0.04,
        gt=0,
        description="upper end of the heat map's color scale if the length unit is unknown, as "
        "a fraction of the height of the neutral face",
    )
    workers: int = Field(
        0, ge=0, le=256, description="number of rendering processes; 0: one per CPU core"
    )
    codec: str | None = Field(
        None,
        min_length=1,
        description="ffmpeg video encoder; null: libx264, libvpx-vp9 for .webm, prores_ks for a "
        "transparent .mov",
    )
    crf: int = Field(
        18,
        ge=0,
        le=51,
        description="constant rate factor of x264, from 0 to 51; lower values mean better "
        "quality and larger files",
    )

    @field_validator("size")
    @classmethod
    def _even(cls, size: int) -> int:
        if size % 2:
            raise ValueError(f"size {size} must be even, because H.264 halves the color planes")
        return size
