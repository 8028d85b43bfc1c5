"""A prepared data set of three short clips, and what trains on it at once."""

from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
import voices

from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.data.prepared_writer import PreparedWriter
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.settings import Settings
from codetalker_cli.train.speech import SpeechTask

CPU = torch.device("cpu")
SUBJECTS = ("A", "B", "C")
LENGTHS = (30, 24, 28, 26)
"""Frames of the clips: one to validate with, three to train on."""


def moving(n_frames: int, seed: int, rank: int = 3) -> np.ndarray:
    """(n_frames, V, 3) offsets of a few shapes that swing."""
    shapes = np.random.default_rng(0).standard_normal((rank, tiny.N_VERTICES, 3))
    phase = np.random.default_rng([1, seed]).uniform(0, 6, rank)
    time = np.arange(n_frames)[:, None] / 25
    swings = np.sin(2 * np.pi * np.arange(1, rank + 1) * time + phase)
    return np.einsum("tr,rvx->tvx", swings, shapes)


def prepared(folder: Path, *, poison: bool = False) -> PreparedDataSet:
    """One clip to validate with and one of each subject to train on."""
    writer = PreparedWriter(folder, overwrite=False)
    mesh = voices.mesh(*SUBJECTS)
    for k, n_frames in enumerate(LENGTHS):
        subject = SUBJECTS[k % 3]
        vertices = mesh.templates[subject] + moving(n_frames, k)
        if poison and k == 2:
            vertices[5] = np.nan
        samples = voices.speech(n_frames / 25, seed=k)
        writer.add(f"clip{k}", subject, "val" if k == 0 else "train", vertices, samples)
    writer.finish("tiny", 25.0, SUBJECTS, mesh, {})
    return PreparedDataSet(folder)


def settings(**train: Any) -> Settings:
    """Tiny settings; ``train`` goes to both stages."""
    encoder = {"source": "", "frozen": True}
    train = {"epochs": 1, "batch_size": 2, "crop_frames": 20, "learning_rate": 1e-3, **train}
    made = tiny.settings(train_vq=train, train_speech=train)
    frozen = made.speech.encoder.model_copy(update=encoder)
    return made.model_copy(update={"speech": made.speech.model_copy(update={"encoder": frozen})})


def stage1(**train: Any) -> Checkpoint:
    made = settings(**train)
    model = CodeTalker(made, with_speech=False).eval()
    tiny.randomize(model, 0)
    return Checkpoint(model, made, {"step": 5}, None, Path("runs/x/vq"))


def speech_task(data: PreparedDataSet, *, frozen: bool = True, **train: Any) -> SpeechTask:
    made = settings(**train)
    if not frozen:
        encoder = made.speech.encoder.model_copy(update={"frozen": False})
        speech = made.speech.model_copy(update={"encoder": encoder})
        made = made.model_copy(update={"speech": speech})
    model = CodeTalker(made)
    tiny.randomize(model, 1)
    return SpeechTask(data, model, stage1(), CPU, None)
