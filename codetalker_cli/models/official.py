"""Read official checkpoint files and rename their tensors to the names of our models.

An official file is a ``torch.save`` of a dict that contains ``state_dict``. Unknown keys are an
error, so no weight is dropped silently. See docs/checkpoints.md.
"""

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from codetalker_cli.errors import CheckpointError, InputError, counted, printable, verb
from codetalker_cli.settings import Settings
from codetalker_cli.text_files import content_fault

logger = logging.getLogger(__name__)

_HALF = {
    "encoder": {
        "vertice_mapping.0": "input_projection",
        "squasher.0.0": "temporal.conv",
        "encoder_linear_embedding.net": "temporal.linear",
        "encoder_linear_embedding_post.net": "latent_projection",
    },
    "decoder": {
        "expander.0.0": "temporal.conv",
        "decoder_linear_embedding.net": "temporal.linear",
        "decoder_linear_embedding_pre.net": "latent_projection",
        "vertice_map_reverse": "output_projection",
    },
}
_BLOCK = {
    (0, "norm"): "attention_norm",
    (0, "fn.to_qkv"): "attention.qkv",
    (0, "fn.to_out"): "attention.output",
    (1, "norm"): "mlp_norm",
    (1, "fn.l1"): "mlp_in",
    (1, "fn.l2"): "mlp_out",
}
_LAYER = {
    "self_attn.out_proj": "self_attention.output",
    "multihead_attn.out_proj": "cross_attention.output",
    "linear1": "mlp_in",
    "linear2": "mlp_out",
    "norm1": "self_norm",
    "norm2": "cross_norm",
    "norm3": "mlp_norm",
}
_SPEECH = {
    "audio_feature_map": "audio_projection",
    "vertice_map": "motion_projection",
    "feat_map": "head",
    "learnable_style_emb": "style_embedding",
}
_WEIGHT_NORM = {"weight_g": "original0", "weight_v": "original1"}


