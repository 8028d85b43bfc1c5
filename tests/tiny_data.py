"""A prepared data set of a few short clips, and tiny settings, models and tasks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
import voices

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.devices import make_accelerator
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.vq_autoencoder import MotionBasis
from codetalker_cli.settings import Settings, SpeechTrainSettings, VQTrainSettings
from codetalker_cli.train.batches import ClipSource
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.speech import SpeechTask
from codetalker_cli.train.vq import VQTask

SUBJECTS = ("A", "B", "C")
LENGTHS = (30, 24, 28, 26)
"""The numbers of frames of the clips: one for validation, three for training."""


def moving(n_frames: int, seed: int, rank: int = 3) -> np.ndarray:
    """Return (n_frames, V, 3) offsets that are a sum of a few oscillating shapes."""
    shapes = np.random.default_rng(0).standard_normal((rank, tiny.N_VERTICES, 3))
    phase = np.random.default_rng([1, seed]).uniform(0, 6, rank)
    time = np.arange(n_frames)[:, None] / 25
    swings = np.sin(2 * np.pi * np.arange(1, rank + 1) * time + phase)
    return np.einsum("tr,rvx->tvx", swings, shapes)


def prepared(
    folder: Path,
    *,
    poison: int | None = None,
    lengths: Sequence[int] = LENGTHS,
    n_val: int = 1,
    fps: float = 25.0,
    seconds_short: float = 0.0,
) -> PreparedDataSet:
    """Write a prepared data set with synthetic motion and speech.

    Args:
        folder: The folder to write.
        poison: The index of a clip in which one frame is NaN.
        lengths: The number of frames of each clip.
        n_val: The number of clips, from the first, in the split ``val``; the others are ``train``.
        fps: The frame rate.
        seconds_short: How much earlier the speech ends than the motion.
    """
    writer = PreparedWriter(folder, overwrite=False)
    mesh = voices.mesh(*SUBJECTS)
    for k, n_frames in enumerate(lengths):
        subject = SUBJECTS[k % 3]
        vertices = mesh.templates[subject] + moving(n_frames, k)
        if k == poison:
            vertices[5] = np.nan
        samples = voices.speech(n_frames / fps - seconds_short, seed=k)
        split = "val" if k < n_val else "train"
        writer.add(NewClip(f"clip{k}", subject, split, vertices, samples))
    writer.finish(DataSetFacts("tiny", fps, SUBJECTS), mesh, {})
    return PreparedDataSet(folder)


def of_stages(train: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Put each training setting into the sections of the stages that have it."""
    sections = {"train_vq": VQTrainSettings, "train_speech": SpeechTrainSettings}
    parts = {
        name: {key: value for key, value in train.items() if key in section.model_fields}
        for name, section in sections.items()
    }
    assert train.keys() == {key for part in parts.values() for key in part}
    return parts


def settings(
    *, frozen: bool = True, sections: dict[str, dict[str, Any]] | None = None, **train: Any
) -> Settings:
    """Return tiny settings; ``train`` are training settings, ``sections`` are other sections."""
    train = {
        "epochs": 1,
        "batch_size": 2,
        "crop_frames": 20,
        "learning_rate": 1e-3,
        "sample_frames": 0,
        **train,
    }
    made = tiny.settings(**of_stages(train), **(sections or {}))
    encoder = made.speech.encoder.model_copy(update={"source": "", "frozen": frozen})
    return made.model_copy(update={"speech": made.speech.model_copy(update={"encoder": encoder})})


def set_basis(basis: MotionBasis) -> None:
    """Set random orthonormal vectors with different scales."""
    if basis.rank:
        generator = torch.Generator().manual_seed(0)
        random = torch.randn(3 * basis.n_vertices, basis.rank, generator=generator)
        basis.set(torch.linalg.qr(random).Q, torch.linspace(0.5, 2, basis.rank))


def model_of(made: Settings, *, with_speech: bool = True, seed: int = 1) -> CodeTalker:
    """Return a model of both stages, or of stage 1, with random weights."""
    model = CodeTalker(made, with_speech=with_speech).eval()
    tiny.randomize(model, seed)
    set_basis(model.vq.basis)
    return model


def stage1(made: Settings | None = None) -> Checkpoint:
    made = made or settings()
    model = model_of(made, with_speech=False, seed=0)
    return Checkpoint(model, made, {"step": 5}, None, Path("runs/x/vq"))


def vq_task(data: PreparedDataSet, made: Settings) -> VQTask:
    return VQTask(data, model_of(made, with_speech=False), ClipSource(data, "train"))


def speech_task(data: PreparedDataSet, made: Settings) -> SpeechTask:
    model = model_of(made)
    model.vq.requires_grad_(False)
    accelerator = make_accelerator(made.train_speech.precision)
    return SpeechTask(data, model, stage1(made), accelerator, None)


def run_folder(out: Path) -> RunFolder:
    """Return the folder of a run that was started."""
    folder = RunFolder(out)
    folder.begin({})
    return folder
