"""Test that both stages learn, keep the best checkpoint, and stop on invalid values."""

import json
import logging
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import command
import jaxtyping
import numpy as np
import pytest
import tiny
import torch
import voices
from accelerate import Accelerator
from tiny_data import (
    LENGTHS,
    SUBJECTS,
    moving,
    prepared,
    run_folder,
    settings,
    speech_task,
    stage1,
    vq_task,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.devices import make_accelerator
from codetalker_cli.errors import (
    CheckpointError,
    CodeTalkerError,
    DataError,
    OutputError,
    RenderError,
)
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.vq_autoencoder import MotionBasis
from codetalker_cli.settings import TrainSettings
from codetalker_cli.train import loop
from codetalker_cli.train.batches import Batch, ClipSource
from codetalker_cli.train.loop import fit
from codetalker_cli.train.progress import TrainingProgress
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.speech import train_speech
from codetalker_cli.train.task import Task
from codetalker_cli.train.vq import motion_basis, train_vq


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data")


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the slow drawing of curves, and return the paths of the requested plots."""
    paths: list[Path] = []
    monkeypatch.setattr(loop, "draw_curves", lambda metrics, path, title: paths.append(path))
    return paths


def logged(out: Path, key: str) -> list[float]:
    """Return a metric of every epoch."""
    return [row[key] for row in RunFolder(out).rows()]


# Learning ---------------------------------------------------------------------------------------


def test_both_stages_learn_a_few_clips(data: PreparedDataSet, tmp_path: Path) -> None:
    train = settings(
        epochs=40,
        batch_size=3,
        crop_frames=24,
        learning_rate=5e-3,
        validate_every=40,
        revive_after_steps=5,
    )
    assert train_vq(data, train, tmp_path / "vq").step == 40
    codebook = checkpoint.load(tmp_path / "vq")
    train_speech(data, train, codebook, tmp_path / "speech")
    for stage, share in (("vq", 0.35), ("speech", 0.6)):
        losses = logged(tmp_path / stage, "motion_loss")
        assert len(losses) == 40
        assert np.mean(losses[-5:]) < share * losses[0], stage
    trained = checkpoint.load(tmp_path / "speech")
    assert trained.meta["stage"] == "speech" and trained.subjects == list(SUBJECTS)
    kept = ("step", "data_id", "weights")
    assert trained.meta["stage1"] == {key: codebook.meta[key] for key in kept}
    assert trained.meta["data_id"] == data.manifest.data_id


@pytest.mark.parametrize("frozen", [True, False])
def test_stage_2_changes_only_trained_weights(
    data: PreparedDataSet, tmp_path: Path, frozen: bool
) -> None:
    made = settings(frozen=frozen, epochs=3, batch_size=1)
    task = speech_task(data, made)
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    fit(task, made.train_speech, run_folder(tmp_path / "speech"))
    changed = {key for key, v in task.model.state_dict().items() if not torch.equal(v, before[key])}
    assert not any(key.startswith("vq.") for key in changed)
    assert not any(".feature_extractor." in key for key in changed)
    assert any(key.startswith("speech.layers.") for key in changed)
    assert any(key.startswith("speech.encoder.") for key in changed) != frozen


def test_stage_2_checkpoint_contains_stage_1_unchanged(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    given = stage1()
    train_speech(data, settings(), given, tmp_path / "speech")
    made = checkpoint.load(tmp_path / "speech").model.vq.state_dict()
    for key, value in given.model.vq.state_dict().items():
        assert torch.equal(made[key], value), key


def test_equal_seeds_give_equal_weights(data: PreparedDataSet, tmp_path: Path) -> None:
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


class Weight(nn.Module):
    """A single weight whose target is 3."""

    def __init__(self, scale: Callable[[int, int], float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.scale = scale

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert self.training
        scales = torch.tensor([self.scale(batch.step, clip) for clip in batch.clips])
        steps = torch.full((len(batch.clips),), float(batch.step))
        return {"loss": (self.weight - 3).square() * scales, "value": steps}


class ScriptedTask(Task):
    """A task with given validation scores and a given loss scale per step and clip."""

    def __init__(
        self, scores: list[float], scale: Callable[[int, int], float] = lambda step, clip: 1.0
    ) -> None:
        self.lengths = [5, 5, 5]
        self.module: Weight = Weight(scale)
        self.scores = scores
        self.seen: list[Sequence[int]] = []
        self.shown: list[float] = []

    def load(self, clips: Sequence[int], step: int) -> Batch:
        self.seen.append(clips)
        empty = torch.zeros(len(clips), 5, 1, 3)
        fives, zeros = (5,) * len(clips), (0,) * len(clips)
        return Batch(empty, empty[:, 0], torch.tensor(zeros), fives, tuple(clips), zeros, step)

    def validate(self, accelerator: Accelerator) -> dict[str, float]:
        assert not self.module.training and not torch.is_grad_enabled()
        self.shown.append(self.module.weight.item())
        return {"score": self.scores.pop(0)}

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        folder.write_text(json.dumps({**meta, "weight": self.module.weight.item()}))

    def clip_name(self, clip: int) -> str:
        return f"clip{clip}"


def trained(task: Task, out: Path, report: Any = None, **train: Any) -> TrainingProgress:
    made = TrainSettings(**{"sample_frames": 0, **train})
    return fit(task, made, run_folder(out), report=report)


def epoch_of(path: Path) -> int:
    return json.loads(path.read_text())["epoch"]


def test_best_and_last_checkpoints_are_kept(tmp_path: Path, drawn: list[Path]) -> None:
    seen: list[tuple[int, int, int]] = []

    def report(p: TrainingProgress) -> None:
        seen.append((p.epoch, p.step, p.n_steps))

    out = tmp_path / "a" / "out"
    done = trained(ScriptedTask([3.0, 1.0, 2.0]), out, report, epochs=3)
    assert (done.best, done.best_epoch, done.step) == (1.0, 2, 9)
    assert epoch_of(out) == 2 and epoch_of(RunFolder(out).last) == 3
    assert logged(out, "score") == [3.0, 1.0, 2.0]
    assert logged(out, "value") == [1.0, 4.0, 7.0] and logged(out, "step") == [3, 6, 9]
    assert seen[-1] == (3, 9, 9) and {n for *_, n in seen} == {9}
    assert drawn == [tmp_path / "a" / "out-run" / "curves.png"]


def test_every_epoch_uses_every_clip_once(tmp_path: Path) -> None:
    task = ScriptedTask([1.0] * 5)
    task.lengths = [5] * 5
    trained(task, tmp_path / "out", epochs=5, batch_size=2)
    epochs = [task.seen[k : k + 3] for k in range(0, 15, 3)]
    assert all(sorted(map(len, epoch)) == [1, 2, 2] for epoch in epochs)
    orders = [[clip for clips in epoch for clip in clips] for epoch in epochs]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_validation_runs_every_n_epochs_and_at_the_end(tmp_path: Path) -> None:
    task = ScriptedTask([3.0, 2.0, 1.0])
    trained(task, tmp_path / "out", epochs=5, validate_every=2)
    assert task.scores == [] and epoch_of(tmp_path / "out") == 5


@pytest.mark.parametrize(("bad", "batch_size"), [(math.nan, 3), (math.inf, 1)])
def test_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, bad: float, batch_size: int
) -> None:
    task = ScriptedTask([3.0, 2.0], lambda step, clip: bad if step == 2 and clip == 1 else 1.0)
    train = {"batch_size": batch_size, "accumulation": 3 // batch_size}
    with pytest.raises(CodeTalkerError, match=r"epoch 3, step 3: the loss of clip1 is not finite"):
        trained(task, tmp_path / "out", epochs=9, **train)
    assert epoch_of(tmp_path / "out") == 2
    assert all(torch.isfinite(p).all() for p in task.module.parameters())


def test_non_finite_motion_stops_and_keeps_an_older_checkpoint(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    train_vq(data, settings(), tmp_path / "vq")
    before = command.listing(tmp_path / "vq")
    poisoned = prepared(tmp_path / "poisoned", poison=2)
    with pytest.raises(CodeTalkerError, match=r"the loss of clip2 is not finite; .* are kept"):
        train_vq(poisoned, settings(crop_frames=None), tmp_path / "vq")
    assert command.listing(tmp_path / "vq") == before
    assert checkpoint.load(tmp_path / "vq").meta["stage"] == "vq"


def test_non_finite_score_stops_training(tmp_path: Path) -> None:
    with pytest.raises(CodeTalkerError, match="epoch 2: the validation score is nan"):
        trained(ScriptedTask([3.0, math.nan]), tmp_path / "out", epochs=3)
    assert epoch_of(tmp_path / "out") == 1


def test_gradient_is_clipped(tmp_path: Path) -> None:
    def change(limit: float) -> float:
        task = ScriptedTask([1.0], lambda step, clip: 1e6)
        trained(task, tmp_path / "out", epochs=1, gradient_clip=limit)
        assert task.module.weight.grad is not None
        assert logged(tmp_path / "out", "gradient_norm")[0] == pytest.approx(6e6, rel=1e-2)
        return float(task.module.weight.grad.norm())

    assert change(0.5) == pytest.approx(0.5, rel=1e-3)
    assert change(0.0) > 1e6


def test_averaged_weights_are_validated_and_saved(tmp_path: Path) -> None:
    plain, averaged = ScriptedTask([2.0, 1.0]), ScriptedTask([2.0, 1.0])
    trained(plain, tmp_path / "plain", epochs=2, learning_rate=0.1)
    trained(averaged, tmp_path / "averaged", epochs=2, learning_rate=0.1, ema_decay=0.5)
    assert plain.shown != averaged.shown  # but averaging does not change the trained weights
    assert plain.module.weight.item() == averaged.module.weight.item()
    kept = json.loads((tmp_path / "averaged").read_text())["weight"]
    assert kept == averaged.shown[-1] < plain.shown[-1]


def test_accumulated_batches_give_the_gradient_of_one_large_batch(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    def gradients(batch_size: int, accumulation: int) -> list[Tensor]:
        made = settings(batch_size=batch_size, accumulation=accumulation, crop_frames=None)
        task = vq_task(data, made)
        assert fit(task, made.train_vq, run_folder(tmp_path / "vq")).step == 1
        return [p.grad for p in task.module.parameters() if p.grad is not None]

    whole = gradients(3, 1)
    assert len(whole) > 20
    for parts in ((1, 3), (2, 2)):  # with (2, 2), the last of the three clips is a smaller batch
        for a, b in zip(gradients(*parts), whole, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_bf16_training_keeps_float32_weights(data: PreparedDataSet, tmp_path: Path) -> None:
    made = settings(precision="bf16", crop_frames=None, epochs=2)
    train_vq(data, made, tmp_path / "vq")
    train_speech(data, made, checkpoint.load(tmp_path / "vq"), tmp_path / "speech")
    model = checkpoint.load(tmp_path / "speech").model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert np.isfinite([logged(tmp_path / s, "loss") for s in ("vq", "speech")]).all()


def test_compiling_does_not_rename_weights(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, compiled = nn.Module.compile, Counter[Any]()

    def compile(self: nn.Module, **how: Any) -> None:
        compiled[task] += 1
        real(self, **how)

    monkeypatch.setattr(nn.Module, "compile", compile)
    made = settings(frozen=False)
    for task in (vq_task(data, made), speech_task(data, made)):
        names = task.module.state_dict().keys()
        task.compile()
        assert compiled[task] > 0 and task.module.state_dict().keys() == names


def test_compiled_training_matches_eager_and_free_running_is_not_compiled(
    data: PreparedDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the tracing of torch.compile, but not its code generation, which takes minutes.

    The shape checks are off, because the compiler cannot trace them.
    """
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    real, graphs = nn.Module.compile, Counter[bool]()

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
        graphs[compiled] += 1
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: real(self, backend=backend))
    found = {}
    with torch.compiler.config.patch(fail_on_recompile_limit_hit=True):
        for compiled in (False, True):
            made = settings(compile=compiled, own_history=0.5, crop_frames=None)
            out = tmp_path / f"{compiled}"
            train_speech(data, made, stage1(made), out)
            found[compiled] = checkpoint.load(out).model.state_dict()
    assert graphs[True] > 0 and not graphs[False]
    for key, value in found[False].items():
        torch.testing.assert_close(found[True][key], value, atol=1e-5, rtol=1e-4, msg=key)


