"""Test the parts of training: the cache, codebook usage, validation, optimizers and trackers."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_data
import torch
import voices
from torch import Tensor, nn

from codetalker_cli import resources
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.devices import make_accelerator
from codetalker_cli.errors import InputError, MissingDependencyError, SettingsError
from codetalker_cli.files import atomic_path, remove_leftovers
from codetalker_cli.models.quantizer import Quantizer
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.models.vq_autoencoder import MotionVQ
from codetalker_cli.settings import Settings, TrainSettings, VQTrainSettings
from codetalker_cli.train import validation
from codetalker_cli.train.batches import Batch, ClipSource
from codetalker_cli.train.precomputed import ArrayCache, Precomputed, short_hash
from codetalker_cli.train.progress import ProgressNote, TrainingProgress, describe
from codetalker_cli.train.steps import (
    applied,
    average_weights,
    make_optimizer,
    make_schedule,
    upgrade_average,
)
from codetalker_cli.train.trackers import Trackers
from codetalker_cli.train.validation import ClipResult, Validation, diagnose
from codetalker_cli.train.vq import CodebookUsage
from codetalker_cli.workspace import newest_data_set


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return tiny_data.prepared(tmp_path / "data")


# The cache --------------------------------------------------------------------------------------


def test_cached_array_is_computed_again_only_if_incomplete(tmp_path: Path) -> None:
    cache = ArrayCache("speech", ["a key"], tmp_path)
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(1000.0)

    for _ in range(3):
        cache.ensure("clip", make)
    assert len(made) == 1
    path = cache.path("clip")
    whole = path.read_bytes()
    for kept in (0, 5, 60, len(whole) - 1):
        path.write_bytes(whole[:kept])
        cache.ensure("clip", make)
        assert path.read_bytes() == whole
    assert len(made) == 5
    np.testing.assert_array_equal(cache.load("clip"), np.arange(1000.0))
    assert [p.name for p in cache.folder.iterdir()] == ["clip.npy"]


def test_failed_computation_leaves_no_cache_file(tmp_path: Path) -> None:
    def fail() -> np.ndarray:
        raise RuntimeError("failed")

    cache = ArrayCache("speech", ["a key"], tmp_path)
    with pytest.raises(RuntimeError):
        cache.ensure("clip", fail)
    assert not cache.folder.exists() or not list(cache.folder.iterdir())


def test_cache_folder_depends_on_kind_and_key(tmp_path: Path) -> None:
    keys: list[Any] = [["a", 1], ["a", 2], [["a"], 1], {"a": 1}]
    folders = {ArrayCache(kind, key, tmp_path).folder for kind in "xy" for key in keys}
    assert len(folders) == 8
    assert short_hash({"a": 1, "b": 2}) == short_hash({"b": 2, "a": 1})


# Precomputed speech features and codes ----------------------------------------------------------


def speech_settings(
    family: str = "wav2vec2", fps: float = 25.0, per_frame: int = 1, **more: Any
) -> Settings:
    encoder = {"family": family, "config": tiny.ENCODER_CONFIGS[family]}
    speech = {"encoder": encoder, "features_per_frame": per_frame}
    sections = {"data": {"fps": fps}, "speech": speech}
    return tiny_data.settings(sections=sections, **more)


def precompute(data: PreparedDataSet, made: Settings, seed: int = 1) -> Precomputed:
    model = tiny_data.model_of(made, seed=seed)
    source, val = ClipSource(data, "train"), ClipSource(data, "val")
    found = Precomputed(data, model)
    found.prepare(source, val, make_accelerator(made.train_speech.precision))
    return found


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    ("family", "fps", "per_frame"),
    [("wav2vec2", 25.0, 1), ("wav2vec2", 25.0, 2), ("wav2vec2", 30.0, 1), ("whisper", 25.0, 2)],
)
def test_cached_crop_equals_the_crop_of_the_encoded_clip(
    tmp_path: Path, family: str, fps: float, per_frame: int, frozen: bool
) -> None:
    data = tiny_data.prepared(tmp_path / "data", fps=fps)
    made = speech_settings(family, fps, per_frame, frozen=frozen, crop_frames=10, n_augmentations=1)
    task = tiny_data.speech_task(data, made)
    encoder, source = task.speech.encoder, task.source
    rate = per_frame if family == "wav2vec2" or frozen else round(100 / fps)
    rngs = [np.random.default_rng(k) for k in range(3)]
    batch = source.batch([2, 0, 1], 10, rngs)
    assert max(batch.starts) > 0
    clean, noisy = (task.precomputed.speech(source, batch, [v] * 3) for v in (0, 1))
    codes = task.precomputed.codes(source, batch)
    for k, (index, start) in enumerate(zip(batch.clips, batch.starts, strict=True)):
        clip = source.clip(index)
        audio = encoder.prepare(torch.from_numpy(clip.samples())[None])
        whole = encoder.encode_frozen(audio, clip.entry.n_frames)[0]
        assert torch.equal(clean[k], whole[start * rate : (start + 10) * rate])
        assert abs(len(clean[k]) - 10 * rate) <= per_frame
        assert noisy[k].shape == clean[k].shape and not torch.equal(noisy[k], clean[k])
        motion = torch.from_numpy(np.array(clip.vertices))[None]
        expected = task.model.vq.encode(motion, batch.template[k : k + 1])[0]
        assert torch.equal(codes[k], expected[start : start + 10])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, int]]:
    """Return a function that counts the encodings of speech and motion since its last call."""
    calls = {"encode_frozen": 0, "encode": 0}

    def count(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def counting(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, name, counting)

    count(AudioEncoder, "encode_frozen")
    count(MotionVQ, "encode")

    def since() -> tuple[int, int]:
        seen = calls["encode_frozen"], calls["encode"]
        calls.update(encode_frozen=0, encode=0)
        return seen

    return since


def test_cache_recomputes_exactly_what_changed(
    tmp_path: Path, counted: Callable[[], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are one validation clip and three training clips, each with an augmented version."""
    monkeypatch.setenv(resources.CACHE_VARIABLE, str(tmp_path / "cache"))
    data = tiny_data.prepared(tmp_path / "data")
    made = speech_settings(n_augmentations=1)
    whole = (4 + 3, 3)
    precompute(data, made)
    assert counted() == whole
    precompute(data, made)
    assert counted() == (0, 0)
    # Settings that do not affect the cache, and settings that do.
    precompute(data, speech_settings(n_augmentations=1, learning_rate=1.0, crop_frames=5))
    assert counted() == (0, 0)
    precompute(data, speech_settings(n_augmentations=2))
    assert counted() == (3, 0)
    precompute(data, speech_settings(n_augmentations=1, seed=1))
    assert counted() == (3, 0)
    # Two features per frame need speech for each frame, so the last frame is not used.
    precompute(data, speech_settings(n_augmentations=1, per_frame=2))
    assert counted() == (7, 3)
    # If the encoder is trained, only the output of its convolutions is cached.
    precompute(data, speech_settings(n_augmentations=1, frozen=False))
    assert counted() == (7, 0)
    # Different weights of both stages.
    precompute(data, made, seed=2)
    assert counted() == whole
    # The motion of one clip changed. Clean speech stays valid, but augmented speech depends on the
    # whole data set.
    lengths = (*tiny_data.LENGTHS[:3], tiny_data.LENGTHS[3] - 1)
    changed = tiny_data.prepared(tmp_path / "changed", lengths=lengths)
    precompute(changed, made)
    assert counted() == (1 + 3, 1)


