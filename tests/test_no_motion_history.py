"""Test models whose frames do not depend on earlier motion."""

import json
from pathlib import Path

import pytest
import tiny
import torch
import voices
from tiny_data import prepared, settings, speech_task
from torch import Tensor

from codetalker_cli.animate.voice import Voice
from codetalker_cli.devices import make_accelerator
from codetalker_cli.errors import CheckpointError, SettingsError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ
from codetalker_cli.presets import resolve
from codetalker_cli.settings import DecodeSettings

PLAIN = {"motion_history": False}
SHAPES = {"one feature": PLAIN, "two features": {**PLAIN, "features_per_frame": 2}}


def inputs(speech: SpeechToCodes, n_frames: int, n_clips: int = 1) -> tuple[Tensor, Tensor]:
    """Return random encoder features and style vectors."""
    generator = torch.Generator().manual_seed(5)
    n = n_frames * speech.settings.features_per_frame
    hidden = torch.randn(n_clips, n, speech.encoder.size, generator=generator)
    weights = speech.style_embedding.weight.detach()
    return hidden.to(weights.dtype), weights[torch.arange(n_clips) % 3]


def stages(shape: str) -> tuple[SpeechToCodes, MotionVQ]:
    return tiny.stages(0, speech=SHAPES[shape])


@pytest.mark.parametrize("method", ["exact", "window"])
@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_equals_the_forward_pass_of_training(shape: str, method: str) -> None:
    speech, vq = stages(shape)
    hidden, style = inputs(speech, 12, 3)
    motion = torch.randn(3, 12, vq.feature_size).double()
    prediction = speech(vq, hidden, motion, style, torch.ones(3))
    steps: list[tuple[float, float]] = []
    codes = Decoder(speech, vq).decode(
        hidden, style, method=method, progress=lambda done, total: steps.append((done, total))
    )
    assert torch.equal(codes, prediction.codes) and len(codes.unique()) > 3
    assert steps == [(12, 12)]
    features = vq.decode_features(vq.dequantize(codes))
    torch.testing.assert_close(prediction.features, features, rtol=0, atol=1e-12)
    assert torch.equal(speech(vq, hidden, 0 * motion, style).latents, prediction.latents)


@pytest.mark.parametrize("shape", SHAPES)
def test_clips_of_a_batch_are_decoded_as_alone(shape: str) -> None:
    speech, vq = stages(shape)
    lengths = [5, 11, 1, 11, 8]
    hidden, style = inputs(speech, 11, 5)
    decoder = Decoder(speech, vq)
    codes = decoder.decode(hidden, style, lengths=lengths)
    for k, n in enumerate(lengths):
        n_features = n * speech.settings.features_per_frame
        alone = decoder.decode(hidden[k : k + 1, :n_features], style[k : k + 1])
        assert torch.equal(codes[k : k + 1, :n], alone)
        assert not codes[k, n:].any()


def test_codes_do_not_depend_on_future_speech() -> None:
    speech, vq = stages("one feature")
    hidden, style = inputs(speech, 12)
    codes = Decoder(speech, vq).decode(hidden, style)
    shorter = Decoder(speech, vq).decode(hidden[:, :7], style)
    assert torch.equal(codes[:, :7], shorter)


def test_past_codes_and_graphs_have_no_effect() -> None:
    speech, vq = stages("one feature")
    hidden, style = inputs(speech, 6)
    decoder = Decoder(speech, vq, DecodeSettings(cuda_graphs=True))
    assert not decoder.uses_graphs
    codes = decoder.decode(hidden, style)
    assert torch.equal(decoder.decode(hidden, style, past_codes=(codes + 1) % 12), codes)


def test_bf16_changes_few_codes() -> None:
    speech, vq = (model.float() for model in stages("one feature"))
    hidden, style = inputs(speech, 60, 3)
    exact = Decoder(speech, vq).decode(hidden, style)
    near = Decoder(speech, vq, DecodeSettings(precision="bf16")).decode(hidden, style)
    assert 0.8 < float((exact == near).float().mean()) < 1


