"""Which past stage 2 sees in training: the true one, its own, noisy; and whose encoder it takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import voices
from tiny_data import prepared, settings, speech_task, stage1
from torch import Tensor

from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError
from codetalker_cli.models import checkpoint
from codetalker_cli.settings import Settings
from codetalker_cli.train.speech import SpeechTask, train_speech


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data")


def shown(task: SpeechTask) -> tuple[Tensor, Tensor, Tensor]:
    """True features of the first two clips, the past shown for them, and the model's own."""
    torch.manual_seed(0)
    batch = task.source.batch([0, 1], 20)
    hidden = torch.stack([task._hidden(task.source, batch, k, None) for k in range(2)])
    features = task.model.vq.basis.to_features(batch.vertices - batch.template[:, None])
    style = task.speech.style(torch.eye(3)[batch.style_ids])
    past = task._history(hidden, features, style, rng=np.random.default_rng(0))
    with torch.no_grad():
        task.speech.eval()
        own = task.speech(task.model.vq, hidden, features, style, torch.zeros(2)).features
    return features, past, own


def test_the_past_is_the_truth_unless_asked_otherwise(data: PreparedDataSet) -> None:
    features, past, _ = shown(speech_task(data))
    assert torch.equal(past, features)


def test_the_own_past_is_what_the_model_makes_of_speech_alone(data: PreparedDataSet) -> None:
    task = speech_task(data, own_history=1.0)
    tiny.randomize(task.speech, 1)
    features, past, own = shown(task)
    torch.testing.assert_close(past, own)
    assert not torch.allclose(past, features)


def test_noise_on_the_past_has_the_size_asked_for(data: PreparedDataSet) -> None:
    features, past, _ = shown(speech_task(data, history_noise=0.5))
    ratio = (past - features).square().mean().sqrt() / features.square().mean().sqrt()
    assert float(ratio) == pytest.approx(0.5, rel=0.1)


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
    assert not (tmp_path / "speech").exists()
