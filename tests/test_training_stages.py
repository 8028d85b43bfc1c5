"""Test the weights, random draws, codebook updates and hidden history of training steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tiny_data import prepared, settings, speech_task, vq_task

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.devices import make_accelerator
from codetalker_cli.errors import DataError
from codetalker_cli.models.vq_autoencoder import MotionBasis
from codetalker_cli.settings import TrainSettings
from codetalker_cli.topology import Topology
from codetalker_cli.train.losses import (
    ContactWeights,
    EncodedClips,
    MotionLoss,
    clip_means,
    speech_losses,
    vertex_weights,
)
from codetalker_cli.train.vq import train_vq


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data")


# Losses -----------------------------------------------------------------------------------------


def test_unknown_region_lists_the_regions(data: PreparedDataSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no region 'lip'; it has: lips, upper_face"):
        train_vq(data, settings(region_weights={"lip": 3}), tmp_path / "vq")
    assert not (tmp_path / "vq").exists()


def test_region_weights_have_mean_1_and_the_given_ratio() -> None:
    weights = vertex_weights(tiny.topology(), {"lips": 10.0, "upper_face": 0.0})
    assert weights is not None
    assert float(weights.mean()) == pytest.approx(1.0)
    np.testing.assert_allclose(weights / weights[1], [10, 1, 1, 10, 1, 0] + [1] * 6, rtol=1e-6)
    assert vertex_weights(tiny.topology(), {}) is None


class FixedVertex(np.random.Generator):
    """Always draws the given vertex, and records the probabilities."""

    def __init__(self, vertex: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.vertex = vertex
        self.probabilities = np.zeros(0)

    def choice(self, n: int, size: int, p: np.ndarray) -> np.ndarray:
        assert n == len(p)
        self.probabilities = p
        return np.full(size, self.vertex)


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("rank", [0, 5])
@pytest.mark.parametrize("weights", [{}, {"lips": 10}])
def test_expected_loss_of_sampled_vertices_is_the_full_loss(
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
    expectation: Any = 0.0
    lengths = torch.tensor([6, 4])
    for vertex in range(tiny.N_VERTICES):
        draw: Any = FixedVertex(vertex)
        loss = drawing(basis, features, offsets, draw, lengths)
        expectation += draw.probabilities[vertex] * loss
    expected = whole(basis, features, offsets, np.random.default_rng(0), lengths)
    assert expected.shape == (2,)
    torch.testing.assert_close(expectation.float(), expected, rtol=1e-5, atol=0)


def test_motion_weight_scales_only_the_motion_loss(data: PreparedDataSet) -> None:
    task = speech_task(data, settings())
    batch = task.load([0, 1], 0)
    hidden, _ = task.speech.encoder.encode_trainable(batch.speech, batch.n_frames)
    clips = EncodedClips(hidden, batch.vertices, batch.template, batch.style_ids)
    one, five = (speech_losses(task.model, clips, motion_weight=weight) for weight in (1.0, 5.0))
    torch.testing.assert_close(five.total, 5 * one.motion + one.latents)


def mouth(*gaps_mm: float) -> tuple[Topology, torch.Tensor]:
    """Return a topology of one pair of lip vertices, and its (1, T, 2, 3) motion in meters."""
    pair = {"inner_lip_upper": np.array([0]), "inner_lip_lower": np.array([1])}
    topology = Topology("mouth", np.zeros((0, 3), np.int32), 2, "m", pair)
    vertices = torch.zeros(1, len(gaps_mm), 2, 3)
    vertices[0, :, 0, 1] = torch.tensor(gaps_mm) / 1000
    return topology, vertices


def test_short_contacts_have_more_weight_and_long_ones_do_not() -> None:
    gaps = [0.1, 5, 0.9, 0.5, 1.1, 8, *[0.1] * 4, 5, *[0.1] * 3, 5, 0.2, 0.2]
    topology, vertices = mouth(*gaps)
    weights = ContactWeights(topology, 10.0, 4.0)(vertices)  # at most 3 frames
    # Contacts at both ends have unknown length, and the one of four frames is too long.
    expected = [1, 1, 4, 4, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 1, 1, 1]
    assert weights is not None and weights[0].tolist() == expected
    longer = ContactWeights(topology, 14.0, 4.0)(vertices)
    assert longer is not None and longer[0, 6:10].tolist() == [4] * 4


def test_without_contact_weight_or_lip_pairs_all_frames_are_equal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topology, vertices = mouth(0.1, 5.0)
    assert ContactWeights(topology, 10.0, 1.0)(vertices) is None
    assert not caplog.records
    assert ContactWeights(tiny.topology(), 10.0, 4.0)(torch.zeros(1, 2, tiny.N_VERTICES, 3)) is None
    assert "no pairs of inner-lip vertices" in caplog.text


@pytest.mark.parametrize("size", [(), (3,), (5, 2)])
def test_weighted_mean_equals_the_mean_of_repeated_frames(size: tuple) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 6, *size, generator=generator)
    weights = torch.randint(1, 5, (2, 6), generator=generator)
    lengths = torch.tensor([6, 4])
    made = clip_means(values, lengths, weights.float())
    for k, n in enumerate([6, 4]):
        repeated = values[k, :n].repeat_interleave(weights[k, :n], 0)
        torch.testing.assert_close(made[k], repeated.mean())
    torch.testing.assert_close(
        clip_means(values, lengths, torch.ones(2, 6)), clip_means(values, lengths)
    )


# Codebook ---------------------------------------------------------------------------------------


def test_unused_entries_are_replaced_by_latents(
    data: PreparedDataSet,
) -> None:
    made = settings(revive_after_steps=3, crop_frames=None)
    task = vq_task(data, made)
    accelerator = make_accelerator(made.train_vq.precision)
    codebook = task.model.vq.quantizer.codebook
    far = torch.arange(6, 12)
    codebook.data[far] += 100.0
    before = codebook.detach().clone()
    batch = task.load([0, 1], 0)
    for step in (1, 2):
        task.module(batch)
        task.after_step(accelerator, step)
        assert torch.equal(codebook, before)
    task.module(batch)  # the third step in which they are unused
    [(latents, codes)] = task.module.quantized
    n_codes = sum(batch.n_frames) * made.vq.codes_per_frame  # without the padding
    assert latents.shape == (n_codes, made.vq.code_dim) and codes.shape == (n_codes,)
    task.after_step(accelerator, 3)
    moved = (codebook != before).any(1)
    assert moved[far].all() and not moved[codes.unique()].any()
    assert (codebook[far][:, None] == latents).all(-1).any(1).all()
    assert codebook[far].unique(dim=0).shape[0] > 1
    after = codebook.detach().clone()
    task.module(batch)
    task.after_step(accelerator, 4)  # replaced entries start counting from 0 again
    assert torch.equal(codebook[far], after[far])


def test_entries_are_not_revived_by_default(data: PreparedDataSet) -> None:
    made = settings()
    task = vq_task(data, made)
    accelerator = make_accelerator(made.train_vq.precision)
    codebook = task.model.vq.quantizer.codebook
    codebook.data[3:] += 100.0
    before = codebook.detach().clone()
    for step in range(5):
        task.module(task.load([0, 1], step))
        task.after_step(accelerator, step + 1)
    assert torch.equal(codebook, before) and not task.module.quantized


# Stage 2 ----------------------------------------------------------------------------------------


def test_hidden_history_has_no_effect() -> None:
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


def test_history_is_hidden_or_predicted_at_the_given_rates(data: PreparedDataSet) -> None:
    task = speech_task(data, settings(history_dropout=0.3, own_history=0.6))
    kept, own = [], []
    for step in range(150):
        batch = task.load([0, 1, 2], step)
        assert batch.keep_history is not None and batch.own_history is not None
        kept.append(batch.keep_history)
        own.append(batch.own_history)
    hidden = 1 - torch.cat(kept)
    assert set(hidden.tolist()) == {0.0, 1.0}
    assert float(hidden.mean()) == pytest.approx(0.3, abs=0.07)
    assert float(torch.cat(own).float().mean()) == pytest.approx(0.6, abs=0.07)
    plain = speech_task(data, settings()).load([0, 1], 0)
    assert plain.keep_history is None and plain.own_history is None


def test_draws_of_a_clip_do_not_depend_on_its_batch(data: PreparedDataSet) -> None:
    made = settings(history_dropout=0.5, own_history=0.5, n_augmentations=2, crop_frames=9)
    task = speech_task(data, made)
    for step in range(5):
        together = task.load([2, 0, 1], step)
        for k, clip in enumerate(together.clips):
            alone = task.load([clip], step)
            assert alone.starts == together.starts[k : k + 1]
            assert torch.equal(alone.speech[0], together.speech[k])
            for a, b in (
                (alone.codes, together.codes),
                (alone.keep_history, together.keep_history),
                (alone.own_history, together.own_history),
            ):
                assert a is not None and b is not None and torch.equal(a[0], b[k])


def test_only_the_frozen_encoder_and_stage_1_have_no_gradient(data: PreparedDataSet) -> None:
    task = speech_task(data, settings())
    task.module.train()
    assert not task.speech.encoder.training and not task.model.vq.training
    task.module(task.load([0, 1], 0))["loss"].sum().backward()
    for name, parameter in task.model.named_parameters():
        if name.startswith(("vq.", "speech.encoder.")):
            assert parameter.grad is None, name
    with_gradient = {n for n, p in task.speech.named_parameters() if p.grad is not None}
    assert {"head.weight", "style_embedding.weight", "audio_projection.weight"} <= with_gradient
