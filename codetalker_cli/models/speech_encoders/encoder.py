"""Pretrained speech encoders behind one interface: samples → features for each motion frame.

wav2vec 2.0, HuBERT and WavLM are composed of transformers' models; Whisper's encoder is our own
(``whisper``). Weights come from a hub name or a local folder (``pretrained``), or out of one
of our checkpoints.
"""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from codetalker_cli.errors import SettingsError
from codetalker_cli.models.layers import valid_frames
from codetalker_cli.models.speech_encoders.long_audio import (
    OVERLAP_SECONDS,
    WINDOW_SECONDS,
    apply_in_windows,
    convolve,
)
from codetalker_cli.models.speech_encoders.whisper import WhisperConfig, WhisperEncoder, log_mel
from codetalker_cli.settings import AudioEncoderSettings

FEATURE_RATE = 50
"""Features a second that all four families give."""

logger = logging.getLogger(__name__)


def transformers_classes(family: str) -> tuple[Any, Any]:
    """transformers' config class, and its model class that holds the encoder."""
    import transformers

    names = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "whisper": "Whisper"}
    name = names[family]  # only what is asked for gets imported
    return getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}Model")


def _build_model(settings: AudioEncoderSettings) -> Any:
    """The model of the family, with random weights."""
    if settings.family == "whisper":
        return WhisperEncoder(WhisperConfig.from_config(settings.config))
    config_class, model_class = transformers_classes(settings.family)
    return model_class(config_class(**settings.config))


def resample_features(
    features: Float[Tensor, "batch features channels"], n: int
) -> Float[Tensor, "batch {n} channels"]:
    """Linear interpolation over time; first and last frame stay."""
    return F.interpolate(
        features.transpose(1, 2), size=n, mode="linear", align_corners=True
    ).transpose(1, 2)


