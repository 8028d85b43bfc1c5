"""Pretrained speech encoders of transformers, behind one interface: samples → features at 50 Hz.

The parts are composed from transformers' models; nothing of them is copied. Their weights come
from a hub name, a local folder, or out of one of our checkpoints.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import MissingDependencyError, SettingsError
from codetalker_cli.models.layers import valid_frames
from codetalker_cli.settings import AudioEncoderSettings

FEATURE_RATE = 50
"""Features a second that all four families give."""

logger = logging.getLogger(__name__)


def _classes(family: str) -> tuple[Any, Any]:
    import transformers as hf
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return {
        "wav2vec2": (hf.Wav2Vec2Config, hf.Wav2Vec2Model),
        "hubert": (hf.HubertConfig, hf.HubertModel),
        "wavlm": (hf.WavLMConfig, hf.WavLMModel),
        "whisper": (hf.WhisperConfig, WhisperEncoder),
    }[family]


def align(features: Tensor, n: int) -> Tensor:
    """Linear interpolation of (B, S, C) features to (B, n, C); first and last frame stay."""
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
        config_class, model_class = _classes(settings.family)
        if features_per_frame > 1 and fps * features_per_frame != FEATURE_RATE:
            raise SettingsError(
                f"speech.features_per_frame: {features_per_frame} features × {fps:g} fps must be "
                f"{FEATURE_RATE} features a second; use 1 to interpolate"
            )
        self.settings = settings
        self.fps = fps
        self.features_per_frame = features_per_frame
        self.model = model_class(config_class(**settings.config))
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
    def fixed_part(self) -> nn.Module | None:
        """The weights that :meth:`fixed` uses; None where it uses none."""
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

    def prepare(self, samples: Tensor) -> Tensor:
        """(…, n) samples as the family wants them: zero mean and unit variance, or as they are."""
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

    def forward(self, audio: Tensor, n_frames: int | None = None) -> Tensor:
        """Features of prepared (B, n) audio.

        Args:
            audio: Prepared samples at 16 kHz.
            n_frames: Motion frames to give; None: as many as the audio lasts. With several
                features a frame, fewer come back when the audio is shorter.

        Returns:
            (B, T · features_per_frame, size).
        """
        fixed = self.fixed(audio, n_frames)
        return fixed if self.settings.frozen else self._trained(fixed, n_frames)

    @torch.no_grad()
    def fixed(self, audio: Tensor, n_frames: int | None = None) -> Tensor:
        """The part of :meth:`forward` that no training changes, to be computed once and kept.

        Returns:
            (B, S, C): of a frozen encoder its result; else Whisper's log-mel spectrogram, and of
            the others the convolutional features, which are as many as the result's.
        """
        if self.settings.family == "whisper":
            fixed = self._log_mel(audio).transpose(1, 2)
        else:
            # The reference resamples in front of the transformer, not behind it.
            fixed = self._align(self.model.feature_extractor(audio).transpose(1, 2), n_frames)
        return self._trained(fixed, n_frames) if self.settings.frozen else fixed

    def rest(self, fixed: Sequence[Tensor], n_frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The other part of :meth:`forward`, for clips of different length.

        Args:
            fixed: What :meth:`fixed` gives of each clip, (S, C); half precision will do.
            n_frames: Motion frames of each clip.

        Returns:
            (B, longest, size) features, zero beyond each clip's end; (B,) int64 how many each has.
        """
        dtype = next(self.parameters()).dtype
        clips = [clip.to(dtype) for clip in fixed]
        frozen, whisper = self.settings.frozen, self.settings.family == "whisper"
        if whisper and not frozen:
            # Its convolutions and position table know of no padding.
            pairs = zip(clips, n_frames, strict=True)
            clips = [self._trained(clip[None], n)[0] for clip, n in pairs]
        lengths = torch.tensor([len(clip) for clip in clips], device=clips[0].device)
        padded = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        if whisper or frozen:
            return padded, lengths
        if len({len(clip) for clip in clips}) == 1:
            return self._trained(padded), lengths
        valid = valid_frames(lengths, padded.shape[1])
        hidden = self._trained(padded, valid=valid)
        return hidden.masked_fill(~valid[..., None], 0.0), lengths

    def _trained(
        self, fixed: Tensor, n_frames: int | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """From what :meth:`fixed` gives of an encoder that is trained, to the result."""
        if self.settings.family == "whisper":
            return self._align(self._whisper(fixed.transpose(1, 2)), n_frames)
        projected = self.model.feature_projection(fixed)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        if hidden.shape[1] > self.model.config.mask_time_length:  # shorter ones hold no mask
            hidden = self.model._mask_hidden_states(hidden, attention_mask=valid)
        with warnings.catch_warnings():
            # WavLM's own mixing of a boolean mask with a bias, which PyTorch deprecates.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            return self.model.encoder(hidden, attention_mask=valid).last_hidden_state

    def _align(self, features: Tensor, n_frames: int | None) -> Tensor:
        count = features.shape[1]
        n_frames = self.n_frames(count) if n_frames is None else n_frames
        if self.features_per_frame == 1:
            return align(features, n_frames)
        whole = min(count // self.features_per_frame, n_frames) * self.features_per_frame
        return features[:, :whole]

    # Whisper ---------------------------------------------------------------------------------

    def _log_mel(self, audio: Tensor) -> Tensor:
        """(B, n) samples → (B, n_mels, n // 160) log-mel spectrogram, as Whisper was trained."""
        from transformers.audio_utils import mel_filter_bank

        bank = mel_filter_bank(
            num_frequency_bins=201,
            num_mel_filters=self.model.config.num_mel_bins,
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        filters = torch.from_numpy(bank).to(audio)
        window = torch.hann_window(400, device=audio.device, dtype=audio.dtype)
        spectrum = torch.stft(audio, 400, 160, window=window, return_complex=True)
        power = spectrum[..., :-1].abs().square()
        log = torch.log10(torch.clamp(filters.T @ power, min=1e-10))
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0

    def _whisper(self, mel: Tensor) -> Tensor:
        """(B, n_mels, M) → (B, ⌈M/2⌉, size).

        Windows of at most 30 s, overlapping by 4 s of which each keeps its half.
        """
        window = 2 * self.model.config.max_source_positions
        overlap = 4 * 2 * FEATURE_RATE
        if mel.shape[-1] <= window:
            return self._whisper_window(mel)
        pieces: list[Tensor] = []
        start = 0
        while True:
            features = self._whisper_window(mel[..., start : start + window])
            last = start + window >= mel.shape[-1]
            head = 0 if start == 0 else overlap // 4
            tail = features.shape[1] if last else features.shape[1] - overlap // 4
            pieces.append(features[:, head:tail])
            if last:
                return torch.cat(pieces, dim=1)
            start += window - overlap

    def _whisper_window(self, mel: Tensor) -> Tensor:
        """(B, n_mels, M ≤ 3000) → (B, ⌈M/2⌉, size), with the first rows of the position table."""
        model = self.model
        x = F.gelu(model.conv2(F.gelu(model.conv1(mel)))).transpose(1, 2)
        x = x + model.embed_positions.weight[: x.shape[1]]
        for layer in model.layers:
            out = layer(x, None)
            x = out[0] if isinstance(out, tuple) else out
        return model.layer_norm(x)


def with_pretrained_config(settings: AudioEncoderSettings) -> AudioEncoderSettings:
    """The same settings with the architecture of ``settings.source`` filled in.

    Raises:
        MissingDependencyError: The source is no local folder and the hub cannot be reached.
        SettingsError: The source holds a model of another family.
    """
    config_class, _ = _classes(settings.family)
    different = config_class.from_dict(_source_config(settings)).to_diff_dict()
    for key in ("transformers_version", "model_type", "architectures", "torch_dtype", "dtype"):
        different.pop(key, None)
    return settings.model_copy(update={"config": different})


def load_pretrained(encoder: AudioEncoder) -> None:
    """Fill ``encoder`` with the pretrained weights of its settings' source.

    Raises:
        MissingDependencyError: The source is no local folder and the hub cannot be reached.
        SettingsError: The source holds a model of another family.
    """
    from safetensors import SafetensorError

    settings = encoder.settings
    _source_config(settings)
    try:
        encoder.model.load_state_dict(_pretrained_state(settings))
    except OSError as error:
        raise _missing(settings) from error
    except SafetensorError as error:
        raise SettingsError(
            f"speech.encoder.source: the weights in {settings.source!r} are damaged ({error})"
        ) from error


def _pretrained_state(settings: AudioEncoderSettings) -> dict[str, Tensor]:
    """All weights of the source's encoder; none of them may be left random."""
    import transformers

    whisper = settings.family == "whisper"
    model_class = transformers.WhisperModel if whisper else _classes(settings.family)[1]
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # a Whisper without decoder is no loss here
    transformers.utils.logging.disable_progress_bar()
    try:
        loaded: Any = model_class.from_pretrained(settings.source, output_loading_info=True)
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    full, report = loaded
    needed = [k for k in report["missing_keys"] if k.startswith("encoder.") or not whisper]
    lost = sorted(key for key in needed if key != "masked_spec_embed")
    if lost:
        raise SettingsError(
            f"speech.encoder.source: {settings.source!r} lacks {len(lost)} weights of a "
            f"{settings.family} encoder, {lost[0]} for one"
        )
    state: dict[str, Tensor] = (full.encoder if whisper else full).state_dict()
    return state


def _source_config(settings: AudioEncoderSettings) -> dict[str, Any]:
    """What the source's config.json says; transformers would take another family's with a warning
    and leave what does not fit random, and take no config at all for the default one.
    """
    config_class, _ = _classes(settings.family)
    try:
        values, _ = config_class.get_config_dict(settings.source)
    except OSError as error:
        raise _missing(settings) from error
    if not values:
        raise _missing(settings)
    found = values.get("model_type")
    if found != settings.family:
        raise SettingsError(
            f"speech.encoder.family is {settings.family}, but {settings.source!r} holds a "
            f"{found} model; give --set speech.encoder.family={found}, or another source"
        )
    return values


def _missing(settings: AudioEncoderSettings) -> MissingDependencyError:
    where = "folder" if Path(settings.source).exists() else "hub name or folder"
    return MissingDependencyError(
        f"speech.encoder.source: the {where} {settings.source!r} gives no {settings.family} model; "
        "on a machine without internet, copy its config.json and model.safetensors into a folder "
        "and give --set speech.encoder.source=FOLDER"
    )
