"""Build the model at the start of stage-2 training."""

import logging
from pathlib import Path

import numpy as np
import torch

from codetalker_cli.errors import CheckpointError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.models.speech_encoders.pretrained import load_pretrained, with_pretrained_config
from codetalker_cli.settings import AudioEncoderSettings, Settings
from codetalker_cli.workspace import is_checkpoint

logger = logging.getLogger(__name__)


def build_speech_model(settings: Settings, stage1: Checkpoint) -> CodeTalker:
    """Return the model at the start of training: a pretrained speech encoder and a new decoder.

    ``train_speech.start_from`` replaces both by those of a checkpoint. Stage 1 is that of
    ``stage1``, and it is not trained.

    Raises:
        CheckpointError: ``start_from`` or the checkpoint of the speech encoder does not fit.
        MissingDependencyError: The pretrained speech encoder is not available.
    """
    encoder = settings.speech.encoder
    checkpoint_encoder = _encoder_from_checkpoint(encoder)
    if checkpoint_encoder is not None:
        encoder = encoder.model_copy(update={"config": checkpoint_encoder.settings.config})
    elif not encoder.config:
        encoder = with_pretrained_config(encoder)
    speech = settings.speech.model_copy(update={"encoder": encoder})
    settings = settings.model_copy(update={"vq": stage1.settings.vq, "speech": speech})
    torch.manual_seed(settings.train_speech.seed)
    np.random.seed(settings.train_speech.seed)  # used by SpecAugment in transformers
    model = CodeTalker(settings)
    assert model.speech is not None
    if settings.train_speech.start_from:
        _initialize_from(settings.train_speech.start_from, model, stage1)
    elif checkpoint_encoder is not None:
        model.speech.encoder.load_state_dict(checkpoint_encoder.state_dict())
    elif encoder.source:
        load_pretrained(model.speech.encoder)
    else:
        logger.warning("speech.encoder.source is empty: the encoder starts from random weights")
    model.vq = stage1.model.vq.requires_grad_(False)  # shared, not copied
    return model


def _initialize_from(source: str, model: CodeTalker, stage1: Checkpoint) -> None:
    """Load stage 2 from a checkpoint that was trained with the same stage 1."""
    start = checkpoint.load(source)
    speech, start_speech = model.speech, start.model.speech
    assert speech is not None
    if start_speech is None:
        raise CheckpointError(
            f"train_speech.start_from: {source} contains only stage 1; give a stage-2 checkpoint"
        )
    expected_shapes = {key: value.shape for key, value in speech.state_dict().items()}
    start_shapes = {key: value.shape for key, value in start_speech.state_dict().items()}
    mismatched = sorted(
        key
        for key in expected_shapes | start_shapes
        if expected_shapes.get(key) != start_shapes.get(key)
    )
    if mismatched or start.settings.data.train_subjects != model.settings.data.train_subjects:
        raise CheckpointError(
            f"train_speech.start_from: the architecture or styles of {source} differ from the "
            f"settings ({', '.join(mismatched[:3]) or 'different training subjects'}); use the "
            "settings and the training subjects of that checkpoint"
        )
    start_vq, stage1_vq = start.model.vq.state_dict(), stage1.model.vq.state_dict()
    if start_vq.keys() != stage1_vq.keys() or not all(
        torch.equal(start_vq[key], stage1_vq[key]) for key in stage1_vq
    ):
        raise CheckpointError(
            f"train_speech.start_from: {source} was trained with a different stage 1 than "
            f"{stage1.path}; give `vq` {source}"
        )
    speech.load_state_dict(start_speech.state_dict())


def _encoder_from_checkpoint(settings: AudioEncoderSettings) -> AudioEncoder | None:
    """Return the speech encoder of the checkpoint ``settings.source``, or None for other sources.

    A checkpoint is given by its folder or name.
    """
    source = settings.source
    if not source or not (is_checkpoint(Path(source)) or source in checkpoint.available()):
        return None
    speech = checkpoint.load(source).model.speech
    if speech is None:
        raise CheckpointError(
            f"speech.encoder.source: {source} contains only stage 1 and has no speech encoder; "
            "give a stage-2 checkpoint"
        )
    if (family := speech.encoder.settings.family) != settings.family:
        raise CheckpointError(
            f"speech.encoder.family is {settings.family}, but the encoder of the checkpoint "
            f"{source} is {family}; set speech.encoder.family to {family}"
        )
    return speech.encoder
