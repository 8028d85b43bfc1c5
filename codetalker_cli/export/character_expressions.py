"""The expressions of a VRM file, and the morph targets that they move."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from codetalker_cli.formats.glb import item
from codetalker_cli.formats.gltf_container import Json


@dataclass(frozen=True)
class Expression:
    """An expression of a VRM file.

    Attributes:
        name: The name of a preset, as the version of the file spells it, or another name.
        is_preset: Whether players find it as a preset of VRM.
        binds: The mesh, the index and the weight at 1 of each morph target that it moves.
        is_empty: Whether it changes nothing, not even a material.
    """

    name: str
    is_preset: bool
    binds: tuple[tuple[int, int, float], ...]
    is_empty: bool


def read_expressions(tree: Json) -> list[Expression]:
    """Return the expressions of a file; without the VRM extension, there are none."""
    return [*_vrm0(tree), *_vrm1(tree)]


def _vrm0(tree: Json) -> Iterator[Expression]:
    master = tree.get("extensions", {}).get("VRM", {}).get("blendShapeMaster", {})
    for group in master.get("blendShapeGroups", []):
        preset = group.get("presetName") or "unknown"
        name = group.get("name") if preset == "unknown" else preset
        binds = [(b["mesh"], b["index"], b["weight"] / 100) for b in group.get("binds") or []]
        is_empty = not binds and not group.get("materialValues")
        yield Expression(str(name), preset != "unknown", tuple(binds), is_empty)


def _vrm1(tree: Json) -> Iterator[Expression]:
    expressions = tree.get("extensions", {}).get("VRMC_vrm", {}).get("expressions", {})
    for kind in ("preset", "custom"):
        for name, expression in (expressions.get(kind) or {}).items():
            binds = [
                (item(tree, "nodes", b["node"])["mesh"], b["index"], b["weight"])
                for b in expression.get("morphTargetBinds") or []
            ]
            others = ("materialColorBinds", "textureTransformBinds")
            is_empty = not binds and not any(expression.get(key) for key in others)
            yield Expression(str(name), kind == "preset", tuple(binds), is_empty)


def morph_weights(
    expressions: list[Expression], targets: Mapping[int, tuple[str, ...]]
) -> dict[str, dict[str, float]]:
    """Return the weights of morph targets in the expressions that move some.

    Args:
        expressions: The expressions.
        targets: The names of the morph targets of each mesh.
    """
    found: dict[str, dict[str, float]] = {}
    for expression in expressions:
        weights = found.setdefault(expression.name, {})
        for mesh, index, weight in expression.binds:
            if 0 <= index < len(targets.get(mesh, ())):
                weights[targets[mesh][index]] = weight
    return {name: weights for name, weights in found.items() if weights}
