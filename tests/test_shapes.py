"""Array shapes in signatures: public functions have them, and they are checked in tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from codetalker_cli import metrics
from codetalker_cli.models.layers import SelfAttention, TemporalTransformer
from codetalker_cli.train.losses import clip_means

PACKAGE = Path(__file__).resolve().parent.parent / "codetalker_cli"
MODULES = sorted(
    [
        *PACKAGE.glob("models/**/*.py"),
        PACKAGE / "train" / "losses.py",
        *PACKAGE.glob("metrics/**/*.py"),
    ]
)
STATE_DICTS = "a state dict: its tensors have different shapes"
EXCEPTIONS = {
    "models/checkpoint_files.py: check_values": STATE_DICTS,
    "models/official.py: read_state": STATE_DICTS,
    "models/official.py: vq_state": STATE_DICTS,
    "models/shapes.py: of_state": STATE_DICTS,
    "models/official.py: speech_state": STATE_DICTS,
    "models/checkpoint.py: fill": STATE_DICTS,
    "models/checkpoint.py: from_official": STATE_DICTS,
}


# Checks are active --------------------------------------------------------------------------------


def test_shapes_of_models_are_checked() -> None:
    """If the checker were off, the wrong mask would broadcast and the wrong dtype would work."""
    model = TemporalTransformer(8, 1, 2, 16, 3)
    x, lengths = torch.zeros(2, 5, 8), torch.tensor([5, 3])
    assert model(x, lengths).shape == x.shape
    with pytest.raises(TypeCheckError):
        model(x, lengths[:1])
    with pytest.raises(TypeCheckError):
        model(x.long())


def test_shapes_of_losses_are_checked() -> None:
    values = torch.ones(2, 5, 7)
    assert clip_means(values, None, torch.ones(2, 5)).tolist() == [1.0, 1.0]
    with pytest.raises(TypeCheckError):
        clip_means(values, None, torch.ones(1, 5))


def test_shapes_of_metrics_are_checked() -> None:
    vertices = np.zeros((4, 6, 3))
    assert metrics.mve(vertices, vertices) == 0.0
    with pytest.raises(TypeCheckError):
        metrics.mve(vertices, vertices[:, :1])


def test_shapes_of_results_are_checked() -> None:
    attention = SelfAttention(8, 2)
    attention.output = nn.Linear(8, 4)
    with pytest.raises(TypeCheckError, match="return value"):
        attention(torch.zeros(2, 5, 8))


# Public signatures --------------------------------------------------------------------------------


def is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def annotations(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.expr]]:
    """Yield the names and annotations of public functions and of fields of public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and is_public(child.name):
            yield from annotations(child, f"{child.name}.")
        elif isinstance(child, ast.AnnAssign) and prefix:
            yield f"{prefix}{ast.unparse(child.target)}", child.annotation
        elif isinstance(child, ast.FunctionDef) and is_public(child.name):
            arguments = child.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
            found = [argument.annotation for argument in every] + [child.returns]
            yield from ((f"{prefix}{child.name}", one) for one in found if one is not None)


def has_bare_array(annotation: ast.expr) -> bool:
    """Return whether an annotation contains an array without a shape."""
    if isinstance(annotation, ast.Subscript) and hasattr(
        jaxtyping, ast.unparse(annotation.value).split(".")[-1]
    ):
        return False
    if ast.unparse(annotation) in ("Tensor", "torch.Tensor", "np.ndarray", "Vertices"):
        return True
    return any(
        has_bare_array(child)
        for child in ast.iter_child_nodes(annotation)
        if isinstance(child, ast.expr)
    )


def bare_arrays() -> list[str]:
    found = []
    for path in MODULES:
        for name, annotation in annotations(ast.parse(path.read_text("utf-8"))):
            if has_bare_array(annotation):
                found.append(f"{path.relative_to(PACKAGE).as_posix()}: {name}")
    return sorted(set(found))


def test_public_signatures_contain_array_shapes() -> None:
    assert bare_arrays() == sorted(EXCEPTIONS)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ('Float[Tensor, "batch frames"] | None', False),
        ('tuple[Float[np.ndarray, " frames"], int]', False),
        ("Tensor", True),
        ("dict[str, Tensor] | None", True),
        ('tuple[Float[Tensor, "batch"], np.ndarray]', True),
    ],
)
def test_bare_arrays_are_detected(annotation: str, expected: bool) -> None:
    assert has_bare_array(ast.parse(annotation, mode="eval").body) == expected
