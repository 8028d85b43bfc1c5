"""A common interface for pretrained speech encoders.

wav2vec 2.0, HuBERT and WavLM use the models of transformers. Whisper uses our own implementation
(``whisper``). The weights come from the Hugging Face hub or a local folder (``pretrained``), or
from a codetalker checkpoint.
"""

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from codetalker_cli.audio.resampling import whole_frames
from codetalker_cli.errors import CheckpointError, SettingsError, printable
from codetalker_cli.models.layers import valid_frames
from codetalker_cli.models.speech_encoders.long_audio import (
    OVERLAP_SECONDS,
    WINDOW_SECONDS,
    apply_in_windows,
    convolve,
)
from codetalker_cli.models.speech_encoders.whisper import (
    WhisperConfig,
    WhisperEncoder,
    limit_range,
    log_power,
)
from codetalker_cli.settings import AudioEncoderSettings

FEATURE_RATE = 50
"""The number of features per second, which is the same for all four families."""

MAX_LAYERS = 1000
"""The most layers of a speech encoder."""
_LAYER_COUNT = re.compile(r"(num_.*|.*_)layers")

logger = logging.getLogger(__name__)


def transformers_classes(family: str) -> tuple[Any, Any]:
    """Return the config class and the model class of a family in transformers."""
    import transformers

    names = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "whisper": "Whisper"}
    name = names[family]  # transformers imports a family when its class is accessed
    return getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}Model")


def check_config(config: Mapping[str, Any]) -> None:
    """Check the numbers of layers in the configuration of a speech encoder.

    Raises:
        CheckpointError: There are more than ``MAX_LAYERS`` layers.
    """
    for key, value in config.items():
        is_count = isinstance(value, int) and _LAYER_COUNT.fullmatch(str(key))
        if is_count and value > MAX_LAYERS:
            raise CheckpointError(
                f"the speech encoder has {printable(key)} = {value}, but at most {MAX_LAYERS} is "
                "supported"
            )


def build_model(settings: AudioEncoderSettings) -> Any:
    """Return a model of the family with random weights."""
    if settings.family == "whisper":
        return WhisperEncoder(WhisperConfig.from_config(settings.config))
    config_class, model_class = transformers_classes(settings.family)
    return model_class(config_class(**settings.config))


def resample_features(
    features: Float[Tensor, "batch features channels"], n: int
) -> Float[Tensor, "batch {n} channels"]:
    """Resample to ``n`` features by linear interpolation over time, with both ends unchanged."""
    return F.interpolate(
        features.transpose(1, 2), size=n, mode="linear", align_corners=True
    ).transpose(1, 2)


