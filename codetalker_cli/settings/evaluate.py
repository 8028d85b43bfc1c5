"""Evaluation and metrics."""

from pydantic import Field

from codetalker_cli.settings.base import Positive, Section


class EvaluateSettings(Section):
    """What is measured, and what the report shows."""

    style: str = Field(
        "auto",
        min_length=1,
        description="whose style clips are spoken and scored in: auto (a training subject's own, "
        "else every training style, as the published protocol), all, or names as S01,S02",
    )
    closure_mm: float = Field(
        1.0, gt=0, description="inner lips closer than so many millimetres are closed"
    )
    resamples: Positive = Field(2000, description="draws of the bootstrap over clips")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the bootstrap's interval")
    seed: int = Field(0, ge=0, description="of the bootstrap's draws")
    diversity_clips: int = Field(
        4, ge=0, description="clips that are spoken in every training style, for diversity"
    )
    shown_clips: int = Field(
        2, ge=0, description="best clips, and as many worst ones, that the report shows as videos"
    )
    shown_seconds: float = Field(6.0, gt=0, description="longest video in the report")
