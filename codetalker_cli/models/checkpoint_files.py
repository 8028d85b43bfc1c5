"""Detect checkpoints whose files are damaged or incomplete, and weights that are not plausible.

``meta.json`` contains the size and the hash of each binary file, and the number of settings. They
detect damage, such as an interrupted copy. They do not protect against a manipulated checkpoint.
Settings may be edited, so ``settings.yaml`` has no hash.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codetalker_cli.errors import CheckpointError, DataError, printable
from codetalker_cli.presets import flatten
from codetalker_cli.text_files import check_file

MAX_WEIGHT = 1e6
"""The largest magnitude of a weight; larger ones occur only in damaged files."""
_BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe(paths: Iterable[Path], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of ``meta.json`` that describe the other files of a checkpoint.

    Args:
        paths: The binary files.
        settings: The content of ``settings.yaml``.
    """
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in paths}
    return {"contents": files, "n_settings": len(flatten(settings))}


def check_sizes(folder: Path, meta: Mapping[str, Any]) -> None:
    """Compare the sizes of the binary files, which is fast.

    Raises:
        CheckpointError: A file is missing or has another size.
    """
    for path, facts in _described(folder, meta):
        try:
            check_file(path, DataError)
        except DataError as error:
            raise CheckpointError(str(error)) from error
        size, expected = path.stat().st_size, facts.get("bytes")
        if size != expected:
            raise CheckpointError(
                f"{path}: the file has {size} bytes, expected {printable(expected, 40)}; copy the "
                "checkpoint again"
            )


def check_hashes(folder: Path, meta: Mapping[str, Any]) -> int:
    """Compare the sizes and the hashes of the binary files.

    Returns:
        The number of files that were compared; older checkpoints have no hashes.

    Raises:
        CheckpointError: A file is missing or has other content.
    """
    check_sizes(folder, meta)
    described = _described(folder, meta)
    for path, facts in described:
        if sha256_of(path) != facts.get("sha256"):
            raise CheckpointError(
                f"{path}: the content has changed since the checkpoint was written; copy the "
                "checkpoint again"
            )
    return len(described)


def check_settings(path: Path, settings: Any, meta: Mapping[str, Any]) -> None:
    """Refuse a settings file that was cut short.

    Raises:
        CheckpointError: The file contains fewer settings than were written.
    """
    if not isinstance(settings, Mapping):
        raise CheckpointError(f"{path}: expected a table of settings; copy the checkpoint again")
    keys = [key for key, _ in flatten(settings)]
    expected = meta.get("n_settings", 0)
    if type(expected) is not int or expected < 0:
        raise CheckpointError(
            f"{path.parent}: meta.json is damaged (n_settings is {printable(repr(expected))}, "
            "expected a number of settings); copy the checkpoint again"
        )
    if expected and not path.read_bytes().endswith(b"\n"):
        raise CheckpointError(
            f"{path}: the last line has no end, so its value may be cut short. Copy the checkpoint "
            "again; if you edited the file, end its last line"
        )
    if len(keys) < expected:
        last = f", the last of which is {keys[-1]}" if keys else ""
        raise CheckpointError(
            f"{path}: the file contains {len(keys)} of {expected} settings{last}; it was cut "
            "short. Copy the checkpoint again; to use the default of a setting, write its value"
        )


def check_values(state: Mapping[str, Tensor], origin: str) -> None:
    """Refuse weights that no training writes: NaN, infinite, huge, or with equal codes.

    Raises:
        CheckpointError: A weight is not plausible.
    """
    for name, value in state.items():
        if not value.is_floating_point() or not value.numel():
            continue
        low, high = (float(end) for end in torch.aminmax(value))
        if not (-MAX_WEIGHT <= low <= high <= MAX_WEIGHT):  # also true for NaN
            kind = f"values up to {max(-low, high):.1e}" if not math.isnan(low) else "NaN"
            raise CheckpointError(
                f"{origin}: {name} contains {kind}; the weights are damaged, or the training "
                "diverged"
            )
        if name.endswith("codebook") and len(value) > 1 and bool((value == value[:1]).all()):
            raise CheckpointError(f"{origin}: all codes of {name} are equal; no motion is possible")


def _described(folder: Path, meta: Mapping[str, Any]) -> list[tuple[Path, Mapping[str, Any]]]:
    """Return the path and the description of each file; none for older checkpoints."""
    files = meta.get("contents", {})
    if not isinstance(files, dict) or not all(isinstance(one, dict) for one in files.values()):
        raise CheckpointError(f"{folder}: meta.json is damaged (contents)")
    return [(folder / Path(name).name, facts) for name, facts in files.items()]
