"""Speech encoders: equality with transformers, number of frames, pretrained weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import CodeTalkerError, MissingDependencyError, SettingsError
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder, resample_features
from codetalker_cli.models.speech_encoders.pretrained import load_pretrained, with_pretrained_config
from codetalker_cli.models.speech_encoders.whisper import log_mel

FAMILIES = list(tiny.ENCODER_CONFIGS)
CONVOLUTIONAL = [family for family in FAMILIES if family != "whisper"]


def encoder(family: str, fps: float = 50, per_frame: int = 1, **config: Any) -> AudioEncoder:
    settings = tiny.encoder_settings(family)
    settings = settings.model_copy(update={"config": settings.config | config})
    torch.manual_seed(0)
    return AudioEncoder(settings, float(fps), per_frame).eval()


def speech(seconds: float, n_clips: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(n_clips, round(seconds * SAMPLE_RATE), generator=generator)


# Against transformers --------------------------------------------------------------------------


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_features_at_50_hz_equal_transformers(family: str) -> None:
    ours = encoder(family)
    audio = ours.prepare(speech(1.0, 2))
    with torch.no_grad():
        expected = ours.model(audio).last_hidden_state
        got = ours(audio)
    assert got.shape == (2, 49, ours.size)
    torch.testing.assert_close(got, expected)


def test_whisper_features_of_30_s_equal_transformers() -> None:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder  # takes seconds

    ours = encoder("whisper")
    config = transformers.WhisperConfig(**ours.settings.config)
    theirs = WhisperEncoder(config).eval()
    theirs.load_state_dict(ours.model.state_dict())  # this also checks that the names are equal
    audio = speech(30.0)
    extract = transformers.WhisperFeatureExtractor()
    mel = extract(audio[0].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    with torch.no_grad():
        expected = theirs(mel).last_hidden_state
        got = ours(audio)
    assert got.shape == (1, 1500, ours.size)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_log_mel_equals_transformers(n_mels: int) -> None:
    audio = speech(1.37)
    extract = transformers.WhisperFeatureExtractor(feature_size=n_mels)
    expected = extract(
        audio[0].numpy(),
        sampling_rate=SAMPLE_RATE,
        padding="longest",
        truncation=False,
        return_tensors="pt",
    ).input_features
    got = log_mel(audio, n_mels)
    torch.testing.assert_close(got, expected.transpose(1, 2), atol=2e-4, rtol=1e-4)


def test_log_mel_is_independent_of_the_batch() -> None:
    loud, quiet = speech(0.5), 1e-3 * speech(0.5, seed=1)
    both = log_mel(torch.cat([loud, quiet]), 80)
    torch.testing.assert_close(both[:1], log_mel(loud, 80))
    torch.testing.assert_close(both[1:], log_mel(quiet, 80))


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_normalization_equals_transformers(family: str) -> None:
    audio = 0.3 * speech(0.5) + 0.2
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = extract(audio[0].numpy(), sampling_rate=SAMPLE_RATE).input_values[0]
    np.testing.assert_allclose(encoder(family).prepare(audio)[0], expected, atol=1e-5)


def test_whisper_samples_are_not_normalized() -> None:
    audio = speech(0.5) + 0.2
    assert torch.equal(encoder("whisper").prepare(audio), audio)


# Frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("fps", "per_frame"), [(30, 1), (25, 1), (60, 1), (29.97, 1), (25, 2)])
def test_number_of_frames_follows_the_duration(family: str, fps: float, per_frame: int) -> None:
    ours = encoder(family, fps, per_frame)
    n_features = 50 if family == "whisper" else 49
    n_frames = ours.n_frames(n_features)
    assert abs(n_frames - fps) <= 2
    with torch.no_grad():
        features = ours(ours.prepare(speech(1.0, 2)))
    assert features.shape == (2, n_frames * per_frame, ours.size)
    assert bool(features.isfinite().all())


@pytest.mark.parametrize("family", FAMILIES)
def test_requested_number_of_frames_is_returned(family: str) -> None:
    ours = encoder(family, 30)
    with torch.no_grad():
        assert ours(speech(1.0), 17).shape[1] == 17
        assert ours(speech(1.0), 41).shape[1] == 41


@pytest.mark.parametrize("family", FAMILIES)
def test_two_features_per_frame_are_cut_and_never_stretched(family: str) -> None:
    ours = encoder(family, 25, 2)
    with torch.no_grad():
        assert ours(speech(1.0), 17).shape[1] == 34
        assert ours(speech(1.0), 41).shape[1] == 2 * ours.n_frames(
            50 if family == "whisper" else 49
        )


@given(n_features=st.integers(1, 5_000))
def test_n_frames(n_features: int) -> None:
    # Rounding errors included, as in the reference code.
    assert encoder_of_rate(30).n_frames(n_features) == int(n_features / 50 * 30)
    assert encoder_of_rate(30, family="whisper").n_frames(n_features) == n_features * 30 // 50
    assert encoder_of_rate(25, 2).n_frames(n_features) == n_features // 2


def encoder_of_rate(fps: float, per_frame: int = 1, family: str = "wav2vec2") -> AudioEncoder:
    made = AudioEncoder.__new__(AudioEncoder)
    torch.nn.Module.__init__(made)
    made.fps, made.features_per_frame = fps, per_frame
    made.settings = tiny.encoder_settings(family)
    return made


@given(n=st.integers(2, 40), m=st.integers(2, 40))
def test_resampling_keeps_straight_lines_and_their_ends(n: int, m: int) -> None:
    line = torch.linspace(-1, 3, n, dtype=torch.float64)[None, :, None]
    expected = torch.linspace(-1, 3, m, dtype=torch.float64)[None, :, None]
    torch.testing.assert_close(resample_features(line, m), expected)
    assert torch.equal(resample_features(line, n), line)


@pytest.mark.parametrize("fps", [30, 24.9])
def test_several_features_per_frame_require_a_matching_frame_rate(fps: float) -> None:
    with pytest.raises(
        SettingsError, match=f"2 features per frame at {fps:g} fps are .*, expected 50"
    ):
        encoder("wav2vec2", fps, 2)


# Training and weights --------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_encoder_has_no_trainable_weights(family: str) -> None:
    ours = AudioEncoder(tiny.encoder_settings(family, frozen=True), 30.0, 1).train()
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert not any(module.training for module in ours.modules())


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_convolutions_are_never_trained(family: str) -> None:
    ours = AudioEncoder(tiny.encoder_settings(family), 30.0, 1).train()
    trained = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert trained and not any(name.startswith("model.feature_extractor.") for name in trained)
    assert ours.model.training


def pretrained_folder(family: str, folder: Path) -> Path:
    """Save a model of the family with transformers, and return its folder."""
    config = tiny.ENCODER_CONFIGS[family]
    torch.manual_seed(1)
    if family == "whisper":
        more = {"vocab_size": 20, "decoder_layers": 1, "decoder_attention_heads": 2}
        special = dict.fromkeys(
            ["pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"], 1
        )
        model = transformers.WhisperModel(
            transformers.WhisperConfig(**config, **more, **special, decoder_ffn_dim=32)
        )
    else:
        name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[family]
        model = getattr(transformers, f"{name}Model")(
            getattr(transformers, f"{name}Config")(**config)
        )
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_load_from_a_local_folder(family: str, tmp_path: Path) -> None:
    folder = pretrained_folder(family, tmp_path / family)
    bare = tiny.encoder_settings(family, source=str(folder)).model_copy(update={"config": {}})
    settings = with_pretrained_config(bare)
    ours = AudioEncoder(settings, 30.0, 1).eval()
    assert ours.size == 24
    load_pretrained(ours)
    stored = transformers.AutoModel.from_pretrained(folder).state_dict()
    prefix = "encoder." if family == "whisper" else ""
    for key, value in ours.model.state_dict().items():
        assert torch.equal(value, stored[f"{prefix}{key}"]), key


def test_weights_of_another_family_are_rejected(tmp_path: Path) -> None:
    """transformers would leave weights that only WavLM has random, with only a warning."""
    folder = pretrained_folder("wav2vec2", tmp_path / "wav2vec2")
    settings = tiny.encoder_settings("wavlm", source=str(folder))
    with pytest.raises(CodeTalkerError, match="wavlm"):
        load_pretrained(AudioEncoder(settings, 30.0, 1))


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_unusable_source_is_an_error(where: str, tmp_path: Path) -> None:
    source = str(tmp_path) if where == "folder" else "nobody/nothing"
    settings = tiny.encoder_settings("hubert", source=source)
    for action in (
        lambda: with_pretrained_config(settings),
        lambda: load_pretrained(AudioEncoder(settings, 30.0, 1)),
    ):
        with pytest.raises(MissingDependencyError) as caught:
            action()
        assert source in str(caught.value) and "\n" not in str(caught.value)
        assert "`set` speech.encoder.source=FOLDER" in str(caught.value)
