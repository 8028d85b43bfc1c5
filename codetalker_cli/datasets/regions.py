"""Named vertex regions of a raw data set: from files that people have, or from the motion.

Files: a folder of ``NAME.txt`` (the reference's ``lve.txt`` is the lips, ``fdd.txt`` the upper
face), one ``.json`` of name → indices, or one ``.pkl`` of name → indices such as FLAME's masks.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.datasets.lip_region import infer_lips
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats.pickles import read_pickle
from codetalker_cli.topology import Mesh

LIPS = "lips"
STANDARD_NAMES = {"lve": LIPS, "fdd": "upper_face"}
"""Region files of the reference → our names for the regions."""
PAIRED = ("inner_lip_upper", "inner_lip_lower")
"""Regions whose n-th vertices touch when the mouth is shut, from corner to corner."""
SAMPLE_BYTES = 128 << 20
"""Of the motion that lips are inferred from, about."""
CANDIDATES = ("regions", "FLAME_masks.pkl", "regions.json")
"""What is looked for in a raw data set."""


@dataclass(frozen=True)
class Regions:
    """Regions that were read, and whether the lips shall be inferred where they are not given.

    Attributes:
        named: Name → (n,) int32 vertex indices.
        infer: Infer ``lips`` from the motion if no file names them.
        origin: Where they come from, for the manifest.
    """

    named: dict[str, np.ndarray] = field(default_factory=dict)
    infer: bool = False
    origin: str = "none"

    def complete(self, mesh: Mesh, sample: tuple[np.ndarray, np.ndarray]) -> tuple[Mesh, str]:
        """The mesh with these regions over its own, and where its lips come from.

        Args:
            mesh: Topology and templates.
            sample: (V, 3) template and (N, V, 3) offsets from it, to infer from.

        Raises:
            DataError: A region names vertices that the topology does not have.
        """
        named, origin = {**mesh.topology.regions, **self.named}, self.origin
        if LIPS not in named and self.infer:
            try:
                named[LIPS] = infer_lips(*sample, mesh.topology.triangles)
                origin = f"{self.origin}; lips inferred from the motion"
            except DataError as error:
                origin = f"{self.origin}; no lips: {error}"
        return replace(mesh, topology=replace(mesh.topology, regions=named)), origin


def find_regions(setting: str, root: Path, n_vertices: int) -> Regions:
    """Regions by the setting ``prepare.regions``.

    Args:
        setting: ``auto``, ``infer``, ``none``, or a file or folder.
        root: The raw data set, where ``auto`` looks.
        n_vertices: V.

    Raises:
        InputError: The file or folder does not exist, or holds no regions.
        DataError: A file is damaged, or an index is out of range.
    """
    if setting == "none":
        return Regions()
    if setting == "infer":
        return Regions(infer=True)
    paths = [root / name for name in CANDIDATES if (root / name).exists()]
    if setting != "auto":
        # A path in a settings file is meant from where the data is, a flag's from here.
        paths = [path for path in (Path(setting), root / setting) if path.exists()][:1]
        if not paths:
            raise InputError(
                f"prepare.regions: {setting} does not exist; give a folder of NAME.txt, a .json or "
                ".pkl of name to indices, or auto, infer, none"
            )
    named: dict[str, np.ndarray] = {}
    for path in paths:
        for name, content in _read(path).items():
            named[STANDARD_NAMES.get(name, name)] = _indices(content, name, path, n_vertices)
    origin = ", ".join(path.name for path in paths) or "no region files"
    return Regions(named, infer=setting == "auto", origin=origin)


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        texts = sorted(path.glob("*.txt"))
        if not texts:
            raise InputError(f"{path}: a folder of regions holds NAME.txt files, this holds none")
        return {text.stem: _numbers(text) for text in texts}
    content: Any
    if path.suffix == ".txt":
        return {path.stem: _numbers(path)}
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not a JSON file ({error})") from error
    elif path.suffix == ".pkl":
        content = read_pickle(path)
    else:
        raise InputError(f"{path}: regions are read from a folder of .txt, a .txt, .json or .pkl")
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: expected name → vertex indices, got {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def _numbers(path: Path) -> list[int]:
    try:
        words = re.split(r"[,\s]+", path.read_text(encoding="utf-8").strip())
        return [int(word) for word in words if word]
    except ValueError as error:
        raise DataError(f"{path}: expected vertex numbers with commas between ({error})") from error


def _indices(content: Any, name: str, path: Path, n_vertices: int) -> np.ndarray:
    where = f"{path}: {name}"
    try:
        indices = np.asarray(content)
    except ValueError as error:
        raise DataError(f"{where}: not a list of vertex indices ({error})") from error
    if indices.ndim != 1 or not len(indices) or indices.dtype.kind not in "iu":
        raise DataError(
            f"{where}: expected a list of vertex indices, got {indices.dtype} {indices.shape}"
        )
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n_vertices:
        raise DataError(
            f"{where}: names vertices {low}..{high}, but there are {n_vertices} (0 to "
            f"{n_vertices - 1}); take the regions of this topology"
        )
    if name in PAIRED:  # their order says which vertices belong together
        return indices.astype(np.int32)
    return np.unique(indices).astype(np.int32)


def sample_of(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], n_frames: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """A template and frames spread over clips, as ``Regions.complete`` takes them.

    Args:
        clips: (V, 3) template and (T, V, 3) memory-mapped vertices each; of any subjects.
        n_frames: About how many frames to take in all.
    """
    template = clips[0][0]
    n_frames = min(n_frames, SAMPLE_BYTES // template.nbytes)
    each = max(2, n_frames // len(clips))
    parts = []
    for rest, vertices in clips:
        positions = np.unique(np.linspace(0, len(vertices) - 1, each).astype(int))
        parts.append(np.asarray(vertices[positions], dtype=np.float32) - rest)
    return template, np.concatenate(parts)
