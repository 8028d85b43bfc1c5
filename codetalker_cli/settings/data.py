"""Settings of data sets: their facts, where the raw files are, and how they are prepared."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from codetalker_cli.settings.base import Fraction, Name, Positive, Section


class SplitRule(Section):
    """The clips that belong to a split: those that match every given condition."""

    subjects: tuple[str, ...] = Field((), description="subjects of the split; empty: all")
    sentences: tuple[str, ...] = Field(
        (),
        description="sentences of the split, as names, patterns (sentence2*) or ranges "
        "(e01-e32); empty: all",
    )
    clips: tuple[str, ...] = Field((), description="names or patterns of clips; empty: all")
    share: Fraction | None = Field(
        None,
        description="fraction of the matching clips, between 0 and 1; the choice depends only "
        "on the clip names; null: all of them",
    )


def default_splits() -> dict[str, SplitRule]:
    """Return the rules of the splits of a user's data: a tenth each for val and test."""
    return {"val": SplitRule(share=0.1), "test": SplitRule(share=0.1), "train": SplitRule()}


class DataSettings(Section):
    """Facts about a data set."""

    name: Name = Field(
        description="name of the data set, used for its preset and its folder in runs/"
    )
    fps: float = Field(
        gt=0, le=1000, description="frame rate of the prepared motion, in frames per second"
    )
    unit: Literal["m", "mm", "area1"] = Field(
        description="length unit of the vertices; area1: meshes scaled to a surface area of 1"
    )
    n_vertices: Positive = Field(description="number of vertices in the topology")
    train_subjects: tuple[Name, ...] = Field(
        min_length=1,
        description="training subjects; their order defines the index of each speaking style",
    )
    splits: dict[Name, SplitRule] = Field(
        default_factory=dict,
        description="rule for each split (train, val, test, test-a, …); a clip belongs to the "
        "first split that it matches",
    )

    @model_validator(mode="after")
    def _unique_subjects(self) -> Self:
        if len(set(self.train_subjects)) != len(self.train_subjects):
            raise ValueError("train_subjects lists a subject twice")
        return self


class PrepareSettings(Section):
    """How raw clips are prepared."""

    fill_seconds: float = Field(
        0.1,
        ge=0,
        description="longest gap of missing frames that is filled by linear interpolation, in "
        "seconds; a longer gap splits the clip in two",
    )
    min_seconds: float = Field(
        0.5, ge=0, description="shortest part of a split clip that is kept, in seconds"
    )
    keep_unused: bool = Field(
        True,
        description="whether to also prepare clips that belong to no split, as the split "
        "`unused`; no command uses them until a split includes them",
    )
    regions: str = Field(
        "auto",
        description="vertex regions: a folder or file of vertex indices; auto: region files in "
        "the raw data, or lips inferred from the motion if there are none; infer: "
        "lips inferred from the motion; none: no regions",
    )
    neutral: bool = Field(
        False,
        description="whether to also prepare the sentences that published work leaves out "
        "(BIWI: the neutral sentences 01-40)",
    )