def test_loader_processes_load_the_same_batches(data: PreparedDataSet) -> None:
    task = speech_task(data, settings(history_noise=0.3, own_history=0.5))
    requests = [(1, (0, 2)), (2, (1,))]
    loader = DataLoader(
        loop.RequestedBatches(task, requests),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="fork",
    )
    for got, (step, clips) in zip(loader, requests, strict=True):
        here = task.load(clips, step)
        assert (got.clips, got.starts, got.n_frames) == (here.clips, here.starts, here.n_frames)
        for name in ("vertices", "codes", "noise", "own_history"):
            assert torch.equal(getattr(got, name), getattr(here, name)), name
        assert all(torch.equal(a, b) for a, b in zip(got.speech, here.speech, strict=True))


def test_sample_is_rendered_at_the_end_and_a_failure_is_only_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def sample(path: Path, n_frames: int) -> Path:
        asked.append(n_frames)
        return path

    def fail(path: Path, n_frames: int) -> Path:
        raise RenderError("no picture")

    task: Any = ScriptedTask([2.0, 1.0])
    task.sample = sample
    done = trained(task, tmp_path / "out", epochs=2, sample_frames=9)
    assert asked == [9] and done.sample == str(tmp_path / "out-run" / "sample.mp4")
    task = ScriptedTask([1.0])
    task.sample = fail
    with caplog.at_level(logging.WARNING):
        assert trained(task, tmp_path / "out", epochs=1, sample_frames=9).sample == ""
    assert "no sample video: no picture" in caplog.text


