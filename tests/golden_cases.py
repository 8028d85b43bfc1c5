"""Golden cases: inputs and outputs of the official code, and how our model is asked for them.

A case is NAME.json (sizes, key shapes) and NAME.npz (arrays). Its weights are not stored but made
by a rule, see ``weights``. The fields of the .json become settings thus:

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
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from codetalker_cli.models.checkpoint import from_official
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.models.official import speech_state, vq_state
from codetalker_cli.models.quantizer import perplexity
from codetalker_cli.settings import Settings
from codetalker_cli.train.losses import EncodedClips, reconstruction_loss, speech_losses

GOLDEN = Path(__file__).parent / "golden"
CASES = ("biwi_tiny_14", "vocaset_tiny_13")


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
    """What the model gives for the case's inputs, under the names of its .npz.

    Which styles, blends and gradients are asked for is read off the names in ``arrays``. The model
    computes on the device that it is on.
    """
    device = next(model.parameters()).device
    vertices = torch.from_numpy(arrays["vertices"]).unflatten(-1, (-1, 3))[None].to(device)
    template = torch.from_numpy(arrays["template"]).unflatten(-1, (-1, 3))[None].to(device)
    audio = torch.from_numpy(arrays["audio"])[None].to(device)
    result = _stage1(model, vertices, template, arrays, meta)
    result |= _inference(model, audio, template, arrays)
    result |= _training(model, audio, vertices, template, arrays, meta)
    return {key: np.asarray(value.cpu()) for key, value in result.items()}


def _stage1(
    model: CodeTalker, vertices: torch.Tensor, template: torch.Tensor, arrays: dict, meta: dict
) -> dict:
    vq = model.vq
    model.zero_grad()
    made = vq(vertices, template)
    loss = reconstruction_loss(made.vertices, vertices, None, "l1") + made.quantized.loss
    loss = loss.mean()
    loss.backward()
    q = vq.settings.codes_per_frame
    # `vq_latents` are the encoder's, before they are quantized.
    return {
        "vq_recon": made.vertices[0].flatten(1).detach(),
        "vq_loss": made.quantized.loss[0].detach(),
        "vq_perplexity": torch.tensor(perplexity(torch.bincount(made.quantized.codes.flatten()))),
        "vq_codes": made.quantized.codes[0].view(-1, q).int(),
        "vq_latents": made.quantized.pre_quantization[0].reshape(vertices.shape[1], -1).detach(),
        "vq_train_loss": loss.detach(),
        **_gradient_norms(
            "vq_gradnorm:", arrays, vq, lambda state: vq_state(state, model.settings), meta
        ),
    }


def _inference(
    model: CodeTalker, audio: torch.Tensor, template: torch.Tensor, arrays: dict
) -> dict:
    assert model.speech is not None
    n_styles = model.speech.style_embedding.num_embeddings
    with torch.no_grad():
        hidden = model.speech.encoder(audio)
    result = {"audio_hidden": hidden[0]}
    decoder = Decoder(model.speech, model.vq)
    for key in arrays:
        style = torch.zeros(n_styles, device=audio.device)
        if found := re.fullmatch(r"pred_style(\d+)", key):
            style[int(found[1])] = 1.0
        elif found := re.fullmatch(r"pred_blend_([\d.]+)", key):
            style[0] += float(found[1])
            style[-1] += 1.0 - float(found[1])
        else:
            continue
        with torch.no_grad():
            codes = decoder.decode(hidden, model.speech.style(style[None]))
            result[key] = model.vq.decode(codes, template)[0].flatten(1)
        name = key.replace("pred_", "pred_codes_")
        if name in arrays:
            result[name] = codes[0].int()
    return result


def _training(
    model: CodeTalker,
    audio: torch.Tensor,
    vertices: torch.Tensor,
    template: torch.Tensor,
    arrays: dict,
    meta: dict,
) -> dict:
    """Losses and gradients of style 1, no dropout, no SpecAugment."""
    assert model.speech is not None
    speech = model.speech
    model.zero_grad()
    speech.requires_grad_(True)
    hidden = speech.encoder(audio, vertices.shape[1])
    style = torch.tensor([1], device=audio.device)
    losses = speech_losses(model, EncodedClips(hidden, vertices, template, style))
    losses.total.mean().backward()
    return {
        "train_loss": losses.total[0].detach(),
        "train_motion_loss": losses.motion[0].detach(),
        "train_reg_loss": losses.latents[0].detach(),
        **_gradient_norms(
            "gradnorm:", arrays, speech, lambda state: speech_state(state, model.settings), meta
        ),
    }


def _gradient_norms(
    prefix: str,
    arrays: dict,
    module: torch.nn.Module,
    renamed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    meta: dict,
) -> dict:
    """Gradient norms under official names; some official tensors are two of ours."""
    shapes = meta["stage1_keys"] | meta["stage2_keys"]
    norms = {}
    for key in arrays:
        if not key.startswith(prefix):
            continue
        official = key.removeprefix(prefix)
        ours = renamed({official: torch.zeros(shapes[official])})
        gradients = [module.get_parameter(name).grad.flatten() for name in ours]
        norms[key] = torch.cat(gradients).norm()
    return norms
