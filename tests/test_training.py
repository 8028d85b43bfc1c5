"""Training of both stages: it learns, keeps the best, and stops before it harms."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
import tiny
import torch
import voices
from tiny_data import CPU, LENGTHS, SUBJECTS, moving, prepared, settings, speech_task, stage1
from torch import Tensor, nn

from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.data.prepared_writer import PreparedWriter
from codetalker_cli.errors import CheckpointError, CodeTalkerError, DataError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.vq_autoencoder import MotionBasis
from codetalker_cli.settings import TrainSettings
from codetalker_cli.train import loop
from codetalker_cli.train.batches import ClipSource
from codetalker_cli.train.loop import Progress, fit
from codetalker_cli.train.speech import train_speech
from codetalker_cli.train.vq import motion_basis, train_vq


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data")


def logged(path: Path, key: str) -> list[float]:
    """A value of every epoch."""
    return [json.loads(line)[key] for line in path.read_text().splitlines()]


# It learns --------------------------------------------------------------------------------------


def test_both_stages_learn_a_few_clips(data: PreparedDataSet, tmp_path: Path) -> None:
    train = settings(
        epochs=80,
        batch_size=3,
        crop_frames=24,
        learning_rate=3e-3,
        validate_every=80,
        revive_after_steps=5,
    )
    assert train_vq(data, train, tmp_path / "vq").step == 80
    codebook = checkpoint.load(tmp_path / "vq")
    train_speech(data, train, codebook, tmp_path / "speech")
    for stage, share in (("vq", 0.35), ("speech", 0.6)):
        losses = logged(tmp_path / f"{stage}-metrics.jsonl", "motion_loss")
        assert len(losses) == 80
        assert np.mean(losses[-5:]) < share * losses[0], stage
    trained = checkpoint.load(tmp_path / "speech")
    assert trained.meta["stage"] == "speech" and trained.subjects == list(SUBJECTS)
    kept = ("step", "data_id", "weights")
    assert trained.meta["stage1"] == {key: codebook.meta[key] for key in kept}
    assert trained.meta["data_id"] == data.manifest.data_id


@pytest.mark.parametrize("frozen", [True, False])
def test_stage_2_leaves_alone_what_is_not_trained(
    data: PreparedDataSet, tmp_path: Path, frozen: bool
) -> None:
    task = speech_task(data, frozen=frozen)
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    task.model.vq.requires_grad_(False)
    fit(task, settings(epochs=3, batch_size=1).train_speech, tmp_path / "speech")
    changed = {key for key, v in task.model.state_dict().items() if not torch.equal(v, before[key])}
    assert not any(key.startswith("vq.") for key in changed)
    assert not any(".feature_extractor." in key for key in changed)
    assert any(key.startswith("speech.layers.") for key in changed)
    assert any(key.startswith("speech.encoder.") for key in changed) != frozen


def test_stage_1_goes_into_stage_2_unchanged(data: PreparedDataSet, tmp_path: Path) -> None:
    given = stage1()
    train_speech(data, settings(), given, tmp_path / "speech")
    made = checkpoint.load(tmp_path / "speech").model.vq.state_dict()
    for key, value in given.model.vq.state_dict().items():
        assert torch.equal(made[key], value), key


def test_equal_seeds_train_equal_weights(data: PreparedDataSet, tmp_path: Path) -> None:
    def trained(name: str, seed: int) -> list[bytes]:
        train = settings(seed=seed, loss_vertices=4, history_dropout=0.5, n_augmentations=1)
        train_vq(data, train, tmp_path / name / "vq")
        given = checkpoint.load(tmp_path / name / "vq")
        train_speech(data, train, given, tmp_path / name / "speech")
        return [(tmp_path / name / s / "model.safetensors").read_bytes() for s in ("vq", "speech")]

    first, same, other = trained("a", 0), trained("b", 0), trained("c", 1)
    assert first == same
    assert first[0] != other[0] and first[1] != other[1]


# The loop ---------------------------------------------------------------------------------------


class Line:
    """A task of one weight that has to become 3; what happens in each epoch is told to it."""

    def __init__(self, scores: list[float], loss: Callable[[int], float] = lambda step: 1.0):
        self.n_clips = 3
        self.module: nn.Module = nn.Linear(1, 1, bias=False)
        self.scores, self.loss, self.n_steps = scores, loss, 0
        self.seen: list[list[int]] = []

    def step(self, clips: list[int], rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        assert self.module.training
        self.seen.append(clips)
        self.n_steps += 1
        weight = next(iter(self.module.parameters()))
        return (weight - 3).square().sum() * self.loss(self.n_steps), {"value": self.n_steps}

    def validate(self) -> dict[str, float]:
        assert not self.module.training and not torch.is_grad_enabled()
        return {"score": self.scores.pop(0)}

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        folder.write_text(json.dumps(meta))


def epoch_of(path: Path) -> int:
    return json.loads(path.read_text())["epoch"]


def test_the_best_is_kept_beside_the_last(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []

    def report(p: Progress) -> None:
        seen.append((p.epoch, p.step, p.n_steps))

    task = Line([3.0, 1.0, 2.0])
    done = fit(task, TrainSettings(epochs=3), tmp_path / "a" / "out", report)
    assert (done.best, done.step, done.values["value"]) == (1.0, 9, 8.0)
    assert epoch_of(tmp_path / "a" / "out") == 2 and epoch_of(tmp_path / "a" / "out-last") == 3
    lines = (tmp_path / "a" / "out-metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["score"] for line in lines] == [3.0, 1.0, 2.0]
    assert [json.loads(line)["value"] for line in lines] == [2.0, 5.0, 8.0]
    assert seen[-1] == (3, 9, 9) and {n for *_, n in seen} == {9}


def test_every_epoch_sees_every_clip_once(tmp_path: Path) -> None:
    task = Line([1.0] * 5)
    task.n_clips = 5
    fit(task, TrainSettings(epochs=5, batch_size=2, crop_frames=9), tmp_path / "out")
    assert [len(clips) for clips in task.seen] == [2, 2, 1] * 5
    epochs = [[i for clips in task.seen[k : k + 3] for i in clips] for k in range(0, 15, 3)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_validation_comes_as_often_as_said_and_at_the_end(tmp_path: Path) -> None:
    task = Line([3.0, 2.0, 1.0])
    fit(task, TrainSettings(epochs=5, validate_every=2), tmp_path / "out")
    assert task.scores == [] and epoch_of(tmp_path / "out") == 5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good(tmp_path: Path, bad: float) -> None:
    task = Line([3.0, 2.0], lambda step: bad if step == 8 else 1.0)
    with pytest.raises(CodeTalkerError, match=r"epoch 3: the loss of clips \[\d\] is (nan|inf)"):
        fit(task, TrainSettings(epochs=9), tmp_path / "out")
    assert epoch_of(tmp_path / "out") == 2
    assert all(torch.isfinite(p).all() for p in task.module.parameters())


def test_motion_that_is_no_number_stops_and_keeps_an_older_checkpoint(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    train_vq(data, settings(), tmp_path / "vq")
    before = command.listing(tmp_path / "vq")
    poisoned = prepared(tmp_path / "poisoned", poison=True)
    with pytest.raises(CodeTalkerError, match=r"the loss of clips .* is nan; .* is kept"):
        train_vq(poisoned, settings(crop_frames=50), tmp_path / "vq")
    assert command.listing(tmp_path / "vq") == before
    assert checkpoint.load(tmp_path / "vq").meta["stage"] == "vq"


def rates(n_steps: int, steps_per_epoch: int, **train: Any) -> list[float]:
    """The learning rate of each step."""
    made = TrainSettings(learning_rate=2.0, **train)
    optimizer = loop._optimizer([nn.Parameter(torch.zeros(1))], made)
    schedule = loop._schedule(optimizer, made, steps_per_epoch, n_steps)
    seen = []
    for _ in range(n_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_learning_rates() -> None:
    assert rates(4, 2) == [2.0] * 4
    step = {"schedule": "step", "step_epochs": 2, "step_factor": 0.5}
    assert rates(10, 2, **step) == [2.0] * 4 + [1.0] * 4 + [0.5] * 2
    cosine = rates(14, 7, schedule="cosine", warmup_steps=4)
    assert cosine[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    expected = [1 + math.cos(math.pi * k / 10) for k in range(10)]
    assert cosine[4:] == pytest.approx(expected)
    assert rates(3, 1, schedule="cosine")[0] == 2.0


def test_the_gradient_is_limited(tmp_path: Path) -> None:
    def change(limit: float) -> float:
        task = Line([1.0], lambda step: 1e6)
        weight = next(iter(task.module.parameters()))
        weight.data.fill_(0.0)
        fit(task, TrainSettings(epochs=1, gradient_clip=limit), tmp_path / "out")
        assert weight.grad is not None
        return float(weight.grad.norm())

    assert change(0.5) == pytest.approx(0.5, rel=1e-3)
    assert change(0.0) > 1e6


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW")])
def test_optimisers(name: Any, kind: str) -> None:
    made = TrainSettings(optimizer=name, weight_decay=0.1, learning_rate=0.5)
    optimizer = loop._optimizer([nn.Parameter(torch.zeros(1))], made)
    assert type(optimizer).__name__ == kind and optimizer.defaults["lr"] == 0.5
    assert optimizer.defaults["weight_decay"] == (0.1 if name == "adamw" else 0.0)


# Data -------------------------------------------------------------------------------------------


def test_crops_are_pieces_of_their_clips(data: PreparedDataSet) -> None:
    source = ClipSource(data, "train", CPU)
    batch = source.batch([2, 0], 7, np.random.default_rng(0))
    assert batch.vertices.shape == (2, 7, tiny.N_VERTICES, 3)
    for k, (index, start) in enumerate(zip(batch.clips, batch.starts, strict=True)):
        whole = source.clip(index).vertices
        np.testing.assert_array_equal(batch.vertices[k], whole[start : start + 7])
        subject = source.clip(index).entry.subject
        assert batch.style_ids[k] == SUBJECTS.index(subject)
        np.testing.assert_array_equal(batch.template[k], data.mesh.templates[subject])
    rng = np.random.default_rng(0)
    starts = {source.batch([0], 20, rng).starts[0] for _ in range(100)}
    assert starts == set(range(LENGTHS[1] - 20 + 1))
    assert source.batch([0, 1, 2], None).n_frames == min(LENGTHS[1:])


def test_a_basis_is_orthonormal_and_gives_motion_of_its_rank_back(data: PreparedDataSet) -> None:
    torch.manual_seed(0)
    source = ClipSource(data, "train", CPU)
    vectors, scale = motion_basis(source, 3, seed=0)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), atol=1e-5, rtol=0)
    assert (scale[:-1] >= scale[1:]).all() and scale[-1] > 0
    basis = MotionBasis(tiny.N_VERTICES, 3)
    basis.set(vectors, scale)
    offsets = torch.from_numpy(moving(40, seed=77)).float()[None]  # a motion it never saw
    features = basis.to_features(offsets)
    torch.testing.assert_close(basis.to_offsets(features), offsets, atol=1e-4, rtol=0)
    training = torch.cat(
        [(b.vertices - b.template[:, None])[0] for b in (source.batch([i], None) for i in range(3))]
    )
    spread = basis.to_features(training[None]).square().mean((0, 1)).sqrt()
    torch.testing.assert_close(spread, torch.ones(3), atol=0.01, rtol=0)


def test_a_basis_of_more_vectors_than_there_is_motion(data: PreparedDataSet) -> None:
    with pytest.raises(DataError, match=r"vq\.basis_rank: 37, but there are 78 frames of 36"):
        motion_basis(ClipSource(data, "train", CPU), 37, seed=0)


def test_stage_1_of_another_topology_is_refused(data: PreparedDataSet, tmp_path: Path) -> None:
    other = tiny.settings(data={"n_vertices": 13, "name": "other"})
    given = Checkpoint(CodeTalker(other, with_speech=False), other, {}, None, Path("vq13"))
    with pytest.raises(
        CheckpointError, match=r"vq13: stage 1 of other has n_vertices 13, .* has 12"
    ):
        train_speech(data, settings(), given, tmp_path / "speech")
    assert not (tmp_path / "speech").exists()


def test_data_that_does_not_fit_the_settings_is_refused(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    out = tmp_path / "vq"
    for changes, message in (
        ({"n_vertices": 13}, r"template of A is \(12, 3\), expected \(13, 3\)"),
        ({"fps": 30}, "25 fps, the settings say 30; use the preset"),
        ({"train_subjects": ["A", "B"]}, "subjects A, B, C are not those of the settings, A, B"),
    ):
        with pytest.raises(DataError, match=message):
            train_vq(data, tiny.settings(data=changes), out)
    assert not out.exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_clips(tmp_path: Path, split: str) -> None:
    """Nothing can be learnt without training clips; without others the training loss judges."""
    writer = PreparedWriter(tmp_path / "data", overwrite=False)
    writer.add("one", "A", "train" if split == "val" else "val", moving(30, 0), voices.speech())
    writer.finish("tiny", 25.0, SUBJECTS, voices.mesh(*SUBJECTS), {})
    data = PreparedDataSet(tmp_path / "data")
    if split == "train":
        with pytest.raises(DataError, match="no clip in the split 'train'"):
            train_vq(data, settings(), tmp_path / "vq")
    else:
        done = train_vq(data, settings(), tmp_path / "vq")
        assert done.best == done.values["loss"] and (tmp_path / "vq").is_dir()


def test_a_basis_has_no_more_vectors_than_there_are_frames(tmp_path: Path) -> None:
    made = settings()
    wide = made.model_copy(update={"vq": made.vq.model_copy(update={"basis_rank": 500})})
    train_vq(prepared(tmp_path / "data"), wide, tmp_path / "vq")
    n_frames = 24 + 28 + 26
    limit = min(n_frames, 3 * tiny.N_VERTICES)
    assert checkpoint.load(tmp_path / "vq").settings.vq.basis_rank == limit