class AudioEncoder(nn.Module):
    """A speech encoder that turns samples into features for each motion frame.

    Args:
        settings: The family and the architecture; ``settings.config`` overrides the defaults of
            transformers.
        fps: The frame rate of the motion.
        features_per_frame: With 1, features are interpolated to the frame rate. With N > 1, each
            frame has N consecutive 50 Hz features, and fps × N must be 50.

    Raises:
        SettingsError: ``fps`` and ``features_per_frame`` do not match.
    """

    def __init__(self, settings: AudioEncoderSettings, fps: float, features_per_frame: int) -> None:
        super().__init__()
        if features_per_frame > 1 and fps * features_per_frame != FEATURE_RATE:
            raise SettingsError(
                f"speech.features_per_frame: {features_per_frame} features per frame at {fps:g} "
                f"fps are {fps * features_per_frame:g} features per second, expected "
                f"{FEATURE_RATE}; set it to 1 to interpolate the features to the frame rate"
            )
        self.settings = settings
        self.fps = fps
        self.features_per_frame = features_per_frame
        self.model = build_model(settings)
        if settings.frozen:
            self.requires_grad_(False)
        elif settings.family != "whisper":
            # The convolutional feature extractor is never trained, as in the official code.
            self.model.feature_extractor._freeze_parameters()

    @property
    def size(self) -> int:
        """The width of the features."""
        config = self.model.config
        return config.d_model if self.settings.family == "whisper" else config.hidden_size

    @property
    def frozen_part(self) -> nn.Module | None:
        """The module that ``encode_frozen`` uses, or None if it uses no weights (Whisper)."""
        if self.settings.frozen:
            return self.model
        return None if self.settings.family == "whisper" else self.model.feature_extractor

    @property
    def transformer_layers(self) -> nn.ModuleList:
        """The transformer layers above the convolutions."""
        whisper = self.settings.family == "whisper"
        return self.model.layers if whisper else self.model.encoder.layers

    def train(self, mode: bool = True) -> "AudioEncoder":
        """Set the mode; a frozen encoder stays in evaluation mode, without dropout."""
        return super().train(mode and not self.settings.frozen)

    def prepare(self, samples: Float[Tensor, "*batch samples"]) -> Float[Tensor, "*batch samples"]:
        """Normalize samples to zero mean and unit variance, except for Whisper."""
        if self.settings.family == "whisper":
            return samples
        mean = samples.mean(-1, keepdim=True)
        variance = samples.var(-1, keepdim=True, unbiased=False)
        return (samples - mean) / torch.sqrt(variance + 1e-7)  # as in transformers

    def n_frames(self, n_features: int) -> int:
        """Return the number of motion frames in ``n_features`` features at 50 Hz."""
        if self.features_per_frame > 1:
            return n_features // self.features_per_frame
        if self.settings.family == "whisper":
            return whole_frames(n_features, FEATURE_RATE, self.fps)
        # As in the reference code, a rounding error may cost a frame: 205 features give 122 frames
        # at 30 fps.
        return int(n_features / FEATURE_RATE * self.fps)

    def forward(
        self, audio: Float[Tensor, "batch samples"], n_frames: int | None = None
    ) -> Float[Tensor, "batch features {self.size}"]:
        """Encode speech, with ``features_per_frame`` features for each motion frame.

        Args:
            audio: Samples at 16 kHz, normalized by ``prepare``.
            n_frames: The number of motion frames; None: derived from the length of the audio. With
                several features per frame, short audio results in fewer frames.
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
        """Compute the part of ``forward`` that training does not change, so that it can be cached.

        Returns:
            The result of ``forward`` for a frozen encoder. Otherwise the spectrogram for Whisper,
            or the convolutional features for other families. There are as many convolutional
            features as final features. The range of the spectrogram is not limited yet, because
            the limit depends on the loudest sound, and a crop must not depend on what is outside.
        """
        if self.settings.family == "whisper":
            frozen_features = log_power(audio, self.model.config.num_mel_bins)
        else:
            # The official code resamples before the transformer, not after it.
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
        """Compute the rest of ``forward`` for clips of different lengths.

        Args:
            frozen_features: The result of ``encode_frozen`` for each clip, in any precision.
            n_frames: The number of motion frames of each clip.

        Returns:
            The features, padded with zeros, and the number of features of each clip.
        """
        dtype = next(self.parameters()).dtype
        clips = [clip.to(dtype) for clip in frozen_features]
        frozen, whisper = self.settings.frozen, self.settings.family == "whisper"
        if whisper and not frozen:
            # Whisper's encoder does not support padding masks.
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
        """Compute the final features; clips longer than 30 s are split into overlapping windows."""
        if self.settings.family == "whisper":
            # Whisper has two spectra per feature.
            window = 2 * self.model.config.max_source_positions
            overlap = OVERLAP_SECONDS * 2 * FEATURE_RATE
            mel = limit_range(frozen_features)
            features = apply_in_windows(self.model, mel, window=window, overlap=overlap, factor=2)
            return self._align_to_frames(features, n_frames)
        rate = FEATURE_RATE if self.features_per_frame > 1 else self.fps
        # Both lengths must be even, because each window contributes half of the overlap.
        window, overlap = (2 * round(s * rate / 2) for s in (WINDOW_SECONDS, OVERLAP_SECONDS))
        return apply_in_windows(
            self._run_transformer, frozen_features, window=window, overlap=overlap
        )

    def _run_transformer(
        self,
        frozen_features: Float[Tensor, "batch features channels"],
        valid: Bool[Tensor, "batch features"] | None = None,
    ) -> Float[Tensor, "batch features {self.size}"]:
        """Run the transformer of wav2vec 2.0, HuBERT or WavLM in one pass.

        ``valid`` is true for the features of each clip and false for its padding.
        """
        projected = self.model.feature_projection(frozen_features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        # transformers raises an error if a mask span is longer than the clip.
        if hidden.shape[1] > self.model.config.mask_time_length:
            hidden = self.model._mask_hidden_states(hidden, attention_mask=valid)
        with warnings.catch_warnings():
            # WavLM combines a boolean mask with a float bias, which PyTorch has deprecated.
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
