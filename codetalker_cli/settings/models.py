"""Settings of both stages and of the speech encoder."""

from typing import Literal, Self

from pydantic import Field, model_validator

from codetalker_cli.settings.base import Fraction, Positive, Section


class VQSettings(Section):
    """Stage 1: the motion VQ autoencoder."""

    hidden_size: Positive = Field(1024, description="width of the encoder and the decoder")
    n_layers: Positive = Field(
        6, description="number of transformer blocks in the encoder, and in the decoder"
    )
    n_heads: Positive = Field(8, description="number of attention heads")
    mlp_size: Positive = Field(1536, description="hidden width of the MLP in a block")
    kernel_size: Positive = Field(5, description="kernel size of the convolution, in frames (odd)")
    codebook_size: Positive = Field(256, description="number of codebook entries")
    code_dim: Positive = Field(64, description="dimension of a codebook entry")
    codes_per_frame: Positive = Field(16, description="number of codes per frame")
    latent_projection: bool = Field(
        False,
        description="whether a linear layer maps between hidden_size and the latents (BIWI: yes)",
    )
    output_bias: bool = Field(True, description="whether the last projection has a bias (BIWI: no)")
    commitment_weight: float = Field(0.25, ge=0, description="weight of the commitment loss")
    basis_rank: int = Field(
        0,
        ge=0,
        description="rank of a fixed orthonormal motion basis (PCA of the training motion); the "
        "first and last projections act on the coefficients of this basis instead of the "
        "vertices; 0: no basis",
    )

    @property
    def latent_size(self) -> int:
        """The number of values in the latents of one frame."""
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
        "wav2vec2", description="architecture of the speech encoder, named as in transformers"
    )
    source: str = Field(
        "facebook/wav2vec2-base-960h",
        description="pretrained weights that training starts from: a hub name, a local folder, "
        "or a codetalker checkpoint by name or folder (demo: the encoder of the "
        "bundled voice)",
    )
    config: dict = Field(
        default_factory=dict,
        description="architecture values that differ from the defaults of transformers; if "
        "empty, they are filled in from source when training starts",
    )
    frozen: bool = Field(
        False, description="whether the weights of the encoder stay fixed during training"
    )


class SpeechSettings(Section):
    """Stage 2: the autoregressive transformer from speech to motion codes."""

    encoder: AudioEncoderSettings = Field(
        default_factory=AudioEncoderSettings, description="speech encoder"
    )
    hidden_size: Positive = Field(1024, description="width of the decoder")
    n_layers: Positive = Field(6, description="number of decoder layers")
    n_heads: Positive = Field(4, description="number of attention heads")
    mlp_size: Positive = Field(2048, description="hidden width of the MLP in a layer")
    dropout: Fraction = Field(0.1, description="dropout rate in the decoder during training")
    period_frames: Positive = Field(
        30, description="period of the positional encoding and of the attention bias, in frames"
    )
    features_per_frame: Positive = Field(
        1, description="number of speech features that each motion frame attends to (BIWI: 2)"
    )
    motion_history: bool = Field(
        True,
        description="whether each frame also depends on the frames decoded before it; without it, "
        "all frames are decoded at once from the speech",
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