def read_state(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of an official ``.pth.tar`` file.

    The file is read in PyTorch's weights-only mode, so it cannot execute code.

    Raises:
        InputError: The file is missing.
        CheckpointError: The file is not a PyTorch file, or contains objects other than tensors and
            plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types of exceptions for unusable files
        raise CheckpointError(
            f"{path}: the file cannot be read as plain weights ({_describe(path, error)}); no code "
            "in it was executed; give the original .pth.tar file"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise CheckpointError(
            f"{path}: the file contains no state_dict (a mapping of names to tensors); check that "
            "it is the right file"
        )
    return dict(state)


def _describe(path: Path, error: Exception) -> str:
    """Describe a file that torch cannot read. The text of torch contains unsuitable advice."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as failure:
        return failure.strerror or "it cannot be opened"
    if not start:
        return "it is empty"
    if fault := content_fault(start):
        return fault
    if start.startswith(b"PK"):
        return _describe_zip(path)
    if start.startswith(b"\x1f\x8b"):
        return "it is gzip-compressed; unpack it"
    if named := re.search(r"GLOBAL ([\w.]+)|global ([\w.]+)", str(error)):
        return f"it contains the Python object {printable(named[1] or named[2], 80)}"
    if start[257:262] == b"ustar":
        return "it is a tar archive; unpack it"
    if start.isascii() and not start.startswith((b"\x80", b"(", b"c")):
        return "it is a text file"
    return "it is damaged, or another kind of file"


def _describe_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return "it is cut short or damaged; download it again"
    if any(name.endswith("data.pkl") for name in names):
        return (
            "it contains Python objects other than weights, such as a whole module, or is damaged"
        )
    first = f", which contains {printable(names[0], 80)}; unpack it" if names else ""
    return f"it is a zip archive{first}"


def vq_state(official: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """Rename the official stage-1 tensors to the names in ``MotionVQ``.

    Raises:
        CheckpointError: A key is unknown.
    """
    key_map: dict[str, str] = {"quantize.embedding.weight": "quantizer.codebook"}
    for half, names in _HALF.items():
        for official_name, our_name in names.items():
            for kind in ("weight", "bias"):
                key_map[f"{half}.{official_name}.{kind}"] = f"{half}.{our_name}.{kind}"
        for layer in range(settings.vq.n_layers):
            for (sublayer, official_name), our_name in _BLOCK.items():
                prefix = f"{half}.{half}_transformer.net.{2 * layer + sublayer}.fn.{official_name}"
                for kind in ("weight", "bias"):
                    key_map[f"{prefix}.{kind}"] = (
                        f"{half}.temporal.blocks.{layer}.{our_name}.{kind}"
                    )
    state: dict[str, Tensor] = {}
    unknown: list[str] = []
    for key, value in _strip_module_prefix(official).items():
        if key.endswith(".pe"):  # position tables are computed, not learned
            continue
        if key in key_map:
            state[key_map[key]] = value
        else:
            unknown.append(key)
    _raise_if_unknown("stage 1", unknown)
    return state


def speech_state(official: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """Rename the official stage-2 tensors to the names in ``SpeechToCodes``.

    Raises:
        CheckpointError: A key is unknown.
    """
    state: dict[str, Tensor] = {}
    unknown: list[str] = []
    for key, value in _strip_module_prefix(official).items():
        # The file repeats the weights of stage 1, which are read from the stage-1 file.
        if key.endswith(".pe") or "autoencoder" in key:
            continue
        renamed = _speech_key(key, value, settings.speech.n_layers)
        if renamed:
            state |= renamed
        else:
            unknown.append(key)
    _raise_if_unknown("stage 2", unknown)
    return state


def _speech_key(key: str, value: Tensor, n_layers: int) -> dict[str, Tensor]:
    head, _, kind = key.rpartition(".")
    if key.startswith("audio_encoder."):
        return {_encoder_key(key.removeprefix("audio_encoder.")): value}
    if head in _SPEECH:
        return {f"{_SPEECH[head]}.{kind}": value}
    parts = key.split(".", 3)
    if parts[:2] != ["transformer_decoder", "layers"] or not parts[2].isdigit():
        return {}
    if int(parts[2]) >= n_layers:
        return {}
    prefix, rest = f"layers.{parts[2]}", parts[3]
    size = value.shape[0] // 3
    # torch stacks q, k and v in one matrix. In our cross-attention the query is a separate layer.
    for kind in ("weight", "bias"):
        if rest == f"self_attn.in_proj_{kind}":
            return {f"{prefix}.self_attention.qkv.{kind}": value}
        if rest == f"multihead_attn.in_proj_{kind}":
            return {
                f"{prefix}.cross_attention.query.{kind}": value[:size],
                f"{prefix}.cross_attention.key_value.{kind}": value[size:],
            }
    name, _, kind = rest.rpartition(".")
    return {f"{prefix}.{_LAYER[name]}.{kind}": value} if name in _LAYER else {}


def _encoder_key(key: str) -> str:
    head, _, suffix = key.rpartition(".")
    # Newer versions of PyTorch store weight norm (of the positional convolution) as a
    # parametrization, under other names.
    if suffix in _WEIGHT_NORM:
        return f"encoder.model.{head}.parametrizations.weight.{_WEIGHT_NORM[suffix]}"
    return f"encoder.model.{key}"


def _strip_module_prefix(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stripped = {key.removeprefix("module."): value for key, value in official.items()}
    if len(stripped) < len(official):
        raise CheckpointError(
            "the file contains some keys twice, with and without the prefix 'module.'"
        )
    return stripped


def _raise_if_unknown(stage: str, unknown: list[str]) -> None:
    if unknown:
        listed = ", ".join(printable(key, 100) for key in unknown[:5]) + (
            ", …" if len(unknown) > 5 else ""
        )
        raise CheckpointError(
            f"{stage} file: {counted(len(unknown), 'key')} {verb(len(unknown), 'does', 'do')} not "
            f"exist in the model of the preset: {listed}; "
            "check the preset and the order of the two files"
        )
