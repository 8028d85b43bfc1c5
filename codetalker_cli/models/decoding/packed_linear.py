"""Linear layers for decoding, with weights in oneDNN's blocked layout and a fused activation.

A decoding step multiplies all weights of a layer by a few vectors. With the blocked layout, oneDNN
does so at memory speed, and multiplies many vectors about 1.4 times as fast as PyTorch's default
path. The two private operators are the ones that torch.compile generates for frozen models. If they
are missing or return wrong results, PyTorch's linear layer is used instead.
"""

import logging
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Literal, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["none", "relu", "gelu"]

# The number of input rows that the layout is optimized for. In measurements, 128 was best for few
# rows as well as for many.
_ROWS = 128

logger = logging.getLogger(__name__)


class PackedLinear:
    """``activation(x Wᵀ + b)`` for inference, with a copy of the weights in the fastest layout.

    Args:
        weight: The matrix W.
        bias: The bias b, or None.
        activation: The activation; ``gelu`` is its tanh approximation.
        dtype: The data type of the computation; None: that of the weights. The output always has
            the data type of the input.
    """

    def __init__(
        self,
        weight: Float[Tensor, "outputs inputs"],
        bias: Float[Tensor, " outputs"] | None = None,
        activation: Activation = "none",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.activation = activation
        self.weight = weight.detach().to(dtype or weight.dtype).contiguous()
        self.bias = None if bias is None else bias.detach().to(self.weight.dtype)
        self._packed_weight: Tensor | None = None
        if self.weight.device.type == "cpu" and packing_works(self.weight.dtype):
            self._packed_weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS)
            self.weight = self.weight.new_empty(0)  # the packed copy is sufficient

    def __call__(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        if self._packed_weight is None:
            output = _linear_plain(x.to(self.weight.dtype), self.weight, self.bias, self.activation)
        else:
            output = _linear_packed(
                x.to(self.weight.dtype), self._packed_weight, self.bias, self.activation
            )
        return output.to(x.dtype)


def layer_norm_function(
    norm: nn.LayerNorm,
) -> Callable[[Float[Tensor, "*rows size"]], Float[Tensor, "*rows size"]]:
    """Return a layer norm as a plain function, without the overhead of calling a module."""
    return partial(
        F.layer_norm,
        normalized_shape=norm.normalized_shape,
        weight=norm.weight.detach(),
        bias=norm.bias.detach(),
        eps=norm.eps,
    )


def _linear_packed(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation
) -> Tensor:
    algorithm = "tanh" if activation == "gelu" else ""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], algorithm)


def _linear_plain(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    output = F.linear(x, weight, bias)
    if activation == "relu":
        return output.relu_()
    return F.gelu(output, approximate="tanh") if activation == "gelu" else output


@lru_cache
def packing_works(dtype: torch.dtype) -> bool:
    """Return whether multiplication with packed weights works here for ``dtype``.

    The operators are private and depend on the processor and the PyTorch version, so the function
    compares their result with PyTorch's linear layer. The answer is cached.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 16, generator=generator).to(dtype) for n in (3, 32))
    bias = weight.sum(1)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1  # bfloat16 has only 8 significant bits
    try:
        output = _linear_packed(
            x, torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS), bias, "gelu"
        )
    except (AttributeError, RuntimeError) as error:
        logger.debug("weights are not packed: %s", str(error).splitlines()[0])
        return False
    expected = _linear_plain(x, weight, bias, "gelu")
    return torch.allclose(output, expected, atol=tolerance, rtol=tolerance)


class _PackedModule(nn.Module):
    """A linear layer whose weights are packed; ``weight`` and ``bias`` are the original ones."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._packed = PackedLinear(linear.weight, linear.bias, dtype=dtype)

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        return self._packed(x)


Module = TypeVar("Module", bound=nn.Module)


def with_packed_linears(module: Module, dtype: torch.dtype | None = None) -> Module:
    """Return a copy of a module for inference, with packed copies of its linear layers.

    All other weights are shared with the module. After further training, create a new copy.

    Args:
        module: A module whose linear layers are called and nothing else.
        dtype: The data type of their computation; None: that of the weights.
    """
    if isinstance(module, nn.Linear):
        return cast(Module, _PackedModule(module, dtype))
    # copy.copy refuses modules with parametrizations.
    copied = object.__new__(type(module))
    children = {
        name: None if child is None else with_packed_linears(child, dtype)
        for name, child in module._modules.items()
    }
    copied.__dict__.update(module.__dict__, _modules=children)
    return copied
