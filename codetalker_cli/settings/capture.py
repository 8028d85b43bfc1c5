"""Settings of data sets that are made from films and from recorded face curves."""

from pydantic import Field

from codetalker_cli.settings.base import Name, Section
from codetalker_cli.settings.data import SplitRule, default_splits


class CaptureSettings(Section):
    """A data set on the bundled head, from films or from recorded curves of people."""

    name: str | None = Field(
        None, description="name of the data set; null: the name of the folder of the takes"
    )
    subject: str | None = Field(
        None,
        min_length=1,
        description="person of all takes; null: the first folder in the path of each take, or the "
        "name of the data set for takes that are in no folder",
    )
    face: str = Field(
        "S01", description="subject of the bundled head whose neutral face all people get"
    )
    blinks: bool = Field(
        False,
        description="whether the motion includes blinks and gaze as captured; speech does not "
        "predict them, so by default the eyes rest and a trained voice adds its own",
    )
    fps: float | None = Field(
        None,
        ge=1,
        le=250,
        description="frame rate of the prepared motion, in frames per second; null: the most "
        "common frame rate of the takes",
    )
    clip_seconds: float = Field(
        12.0,
        ge=2,
        description="longest clip, in seconds; a longer take is cut at quiet moments, so that its "
        "parts can belong to different splits",
    )
    train_subjects: tuple[Name, ...] = Field(
        (),
        description="training subjects in the order of their speaking styles; empty: the "
        "subjects of the split train, sorted by name",
    )
    splits: dict[Name, SplitRule] = Field(
        default_factory=default_splits,
        description="rule for each split, by subjects, sentences (the takes), clip names or share; "
        "a clip belongs to the first split that it matches",
    )