class CustomSettings(Section):
    """A custom data set: where its files are and how to interpret their names and numbers."""

    root: str | None = Field(
        None,
        description="folder that all paths in this section are relative to; null: the folder of "
        "the configuration file",
    )
    name: str | None = Field(
        None, description="name of the data set; null: the name of the root folder"
    )
    fps: float = Field(
        gt=0,
        le=1000,
        description="frame rate of the recordings, in frames per second; for a point cache "
        "(.pc2), the frame rate of the scene that it was exported from",
    )
    unit: Literal["m", "cm", "mm"] = Field(
        description="length unit of the recorded vertices; prepared data is in meters"
    )
    axes: str = Field(
        "x y z",
        description="recorded axes that point to the subject's left, up and forward; a minus "
        "sign flips the axis (x z -y: z points up, and the face looks along -y)",
    )
    motion: str = Field(
        "vertices_npy/*.npy",
        description="path pattern of the clips: .npy files of shape (T, V, 3) or (T, 3V), .pc2 "
        "point caches, or folders with one mesh file (.obj, .ply, .glb, .off) per "
        "frame",
    )
    audio: str = Field(
        "wav",
        description="speech of the clips: a folder or path pattern whose files have the names of "
        "the clips, or a path with {subject}, {sentence} or {name} ({name}: the text that "
        "`pattern` is matched against); if the path has no suffix, any audio or video file of "
        "that name matches (.wav first)",
    )
    pattern: str = Field(
        "{subject}_{sentence}",
        description="pattern that extracts subject and sentence from the path of a clip; it is "
        "matched against the clip's path without its suffix and without the fixed leading folders "
        "of `motion` (`takes` in `takes/*/*.pc2`)",
    )
    subject: str | None = Field(
        None,
        min_length=1,
        description="subject of all clips, if their paths do not contain one; a `pattern` with "
        "{subject} is then ignored, and the whole path is the sentence",
    )
    templates: str | None = Field(
        None,
        description="neutral faces: templates.pkl, a folder of .obj, .ply, .glb, .off or .npy "
        "files named like the subjects, a path with {subject}, one file (single "
        "subject), first-frame (of each subject's first clip), or "
        "neutral:CLIP:FRAME (a frame of one clip; {subject} in CLIP stands for each "
        "subject); null: templates.pkl, else the folder templates",
    )
    triangles: str | None = Field(
        None,
        description="mesh file (.obj, .ply, .glb, .off) with the triangles of the topology; "
        "null: the mesh file in the root folder or among the templates, else the "
        "first frame of a mesh sequence",
    )

    @field_validator("axes")
    @classmethod
    def _axes(cls, axes: str) -> str:
        if sorted(axis.removeprefix("-") for axis in axes.split()) != ["x", "y", "z"]:
            raise ValueError(f"axes {axes!r} must name each of x, y and z once, such as 'x z -y'")
        return axes

    @model_validator(mode="after")
    def _names_subject_and_sentence(self) -> Self:
        n_subjects, n_sentences = (self.pattern.count(k) for k in ("{subject}", "{sentence}"))
        if n_sentences != 1 or n_subjects > 1:
            raise ValueError(
                f"pattern {self.pattern!r} must contain {{sentence}} once, and {{subject}} at most "
                "once"
            )
        if not n_subjects and self.subject is None:
            raise ValueError(f"pattern {self.pattern!r} contains no {{subject}}; set subject")
        return self

    prepared_fps: float | None = Field(
        None,
        gt=0,
        description="frame rate of the prepared motion, in frames per second; null: as recorded",
    )
    train_subjects: tuple[Name, ...] = Field(
        (),
        description="training subjects in the order of their speaking styles; empty: the "
        "subjects of the split train, sorted by name",
    )
    splits: dict[Name, SplitRule] = Field(
        default_factory=default_splits,
        description="rule for each split, by subjects, sentences, clip names or share; a clip "
        "belongs to the first split that it matches",
    )


SpeechLanguage = Literal["en", "de", "es", "fr", "hi", "it", "ja", "pl", "pt", "zh"]


class DemoSettings(Section):
    """The synthetic talking-head data set."""

    engine: Literal["espeak", "kokoro"] = Field("espeak", description="speech synthesizer")
    languages: tuple[SpeechLanguage, ...] = Field(
        ("en",),
        min_length=1,
        description="languages of the synthesized speech, which take turns; kokoro has no German "
        "(de) and Polish (pl) voices",
    )
    voices: tuple[str, ...] = Field(
        (),
        description="voices of the engine that speak, at least one for each language; empty: all "
        "voices of the languages",
    )
    minutes: float = Field(3.0, gt=0, description="amount of speech to synthesize, in minutes")
    seconds_per_clip: float = Field(
        8.0,
        gt=0,
        description="minimum amount of speech in a clip, in seconds; sentences of one voice are "
        "joined with pauses until it is reached",
    )
    blinks: bool = Field(
        True,
        description="whether the motion includes blinks and gaze; speech does not predict them, "
        "so turn them off to train a model on speech alone",
    )
    noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="number of training clips without speech (noise, music, breath, laughter; "
        "the face rests) per clip of speech; above 0, some pauses within speech "
        "also become longer and contain such a sound",
    )
    max_clips: Positive | None = Field(
        None, description="maximum number of speech clips; null: no limit"
    )
    val_fraction: Fraction = Field(0.08, description="fraction of clips in the validation split")
    test_fraction: Fraction = Field(0.08, description="fraction of clips in the test split")
    seed: int = Field(0, ge=0, description="random seed for sentences, voices, styles and blinks")