# Data -------------------------------------------------------------------------------------------


def test_crops_are_cut_from_their_clips(data: PreparedDataSet) -> None:
    source = ClipSource(data, "train")
    rngs = [np.random.default_rng(k) for k in range(2)]
    batch = source.batch([2, 0], 25, rngs, 7)
    assert batch.vertices.shape == (2, 25, tiny.N_VERTICES, 3) and batch.step == 7
    assert batch.n_frames == (25, 24) and batch.clips == (2, 0)
    assert batch.lengths is not None and batch.lengths.tolist() == [25, 24]
    for k, (index, start) in enumerate(zip(batch.clips, batch.starts, strict=True)):
        whole, n = source.clip(index).vertices, batch.n_frames[k]
        np.testing.assert_array_equal(batch.vertices[k, :n], whole[start : start + n])
        assert (batch.vertices[k, n:] == 0).all()
        subject = source.clip(index).entry.subject
        assert batch.style_ids[k] == SUBJECTS.index(subject)
        np.testing.assert_array_equal(batch.template[k], data.mesh.templates[subject])
    rng = np.random.default_rng(0)
    starts = {source.batch([0], 20, [rng]).starts[0] for _ in range(100)}
    assert starts == set(range(LENGTHS[1] - 20 + 1))
    assert source.batch([0, 1, 2], None).n_frames == LENGTHS[1:]
    assert source.batch([0, 1], 9).lengths is None


