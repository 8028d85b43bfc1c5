"""Declare every setting with its default, its validation and its help text.

Facts about a data set (vertex count, frame rate, subjects) have no default. They come from a preset
or from the prepared data set.
"""

from typing import Any

from pydantic import Field

from codetalker_cli.settings.base import Section
from codetalker_cli.settings.capture import CaptureSettings
from codetalker_cli.settings.data import (
    CustomSettings,
    DataSettings,
    DemoSettings,
    PrepareSettings,
    SplitRule,
)
from codetalker_cli.settings.decode import DecodeSettings
from codetalker_cli.settings.evaluate import EvaluateSettings
from codetalker_cli.settings.export import ExportSettings, SolveSettings
from codetalker_cli.settings.limits import LimitSettings
from codetalker_cli.settings.live import LiveSettings
from codetalker_cli.settings.models import (
    AudioEncoderSettings,
    SpeechSettings,
    VQSettings,
)
from codetalker_cli.settings.render import RenderSettings
from codetalker_cli.settings.serve import ServeSettings
from codetalker_cli.settings.studio import StudioSettings
from codetalker_cli.settings.train import (
    SpeechTrainSettings,
    TrainSettings,
    VQTrainSettings,
)

__all__ = [
    "AudioEncoderSettings",
    "CaptureSettings",
    "CustomSettings",
    "DataSettings",
    "DecodeSettings",
    "DemoSettings",
    "EvaluateSettings",
    "ExportSettings",
    "LimitSettings",
    "LiveSettings",
    "PrepareSettings",
    "RenderSettings",
    "Section",
    "ServeSettings",
    "Settings",
    "SolveSettings",
    "SpeechSettings",
    "SpeechTrainSettings",
    "SplitRule",
    "StudioSettings",
    "TrainSettings",
    "VQSettings",
    "VQTrainSettings",
]


class Settings(Section):
    """All sections. A training run stores them in its checkpoint."""

    data: DataSettings = Field(description="facts about the data set")
    vq: VQSettings = Field(default_factory=VQSettings, description="stage-1 model")
    speech: SpeechSettings = Field(default_factory=SpeechSettings, description="stage-2 model")
    train_vq: VQTrainSettings = Field(
        default_factory=VQTrainSettings, description="stage-1 training"
    )
    train_speech: SpeechTrainSettings = Field(
        default_factory=SpeechTrainSettings, description="stage-2 training"
    )
    prepare: PrepareSettings = Field(
        default_factory=PrepareSettings, description="data preparation"
    )
    custom: CustomSettings | None = Field(None, description="raw data of a custom data set")
    capture: CaptureSettings = Field(
        default_factory=CaptureSettings, description="data set from films or recorded curves"
    )
    demo: DemoSettings = Field(default_factory=DemoSettings, description="synthetic data set")
    decode: DecodeSettings = Field(
        default_factory=DecodeSettings, description="autoregressive decoding of speech into codes"
    )
    evaluate: EvaluateSettings = Field(
        default_factory=EvaluateSettings, description="metrics and reports"
    )
    render: RenderSettings = Field(default_factory=RenderSettings, description="images and videos")
    solve: SolveSettings = Field(
        default_factory=SolveSettings, description="rig weights of a motion"
    )
    export: ExportSettings = Field(default_factory=ExportSettings, description="exported files")
    live: LiveSettings = Field(default_factory=LiveSettings, description="live animation")
    serve: ServeSettings = Field(
        default_factory=ServeSettings, description="server of live streams"
    )
    studio: StudioSettings = Field(
        default_factory=StudioSettings, description="local page in the browser"
    )
    limits: LimitSettings = Field(
        default_factory=LimitSettings, description="limits on input files"
    )

    def of_a_run(self) -> dict[str, Any]:
        """Return what a checkpoint stores: what affects the model, its motion and its videos."""
        return self.model_dump(
            mode="json", exclude={"limits", "serve", "studio", "solve", "export", "capture", "live"}
        )