def test_weights_are_those_of_a_model_with_history_but_one_projection(tmp_path: Path) -> None:
    whole, plain = tiny.codetalker(), tiny.codetalker(speech=PLAIN)
    lacking = whole.state_dict().keys() - plain.state_dict().keys()
    assert lacking == {"speech.motion_projection.weight", "speech.motion_projection.bias"}
    folder = checkpoint.save(tmp_path / "plain", plain, mesh=voices.mesh("A", "B", "C"))
    loaded = checkpoint.load(folder)
    assert not loaded.settings.speech.motion_history
    path = folder / "settings.yaml"
    path.write_text(path.read_text().replace("motion_history: false", "motion_history: true"))
    with pytest.raises(CheckpointError, match=r"missing speech\.motion_projection\.weight"):
        checkpoint.load(folder)


def test_old_checkpoints_have_a_motion_history(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path / "old", tiny.codetalker(), mesh=voices.mesh("A", "B", "C"))
    path = folder / "settings.yaml"
    kept = [line for line in path.read_text().splitlines(True) if "motion_history" not in line]
    assert len(kept) == len(path.read_text().splitlines()) - 1
    path.write_text("".join(kept))
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "n_settings": meta["n_settings"] - 1}))
    assert checkpoint.load(folder).settings.speech.motion_history


# Settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "train_speech.history_dropout=0.5",
        "train_speech.own_history=0.5",
        "train_speech.history_noise=0.5",
        "decode.method=exact",
        "decode.window_frames=3",
        "decode.refresh_frames=3",
        "decode.cuda_graphs=true",
    ],
)
def test_setting_of_the_motion_history_is_refused_without_it(given: str) -> None:
    assert resolve("biwi", assignments=[given])
    with pytest.raises(SettingsError) as error:
        resolve("biwi", assignments=["speech.motion_history=false", given])
    assert str(error.value) == (
        f"{given.partition('=')[0]} (from --set): has no effect with speech.motion_history false; "
        "it needs speech.motion_history true"
    )


def test_presets_can_be_used_without_the_history() -> None:
    # A preset that sets a setting of the history differs from an assignment: it can be overridden.
    made = resolve("vocaset", assignments=["speech.motion_history=false"]).settings
    assert not made.speech.motion_history
    assert resolve("demo").settings.speech.motion_history is False


def test_voice_refuses_decoding_settings_without_effect(tmp_path: Path) -> None:
    model = tiny.codetalker(speech=PLAIN)
    folder = checkpoint.save(tmp_path / "plain", model, mesh=voices.mesh("A", "B", "C"))
    loaded, cpu = checkpoint.load(folder), torch.device("cpu")
    with pytest.raises(SettingsError, match=r"^decode\.method .*speech\.motion_history true$"):
        Voice(loaded, cpu, {"method": "exact"})
    assert Voice(loaded, cpu, {"batch_size": 2}).decode.batch_size == 2


# Training ---------------------------------------------------------------------------------------


def test_training_ignores_the_history_and_validates_once(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data")
    history = {"history_dropout": 0.5, "own_history": 0.5, "history_noise": 0.5}
    made = settings(sections={"speech": PLAIN}, validation_frames=20, **history)
    task = speech_task(data, made)
    batch = task.load([0, 1], 0)
    assert batch.keep_history is None and batch.own_history is None and batch.noise is None
    task.module.train()
    task.module(batch)["loss"].sum().backward()
    assert all(p.grad is not None for p in task.speech.layers[0].mlp_in.parameters())
    task.module.eval()
    values = task.validate(make_accelerator("float32"))
    assert values["val_lve"] == values["val_lve_forced"] > 0
    source = task.validation.source
    batch = source.batch([0], 20)
    hidden, _ = task.speech.encoder.encode_trainable(
        task.precomputed.speech(source, batch, [0]), batch.n_frames
    )
    style = task.speech.style_embedding(batch.style_ids)
    codes = Decoder(task.speech, task.model.vq).decode(hidden, style)
    assert values["val_perplexity"] == pytest.approx(perplexity_of(codes))


def perplexity_of(codes: Tensor) -> float:
    share = torch.bincount(codes.flatten()).double() / codes.numel()
    share = share[share > 0]
    return float((-(share * share.log()).sum()).exp())
