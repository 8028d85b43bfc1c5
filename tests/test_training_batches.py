"""Test that clips have the same losses and gradients in a padded batch as alone."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import tiny
import tiny_data
import torch
from torch import Tensor

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.settings import Settings
from codetalker_cli.train.batches import Batch
from codetalker_cli.train.task import Task

LENGTHS = (30, 24, 9, 17, 31)
CLIPS = (2, 0, 3, 1)
STEP = 8
"""A step in which the history settings drawn for the clips differ."""
WITHOUT_NOISE = {
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
}
TRAIN: dict[str, Any] = {
    "region_weights": {"lips": 10},
    "motion_weight": 3.0,
    "history_dropout": 0.5,
    "own_history": 0.5,
    "n_augmentations": 1,
}


@pytest.fixture(scope="module", params=[(25.0, 2), (30.0, 1)], ids=["25fps2", "30fps1"])
def clips(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[PreparedDataSet, int]]:
    """Yield a data set and the number of speech features per frame."""
    fps, per_frame = request.param
    folder = tmp_path_factory.mktemp("batches") / "data"
    yield tiny_data.prepared(folder, lengths=LENGTHS, fps=fps), per_frame


def settings(fps: float, per_frame: int, frozen: bool, rank: int, **train: Any) -> Settings:
    config = {**tiny.ENCODER_CONFIGS["wav2vec2"], **WITHOUT_NOISE}
    speech = {
        "encoder": {"family": "wav2vec2", "config": config},
        "features_per_frame": per_frame,
        "dropout": 0.0,
    }
    sections = {"data": {"fps": fps}, "vq": {"basis_rank": rank}, "speech": speech}
    return tiny_data.settings(frozen=frozen, sections=sections, **{**TRAIN, **train})


def precise(batch: Batch) -> Batch:
    """Convert a batch to float64."""
    return replace(
        batch,
        vertices=batch.vertices.double(),
        template=batch.template.double(),
        speech=tuple(piece.double() for piece in batch.speech),
    )


def losses_and_gradients(
    task: Task, clips: tuple[int, ...]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses of clips and the gradients of their mean."""
    task.module.zero_grad(set_to_none=True)
    losses = task.module(precise(task.load(clips, STEP)))
    assert all(loss.shape == (len(clips),) for loss in losses.values())
    losses["loss"].mean().backward()
    gradients = {n: p.grad for n, p in task.module.named_parameters() if p.grad is not None}
    return {key: loss.detach() for key, loss in losses.items()}, gradients


def check_batch(task: Task) -> None:
    task.module.double().train()
    together, gradients = losses_and_gradients(task, CLIPS)
    alone = [losses_and_gradients(task, (clip,)) for clip in CLIPS]
    for key, losses in together.items():
        expected = torch.cat([single[key] for single, _ in alone])
        torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-9)
    assert together["loss"].unique().numel() == len(CLIPS)
    assert gradients.keys() == set().union(*(single.keys() for _, single in alone))
    for name, gradient in gradients.items():
        each = [single.get(name, torch.zeros_like(gradient)) for _, single in alone]
        expected = torch.stack(each).mean(0)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9, msg=name)
    assert sum(float(g.abs().max()) > 1e-6 for g in gradients.values()) > len(gradients) / 2


@pytest.mark.parametrize("drawn", [None, 5])
@pytest.mark.parametrize("rank", [0, 5])
@pytest.mark.parametrize("crop", [None, 16])
def test_stage_1_batch_equals_single_clips(
    clips: tuple[PreparedDataSet, int], crop: int | None, rank: int, drawn: int | None
) -> None:
    data, per_frame = clips
    made = settings(data.manifest.fps, per_frame, True, rank, crop_frames=crop, loss_vertices=drawn)
    check_batch(tiny_data.vq_task(data, made))


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(("rank", "drawn"), [(0, None), (5, 5)])
@pytest.mark.parametrize("crop", [None, 16])
def test_stage_2_batch_equals_single_clips(
    clips: tuple[PreparedDataSet, int],
    crop: int | None,
    rank: int,
    drawn: int | None,
    frozen: bool,
) -> None:
    data, per_frame = clips
    made = settings(
        data.manifest.fps, per_frame, frozen, rank, crop_frames=crop, loss_vertices=drawn
    )
    task = tiny_data.speech_task(data, made)
    batch = task.load(CLIPS, STEP)
    for drawn_for_clips in (batch.keep_history, batch.own_history):
        assert drawn_for_clips is not None and drawn_for_clips.unique().numel() == 2
    check_batch(task)
