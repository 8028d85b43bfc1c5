"""Every setting: its default, its check and its help text. Declarations only.

Facts of a data set (vertex count, frame rate, subjects) have no default: a preset gives them, or
the prepared data set does.
"""

from pydantic import Field

from codetalker_cli.settings.base import Section
from codetalker_cli.settings.data import (
    CustomSettings,
    DataSettings,
    DemoSettings,
    PrepareSettings,
    SplitRule,
)
from codetalker_cli.settings.decode import DecodeSettings
from codetalker_cli.settings.evaluate import EvaluateSettings
from codetalker_cli.settings.models import (
    AudioEncoderSettings,
    SpeechSettings,
    VQSettings,
)
from codetalker_cli.settings.render import RenderSettings
from codetalker_cli.settings.train import (
    SpeechTrainSettings,
    TrainSettings,
    VQTrainSettings,
)

__all__ = [
    "AudioEncoderSettings",
    "CustomSettings",
    "DataSettings",
    "DecodeSettings",
    "DemoSettings",
    "EvaluateSettings",
    "PrepareSettings",
    "RenderSettings",
    "Section",
    "Settings",
    "SpeechSettings",
    "SpeechTrainSettings",
    "SplitRule",
    "TrainSettings",
    "VQSettings",
    "VQTrainSettings",
]


class Settings(Section):
    """All sections together; a run writes them into its checkpoint."""

    data: DataSettings = Field(description="facts of the data set")
    vq: VQSettings = Field(default_factory=VQSettings, description="stage 1 model")
    speech: SpeechSettings = Field(default_factory=SpeechSettings, description="stage 2 model")
    train_vq: VQTrainSettings = Field(
        default_factory=VQTrainSettings, description="stage 1 training"
    )
    train_speech: SpeechTrainSettings = Field(
        default_factory=SpeechTrainSettings, description="stage 2 training"
    )
    prepare: PrepareSettings = Field(
        default_factory=PrepareSettings, description="preparation of data"
    )
    custom: CustomSettings | None = Field(None, description="raw data of your own")
    demo: DemoSettings = Field(default_factory=DemoSettings, description="synthetic data set")
    decode: DecodeSettings = Field(
        default_factory=DecodeSettings, description="speech → codes, free-running"
    )
    evaluate: EvaluateSettings = Field(
        default_factory=EvaluateSettings, description="metrics and reports"
    )
    render: RenderSettings = Field(default_factory=RenderSettings, description="pictures, videos")
