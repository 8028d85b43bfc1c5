"""Test the motion history that stage 2 sees in training, and the weights that it starts from."""

from pathlib import Path
from typing import Any

import pytest
import torch
import voices
from tiny_data import prepared, settings, speech_task, stage1
from torch import Tensor

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError
from codetalker_cli.models import checkpoint
from codetalker_cli.settings import Settings
from codetalker_cli.train.loop import fit
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.speech import train_speech

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data")


def history_of_clips(data: PreparedDataSet, **train: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the true features of two clips, their history, and the model's own prediction."""
    torch.manual_seed(0)
    task = speech_task(data, settings(crop_frames=25, **train))
    speech, vq = task.speech.train(), task.model.vq
    batch = task.load([0, 1], 3)
    hidden, lengths = (
        speech.encoder.encode_trainable(batch.speech, batch.n_frames)[0],
        batch.lengths,
    )
    assert lengths is not None and lengths.tolist() == [24, 25]
    features = vq.basis.to_features(batch.offsets)
    style = speech.style_embedding(batch.style_ids)
    past = task.module.history(hidden, features, style, batch=batch)
    assert speech.training and not past.requires_grad
    speech.eval()
    with torch.no_grad():
        own = speech(vq, hidden, features, style, torch.zeros(2), lengths).features
    first, second = ([x[0, :24], x[1]] for x in (features, past))
    return torch.cat(first), torch.cat(second), torch.cat([own[0, :24], own[1]])


def test_history_is_the_true_motion_by_default(data: PreparedDataSet) -> None:
    features, past, _ = history_of_clips(data)
    assert torch.equal(past, features)


def test_own_history_is_the_prediction_from_speech_alone(data: PreparedDataSet) -> None:
    features, past, own = history_of_clips(data, own_history=1.0)
    torch.testing.assert_close(past, own)
    assert not torch.allclose(past, features)


def test_each_further_pass_sees_the_previous_prediction(data: PreparedDataSet) -> None:
    torch.manual_seed(0)
    task = speech_task(data, settings(own_history=1.0, own_history_passes=3, crop_frames=25))
    speech, vq = task.speech.eval(), task.model.vq
    with torch.no_grad():
        for parameter in speech.layers.parameters():  # otherwise the history has little effect
            parameter += torch.randn_like(parameter)
        batch = task.load([0, 1], 3)
        hidden, lengths = (
            speech.encoder.encode_trainable(batch.speech, batch.n_frames)[0],
            batch.lengths,
        )
        style = speech.style_embedding(batch.style_ids)
        features = vq.basis.to_features(batch.offsets)
        past = task.module.history(hidden, features, style, batch=batch)
        made = [speech(vq, hidden, features, style, torch.zeros(2), lengths).features]
        for _ in range(2):
            made.append(speech(vq, hidden, made[-1], style, torch.ones(2), lengths).features)
    torch.testing.assert_close(past, made[-1])
    assert not torch.allclose(made[-1], made[0])


def test_history_noise_has_the_given_scale(data: PreparedDataSet) -> None:
    features, past, _ = history_of_clips(data, history_noise=0.5)
    for clip in (slice(24), slice(24, None)):
        noise = (past - features)[clip].square().mean().sqrt()
        size = features[clip].square().mean().sqrt()
        assert float(noise / size) == pytest.approx(0.5, rel=0.1)


def with_source(source: str, family: str = "wav2vec2", **train: Any) -> Settings:
    made = settings(**train)
    encoder = made.speech.encoder.model_copy(update={"source": source, "family": family})
    return made.model_copy(update={"speech": made.speech.model_copy(update={"encoder": encoder})})


def test_encoder_of_a_checkpoint_is_loaded(data: PreparedDataSet, tmp_path: Path) -> None:
    donor = voices.save(tmp_path / "donor", "A")
    train_speech(data, with_source(str(donor)), stage1(), tmp_path / "speech")
    lent, got = checkpoint.load(donor), checkpoint.load(tmp_path / "speech")
    for key, value in lent.model.speech.encoder.state_dict().items():
        assert torch.equal(value, got.model.speech.encoder.state_dict()[key]), key
    assert got.settings.speech.encoder.config == lent.settings.speech.encoder.config


def test_checkpoint_without_a_matching_encoder_is_refused(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    donor = voices.save(tmp_path / "vq", "A", with_speech=False)
    with pytest.raises(CheckpointError, match="vq contains only stage 1"):
        train_speech(data, with_source(str(donor)), stage1(), tmp_path / "speech")
    donor = voices.save(tmp_path / "donor", "A")
    with pytest.raises(CheckpointError, match=r"is whisper, but the encoder of .*wav2vec2"):
        train_speech(data, with_source(str(donor), "whisper"), stage1(), tmp_path / "speech")
    assert not (tmp_path / "speech").exists() and not (tmp_path / "speech-run").exists()


def fine_tune(data: PreparedDataSet, source: Path, out: Path, **train: Any) -> None:
    """Train stage 2 starting from a checkpoint."""
    train_speech(data, settings(start_from=str(source), **train), stage1(), out)


def test_fine_tuning_starts_from_the_checkpoint(data: PreparedDataSet, tmp_path: Path) -> None:
    train_speech(data, settings(), stage1(), tmp_path / "first")
    # The learning rate is so low that the weights stay practically the same.
    fine_tune(data, tmp_path / "first", tmp_path / "second", frozen=False, learning_rate=1e-12)
    first, second = (checkpoint.load(tmp_path / name) for name in ("first", "second"))
    assert not second.settings.speech.encoder.frozen
    for key, value in first.model.state_dict().items():
        torch.testing.assert_close(value, second.model.state_dict()[key], rtol=0, atol=1e-9)


def test_fine_tuning_needs_the_same_sizes_and_stage_1(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    alone = voices.save(tmp_path / "vq", "A", with_speech=False)
    with pytest.raises(CheckpointError, match="vq contains only stage 1"):
        fine_tune(data, alone, tmp_path / "out")
    wide = settings(sections={"speech": {"mlp_size": 40}})
    train_speech(data, wide, stage1(wide), tmp_path / "wide")
    with pytest.raises(CheckpointError, match=r"the architecture .*mlp_in\.bias"):
        fine_tune(data, tmp_path / "wide", tmp_path / "out")
    train_speech(data, settings(), stage1(), tmp_path / "first")
    codebook = stage1()
    with torch.no_grad():
        codebook.model.vq.quantizer.codebook += 0.1
    with pytest.raises(CheckpointError, match=r"a different stage 1 than .*give `vq`"):
        made = settings(start_from=str(tmp_path / "first"))
        train_speech(data, made, codebook, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out-run").exists()


def test_encoder_has_its_own_learning_rate(data: PreparedDataSet, tmp_path: Path) -> None:
    """Adam's first step changes a weight by the learning rate, unless its gradient is near 0."""
    made = settings(
        frozen=False, encoder_rate=0.1, learning_rate=0.01, epochs=1, batch_size=1, accumulation=3
    )
    task = speech_task(data, made)
    encoder = {id(p) for p in task.speech.encoder.parameters()}
    trained = [p for p in task.module.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    assert fit(task, made.train_speech, RunFolder(tmp_path / "out")).step == 1
    n_moved = {True: 0, False: 0}
    for parameter, old in zip(trained, before, strict=True):
        is_encoder = id(parameter) in encoder
        rate = 0.001 if is_encoder else 0.01
        moved = float((parameter.detach() - old).abs().max())
        assert moved <= 1.001 * rate
        n_moved[is_encoder] += moved > 0.9 * rate
    assert n_moved[True] > 10 and n_moved[False] > 10
