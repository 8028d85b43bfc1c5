"""The encoder of Whisper (Radford et al. 2022, arXiv 2212.04356) and its log-mel spectrogram.

The names of the weights and the results are the same as for the ``WhisperEncoder`` of transformers
(tests/test_audio_encoder.py). This implementation exists because importing transformers takes
longer than animating a short recording with the bundled voice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import SettingsError
from codetalker_cli.models.layers import Cache

_WINDOW, _HOP = 400, 160  # in samples
BLOCK_SPECTRA = 6000
"""The number of spectra that are computed in one block (one minute)."""


@dataclass(frozen=True)
class WhisperConfig:
    """The architecture of the encoder, with the names and defaults of transformers."""

    num_mel_bins: int = 80
    d_model: int = 384
    encoder_layers: int = 4
    encoder_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    max_source_positions: int = 1500
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "WhisperConfig":
        """Return the encoder's part of a transformers config; the decoder's part is ignored.

        Raises:
            SettingsError: The config uses an activation or an embedding scale that no published
                Whisper model has.
        """
        activation = config.get("activation_function", "gelu")
        if activation != "gelu" or config.get("scale_embedding"):
            raise SettingsError(
                "speech.encoder.config: expected the activation_function gelu and no "
                f"scale_embedding, as in all published Whisper models, got {activation!r} and "
                f"{config.get('scale_embedding')!r}"
            )
        return cls(**{f.name: config[f.name] for f in fields(cls) if f.name in config})


def log_mel(
    audio: Float[Tensor, "batch samples"], n_mels: int
) -> Float[Tensor, "batch samples//160 {n_mels}"]:
    """Return the log-mel spectrogram of samples at 16 kHz, as in Whisper's training."""
    return limit_range(log_power(audio, n_mels))


def log_power(
    audio: Float[Tensor, "batch samples"], n_mels: int
) -> Float[Tensor, "batch samples//160 {n_mels}"]:
    """Return the spectrogram of samples at 16 kHz in decades of power, before ``limit_range``.

    It does not depend on the loudness elsewhere in the recording, so any part can be cut from it.
    It is computed in blocks to limit the memory.
    """
    bank = _mel_bank(n_mels).to(audio)
    window = torch.hann_window(_WINDOW, device=audio.device, dtype=audio.dtype)
    padded = F.pad(audio[:, None], (_WINDOW // 2, _WINDOW // 2), mode="reflect")[:, 0]
    n_spectra = audio.shape[1] // _HOP
    log_spectrum = audio.new_empty(len(audio), n_spectra, n_mels)
    for start in range(0, n_spectra, BLOCK_SPECTRA):
        n = min(BLOCK_SPECTRA, n_spectra - start)
        samples = padded[:, start * _HOP : (start + n - 1) * _HOP + _WINDOW]
        spectrum = torch.stft(
            samples, _WINDOW, _HOP, window=window, center=False, return_complex=True
        )
        power = spectrum.abs().square().transpose(1, 2)
        log_spectrum[:, start : start + n] = torch.log10((power @ bank).clamp_(min=1e-10))
    return log_spectrum


def limit_range(
    log_spectrum: Float[Tensor, "batch spectra mels"],
    loudest: Float[Tensor, "batch 1 1"] | None = None,
) -> Float[Tensor, "batch spectra mels"]:
    """Clip to 8 decades below the loudest sound, and scale as Whisper.

    Args:
        log_spectrum: The spectra.
        loudest: The maximum of the sound; default: that of the spectra.
    """
    if loudest is None:
        loudest = log_spectrum.amax(dim=(1, 2), keepdim=True)
    return log_spectrum.clamp(min=loudest - 8.0).add_(4.0).div_(4.0)


@lru_cache(maxsize=2)
def _mel_bank(n_mels: int) -> Float[Tensor, "201 {n_mels}"]:
    from torchaudio.functional import melscale_fbanks

    n_bins, max_frequency = _WINDOW // 2 + 1, SAMPLE_RATE / 2
    return melscale_fbanks(n_bins, 0.0, max_frequency, n_mels, SAMPLE_RATE, "slaney", "slaney")


class WhisperAttention(nn.Module):
    """Self-attention over time, without a bias for the keys."""

    def __init__(self, size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size)
        self.q_proj = nn.Linear(size, size)
        self.out_proj = nn.Linear(size, size)

    def forward(
        self, x: Float[Tensor, "batch frames size"], earlier: Cache | None = None
    ) -> tuple[Float[Tensor, "batch frames size"], Cache]:
        """Attend to all frames, and to the keys and values of earlier ones.

        Returns:
            The result, and the keys and values of the earlier frames and these.
        """
        q, k, v = (
            projection(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if earlier is not None:
            k, v = torch.cat([earlier[0], k], dim=2), torch.cat([earlier[1], v], dim=2)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), (k, v)


class WhisperLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, c: WhisperConfig) -> None:
        super().__init__()
        self.config = c
        self.self_attn = WhisperAttention(c.d_model, c.encoder_attention_heads, c.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(c.d_model)
        self.fc1 = nn.Linear(c.d_model, c.encoder_ffn_dim)
        self.fc2 = nn.Linear(c.encoder_ffn_dim, c.d_model)
        self.final_layer_norm = nn.LayerNorm(c.d_model)

    def forward(self, x: Float[Tensor, "batch frames size"]) -> Float[Tensor, "batch frames size"]:
        """Apply the layer."""
        return self.extend(x, None)[0]

    def extend(
        self, x: Float[Tensor, "batch frames size"], earlier: Cache | None
    ) -> tuple[Float[Tensor, "batch frames size"], Cache]:
        """Apply the layer to frames that follow others; see ``WhisperAttention``."""
        c = self.config
        attended, cache = self.self_attn(self.self_attn_layer_norm(x), earlier)
        x = x + F.dropout(attended, c.dropout, self.training)
        hidden = F.gelu(self.fc1(self.final_layer_norm(x)))
        hidden = F.dropout(hidden, c.activation_dropout, self.training)
        return x + F.dropout(self.fc2(hidden), c.dropout, self.training), cache


class WhisperEncoder(nn.Module):
    """The encoder from a log-mel spectrogram at 100 Hz to features at 50 Hz."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        size = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, size, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(size, size, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, size)
        self.layers = nn.ModuleList(WhisperLayer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(size)
        self._init_weights()

    @torch.no_grad()
    def _init_weights(self) -> None:
        self.embed_positions.requires_grad_(False)
        if self.embed_positions.weight.is_meta:
            return  # only the shapes matter, and arange would import sympy there
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        table = self.embed_positions.weight
        half = table.shape[1] // 2
        rate = torch.exp(-math.log(10000.0) / max(half - 1, 1) * torch.arange(half))
        angle = torch.arange(len(table))[:, None] * rate
        table[:, : 2 * half] = torch.cat([angle.sin(), angle.cos()], dim=1)

    def forward(
        self, mel: Float[Tensor, "batch spectra mels"]
    ) -> Float[Tensor, "batch (spectra+1)//2 size"]:
        """Encode at most 2 · max_source_positions spectra.

        Shorter inputs are not padded with silence to 30 s, unlike in Whisper's official code.
        They use the first rows of the position table.
        """
        x = self.convolve(mel)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)

    def convolve(
        self, mel: Float[Tensor, "batch spectra mels"]
    ) -> Float[Tensor, "batch (spectra+1)//2 size"]:
        """Return the inputs of the layers, without positions."""
        return F.gelu(self.conv2(F.gelu(self.conv1(mel.transpose(1, 2))))).transpose(1, 2)