class AudioEncoder(nn.Module):
    """Speech samples → features for each motion frame.

    Args:
        settings: Family and architecture; ``settings.config`` overrides transformers' defaults.
        fps: Motion frames a second.
        features_per_frame: 1: features are interpolated to the frame rate. More: so many
            consecutive 50 Hz features belong to a frame, and fps × that must be 50.
    """

    def __init__(self, settings: AudioEncoderSettings, fps: float, features_per_frame: int) -> None:
        super().__init__()
        if features_per_frame > 1 and fps * features_per_frame != FEATURE_RATE:
            raise SettingsError(
                f"speech.features_per_frame: {features_per_frame} features × {fps:g} fps must be "
                f"{FEATURE_RATE} features a second; use 1 to interpolate"
            )
        self.settings = settings
        self.fps = fps
        self.features_per_frame = features_per_frame
        self.model = _build_model(settings)
        if settings.frozen:
            self.requires_grad_(False)
        elif settings.family != "whisper":
            # As the reference: the convolutional feature extractor is never trained.
            self.model.feature_extractor._freeze_parameters()

    @property
    def size(self) -> int:
        """Width of the features."""
        config = self.model.config
        return config.d_model if self.settings.family == "whisper" else config.hidden_size

    @property
    def frozen_part(self) -> nn.Module | None:
        """The weights that ``encode_frozen`` uses; None where it uses none."""
        if self.settings.frozen:
            return self.model
        return None if self.settings.family == "whisper" else self.model.feature_extractor

    @property
    def transformer_layers(self) -> nn.ModuleList:
        """The layers above the convolutions."""
        whisper = self.settings.family == "whisper"
        return self.model.layers if whisper else self.model.encoder.layers

    def train(self, mode: bool = True) -> "AudioEncoder":
        """A frozen encoder stays in evaluation mode (no dropout)."""
        return super().train(mode and not self.settings.frozen)

    def prepare(self, samples: Float[Tensor, "*batch samples"]) -> Float[Tensor, "*batch samples"]:
        """Samples as the family wants them: zero mean and unit variance, or as they are."""
        if self.settings.family == "whisper":
            return samples
        mean = samples.mean(-1, keepdim=True)
        variance = samples.var(-1, keepdim=True, unbiased=False)
        return (samples - mean) / torch.sqrt(variance + 1e-7)

    def n_frames(self, n_features: int) -> int:
        """Motion frames that ``n_features`` features at 50 Hz last."""
        if self.features_per_frame > 1:
            return n_features // self.features_per_frame
        return int(n_features / FEATURE_RATE * self.fps)

    def forward(
        self, audio: Float[Tensor, "batch samples"], n_frames: int | None = None
    ) -> Float[Tensor, "batch features {self.size}"]:
        """Features of prepared audio, ``features_per_frame`` for each motion frame.

        Args:
            audio: Prepared samples at 16 kHz.
            n_frames: Motion frames to give; None: as many as the audio lasts. With several
                features a frame, fewer come back when the audio is shorter.
        """
        frozen_features = self.encode_frozen(audio, n_frames)
        return (
            frozen_features
            if self.settings.frozen
            else self._encode_trainable_clip(frozen_features, n_frames)
        )

    @torch.no_grad()
    def encode_frozen(
        self, audio: Float[Tensor, "batch samples"], n_frames: int | None = None
    ) -> Float[Tensor, "batch features channels"]:
        """The part of ``forward`` that no training changes, to be computed once and kept.

        Returns:
            Of a frozen encoder its result; else Whisper's log-mel spectrogram, and of
            the others the convolutional features, which are as many as the result's.
        """
        if self.settings.family == "whisper":
            frozen_features = log_mel(audio, self.model.config.num_mel_bins)
        else:
            # The reference resamples in front of the transformer, not behind it.
            features = convolve(self.model.feature_extractor, audio).transpose(1, 2)
            frozen_features = self._align_to_frames(features, n_frames)
        return (
            self._encode_trainable_clip(frozen_features, n_frames)
            if self.settings.frozen
            else frozen_features
        )

    def encode_trainable(
        self, frozen_features: Sequence[Float[Tensor, "_ channels"]], n_frames: Sequence[int]
    ) -> tuple[Float[Tensor, "batch longest {self.size}"], Int64[Tensor, " batch"]]:
        """The other part of ``forward``, for clips of different length.

        Args:
            frozen_features: What ``encode_frozen`` gives of each clip; half precision will
                do.
            n_frames: Motion frames of each clip.

        Returns:
            Features, zero beyond each clip's end, and how many each clip has.
        """
        dtype = next(self.parameters()).dtype
        clips = [clip.to(dtype) for clip in frozen_features]
        frozen, whisper = self.settings.frozen, self.settings.family == "whisper"
        if whisper and not frozen:
            # Its convolutions and position table know of no padding.
            pairs = zip(clips, n_frames, strict=True)
            clips = [self._encode_trainable_clip(clip[None], n)[0] for clip, n in pairs]
        lengths = torch.tensor([len(clip) for clip in clips], device=clips[0].device)
        padded = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        if whisper or frozen:
            return padded, lengths
        if len({len(clip) for clip in clips}) == 1:
            return self._run_transformer(padded), lengths
        valid = valid_frames(lengths, padded.shape[1])
        hidden = self._run_transformer(padded, valid)
        return hidden.masked_fill(~valid[..., None], 0.0), lengths

    def _encode_trainable_clip(
        self, frozen_features: Float[Tensor, "batch inputs channels"], n_frames: int | None = None
    ) -> Float[Tensor, "batch features {self.size}"]:
        """From what ``encode_frozen`` gives of an encoder that is trained, to the result.

        What is longer than 30 s is heard in overlapping windows.
        """
        if self.settings.family == "whisper":
            window = 2 * self.model.config.max_source_positions
            overlap = OVERLAP_SECONDS * 2 * FEATURE_RATE
            features = apply_in_windows(
                self.model, frozen_features, window=window, overlap=overlap, factor=2
            )
            return self._align_to_frames(features, n_frames)
        rate = FEATURE_RATE if self.features_per_frame > 1 else self.fps
        window, overlap = (2 * round(s * rate / 2) for s in (WINDOW_SECONDS, OVERLAP_SECONDS))
        return apply_in_windows(
            self._run_transformer, frozen_features, window=window, overlap=overlap
        )

    def _run_transformer(
        self,
        frozen_features: Float[Tensor, "batch features channels"],
        valid: Bool[Tensor, "batch features"] | None = None,
    ) -> Float[Tensor, "batch features {self.size}"]:
        """The transformer of a convolutional family over everything; ``valid`` if padded."""
        projected = self.model.feature_projection(frozen_features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        if hidden.shape[1] > self.model.config.mask_time_length:  # shorter ones hold no mask
            hidden = self.model._mask_hidden_states(hidden, attention_mask=valid)
        with warnings.catch_warnings():
            # WavLM's own mixing of a boolean mask with a bias, which PyTorch deprecates.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            return self.model.encoder(hidden, attention_mask=valid).last_hidden_state

    def _align_to_frames(
        self, features: Float[Tensor, "batch inputs size"], n_frames: int | None
    ) -> Float[Tensor, "batch outputs size"]:
        count = features.shape[1]
        n_frames = self.n_frames(count) if n_frames is None else n_frames
        if self.features_per_frame == 1:
            return resample_features(features, n_frames)
        n_features = min(count // self.features_per_frame, n_frames) * self.features_per_frame
        return features[:, :n_features]
