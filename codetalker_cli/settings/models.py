"""Both stages and the speech encoder."""

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
