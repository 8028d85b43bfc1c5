"""What a step of each stage weighs, draws, moves and hides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tiny_data import CPU, prepared, settings, speech_task

from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.errors import DataError
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.vq_autoencoder import MotionBasis
from codetalker_cli.settings import TrainSettings
from codetalker_cli.train.batches import ClipSource
from codetalker_cli.train.losses import MotionLoss, speech_losses, vertex_weights
from codetalker_cli.train.vq import VQTask, train_vq


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data")


# Losses -----------------------------------------------------------------------------------------


def test_an_unknown_region_lists_the_known(data: PreparedDataSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no region 'lip'; it has: lips, upper_face"):
        train_vq(data, settings(region_weights={"lip": 3}), tmp_path / "vq")
    assert not (tmp_path / "vq").exists()


def test_region_weights_have_the_mean_1_and_the_ratio_asked_for() -> None:
    weights = vertex_weights(tiny.topology(), {"lips": 10.0, "upper_face": 0.0})
    assert weights is not None
    assert float(weights.mean()) == pytest.approx(1.0)
    np.testing.assert_allclose(weights / weights[1], [10, 1, 1, 10, 1, 0] + [1] * 6, rtol=1e-6)
    assert vertex_weights(tiny.topology(), {}) is None


class Drawn:
    """Draws one given vertex, and keeps the chances that it was told."""

    def __init__(self, vertex: int) -> None:
        self.vertex = vertex
        self.chances = np.zeros(0)

    def choice(self, n: int, size: int, p: np.ndarray) -> np.ndarray:
        assert n == len(p)
        self.chances = p
        return np.full(size, self.vertex)


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("rank", [0, 5])
@pytest.mark.parametrize("weights", [{}, {"lips": 10}])
def test_drawn_vertices_have_the_whole_loss_as_their_expectation(
    kind: Any, rank: int, weights: dict
) -> None:
    generator = torch.Generator().manual_seed(0)
    basis = MotionBasis(tiny.N_VERTICES, rank)
    if rank:
        vectors = torch.linalg.qr(torch.randn(36, rank, generator=generator)).Q
        basis.set(vectors, torch.linspace(0.5, 2, rank))
    features = torch.randn(2, 6, basis.feature_size, generator=generator)
    offsets = torch.randn(2, 6, tiny.N_VERTICES, 3, generator=generator)
    whole = MotionLoss(kind, tiny.topology(), TrainSettings(region_weights=weights))
    drawing = MotionLoss(
        kind, tiny.topology(), TrainSettings(region_weights=weights, loss_vertices=3)
    )
    expectation = 0.0
    for vertex in range(tiny.N_VERTICES):
        draw: Any = Drawn(vertex)
        loss = float(drawing(basis, features, offsets, draw))
        expectation += draw.chances[vertex] * loss
    expected = float(whole(basis, features, offsets, np.random.default_rng(0)))
    assert expectation == pytest.approx(expected, rel=1e-5)


def test_weights_of_both_losses_add_up(data: PreparedDataSet) -> None:
    task = speech_task(data)
    batch = task.source.batch([0, 1], 20)
    hidden = torch.stack([task._hidden(task.source, batch, k, None) for k in range(2)])
    given = (task.model, hidden, batch.vertices, batch.template, batch.style_ids)
    one, five = (speech_losses(*given, motion_weight=weight) for weight in (1.0, 5.0))
    torch.testing.assert_close(five.total, 5 * one.motion + one.latents)


# Codebook ---------------------------------------------------------------------------------------


def test_only_entries_that_nobody_chose_move_and_they_move_to_latents(
    data: PreparedDataSet,
) -> None:
    made = settings(revive_after_steps=3, crop_frames=24)
    model = CodeTalker(made, with_speech=False)
    tiny.randomize(model, 0)
    codebook = model.vq.quantizer.codebook
    far = torch.arange(6, 12)
    codebook.data[far] += 100.0
    task = VQTask(data, model, ClipSource(data, "train", CPU))
    rng = np.random.default_rng(0)
    before = codebook.detach().clone()
    for _ in range(2):
        task.step([0, 1], rng)
        assert torch.equal(codebook, before)
    offsets = task.source.batch([0, 1], None)
    used = model.vq.encode(offsets.vertices, offsets.template).unique()
    task.step([0, 1], rng)  # the third step without them
    moved = (codebook != before).any(1)
    assert moved[far].all() and not moved[used].any()
    features = model.vq.basis.to_features(offsets.vertices - offsets.template[:, None])
    latents = model.vq.encoder(features).reshape(-1, made.vq.code_dim).detach()
    # Each is a latent of the batch (crops of it: as the whole clip, only cut).
    assert (codebook.detach()[far].norm(dim=1) < 2 * latents.norm(dim=1).max()).all()


def test_without_the_setting_the_codebook_is_left_alone(data: PreparedDataSet) -> None:
    model = CodeTalker(settings(), with_speech=False)
    model.vq.quantizer.codebook.data[3:] += 100.0
    before = model.vq.quantizer.codebook.detach().clone()
    task = VQTask(data, model, ClipSource(data, "train", CPU))
    for _ in range(5):
        task.step([0, 1], np.random.default_rng(0))
    assert torch.equal(model.vq.quantizer.codebook, before)


# Stage 2 ----------------------------------------------------------------------------------------


def test_a_hidden_past_is_not_seen(data: PreparedDataSet) -> None:
    model = tiny.codetalker()
    speech = model.speech
    assert speech is not None
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 9, speech.encoder.size, generator=generator)
    style = torch.randn(2, 16, generator=generator)
    pasts = [torch.randn(2, 9, 36, generator=generator) for _ in range(2)]
    keep = torch.tensor([0.0, 1.0])
    first, second = (speech(model.vq, hidden, past, style, keep).latents for past in pasts)
    assert torch.equal(first[0], second[0])
    assert (first[1, 1:] != second[1, 1:]).any() and torch.equal(first[1, 0], second[1, 0])
    kept = speech(model.vq, hidden, pasts[0], style).latents
    torch.testing.assert_close(kept[1], first[1])


def test_the_past_is_hidden_as_often_as_said(data: PreparedDataSet) -> None:
    task = speech_task(data, history_dropout=0.3, n_augmentations=0)
    seen: list[float] = []
    forward = task.speech.forward

    def watch(*given: Any) -> Any:
        seen.extend(given[-1].tolist())
        return forward(*given)

    task.speech.forward = watch  # type: ignore[method-assign]
    rng = np.random.default_rng(0)
    for _ in range(150):
        task.step([0, 1, 2], rng)
    assert set(seen) == {0.0, 1.0}
    assert 1 - np.mean(seen) == pytest.approx(0.3, abs=0.07)


def test_features_of_a_frozen_encoder_are_those_it_gives(data: PreparedDataSet) -> None:
    task = speech_task(data, n_augmentations=2)
    rng = np.random.default_rng(0)
    for index in range(3):
        samples = task.source.clip(index).samples()
        direct = task._encode(task.source, index, samples)
        assert len(direct) == task.source.clip(index).entry.n_frames
        batch = task.source.batch([index], 10, rng)
        kept = task._hidden(task.source, batch, 0, None)
        start = batch.starts[0]
        expected = direct[start : start + 10]  # the same crop as of the motion
        torch.testing.assert_close(kept, expected, rtol=2e-3, atol=2e-3)
    assert task._features is not None
    assert {len(versions) for versions in task._features} == {3}
    clean, *noisy = task._features[0]
    assert all(v.shape == clean.shape and not torch.equal(v, clean) for v in noisy)
    drawn = {
        task._hidden(task.source, task.source.batch([0], None), 0, rng).sum().item()
        for _ in range(40)
    }
    assert len(drawn) == 3


def test_a_frozen_encoder_gets_no_gradient_and_the_rest_does(data: PreparedDataSet) -> None:
    task = speech_task(data)
    task.model.vq.requires_grad_(False)
    loss, _ = task.step([0, 1], np.random.default_rng(0))
    loss.backward()
    for name, parameter in task.model.named_parameters():
        if name.startswith(("vq.", "speech.encoder.")):
            assert parameter.grad is None, name
    with_gradient = {n for n, p in task.speech.named_parameters() if p.grad is not None}
    assert {"head.weight", "style_embedding.weight", "audio_projection.weight"} <= with_gradient
