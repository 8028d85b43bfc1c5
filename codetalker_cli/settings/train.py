"""How the two stages are trained."""

from typing import Annotated, Literal

from pydantic import Field

from codetalker_cli.settings.base import Fraction, Positive, Section, only_with


class TrainSettings(Section):
    """What both stages share: optimization, batches, validation, what is saved."""

    optimizer: Literal["adam", "adamw"] = Field("adamw", description="optimiser")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate at the start")
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="weight decay (adamw)",
        json_schema_extra=only_with("optimizer", "adamw"),
    )
    schedule: Literal["constant", "step", "cosine"] = Field(
        "constant", description="how the learning rate falls"
    )
    step_epochs: Positive = Field(
        20,
        description="epochs between two falls (schedule step)",
        json_schema_extra=only_with("schedule", "step"),
    )
    step_factor: float = Field(
        0.5,
        gt=0,
        description="factor of each fall (schedule step)",
        json_schema_extra=only_with("schedule", "step"),
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="steps of linear warm-up (schedule cosine)",
        json_schema_extra=only_with("schedule", "cosine"),
    )
    epochs: Positive = Field(100, description="passes over the training clips")
    batch_size: Positive = Field(
        1, description="clips in a batch of one process; padded, and masked where they are"
    )
    accumulation: Positive = Field(
        1, description="batches whose gradients one step adds up: a larger batch in less memory"
    )
    crop_frames: int | None = Field(
        None,
        ge=2,
        description="longest piece of a clip that one step sees, in frames; none: whole clips",
    )
    gradient_clip: float = Field(0.0, ge=0, description="largest gradient norm; 0: no limit")
    precision: Literal["float32", "bf16", "fp16"] = Field(
        "float32",
        description="of the arithmetic of a step (weights, losses and the choice of codes stay "
        "float32); bf16 for GPUs since Ampere, fp16 for older ones",
    )
    compile: bool = Field(
        False, description="compile the layers with torch.compile: slow start, faster steps"
    )
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of a moving average of the weights, which then is what is validated "
        "and kept, e.g. 0.999; 0: none",
    )
    workers: int = Field(
        2, ge=0, le=64, description="processes that read clips ahead while a GPU computes"
    )
    motion_weight: float = Field(
        1.0,
        gt=0,
        description="weight of the reconstruction loss beside the latents' losses; in metres it is "
        "tiny, 1000 (stage 1, absolute) or 1e6 (stage 2, squared) counts in millimetres",
    )
    region_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="weights of vertex regions in the reconstruction loss, e.g. {lips: 10}; "
        "all others weigh 1",
    )
    loss_vertices: Positive | None = Field(
        None,
        description="vertices drawn for the reconstruction loss of each step, in proportion to "
        "their weights; none: all (exact, slower)",
    )
    validate_every: Positive = Field(1, description="epochs between two validations")
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "comet_ml", "trackio"], ...] = Field(
        ("tensorboard",),
        description="experiment trackers that get the values of the run; all but tensorboard need "
        "their package",
    )
    save_every_seconds: float = Field(
        60.0,
        ge=0,
        description="seconds after which the state for --resume is saved again, or longer where "
        "saving takes long (it gets a twentieth of the time at most); 0: after every step",
    )
    sample_frames: int = Field(
        150,
        ge=0,
        description="frames of the sample video of a validation clip at the end; 0: no video",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, order and crops")


class VQTrainSettings(TrainSettings):
    """How stage 1 is trained."""

    revive_after_steps: int = Field(
        0,
        ge=0,
        description="codebook entries that no latent chose for so many steps move to a random "
        " latent of the batch; 0: never",
    )


class SpeechTrainSettings(TrainSettings):
    """How stage 2 is trained."""

    encoder_rate: float = Field(
        1.0,
        gt=0,
        description="learning rate of a speech encoder that is not frozen, against that of the "
        "rest",
    )
    start_from: str | None = Field(
        None,
        description="checkpoint (folder or name) that is trained further, its speech "
        "encoder included; sizes, styles and stage 1 must be the same. None: from the beginning",
    )
    contact_weight: float = Field(
        1.0,
        ge=1,
        description="weight in the losses of frames in which the inner lips touch for "
        "at most 0.3 s, as for p, b, m; all others weigh 1. Above 1 the lips rather shut once too "
        "often than stay ajar; needs pairs of inner-lip vertices",
    )
    history_dropout: Fraction = Field(
        0.0,
        description="share of training clips whose past motion is hidden, so that the "
        "model listens to the speech instead of copying its own past",
    )
    own_history: Fraction = Field(
        0.0,
        description="share of training clips whose past motion is the model's own "
        "prediction instead of the truth, as it will be when it runs freely",
    )
    own_history_passes: Positive = Field(
        1,
        description="how often that prediction is made: once from speech alone, then each time "
        "with the last one as its past. More come nearer to free running, where errors build up",
        json_schema_extra=only_with("own_history"),
    )
    history_noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of noise on the past motion, in parts of the "
        "motion's own root mean square",
    )
    n_augmentations: int = Field(
        0,
        ge=0,
        description="worsened versions of each clip's speech beside the clean one: "
        "rooms, telephones, noise, music and other sounds, other people",
    )
    validation_clips: Positive = Field(
        12, description="validation clips, spread over the split, that are decoded freely"
    )
    validation_frames: int = Field(
        150, ge=2, description="frames of each of them; free decoding takes long"
    )
