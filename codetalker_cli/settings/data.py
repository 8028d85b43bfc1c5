"""Data sets: their facts, where raw ones lie, how they are prepared."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from codetalker_cli.settings.base import Fraction, Positive, Section


class SplitRule(Section):
    """Which clips a split takes: those that meet all that is given here."""

    subjects: tuple[str, ...] = Field((), description="of these subjects; none given: of any")
    sentences: tuple[str, ...] = Field(
        (),
        description="of these sentences: names, patterns (sentence2*), ranges (e01-e32); "
        "none given: any",
    )
    clips: tuple[str, ...] = Field((), description="names or patterns of clips; none given: any")
    share: Fraction | None = Field(
        None,
        description="share, by number, of the clips that meet the rest; a draw that depends on the "
        "clips' names alone; none: all of them",
    )


class DataSettings(Section):
    """What is fixed by the data set."""

    name: str = Field(description="name of the data set, of its preset and of its folder in runs/")
    fps: float = Field(gt=0, description="motion frames a second that the models see")
    unit: Literal["m", "mm", "area1"] = Field(
        description="length unit of the vertices; area1: meshes scaled to surface area 1"
    )
    n_vertices: Positive = Field(description="vertices of the topology")
    train_subjects: tuple[str, ...] = Field(
        min_length=1, description="training subjects; their order numbers the speaking styles"
    )
    splits: dict[str, SplitRule] = Field(
        default_factory=dict,
        description="split (train, val, test, test-a, …) → its rule; a clip goes to the first "
        "split that takes it",
    )

    @model_validator(mode="after")
    def _unique_subjects(self) -> Self:
        if len(set(self.train_subjects)) != len(self.train_subjects):
            raise ValueError("train_subjects names a subject twice")
        return self


class PrepareSettings(Section):
    """How raw clips become prepared ones."""

    fill_seconds: float = Field(
        0.1,
        ge=0,
        description="frames missing for no longer than this are filled in a straight line between "
        "their neighbours; a longer hole splits the clip in two",
    )
    min_seconds: float = Field(
        0.5, ge=0, description="pieces of a split clip that are shorter are left out"
    )
    keep_unused: bool = Field(
        True,
        description="also prepare the clips that no split takes, as the split `unused`: nothing "
        "reads them until a split of yours does",
    )
    regions: str = Field(
        "auto",
        description="vertex regions: a folder or file that names them; auto: such files within the "
        "raw data, and lips that the motion tells where there are none; infer: the motion's lips; "
        "none",
    )
    neutral: bool = Field(
        False,
        description="also read sentences that the field does not use (BIWI: the neutral 01-40)",
    )


class CustomSettings(Section):
    """Anybody's own recordings: where their files lie and what their names and numbers mean."""

    root: str | None = Field(
        None, description="folder that all paths here start from; none: the configuration's folder"
    )
    name: str | None = Field(None, description="name of the data set; none: the root folder's name")
    fps: float = Field(
        gt=0,
        description="frames a second, as recorded; of a point cache (.pc2), those of the scene it "
        "was written from",
    )
    unit: Literal["m", "cm", "mm"] = Field(
        description="length unit of the recorded vertices; prepared data is in metres"
    )
    axes: str = Field(
        "x y z",
        description="recorded axes that point to the subject's left, up, and the way the face "
        "looks; a minus turns one round (z up and looking along -y: x z -y)",
    )
    motion: str = Field(
        "vertices_npy/*.npy",
        description="clips, as a pattern of paths: .npy (T, V, 3) or (T, 3V), .pc2 point caches, "
        "or folders that hold a mesh file (.obj, .ply, .glb, .off) for each frame",
    )
    audio: str = Field(
        "wav",
        description="speech of the clips: a folder or a pattern of paths, where each file is named "
        "like its clip, or a path with {subject}, {sentence} or {name} (the clip's path, as "
        "matched); without a suffix, any audio or video file of that name (wav before all others)",
    )
    pattern: str = Field(
        "{subject}_{sentence}",
        description="how a clip's path, from the first folder that varies, without its suffix, "
        "tells subject and sentence",
    )
    subject: str | None = Field(
        None,
        min_length=1,
        description="the one subject, where paths do not tell; a pattern that names {subject} "
        "counts for nothing then, and the whole path is the sentence",
    )
    templates: str | None = Field(
        None,
        description="neutral faces: templates.pkl, a folder of .obj, .ply, .glb, .off or .npy "
        "files named like the subjects, a path with {subject}, one file (of a single subject), "
        "first-frame (of each subject's first clip), or neutral:CLIP:FRAME (a frame of one clip; "
        "{subject} in CLIP stands for each subject); none: templates.pkl, else the folder "
        "templates",
    )
    triangles: str | None = Field(
        None,
        description="mesh file (.obj, .ply, .glb, .off) of the topology; none: the one in the "
        "root folder or among the templates, else the first of a mesh sequence",
    )

    @field_validator("axes")
    @classmethod
    def _axes(cls, axes: str) -> str:
        if sorted(axis.removeprefix("-") for axis in axes.split()) != ["x", "y", "z"]:
            raise ValueError(f"axes {axes!r} must name each of x, y and z once, such as 'x z -y'")
        return axes

    @model_validator(mode="after")
    def _tells_subject(self) -> Self:
        n_subjects, n_sentences = (self.pattern.count(k) for k in ("{subject}", "{sentence}"))
        if n_sentences != 1 or n_subjects > 1:
            raise ValueError(
                f"pattern {self.pattern!r} must hold {{subject}} and {{sentence}} once"
            )
        if not n_subjects and self.subject is None:
            raise ValueError(f"pattern {self.pattern!r} holds no {{subject}}: give subject")
        return self

    prepared_fps: float | None = Field(
        None, gt=0, description="motion frames a second to prepare; none: as recorded"
    )
    train_subjects: tuple[str, ...] = Field(
        (),
        description="training subjects in the order of their speaking styles; none given: those of "
        "the split train, by name",
    )
    splits: dict[str, SplitRule] = Field(
        default_factory=lambda: {
            "val": SplitRule(share=0.1),
            "test": SplitRule(share=0.1),
            "train": SplitRule(),
        },
        description="split → its rule, by subjects, sentences, names of clips, or share; a clip "
        "goes to the first split that takes it",
    )


class DemoSettings(Section):
    """The synthetic talking-head data set."""

    engine: Literal["espeak", "kokoro"] = Field("espeak", description="speech synthesiser")
    minutes: float = Field(3.0, gt=0, description="minutes of speech to make")
    seconds_per_clip: float = Field(
        8.0, gt=0, description="sentences of a voice are joined with pauses up to this length"
    )
    blinks: bool = Field(
        True,
        description="blinks and gaze in the motion; no speech tells them, so a model that is to "
        "learn speech alone does without",
    )
    noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="training clips in which nobody speaks and the face rests (noise, music, "
        "breath, laughter), for each clip of speech; where there are any, some pauses of the "
        "speech are longer and hold such a sound too",
    )
    max_clips: Positive | None = Field(None, description="stop after this many clips of speech")
    val_fraction: Fraction = Field(0.08, description="share of clips kept for validation")
    test_fraction: Fraction = Field(0.08, description="share of clips kept for testing")
    seed: int = Field(0, ge=0, description="seed of sentences, voices, styles and blinks")
