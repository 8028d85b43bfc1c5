"""Settings of training, for both stages."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from codetalker_cli.settings.base import Fraction, Positive, Section, only_with


class TrainSettings(Section):
    """Settings that both stages share: optimization, batches, validation and saving."""

    optimizer: Literal["adam", "adamw"] = Field("adamw", description="optimizer")
    learning_rate: float = Field(1e-4, gt=0, description="initial learning rate")
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="weight decay (optimizer adamw)",
        json_schema_extra=only_with("optimizer", "adamw"),
    )
    schedule: Literal["constant", "step", "cosine"] = Field(
        "constant", description="learning rate schedule"
    )
    step_epochs: Positive = Field(
        20,
        description="number of epochs between two drops of the learning rate (schedule step)",
        json_schema_extra=only_with("schedule", "step"),
    )
    step_factor: float = Field(
        0.5,
        gt=0,
        description="factor applied at each drop of the learning rate (schedule step)",
        json_schema_extra=only_with("schedule", "step"),
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="number of steps of linear warm-up (schedule cosine)",
        json_schema_extra=only_with("schedule", "cosine"),
    )
    epochs: Positive = Field(100, description="number of passes over the training clips")
    batch_size: Positive = Field(
        1,
        description="number of clips per batch and process; clips are padded, and the padding "
        "is masked",
    )
    accumulation: Positive = Field(
        1,
        description="number of batches whose gradients are accumulated for one optimizer step, "
        "for a larger effective batch at the same memory",
    )
    crop_frames: int | None = Field(
        None,
        ge=2,
        description="maximum length of a clip in a training step, in frames; longer clips are "
        "cropped; null: whole clips",
    )
    gradient_clip: float = Field(0.0, ge=0, description="maximum gradient norm; 0: no limit")
    precision: Literal["float32", "bf16", "fp16"] = Field(
        "float32",
        description="precision of the computation in a step (weights, losses and code selection "
        "stay in float32); bf16 suits GPUs from Ampere on, fp16 older ones",
    )
    compile: bool = Field(
        False,
        description="whether to compile the layers with torch.compile, for faster steps after a "
        "slow start",
    )
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of an exponential moving average of the weights, e.g. 0.999; "
        "validation and the checkpoint use the average; 0: no averaging",
    )
    workers: int = Field(
        2,
        ge=0,
        le=64,
        description="number of processes that load clips in advance when training on a GPU",
    )
    motion_weight: float = Field(
        1.0,
        gt=0,
        description="weight of the reconstruction loss relative to the losses on the latents; "
        "in meters the reconstruction loss is tiny; a weight of 1000 (stage 1, absolute "
        "error) or 1e6 (stage 2, squared error) has the same effect as millimeters",
    )
    region_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="weight of each vertex region in the reconstruction loss, e.g. {lips: 10}; "
        "all other vertices have weight 1",
    )
    loss_vertices: Positive | None = Field(
        None,
        description="number of vertices sampled for the reconstruction loss of each step, in "
        "proportion to their weights; null: all (exact, slower)",
    )
    validate_every: Positive = Field(1, description="number of epochs between two validations")
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "comet_ml", "trackio"], ...] = Field(
        ("tensorboard",),
        description="experiment trackers that log the run; all but tensorboard need their own "
        "package",
    )
    save_every_seconds: float = Field(
        60.0,
        ge=0,
        description="minimum time between two saves of the state for --resume, in seconds; "
        "longer if saving is slow, so that saving takes at most 5 % of the time; 0: save "
        "after every step",
    )
    sample_frames: int = Field(
        150,
        ge=0,
        description="length of the sample video of a validation clip that is rendered at the end "
        "of the run, in frames; 0: no video",
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="random seed for weights, clip order and crops"
    )


class VQTrainSettings(TrainSettings):
    """How stage 1 is trained."""

    revive_after_steps: int = Field(
        0,
        ge=0,
        description="number of steps after which an unused codebook entry is replaced by a "
        "random latent of the batch; 0: never",
    )


class SpeechTrainSettings(TrainSettings):
    """How stage 2 is trained."""

    encoder_rate: float = Field(
        1.0,
        gt=0,
        description="learning rate of a speech encoder that is not frozen, as a multiple of "
        "learning_rate",
    )
    start_from: str | None = Field(
        None,
        description="checkpoint (folder or name) to fine-tune, including its speech encoder; "
        "sizes, styles and stage 1 must match; null: train from scratch",
    )
    contact_weight: float = Field(
        1.0,
        ge=1,
        description="loss weight of frames in which the inner lips touch for at most 0.3 s, as "
        "for p, b and m; all other frames have weight 1; values above 1 favor extra "
        "closures over missed ones; needs pairs of inner-lip vertices",
    )
    history_dropout: Fraction = Field(
        0.0,
        description="fraction of training clips whose motion history is hidden, so that the "
        "model relies on the speech instead of copying past motion",
        json_schema_extra=only_with("speech.motion_history"),
    )
    own_history: Fraction = Field(
        0.0,
        description="fraction of training clips whose motion history is the model's own "
        "prediction instead of the ground truth, as in free-running decoding",
        json_schema_extra=only_with("speech.motion_history"),
    )
    own_history_passes: Positive = Field(
        1,
        description="number of passes that compute the model's own prediction for own_history; the "
        "first pass uses speech alone, and each further pass uses the prediction of the "
        "previous pass as its history; more passes are closer to free-running decoding, where "
        "errors accumulate",
        json_schema_extra=only_with("own_history", also="speech.motion_history"),
    )
    history_noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of the noise added to the motion history, as a fraction "
        "of the motion's root mean square",
        json_schema_extra=only_with("speech.motion_history"),
    )
    min_crop_frames: int | None = Field(
        None,
        ge=2,
        description="minimum length of a crop, in frames; the length of each step is drawn between "
        "it and crop_frames, and a step with short crops takes several from each clip; suits a "
        "model that decodes live, with little context; null: always crop_frames",
        json_schema_extra=only_with("crop_frames"),
    )
    n_augmentations: int = Field(
        0,
        ge=0,
        description="number of augmented versions of each clip's speech in addition to the "
        "clean one: rooms, telephones, noise, music and other sounds, other "
        "speakers",
    )
    validation_clips: Positive = Field(
        12,
        description="number of validation clips that are decoded free-running, spread over the "
        "split",
    )
    validation_frames: int = Field(
        150,
        ge=2,
        description="maximum number of frames that are decoded free-running from each validation "
        "clip; it is limited because free-running decoding is slow",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        shortest, longest = self.min_crop_frames, self.crop_frames
        if shortest is not None and longest is not None and shortest > longest:
            raise ValueError(f"min_crop_frames {shortest} must be at most crop_frames {longest}")
        return self
