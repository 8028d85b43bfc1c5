"""Compare the shapes of weights with those of the model that the settings describe.

The model is built on PyTorch's device ``meta``, which needs no memory. Its number of layers is
compared with the names of the weights before, because each layer takes time even there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from codetalker_cli.errors import CheckpointError, CodeTalkerError, counted, printable
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.speech_encoders.encoder import check_config
from codetalker_cli.settings import Settings

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each weight by its name."""


def in_file(path: Path) -> Shapes:
    """Return the shapes in the header of a safetensors file.

    Raises:
        SafetensorError: The file is not a safetensors file.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def of_state(state: Mapping[str, Tensor]) -> Shapes:
    """Return the shapes of tensors."""
    return {key: tuple(value.shape) for key, value in state.items()}


def below(shapes: Shapes, prefix: str) -> Shapes:
    """Return the shapes of the names that begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in shapes.items() if k.startswith(prefix)}


class _WithoutRandomness(TorchFunctionMode):
    """Leave out random initialization, which imports a compiler on the device meta (3 seconds)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_init = getattr(func, "__module__", "") == "torch.nn.init"
        if is_init or func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def expected(settings: Settings, *, with_speech: bool, origin: str) -> Shapes:
    """Return the shapes of the weights of the model that the settings describe.

    Raises:
        CheckpointError: No model can have these settings.
    """
    try:
        check_config(settings.speech.encoder.config)
        with torch.device("meta"), _WithoutRandomness():
            return of_state(CodeTalker(settings, with_speech=with_speech).state_dict())
    except CodeTalkerError:
        raise
    # The settings come from a file, and transformers and torch do not check them.
    except Exception as error:
        raise CheckpointError(
            f"{origin}: no model can have these settings ({printable(error, 200)})"
        ) from error


def check(found: Shapes, settings: Settings, *, with_speech: bool, origin: str) -> None:
    """Check that weights fit the settings, without building the model.

    Raises:
        CheckpointError: The names or the shapes differ. The message lists up to five differences.
    """
    counts = {"vq.n_layers": (settings.vq.n_layers, "vq.encoder.temporal.blocks.")}
    if with_speech:
        counts["speech.n_layers"] = (settings.speech.n_layers, "speech.layers.")
    for key, (n_layers, prefix) in counts.items():
        names = (name[len(prefix) :].split(".")[0] for name in found if name.startswith(prefix))
        n_found = len(set(names))
        if n_layers != n_found:
            raise CheckpointError(
                f"{origin}: the weights do not match the settings: {key} is {n_layers}, but the "
                f"file contains {counted(n_found, 'layer')}"
            )
    compare(found, expected(settings, with_speech=with_speech, origin=origin), origin)


def compare(found: Shapes, wanted: Shapes, origin: str) -> None:
    """Compare the shapes of weights.

    Raises:
        CheckpointError: The names or the shapes differ. The message lists up to five differences.
    """
    problems = [f"missing {key}" for key in wanted if key not in found]
    problems += [f"extra {printable(key, 100)}" for key in found if key not in wanted]
    problems += [
        f"{key} has shape {printable(shape, 100)}, expected {wanted[key]}"
        for key, shape in found.items()
        if key in wanted and shape != wanted[key]
    ]
    if problems:
        listed = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" * (len(problems) > 5))
        raise CheckpointError(f"{origin}: the weights do not match the settings: {listed}")