@pytest.mark.parametrize("frozen", [True, False])
def test_stage_2_step_does_not_encode_cached_values(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    task = tiny_data.speech_task(data, tiny_data.settings(frozen=frozen, own_history=0.5))

    def fail(*given: Any, **named: Any) -> None:
        pytest.fail("a cached value was computed again")

    monkeypatch.setattr(type(task.model.vq.encoder), "forward", fail)
    encoder = task.speech.encoder.model
    monkeypatch.setattr(type(encoder.feature_extractor), "forward", fail)
    if frozen:
        monkeypatch.setattr(type(encoder.encoder), "forward", fail)
    losses = task.module(task.load([0, 1], 1))
    losses["loss"].sum().backward()
    assert torch.isfinite(losses["loss"]).all()


def test_frames_after_the_end_of_the_speech_are_ignored(tmp_path: Path) -> None:
    """This can only happen with several features per frame."""
    made = speech_settings(per_frame=2, crop_frames=None)
    data = tiny_data.prepared(tmp_path / "short", seconds_short=0.2)
    task = tiny_data.speech_task(data, made)
    used = [n - limit for n, limit in zip(tiny_data.LENGTHS[1:], task.lengths, strict=True)]
    assert all(5 <= n <= 6 for n in used)
    batch = task.load([0, 1, 2], 1)
    assert batch.n_frames == tuple(task.lengths)
    assert [len(x) for x in batch.speech] == [2 * n for n in batch.n_frames]
    silent = tiny_data.prepared(tmp_path / "none", lengths=(30, 20), seconds_short=0.79)
    assert tiny_data.speech_task(silent, made).lengths == [2]  # 10 ms, padded with silence


def test_truncated_cache_file_is_computed_again(
    tmp_path: Path, counted: Callable[[], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resources.CACHE_VARIABLE, str(tmp_path / "cache"))
    data = tiny_data.prepared(tmp_path / "data")
    precompute(data, speech_settings())
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    whole = {path: path.read_bytes() for path in files}
    assert len(files) > 3
    counted()
    for path in files[::3]:
        path.write_bytes(whole[path][:-40])
    precompute(data, speech_settings())
    assert sum(counted()) == len(files[::3])
    assert {path: path.read_bytes() for path in files} == whole


# Diagnostics ------------------------------------------------------------------------------------


def test_diagnostics_describe_each_problem() -> None:
    good = {"val_motion_energy": 0.8, "val_lve": 1.0, "val_lve_mean": 3.0, "val_lve_forced": 0.5}
    assert diagnose(good) == {} and diagnose({"loss": 1.0}) == {}
    assert diagnose(good | {"val_motion_energy": 3.9}) == {}
    assert diagnose(good | {"codes_used": 200.0, "dead_codes": 56.0}) == {}
    for values, kind, words in (
        ({"val_motion_energy": 0.1}, "still", "10% of the true motion's energy"),
        ({"val_motion_energy": 4.1}, "restless", "4.1 times the true motion's energy"),
        ({"val_lve_mean": 1.0}, "no-speech-effect", "not better than the mean motion"),
        ({"val_lve_forced": 0.2}, "gap", "5.0 times the teacher-forced one"),
        ({"codes_used": 6.0, "dead_codes": 250.0}, "dead", "250 of 256 codebook entries"),
    ):
        found = diagnose(good | values)
        assert list(found) == [kind] and words in found[kind]
    stage1 = {"val_motion_energy": 0.1, "val_lve": 1.0, "val_lve_mean": 3.0}
    assert "train_vq.region_weights" in diagnose(stage1)["still"]
    assert "train_speech.region_weights" in diagnose(good | stage1)["still"]
    no_effect = {"val_lve": 3.0, "val_lve_mean": 3.0}
    assert "from the motion yet" in diagnose(no_effect)["no-speech-effect"]


# The codebook -----------------------------------------------------------------------------------


def seen(*codes: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Return batches of codes with latents 0, 1, 2, …"""
    numbers = torch.arange(100.0)[:, None].expand(-1, 2)
    return [(numbers[: len(batch)], torch.tensor(batch)) for batch in codes]


def test_codebook_usage_is_counted_per_epoch() -> None:
    use = CodebookUsage(Quantizer(4, 2, 0.25), VQTrainSettings())
    accelerator = make_accelerator("float32")
    first = use.update(seen([0, 0], [1, 1]), accelerator, 1)
    assert first["perplexity"] == pytest.approx(2.0) and first["codes_used"] == 2
    second = use.update(seen([2, 2, 2]), accelerator, 2)
    assert second["perplexity"] == pytest.approx(1.0) and second["codes_used"] == 3
    assert use.end_epoch() == {"codes_used": 3.0, "dead_codes": 1.0}
    assert use.update(seen([3, 1]), accelerator, 3)["codes_used"] == 2  # a new epoch


def test_entries_are_revived_after_consecutive_unused_steps() -> None:
    quantizer = Quantizer(4, 2, 0.25)
    quantizer.codebook.data.fill_(-1.0)
    use = CodebookUsage(quantizer, VQTrainSettings(revive_after_steps=2))
    accelerator = make_accelerator("float32")
    moved = []
    for step, codes in enumerate([[0, 1], [0, 2], [0, 1], [0, 1, 3], [0, 1]], 1):
        use.update(seen(codes), accelerator, step)
        moved.append((quantizer.codebook != -1).any(1).nonzero().flatten().tolist())
    assert moved[:3] == [[], [3], [3]] and moved[3] == [2, 3]
    entries = quantizer.codebook.detach()
    assert (entries[2:] == entries[2:].round()).all()  # latents are whole numbers
    assert use.end_epoch()["codes_used"] == 4


# Validation -------------------------------------------------------------------------------------


def process(index: int = 0, n: int = 1) -> Any:
    """Return a stand-in for the accelerator of one process."""
    return SimpleNamespace(process_index=index, num_processes=n, device=torch.device("cpu"))


def scaled(batch: Batch) -> list[ClipResult]:
    """Predict 0.9 times the true motion when free-running and 0.5 times when teacher-forced."""
    n = batch.n_frames
    made = [(batch.template[k] + 0.9 * batch.offsets[k, : n[k]]).numpy() for k in range(len(n))]
    forced = [(batch.template[k] + 0.5 * batch.offsets[k, : n[k]]).numpy() for k in range(len(n))]
    codes = [np.array([[clip, 2], [2, 2]]) for clip in batch.clips]
    return [ClipResult(made[k], codes[k], forced[k], float(batch.clips[k])) for k in range(len(n))]


def test_validation_values_match_a_direct_computation(tmp_path: Path) -> None:
    lengths = (30, 11, 24, 28)
    data = tiny_data.prepared(tmp_path / "data", lengths=lengths, n_val=2)
    found = Validation(data, ClipSource(data, "train")).measure(scaled, process())
    lips = data.mesh.topology.regions["lips"]
    assert len(lips) < data.mesh.topology.n_vertices

    def offsets(split: str) -> list[np.ndarray]:
        clips = data.clips(split)
        return [c.vertices - data.mesh.templates[c.entry.subject] for c in clips]

    mean = np.concatenate(offsets("train")).mean(0)
    true = offsets("val")

    def lve(predict: Callable[[np.ndarray], Any]) -> float:
        errors = [
            max(float(((frame - predict(frame))[v] ** 2).sum()) for v in lips)
            for clip in true
            for frame in clip
        ]
        return sum(errors) / len(errors)

    expected = {
        "val_lve": lve(lambda frame: 0.9 * frame),
        "val_lve_forced": lve(lambda frame: 0.5 * frame),
        "val_lve_template": lve(lambda frame: 0.0 * frame),
        "val_lve_mean": lve(lambda frame: mean),
        "val_motion_energy": 0.81,
        "val_loss": 0.5,
        "val_perplexity": math.exp(-(2 * math.log(1 / 8) / 8 + 6 / 8 * math.log(6 / 8))),
        "val_mve": np.mean([np.linalg.norm(0.1 * clip, axis=-1).mean() for clip in true]),
    }
    worst = [np.linalg.norm(0.1 * frame[lips], axis=-1).max() for clip in true for frame in clip]
    expected["val_lve_mm"] = 1000 * np.mean(worst)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("n_clips", [1, 5])
@pytest.mark.parametrize("n_processes", [2, 3])
def test_validation_does_not_depend_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_clips: int, n_processes: int
) -> None:
    lengths = (30, 11, 24, 28, 17, 20)[:n_clips]
    data = tiny_data.prepared(tmp_path / "data", lengths=(*lengths, 20), n_val=n_clips)
    checked = Validation(data, ClipSource(data, "train"), n_frames=22)
    together = checked.measure(scaled, process())
    rows: list[Any] = []
    monkeypatch.setattr(validation, "gather_object", lambda mine: rows.extend(mine) or rows)
    for index in range(n_processes):  # the last process has gathered all clips
        shared = checked.measure(scaled, process(index, n_processes))
    assert len(rows) == n_clips and shared == together


def test_validation_clips_are_spread_over_the_split(tmp_path: Path) -> None:
    data = tiny_data.prepared(tmp_path / "data", lengths=(9, 9, 9, 9, 9, 9), n_val=5)
    asked: list[int] = []
    checked = Validation(data, ClipSource(data, "train"), n_clips=3, n_frames=4)

    def run(batch: Batch) -> list[ClipResult]:
        asked.extend(batch.clips)
        assert batch.n_frames == (4,) * len(batch.clips)
        return scaled(batch)

    checked.measure(run, process())
    assert sorted(asked) == [0, 2, 4]


def test_shorter_prediction_is_measured_on_its_frames(data: PreparedDataSet) -> None:
    def short(batch: Batch) -> list[ClipResult]:
        return [ClipResult(made.vertices[:-3], made.codes) for made in scaled(batch)]

    checked = Validation(data, ClipSource(data, "train"))
    found = checked.measure(short, process())
    assert found["val_lve"] < found["val_lve_template"]
    assert "val_loss" not in found and "val_lve_forced" not in found


def test_a_truth_without_motion_has_no_motion_energy(data: PreparedDataSet) -> None:
    for clip in data.clips("val"):
        path = data.folder / "clips" / f"{clip.entry.name}.npy"
        np.save(path, np.repeat(np.load(path)[:1], clip.entry.n_frames, 0))
    checked = Validation(data, ClipSource(data, "train"))
    found = checked.measure(scaled, process())
    assert "val_motion_energy" not in found and "val_lve" in found
    assert not {"still", "restless"} & diagnose(found).keys()


def test_without_validation_clips_there_are_no_values_and_no_sample(tmp_path: Path) -> None:
    data = tiny_data.prepared(tmp_path / "data", n_val=0)
    checked = Validation(data, ClipSource(data, "train"))
    assert checked.measure(scaled, process()) == {}
    task = tiny_data.speech_task(data, tiny_data.settings())
    accelerator = make_accelerator("float32")
    assert task.validate(accelerator) == {} and task.sample(tmp_path / "a.mp4", 9) is None


def test_score_of_both_stages_is_the_lip_vertex_error(data: PreparedDataSet) -> None:
    made = tiny_data.settings()
    accelerator = make_accelerator(made.train_vq.precision)
    vq, speech = tiny_data.vq_task(data, made), tiny_data.speech_task(data, made)
    with torch.no_grad():
        first, second = vq.validate(accelerator), speech.validate(accelerator)
    for values in (first, second):
        assert values["score"] == values["val_lve"]
        assert np.isfinite(list(values.values())).all()
    assert 1 <= first["val_perplexity"] <= made.vq.codebook_size
    assert second["val_lve_forced"] != second["val_lve"] and second["val_loss"] > 0


# Optimizers and devices -------------------------------------------------------------------------


def rates(steps_per_epoch: int, **train: Any) -> list[float]:
    """Return the learning rate of each step."""
    made = TrainSettings(learning_rate=2.0, **train)
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], made)
    schedule = make_schedule(optimizer, made, steps_per_epoch)
    found = []
    for _ in range(steps_per_epoch * made.epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_learning_rate_schedules() -> None:
    assert rates(2, epochs=2) == [2.0] * 4
    step = {"schedule": "step", "step_epochs": 2, "step_factor": 0.5}
    assert rates(2, epochs=5, **step) == [2.0] * 4 + [1.0] * 4 + [0.5] * 2
    cosine = rates(7, epochs=2, schedule="cosine", warmup_steps=4)
    assert cosine[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    expected = [1 + math.cos(math.pi * k / 10) for k in range(10)]
    assert cosine[4:] == pytest.approx(expected)
    assert rates(1, epochs=3, schedule="cosine")[0] == 2.0


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW")])
def test_optimizer_settings(name: Any, kind: str) -> None:
    made = TrainSettings(optimizer=name, weight_decay=0.1, learning_rate=0.5)
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], made)
    assert type(optimizer).__name__ == kind and optimizer.defaults["lr"] == 0.5
    assert optimizer.defaults["weight_decay"] == (0.1 if name == "adamw" else 0.0)


def test_average_warms_up_and_is_applied_only_inside_the_block() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    average = average_weights([weight], 0.4)
    expected = weight.detach().clone()
    for k in range(9):
        weight.data += torch.tensor([k, 0.5], dtype=torch.float64)
        average.update_parameters(nn.ParameterList([weight]))
        decay = min(0.4, (2 + k) / (11 + k))  # grows, so that the initial weights fade quickly
        expected = decay * expected + (1 - decay) * weight.detach()
    trained = weight.detach().clone()
    with applied(average, [weight]):
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight, trained)
    with pytest.raises(ValueError), applied(average, [weight]):
        raise ValueError  # the trained weights must be restored in this case, too
    assert torch.equal(weight, trained)
    resumed = average_weights([weight], 0.4)
    resumed.load_state_dict(average.state_dict())
    for one in (average, resumed):
        one.update_parameters(nn.ParameterList([weight]))
    assert torch.equal(next(resumed.parameters()), next(average.parameters()))
    with applied(None, [weight]):
        assert torch.equal(weight, trained)


def test_average_saved_by_an_earlier_version_is_continued() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    average = average_weights([weight], 0.9)
    saved = {"values": [torch.tensor([5.0, 6.0])], "n_updates": 7}
    average.load_state_dict(upgrade_average(saved))
    average.update_parameters(nn.ParameterList([weight]))
    decay = 9 / 18  # the decay of the eighth update
    expected = decay * torch.tensor([5.0, 6.0]) + (1 - decay) * weight.detach()
    torch.testing.assert_close(next(average.parameters()).detach(), expected)
    assert upgrade_average(average.state_dict()).keys() == average.state_dict().keys()


def test_device_applies_to_one_accelerator_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate reads the device from the environment, even if a CPU is requested."""
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE", raising=False)
    assert make_accelerator("float32", "meta").device.type == "meta"
    assert "ACCELERATE_TORCH_DEVICE" not in os.environ
    assert make_accelerator("float32", "cpu").device.type == "cpu"


def test_unsupported_precision_is_refused() -> None:
    with pytest.raises(SettingsError, match="precision fp16: not supported on cpu"):
        make_accelerator("fp16")
    assert make_accelerator("float32").mixed_precision == "no"


# Files ------------------------------------------------------------------------------------------


def folder(path: Path, content: str) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text(content)
    return path


@pytest.mark.parametrize("name", ["vq", "v1.5"])
def test_recovery_after_a_kill_leaves_one_complete_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The process is killed at each rename in turn."""

    class Killed(BaseException):
        pass

    path = folder(tmp_path / name, "old")
    others = [folder(tmp_path / other, "") for other in ("vq-last", ".vq-last.01234567", ".vq.png")]
    for n_renames, found in ((0, "old"), (1, "old"), (2, "new")):
        with monkeypatch.context() as patch:
            left = [n_renames]

            def rename(a: Path, b: Path, left: list[int] = left) -> None:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                a.rename(b)

            patch.setattr(os, "replace", rename)
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            try:
                with atomic_path(path) as temporary:
                    folder(temporary, "new")
            except Killed:
                pass
        assert len(list(tmp_path.iterdir())) > len(others) + (n_renames != 1)
        remove_leftovers(tmp_path)
        assert (path / "file").read_text() == found
        assert sorted(tmp_path.iterdir()) == sorted([path, *others])
    remove_leftovers(tmp_path / "nowhere")


def test_newest_data_set_is_the_last_one_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no prepared data set; create one"):
        newest_data_set(tmp_path)
    for k, name in enumerate(("b", "deep/a", "c")):
        path = tmp_path / name
        writer = PreparedWriter(path, overwrite=False)
        writer.add(NewClip("one", "A", "train", tiny_data.moving(9, 0), voices.speech()))
        writer.finish(
            DataSetFacts("tiny", 25.0, tiny_data.SUBJECTS), voices.mesh(*tiny_data.SUBJECTS), {}
        )
        os.utime(path / "manifest.json", (1e9, 1e9 + (5, 9, 7)[k]))
    folder(tmp_path / "unfinished", "")
    assert newest_data_set(tmp_path) == tmp_path / "deep" / "a"


def test_values_reach_the_trackers_in_groups(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accelerator = make_accelerator("float32")
    for first in (0, 25):  # the second run continues the first after step 25
        trackers = Trackers(TrainSettings(), tmp_path, first, accelerator)
        for step in range(first + 1, 41):
            trackers.add(step, {"loss": step + first / 100})
        trackers.add(40, {"score": 0.5}, always=True)
        trackers.close()
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = {event.step: event.value for event in read.Scalars("step/loss")}
    assert losses == pytest.approx({10: 10, 20: 20, 30: 30.25, 40: 40.25})
    assert [event.value for event in read.Scalars("epoch/score")] == [0.5]


def test_missing_tracker_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    accelerator = make_accelerator("float32")
    with pytest.raises(MissingDependencyError, match="trackers: tensorboard is not installed; run"):
        Trackers(TrainSettings(), tmp_path, 0, accelerator)


# What is printed ----------------------------------------------------------------------------------


def test_values_of_an_epoch_are_printed_with_units() -> None:
    values = {"loss": 0.10714, "codes_used": 24.0, "val_lve": 1.2e-5, "val_lve_mm": 3.3012}
    values |= {"val_lve_forced": 6e-6, "val_motion_energy": 0.534, "score": 1.2e-5}
    assert describe(values) == (
        "loss 0.1071, 24 codes used, lip error 3.3 mm, 2 times the teacher-forced error, "
        "53% of the true motion energy"
    )
    assert describe({"val_lve": 0.2}) == "lip vertex error 0.2 (squared length unit)"
    assert describe({"loss": math.nan}) == ""


def test_progress_note_has_units() -> None:
    note, progress = ProgressNote(), TrainingProgress(epoch=3, step=1, values={"loss": 0.5})
    assert note(progress) == "epoch 3, loss 0.5"
    progress.values |= {"codes_used": 24.0, "val_lve": 1e-5, "val_lve_mm": 3.33}
    progress.step = 2
    text = note(progress)
    assert text.startswith("epoch 3, loss 0.5, 24 codes used, lip error 3.33 mm, ")
    assert text.endswith(" steps/s")


def test_summary_of_a_run_has_units() -> None:
    out = Path("runs/x/vq")
    done = TrainingProgress(step=9, best=1.5e-5, best_epoch=2, values={"val_lve": 2e-5})
    assert "9 steps, lowest lip vertex error 1.5e-05 (squared length unit) in" in done.summary(out)
    done.best_mm = 3.333
    assert "9 steps, lowest lip error 3.33 mm in epoch 2" in done.summary(out)
    assert "lowest loss 1.5e-05 in" in TrainingProgress(best=1.5e-5).summary(out)