def test_basis_is_orthonormal_and_reconstructs_motion_of_its_rank(data: PreparedDataSet) -> None:
    torch.manual_seed(0)
    source = ClipSource(data, "train")
    vectors, scale = motion_basis(source, 3, seed=0)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), atol=1e-5, rtol=0)
    assert (scale[:-1] >= scale[1:]).all() and scale[-1] > 0
    basis = MotionBasis(tiny.N_VERTICES, 3)
    basis.set(vectors, scale)
    offsets = torch.from_numpy(moving(40, seed=77)).float()[None]  # not a training motion
    features = basis.to_features(offsets)
    torch.testing.assert_close(basis.to_offsets(features), offsets, atol=1e-4, rtol=0)
    training = torch.cat(
        [(b.vertices - b.template[:, None])[0] for b in (source.batch([i], None) for i in range(3))]
    )
    spread = basis.to_features(training[None]).square().mean((0, 1)).sqrt()
    torch.testing.assert_close(spread, torch.ones(3), atol=0.01, rtol=0)


def test_basis_rank_above_the_number_of_coordinates_is_refused(data: PreparedDataSet) -> None:
    with pytest.raises(DataError, match=r"vq\.basis_rank: 37 is too large for 78 frames of 36"):
        motion_basis(ClipSource(data, "train"), 37, seed=0)


def test_stage_1_with_another_topology_is_refused(data: PreparedDataSet, tmp_path: Path) -> None:
    other = tiny.settings(data={"n_vertices": 13, "name": "other"})
    more = Checkpoint(CodeTalker(other, with_speech=False), other, {}, None, Path("vq13"))
    mesh = data.mesh
    turned = replace(mesh.topology, triangles=mesh.topology.triangles[::-1].copy(), name="turned")
    for given, message in (
        (
            replace(
                stage1(),
                mesh=replace(mesh, templates={k: v * 1000 for k, v in mesh.templates.items()}),
            ),
            r"\(templates 1000 times as large\)",
        ),
        (more, r"vq13: stage 1 was trained on the topology other .*\(n_vertices 13 instead of 12"),
        (
            replace(stage1(), mesh=replace(mesh, topology=turned)),
            r"the topology turned of tiny, .* has strip \(same number of vertices, but different",
        ),
    ):
        with pytest.raises(CheckpointError, match=message):
            train_speech(data, settings(), given, tmp_path / "speech")
    assert not (tmp_path / "speech").exists() and not RunFolder(tmp_path / "speech").folder.exists()


