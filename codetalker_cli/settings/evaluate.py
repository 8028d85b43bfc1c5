"""Settings of evaluation and metrics."""

from pydantic import Field

from codetalker_cli.settings.base import Positive, Section


class EvaluateSettings(Section):
    """What is measured and what the report shows."""

    style: str = Field(
        "auto",
        min_length=1,
        description="styles in which clips are animated and scored: auto (a training subject's "
        "own style, otherwise all training styles, as in the published protocol), "
        "all, or names such as S01,S02",
    )
    closure_mm: float = Field(
        1.0,
        gt=0,
        description="distance between the inner lips below which the mouth counts as closed, in "
        "millimeters",
    )
    resamples: Positive = Field(2000, description="number of bootstrap resamples over clips")
    confidence: float = Field(
        0.95, gt=0, lt=1, description="confidence level of the bootstrap interval, between 0 and 1"
    )
    seed: int = Field(0, ge=0, description="random seed for the bootstrap")
    diversity_clips: int = Field(
        4,
        ge=0,
        description="number of clips that are animated in every training style to measure "
        "diversity",
    )
    shown_clips: int = Field(
        2,
        ge=0,
        description="number of best clips and of worst clips that the report shows as videos",
    )
    shown_seconds: float = Field(
        6.0, gt=0, description="maximum length of a video in the report, in seconds"
    )
