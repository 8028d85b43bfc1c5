"""Settings of decoding: exactness, speed, and long recordings."""

from typing import Literal, Self

from pydantic import Field, model_validator

from codetalker_cli.settings.base import Positive, Section, only_with


class DecodeSettings(Section):
    """How speech is decoded into motion codes."""

    method: Literal["auto", "exact", "window"] = Field(
        "auto",
        description="how the motion history fed back to the decoder is computed: exact (as in the "
        "official code; the time grows with the square of the length), window (an approximation in "
        "nearly constant time per frame), or auto (exact up to whole_frames, window beyond)",
        json_schema_extra=only_with("speech.motion_history"),
    )
    window_frames: Positive = Field(
        1,
        description="number of most recent frames that the window method decodes again at each "
        "step",
        json_schema_extra=only_with("method", "auto", "window", also="speech.motion_history"),
    )
    refresh_frames: int = Field(
        7,
        ge=0,
        description="number of older frames that the window method refreshes at each step, in "
        "rotation",
        json_schema_extra=only_with("method", "auto", "window", also="speech.motion_history"),
    )
    whole_frames: Positive = Field(
        600,
        description="longest recording, in frames, that is decoded in one segment (and exactly, "
        "if method is auto)",
    )
    segment_seconds: float = Field(
        12.0,
        ge=1,
        description="longest segment of a long recording, in seconds; segments end in pauses where "
        "possible",
    )
    encoder_context: Literal["whole", "segments"] = Field(
        "whole",
        description="how much of a long recording the speech encoder receives: whole, or one "
        "segment at a time, which suits an encoder that was fine-tuned on crops",
    )
    initial_silence_seconds: float = Field(
        0.0,
        ge=0,
        le=10,
        description="seconds of silence that are decoded before a recording and then dropped; a "
        "model that was trained on crops needs them, because crops begin in the middle of speech",
    )
    warmup_seconds: float = Field(
        1.0,
        ge=0,
        description="seconds before a segment that are decoded with it as warm-up; half as much is "
        "decoded after its end",
    )
    crossfade_seconds: float = Field(
        0.3, ge=0, description="length of the cross-fade between segments, in seconds"
    )
    batch_size: Positive = Field(
        8, description="number of recordings or segments decoded in one batch"
    )
    live_left_seconds: float = Field(
        4.0,
        ge=0,
        le=10,
        description="seconds of sound before the newest frames that a live stream uses for them",
    )
    live_refresh_seconds: float = Field(
        0.8,
        ge=0,
        le=10,
        description="seconds after which Whisper's encoder starts over in a live stream; until "
        "then, it computes only the newest features of each hop. 0 computes all of them",
        json_schema_extra=only_with("speech.encoder.family", "whisper"),
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="precision of matrix products; bf16 occasionally changes a code"
    )
    cuda_graphs: bool = Field(
        False,
        description="whether each decoding step is captured as a CUDA graph and replayed, which "
        "saves the time of kernel launches; off by default because this has not run on a GPU yet",
        json_schema_extra=only_with("speech.motion_history"),
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.segment_seconds < 4 * self.crossfade_seconds:
            raise ValueError(
                f"segment_seconds {self.segment_seconds:g} must be at least 4 × crossfade_seconds "
                f"{self.crossfade_seconds:g}"
            )
        return self
