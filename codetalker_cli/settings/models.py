"""Both stages and the speech encoder, and how they are trained."""

from typing import Literal, Self

from pydantic import Field, model_validator

from codetalker_cli.settings.base import Fraction, Positive, Section


class VQSettings(Section):
    """Stage 1: the motion VQ autoencoder."""

    hidden_size: Positive = Field(1024, description="width of encoder and decoder")
    n_layers: Positive = Field(6, description="transformer blocks in each of encoder and decoder")
    n_heads: Positive = Field(8, description="attention heads")
    mlp_size: Positive = Field(1536, description="width inside a block's MLP")
    kernel_size: Positive = Field(5, description="frames under the convolution (odd)")
    codebook_size: Positive = Field(256, description="entries of the codebook")
    code_dim: Positive = Field(64, description="numbers in one codebook entry")
    codes_per_frame: Positive = Field(16, description="codes that describe one frame")
    latent_projection: bool = Field(
        False, description="a Linear between hidden_size and the latents (BIWI has one)"
    )
    output_bias: bool = Field(True, description="bias of the last projection (BIWI has none)")
    commitment_weight: float = Field(0.25, ge=0, description="weight of the commitment loss")
    basis_rank: int = Field(
        0,
        ge=0,
        description="rank of a fixed orthonormal motion basis (PCA of the training motion) that "
        "the first and last projection go through; 0: none, every vertex is projected",
    )

    @property
    def latent_size(self) -> int:
        """Numbers in the latents of one frame."""
        return self.codes_per_frame * self.code_dim

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden_size % self.n_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of n_heads {self.n_heads}"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} must be odd")
        if not self.latent_projection and self.hidden_size != self.latent_size:
            raise ValueError(
                f"without latent_projection, hidden_size {self.hidden_size} must equal "
                f"codes_per_frame × code_dim = {self.latent_size}"
            )
        return self


class AudioEncoderSettings(Section):
    """The pretrained speech encoder."""

    family: Literal["wav2vec2", "hubert", "wavlm", "whisper"] = Field(
        "wav2vec2", description="architecture of the encoder, as in transformers"
    )
    source: str = Field(
        "facebook/wav2vec2-base-960h",
        description="where training takes the pretrained weights from: a hub name, a local "
        "folder, or one of our checkpoints by name or folder (demo: the bundled voice's)",
    )
    config: dict = Field(
        default_factory=dict,
        description="architecture values that differ from transformers' defaults; when empty, "
        "filled in from source when training starts",
    )
    frozen: bool = Field(False, description="train none of the encoder's weights")


class SpeechSettings(Section):
    """Stage 2: the autoregressive transformer from speech to motion codes."""

    encoder: AudioEncoderSettings = Field(
        default_factory=AudioEncoderSettings, description="speech encoder"
    )
    hidden_size: Positive = Field(1024, description="width of the decoder")
    n_layers: Positive = Field(6, description="decoder layers")
    n_heads: Positive = Field(4, description="attention heads")
    mlp_size: Positive = Field(2048, description="width inside a layer's MLP")
    dropout: Fraction = Field(0.1, description="dropout in the decoder while training")
    period_frames: Positive = Field(
        30, description="period of the position code and of the attention bias, in frames"
    )
    features_per_frame: Positive = Field(
        1, description="speech features that one motion frame attends to (BIWI: 2)"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden_size % self.n_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of n_heads {self.n_heads}"
            )
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size {self.hidden_size} must be even (sine and cosine pairs)")
        return self


class TrainSettings(Section):
    """How one stage is trained."""

    optimizer: Literal["adam", "adamw"] = Field("adamw", description="optimiser")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate at the start")
    weight_decay: float = Field(0.0, ge=0, description="weight decay (adamw)")
    schedule: Literal["constant", "step", "cosine"] = Field(
        "constant", description="how the learning rate falls"
    )
    step_epochs: Positive = Field(20, description="epochs between two falls (schedule step)")
    step_factor: float = Field(0.5, gt=0, description="factor of each fall (schedule step)")
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up (schedule cosine)")
    epochs: Positive = Field(100, description="passes over the training clips")
    batch_size: Positive = Field(1, description="clips in one step")
    crop_frames: Positive | None = Field(
        None,
        description="longest piece of a clip that one step sees, in frames; the pieces of a batch "
        "are cut to the shortest of them; none: whole clips (needs batch_size 1)",
    )
    gradient_clip: float = Field(0.0, ge=0, description="largest gradient norm; 0: no limit")
    motion_weight: float = Field(
        1.0,
        gt=0,
        description="weight of the reconstruction loss beside the latents' losses; in metres it is "
        "tiny, 1000 (stage 1, absolute) or 1e6 (stage 2, squared) counts in millimetres",
    )
    region_weights: dict[str, float] = Field(
        default_factory=dict,
        description="weights of vertex regions in the reconstruction loss, e.g. {lips: 10}; "
        "all others weigh 1",
    )
    loss_vertices: Positive | None = Field(
        None,
        description="vertices drawn for the reconstruction loss of each step, in proportion to "
        "their weights; none: all (exact, slower)",
    )
    revive_after_steps: int = Field(
        0,
        ge=0,
        description="codebook entries that no latent chose for so many steps (stage 1) move to a "
        "random latent of the batch; 0: never",
    )
    history_dropout: Fraction = Field(
        0.0,
        description="share of training clips (stage 2) whose past motion is hidden, so that the "
        "model listens to the speech instead of copying its own past",
    )
    own_history: Fraction = Field(
        0.0,
        description="share of training clips (stage 2) whose past motion is the model's own "
        "prediction instead of the truth, as it will be when it runs freely",
    )
    history_noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of noise on the past motion (stage 2), in parts of the "
        "motion's own root mean square",
    )
    n_augmentations: int = Field(
        0,
        ge=0,
        description="noisy, filtered and reverberant versions of each clip's speech beside the "
        "clean one (stage 2 with a frozen encoder)",
    )
    validation_clips: Positive = Field(
        12, description="validation clips, spread over the split, that stage 2 decodes freely"
    )
    validation_frames: Positive = Field(
        150, description="frames of each of them; free decoding takes long"
    )
    validate_every: Positive = Field(1, description="epochs between two validations")
    seed: int = Field(0, ge=0, description="seed of weights, order and crops")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_size > 1 and self.crop_frames is None:
            raise ValueError(f"batch_size {self.batch_size} needs crop_frames (whole clips differ)")
        return self
