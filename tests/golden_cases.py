"""Golden cases: inputs and outputs of the official code, and how our model is asked for them.

A case is NAME.json (sizes, key shapes) and NAME.npz (arrays). Its weights are not stored but made
by a rule, see :func:`weights`. The fields of the .json become settings thus:

====================  =============================================
vertices              data.n_vertices
subjects              data.train_subjects (style order)
dataset               data.fps (vocaset 30, BIWI 25); BIWI also has vq.latent_projection, no
                      vq.output_bias, and speech.features_per_frame = 2
hidden, layers,       vq.hidden_size, n_layers,
heads, inter          vq.n_heads, mlp_size
n_embed, zq, fq       vq.codebook_size, code_dim, codes_per_frame
feat, dec_layers,     speech.hidden_size, n_layers,
n_head                speech.n_heads
period                speech.period_frames
w2v                   speech.encoder.config
====================  =============================================

The speech decoder's MLP is 2 × feat wide.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from codetalker_cli.models.checkpoint import from_official
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.settings import Settings

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Fields and arrays of a case in tests/golden."""
    meta = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return meta, {key: archive[key] for key in archive.files}


def weights(meta: dict, keys: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The case's weights by official name; ``.pe`` tables are left out."""
    state = {}
    for key, shape in keys.items():
        if key.endswith(".pe"):
            continue
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()) + meta["seed"]))
        n = rng.standard_normal(size=shape)
        if len(shape) >= 2:
            w = n / math.sqrt(math.prod(shape[1:]))
        elif key.endswith("weight"):
            w = 1 + 0.1 * n
        else:
            w = 0.1 * n
        w = w.astype(np.float32)
        if key == "quantize.embedding.weight":
            w = w * np.float32(meta["code_gain"])
        state[key] = torch.from_numpy(w)
    return state


def settings(meta: dict) -> Settings:
    """Our settings for a case."""
    biwi = meta["dataset"].lower() == "biwi"
    return Settings.model_validate(
        {
            "data": {
                "name": meta["dataset"],
                "fps": 25 if biwi else 30,
                "unit": "area1" if biwi else "m",
                "n_vertices": meta["vertices"],
                "train_subjects": meta["subjects"],
            },
            "vq": {
                "hidden_size": meta["hidden"],
                "n_layers": meta["layers"],
                "n_heads": meta["heads"],
                "mlp_size": meta["inter"],
                "codebook_size": meta["n_embed"],
                "code_dim": meta["zq"],
                "codes_per_frame": meta["fq"],
                "latent_projection": biwi,
                "output_bias": not biwi,
            },
            "speech": {
                "encoder": {"family": "wav2vec2", "config": meta["w2v"]},
                "hidden_size": meta["feat"],
                "n_layers": meta["dec_layers"],
                "n_heads": meta["n_head"],
                "mlp_size": 2 * meta["feat"],
                "period_frames": meta["period"],
                "features_per_frame": 2 if biwi else 1,
            },
        }
    )


def build(meta: dict) -> CodeTalker:
    """The case's model, in evaluation mode."""
    stage1 = weights(meta, meta["stage1_keys"])
    stage2 = weights(meta, meta["stage2_keys"])
    return from_official(stage1, stage2, settings(meta))


def outputs(model: CodeTalker, arrays: dict[str, np.ndarray], meta: dict) -> dict[str, np.ndarray]:
    """What the model gives for the case's inputs, under the names of its .npz."""
    vertices = torch.from_numpy(arrays["vertices"]).unflatten(-1, (-1, 3))[None]
    template = torch.from_numpy(arrays["template"]).unflatten(-1, (-1, 3))[None]
    audio = torch.from_numpy(arrays["audio"])[None]
    result = _stage1(model, vertices, template)
    result |= _inference(model, audio, template, len(meta["subjects"]))
    result |= _training(model, audio, vertices, template, len(meta["subjects"]))
    return {key: np.asarray(value) for key, value in result.items()}


def _stage1(model: CodeTalker, vertices: torch.Tensor, template: torch.Tensor) -> dict:
    from codetalker_cli.train.losses import reconstruction_loss

    vq = model.vq
    model.zero_grad()
    made = vq(vertices, template)
    loss = reconstruction_loss(made.vertices, vertices, None, "l1") + made.quantized.loss
    loss.backward()
    q = vq.settings.codes_per_frame
    return {
        "vq_recon": made.vertices[0].flatten(1).detach(),
        "vq_loss": made.quantized.loss.detach(),
        "vq_perplexity": made.quantized.perplexity,
        "vq_codes": made.quantized.codes[0].view(-1, q).int(),
        "vq_latents": _latents(model, vertices, template),
        "vq_train_loss": loss.detach(),
        "vq_gradnorm:quantize.embedding.weight": vq.quantizer.codebook.grad.norm(),
        "vq_gradnorm:encoder.vertice_mapping.0.weight": (
            vq.encoder.input_projection.weight.grad.norm()
        ),
        "vq_gradnorm:decoder.vertice_map_reverse.weight": (
            vq.decoder.output_projection.weight.grad.norm()
        ),
    }


def _latents(model: CodeTalker, vertices: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
    """What the encoder gives, before it is quantised."""
    features = model.vq.basis.to_features(vertices - template[:, None])
    return model.vq.encoder(features)[0].detach()


def _inference(
    model: CodeTalker, audio: torch.Tensor, template: torch.Tensor, n_styles: int
) -> dict:
    assert model.speech is not None
    last = n_styles - 1
    blends = {f"style{k}": torch.eye(n_styles)[k] for k in (0, last)}
    blend = torch.zeros(n_styles)
    blend[0] += 0.3
    blend[last] += 0.7
    with torch.no_grad():
        result = {"audio_hidden": model.speech.encoder(audio)[0]}
    for name, style in {**blends, "blend_0.3": blend}.items():
        made = model.animate(audio, template, style[None])
        result[f"pred_{name}"] = made.vertices[0].flatten(1)
        if name != "blend_0.3":
            result[f"pred_codes_{name}"] = made.codes[0].int()
    return result


def _training(
    model: CodeTalker,
    audio: torch.Tensor,
    vertices: torch.Tensor,
    template: torch.Tensor,
    n_styles: int,
) -> dict:
    from codetalker_cli.train.losses import speech_losses

    assert model.speech is not None
    speech = model.speech
    model.zero_grad()
    speech.requires_grad_(True)
    hidden = speech.encoder(audio, vertices.shape[1])
    losses = speech_losses(model, hidden, vertices, template, torch.tensor([1]))
    losses.total.backward()
    layer = speech.layers[0]
    encoder_layer = speech.encoder.model.encoder.layers[0]
    gradients = {
        "feat_map.weight": speech.head.weight,
        "vertice_map.weight": speech.motion_projection.weight,
        "learnable_style_emb.weight": speech.style_embedding.weight,
        "transformer_decoder.layers.0.self_attn.in_proj_weight": layer.self_attention.qkv.weight,
        "audio_feature_map.weight": speech.audio_projection.weight,
        "audio_encoder.encoder.layers.0.attention.k_proj.weight": (
            encoder_layer.attention.k_proj.weight
        ),
    }
    return {
        "train_loss": losses.total.detach(),
        "train_motion_loss": losses.motion.detach(),
        "train_reg_loss": losses.latents.detach(),
        **{f"gradnorm:{key}": value.grad.norm() for key, value in gradients.items()},
    }
