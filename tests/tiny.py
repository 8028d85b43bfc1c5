"""Complete but tiny settings and models, for fast tests."""

from typing import Any

import numpy as np
import torch

from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ
from codetalker_cli.presets import settings_from_dict
from codetalker_cli.settings import AudioEncoderSettings, Settings
from codetalker_cli.topology import Topology

N_VERTICES = 12

_CONVOLUTIONAL = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
ENCODER_CONFIGS: dict[str, dict[str, Any]] = {
    "wav2vec2": _CONVOLUTIONAL,
    "hubert": _CONVOLUTIONAL,
    "wavlm": _CONVOLUTIONAL,
    "whisper": {
        "d_model": 24,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "num_mel_bins": 80,
    },
}


def encoder_settings(family: str = "wav2vec2", **more: Any) -> AudioEncoderSettings:
    """Return settings of a one-layer encoder."""
    return AudioEncoderSettings.model_validate(
        {"family": family, "config": ENCODER_CONFIGS[family], **more}
    )


def settings(**sections: dict[str, Any]) -> Settings:
    """Return settings of a model with a few thousand weights.

    Arguments such as ``vq={"n_layers": 1}`` override settings of a section.
    """
    values: dict[str, dict[str, Any]] = {
        "data": {
            "name": "tiny",
            "fps": 25,
            "unit": "m",
            "n_vertices": N_VERTICES,
            "train_subjects": ["A", "B", "C"],
        },
        "vq": {
            "hidden_size": 16,
            "n_layers": 2,
            "n_heads": 2,
            "mlp_size": 24,
            "codebook_size": 12,
            "code_dim": 8,
            "codes_per_frame": 2,
        },
        "speech": {
            "encoder": {"family": "wav2vec2", "config": ENCODER_CONFIGS["wav2vec2"]},
            "hidden_size": 16,
            "n_layers": 2,
            "n_heads": 4,
            "mlp_size": 24,
            "period_frames": 4,
        },
    }
    for section, changes in sections.items():
        values.setdefault(section, {}).update(changes)
    return settings_from_dict(values, "tests/tiny.py")


def randomize(module: torch.nn.Module, seed: int) -> None:
    """Set all weights to random values, because initial zeros and ones could hide a bug."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.2
            center = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.copy_(center + scale * noise)


def vq(seed: int = 0, n_vertices: int = N_VERTICES, **changes: Any) -> MotionVQ:
    """Return a float64 stage-1 model in evaluation mode; ``changes`` override its settings."""
    model = MotionVQ(settings(vq=changes).vq, n_vertices).double().eval()
    randomize(model, seed)
    model.quantizer.codebook.data *= 3
    return model


def stages(seed: int = 0, **sections: dict[str, Any]) -> tuple[SpeechToCodes, MotionVQ]:
    """Return float64 models of both stages in evaluation mode; ``sections`` as in ``settings``."""
    made = settings(**sections)
    stage1 = vq(seed, **sections.get("vq", {}))
    stage2 = SpeechToCodes(
        made.speech,
        fps=made.data.fps,
        n_styles=len(made.data.train_subjects),
        feature_size=stage1.feature_size,
        latent_size=made.vq.latent_size,
    )
    stage2 = stage2.double().eval()
    randomize(stage2, seed + 1)
    stage2.head.weight.data *= 3
    return stage2, stage1


def codetalker(seed: int = 0, *, with_speech: bool = True, **sections: dict) -> CodeTalker:
    """Return a float32 model in evaluation mode; ``sections`` as in ``settings``."""
    model = CodeTalker(settings(**sections), with_speech=with_speech).eval()
    randomize(model, seed)
    model.vq.quantizer.codebook.data *= 3
    return model


def topology(n_vertices: int = N_VERTICES) -> Topology:
    """Return a strip of triangles with two regions and two parts."""
    first = np.arange(n_vertices - 2, dtype=np.int32)
    return Topology(
        name="strip",
        triangles=np.stack([first, first + 1, first + 2], axis=1),
        n_vertices=n_vertices,
        regions={"lips": np.array([0, 3], np.int32), "upper_face": np.array([5], np.int32)},
        uv=np.linspace(0, 1, 2 * n_vertices, dtype=np.float32).reshape(-1, 2),
        uv_triangles=np.stack([first, first + 1, first + 2], axis=1),
        parts={"skin": (0, 8), "tongue": (8, n_vertices)},
    )
