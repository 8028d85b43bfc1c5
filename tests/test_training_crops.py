"""Test the lengths of crops in training, and what their speech features depend on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_data
import torch
from tiny_data import prepared, settings, speech_task

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import SettingsError
from codetalker_cli.models.speech_encoders.whisper import limit_range, log_mel
from codetalker_cli.presets import resolve
from codetalker_cli.settings import SpeechTrainSettings
from codetalker_cli.train.batches import draw_crops

WHISPER = {"encoder": {"family": "whisper", "config": tiny.ENCODER_CONFIGS["whisper"]}}


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataSet:
    return prepared(tmp_path / "data", lengths=(30, 40, 40, 40, 12))


def test_lengths_are_uniform_and_steps_have_similar_amounts_of_work() -> None:
    s = SpeechTrainSettings(crop_frames=120, min_crop_frames=36)
    crops = [draw_crops(s, step) for step in range(3000)]
    lengths = np.array([length for length, _ in crops])
    assert (lengths.min(), lengths.max()) == (36, 120)
    assert np.mean(lengths < 75) == pytest.approx(39 / 85, abs=0.03)
    work = np.array([length * n for length, n in crops])
    assert work.min() >= 80 and work.max() <= 160
    assert crops == [draw_crops(s, step) for step in range(3000)]
    assert draw_crops(s.model_copy(update={"seed": 1}), 0) != crops[0]
    assert draw_crops(SpeechTrainSettings(crop_frames=120), 0) == (120, 1)
    assert draw_crops(SpeechTrainSettings(), 0) == (None, 1)


def test_all_clips_of_a_step_have_the_same_length_and_number_of_crops(
    data: PreparedDataSet,
) -> None:
    made = settings(crop_frames=32, min_crop_frames=8, n_augmentations=1, own_history=0.5)
    task = speech_task(data, made)
    seen, n_different, n_crops = set(), 0, 0
    for step in range(12):
        length, n = draw_crops(made.train_speech, step)
        batch = task.load([0, 2, 3], step)
        seen.add(n)
        assert batch.crops_per_clip == n
        assert batch.clips == (0,) * n + (2,) * n + (3,) * n
        assert batch.n_frames == (length,) * 2 * n + (min(length, 12),) * n
        alone = task.load([2], step)
        assert alone.starts == batch.starts[n : 2 * n]
        for k in range(n):
            assert torch.equal(alone.speech[k], batch.speech[n + k])
            cut = slice(alone.starts[k], alone.starts[k] + length)
            motion = task.source.clip(2).vertices[cut]
            assert np.array_equal(alone.vertices[k].numpy(), motion)
        n_different += len(set(alone.starts))
        n_crops += n
    assert len(seen) > 2 and n_different > 0.8 * n_crops


def test_loss_of_a_clip_is_the_mean_of_its_crops(data: PreparedDataSet) -> None:
    made = settings(crop_frames=32, min_crop_frames=8)
    task = speech_task(data, made)
    step = next(k for k in range(99) if draw_crops(made.train_speech, k).per_clip == 3)
    batch = task.load([0, 1], step)
    task.module.eval()
    with torch.no_grad():
        together = task.module(batch)
        single = task.module(replace(batch, crops_per_clip=1))
    for key, losses in together.items():
        assert losses.shape == (2,) and single[key].shape == (6,)
        torch.testing.assert_close(losses, torch.stack([x.mean() for x in single[key].split(3)]))


def test_shortest_crop_must_fit() -> None:
    with pytest.raises(SettingsError, match="min_crop_frames 99 must be at most crop_frames 9"):
        assignments = ["train_speech.crop_frames=9", "train_speech.min_crop_frames=99"]
        resolve("biwi", assignments=assignments)
    with pytest.raises(SettingsError, match=r"it needs train_speech\.crop_frames"):
        resolve("biwi", assignments=["train_speech.min_crop_frames=9"])


def test_spectrogram_of_a_crop_does_not_depend_on_louder_sound_outside(tmp_path: Path) -> None:
    """Whisper limits the range by the loudest sound that it receives: here, that of the crop."""
    data = prepared(tmp_path / "data")
    made = tiny_data.settings(frozen=False, crop_frames=10, sections={"speech": WHISPER})
    task = speech_task(data, made)
    encoder, source = task.speech.encoder, task.source
    batch = source.batch([0], 10)
    crop = task.precomputed.speech(source, batch, [0])
    samples = torch.from_numpy(source.clip(0).samples())[None]
    mel, n_samples = limit_range(crop[0][None]), round(10 / 25 * SAMPLE_RATE)
    # The last window of the cached spectrogram contains samples after the crop.
    expected = log_mel(samples[:, :n_samples], 80)[:, :-1]
    assert mel.shape[1] == 40 and float(mel.min()) < float(mel.max()) - 1.5
    torch.testing.assert_close(mel[:, :-1], expected, rtol=0, atol=1e-4)
    louder = torch.cat([samples[:, : n_samples + 200], 1e4 * samples[:, n_samples + 200 :]], dim=1)
    cut = encoder.encode_frozen(louder, source.lengths[0])[:, :40]
    torch.testing.assert_close(limit_range(cut), mel)
    assert (log_mel(louder, 80)[:, :40] - mel).abs().max() > 0.5
