"""How speech becomes codes: exactness, speed, and what is done with long recordings."""

from typing import Literal, Self

from pydantic import Field, model_validator

from codetalker_cli.settings.base import Positive, Section


class DecodeSettings(Section):
    """Free-running decoding."""

    method: Literal["auto", "exact", "window"] = Field(
        "auto",
        description="past motion that a frame is told: exact, as the paper's code computes it, in "
        "time that grows with the square of the length; window, in constant time a frame; "
        "auto: exact up to whole_frames, window beyond",
    )
    window_frames: Positive = Field(
        1, description="newest frames that the window decodes anew at each step"
    )
    refresh_frames: int = Field(
        7, ge=0, description="older frames, in turn, that the window brings up to date at each step"
    )
    whole_frames: Positive = Field(
        600, description="longest recording, in frames, that is decoded whole and, by auto, exactly"
    )
    piece_seconds: float = Field(
        12.0, ge=1, description="longest piece of a long recording; it ends in a pause if it can"
    )
    hear: Literal["whole", "pieces"] = Field(
        "whole",
        description="what the speech encoder hears of a long recording: all of it, or each piece "
        "by itself, as an encoder that was trained along on crops is used to",
    )
    overlap_seconds: float = Field(
        1.0, ge=0, description="how much of the piece before it a piece decodes too, to get going"
    )
    join_seconds: float = Field(
        0.3, ge=0, description="how long one piece goes over into the next, around where they meet"
    )
    batch_size: Positive = Field(8, description="recordings, or pieces of them, decoded at once")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="of the matrix products; bf16 gives other codes now and then"
    )
    cuda_graphs: bool = Field(
        False,
        description="on CUDA, capture each decoding step as a graph and replay it, which saves the "
        "time of kernel launches; off by default because it has not run on a GPU yet",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.piece_seconds < 4 * self.join_seconds:
            raise ValueError(
                f"piece_seconds {self.piece_seconds:g} must be at least 4 × join_seconds "
                f"{self.join_seconds:g}"
            )
        return self