def test_data_set_must_match_the_settings(data: PreparedDataSet, tmp_path: Path) -> None:
    out = tmp_path / "vq"
    for changes, message in (
        ({"n_vertices": 13}, r"template of A is \(12, 3\), expected \(13, 3\)"),
        ({"fps": 30}, "25 fps, but the settings require 30 fps; use the preset"),
        ({"train_subjects": ["A", "B"]}, r"subjects are A, B, C, but the settings require A, B;"),
    ):
        with pytest.raises(DataError, match=message):
            train_vq(data, tiny.settings(data=changes), out)
    assert not out.exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_only_the_training_split_needs_clips(tmp_path: Path, split: str) -> None:
    """Without validation clips, the training loss selects the best checkpoint."""
    writer = PreparedWriter(tmp_path / "data", overwrite=False)
    writer.add(
        NewClip("one", "A", "train" if split == "val" else "val", moving(30, 0), voices.speech())
    )
    writer.finish(DataSetFacts("tiny", 25.0, SUBJECTS), voices.mesh(*SUBJECTS), {})
    data = PreparedDataSet(tmp_path / "data")
    if split == "train":
        with pytest.raises(DataError, match="the split 'train' has no clips"):
            train_vq(data, settings(), tmp_path / "vq")
    else:
        done = train_vq(data, settings(), tmp_path / "vq")
        assert done.best == done.values["loss"] and (tmp_path / "vq").is_dir()


def test_basis_rank_is_limited_to_the_data(tmp_path: Path) -> None:
    made = settings()
    wide = made.model_copy(update={"vq": made.vq.model_copy(update={"basis_rank": 500})})
    train_vq(prepared(tmp_path / "data"), wide, tmp_path / "vq")
    n_frames = 24 + 28 + 26
    limit = min(n_frames, 3 * tiny.N_VERTICES)
    assert checkpoint.load(tmp_path / "vq").settings.vq.basis_rank == limit


# The run folder ----------------------------------------------------------------------------------


def test_second_run_in_a_locked_folder_is_refused(tmp_path: Path) -> None:
    accelerator = make_accelerator("float32")
    folder = RunFolder(tmp_path / "vq")

    def train_there() -> None:
        with RunFolder(tmp_path / "vq").lock(accelerator):
            pytest.fail("the folder was locked twice")

    with folder.lock(accelerator), ThreadPoolExecutor(1) as pool:
        with pytest.raises(OutputError, match="another run is writing this"):
            pool.submit(train_there).result()
        with RunFolder(tmp_path / "other").lock(accelerator):
            pass
    with folder.lock(accelerator):
        pass
    assert list(tmp_path.iterdir()) == []


def test_finished_run_resumes_only_with_its_checkpoint_and_state(
    data: PreparedDataSet, tmp_path: Path
) -> None:
    made, out = settings(), tmp_path / "vq"
    train_vq(data, made, out)
    (tmp_path / "vq-run" / "curves.png").touch()  # marks the run as finished
    before = command.listing(tmp_path)
    assert train_vq(data, made, out, resume=True).step == 2
    assert command.listing(tmp_path) == before
    shutil.move(out, tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="vq: the best checkpoint is missing"):
        train_vq(data, made, out, resume=True)
    shutil.move(tmp_path / "elsewhere", out)
    shutil.rmtree(tmp_path / "vq-run" / "state")
    before = command.listing(tmp_path)
    with pytest.raises(CheckpointError, match="the state was deleted, so this finished run"):
        train_vq(data, made, out, resume=True)
    assert command.listing(tmp_path) == before
    more = settings(epochs=2)
    train_vq(data, more, tmp_path / "more")
    with pytest.raises(CheckpointError, match="done 4 steps, but with epochs = 1 it has only 2"):
        train_vq(data, made, tmp_path / "more", resume=True)


@pytest.mark.parametrize(("basis_rank", "clip"), [(0, 0), (3, 2), (3, 0)])
def test_non_finite_clip_is_named_by_the_basis_and_by_validation(
    tmp_path: Path, basis_rank: int, clip: int
) -> None:
    """Clip 0 is the validation clip."""
    data = prepared(tmp_path / "data", poison=clip)
    made = settings(sections={"vq": {"basis_rank": basis_rank}})
    with pytest.raises(DataError, match=f"clip{clip}: the motion contains values that are"):
        train_vq(data, made, tmp_path / "vq")
