"""Which past stage 2 sees in training: the true one, its own, noisy; and whose encoder it takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import voices
from tiny_data import prepared, settings, speech_task, stage1
from torch import Tensor

from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError
from codetalker_cli.models import checkpoint
from codetalker_cli.settings import Settings
from codetalker_cli.train.speech import train_speech


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data")


def shown(data: PreparedDataSet, **train: Any) -> tuple[Tensor, Tensor, Tensor]:
    """True features of the first two clips, the past shown for them, and the model's own."""
    torch.manual_seed(0)
    task = speech_task(data, settings(crop_frames=25, **train))
    speech, vq = task.speech.train(), task.model.vq
    batch = task.load([0, 1], 3)
    hidden, lengths = speech.encoder.rest(batch.speech, batch.n_frames)[0], batch.lengths
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


def test_the_past_is_the_truth_unless_asked_otherwise(data: PreparedDataSet) -> None:
    features, past, _ = shown(data)
    assert torch.equal(past, features)


def test_the_own_past_is_what_the_model_makes_of_speech_alone(data: PreparedDataSet) -> None:
    features, past, own = shown(data, own_history=1.0)
    torch.testing.assert_close(past, own)
    assert not torch.allclose(past, features)


def test_noise_on_the_past_has_the_size_asked_for(data: PreparedDataSet) -> None:
    features, past, _ = shown(data, history_noise=0.5)
    for clip in (slice(24), slice(24, None)):
        noise = (past - features)[clip].square().mean().sqrt()
        size = features[clip].square().mean().sqrt()
        assert float(noise / size) == pytest.approx(0.5, rel=0.1)


def with_source(source: str, family: str = "wav2vec2", **train: Any) -> Settings:
    made = settings(**train)
    encoder = made.speech.encoder.model_copy(update={"source": source, "family": family})
    return made.model_copy(update={"speech": made.speech.model_copy(update={"encoder": encoder})})


def test_a_checkpoint_lends_its_encoder(data: PreparedDataSet, tmp_path: Path) -> None:
    donor = voices.save(tmp_path / "donor", "A")
    train_speech(data, with_source(str(donor)), stage1(), tmp_path / "speech")
    lent, got = checkpoint.load(donor), checkpoint.load(tmp_path / "speech")
    for key, value in lent.model.speech.encoder.state_dict().items():
        assert torch.equal(value, got.model.speech.encoder.state_dict()[key]), key
    assert got.settings.speech.encoder.config == lent.settings.speech.encoder.config


def test_a_checkpoint_that_cannot_lend_is_named(data: PreparedDataSet, tmp_path: Path) -> None:
    donor = voices.save(tmp_path / "vq", "A", with_speech=False)
    with pytest.raises(CheckpointError, match="vq holds stage 1 only"):
        train_speech(data, with_source(str(donor)), stage1(), tmp_path / "speech")
    donor = voices.save(tmp_path / "donor", "A")
    with pytest.raises(CheckpointError, match=r"is whisper, but the checkpoint .*wav2vec2"):
        train_speech(data, with_source(str(donor), "whisper"), stage1(), tmp_path / "speech")
    assert not (tmp_path / "speech").exists() and not (tmp_path / "speech-run").exists()
