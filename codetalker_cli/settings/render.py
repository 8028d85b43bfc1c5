"""Pictures and videos."""

from typing import Literal

from pydantic import Field, field_validator

from codetalker_cli.settings.base import Section


class RenderSettings(Section):
    """How a motion is shown."""

    size: int = Field(
        720, ge=32, le=4096, description="width and height of the picture in pixels (even)"
    )
    samples: Literal[1, 2, 4, 8, 16] = Field(
        4, description="samples in a pixel against stair-steps; pyrender always takes 4"
    )
    renderer: Literal["auto", "software", "pyrender"] = Field(
        "auto", description="software runs everywhere; auto takes pyrender where OpenGL works"
    )
    framing: str = Field(
        "head", description="what fills the picture: head, or a vertex region such as mouth"
    )
    zoom: float = Field(1.0, gt=0, le=50, description="enlargement of the framed picture")
    yaw: float = Field(
        0.0, ge=-180, le=180, description="degrees the camera goes round to the subject's left"
    )
    pitch: float = Field(0.0, ge=-89, le=89, description="degrees the camera goes up")
    background: str = Field(
        "#8b96a5",
        pattern="^#[0-9a-fA-F]{6}$",
        description="backdrop colour, sRGB as #rrggbb, in the middle of the picture",
    )
    vignette: float = Field(
        0.45, ge=0, le=1, description="how much darker the backdrop's corners are; 0: one colour"
    )
    workers: int = Field(0, ge=0, le=256, description="processes that draw; 0: one a core")
    codec: str = Field("libx264", min_length=1, description="video encoder of ffmpeg")
    crf: int = Field(
        18, ge=0, le=51, description="constant rate factor of x264: lower is better and larger"
    )

    @field_validator("size")
    @classmethod
    def _even(cls, size: int) -> int:
        if size % 2:
            raise ValueError(f"size {size} must be even: H.264 halves the colour planes")
        return size
