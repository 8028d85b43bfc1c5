"""Read the vertex regions of a raw data set from files, or infer the lips from the motion.

The files are a folder of ``NAME.txt`` (in the official code, ``lve.txt`` contains the lips and
``fdd.txt`` the upper face), a ``.json`` file, or a ``.pkl`` file such as FLAME's masks. A ``.json``
or ``.pkl`` file maps each name to a list of vertex indices.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.datasets.lip_region import infer_lips
from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.formats.pickles import read_pickle
from codetalker_cli.text_files import read_json, read_text
from codetalker_cli.topology import PAIRED, Mesh, region_fault

LIPS = "lips"
STANDARD_NAMES = {"lve": LIPS, "fdd": "upper_face"}
"""The names of regions whose files have different names in the official code."""
SAMPLE_BYTES = 128 << 20
"""The approximate maximum size of the motion that the lips are inferred from."""
CANDIDATES = ("regions", "FLAME_masks.pkl", "regions.json")
"""The region files that ``auto`` searches for in a raw data set."""


@dataclass(frozen=True)
class Regions:
    """Vertex regions read from files, and whether to infer missing lips.

    Attributes:
        named: The (n,) int32 vertex indices of each region, by name.
        infer: Whether to infer ``lips`` from the motion if no file contains this region.
        origin: The names of the files, for the manifest.
    """

    named: dict[str, np.ndarray] = field(default_factory=dict)
    infer: bool = False
    origin: str = "none"

    def complete(self, mesh: Mesh, sample: tuple[np.ndarray, np.ndarray]) -> tuple[Mesh, str]:
        """Return the mesh with these regions added, and a description of their origin.

        Args:
            mesh: The topology and templates. Regions from files replace its regions of the
                same name.
            sample: A (V, 3) template and (N, V, 3) offsets from it, to infer the lips from.

        Raises:
            DataError: A region contains vertices that the topology does not have.
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
    """Return the regions that the setting ``prepare.regions`` specifies.

    Args:
        setting: ``auto``, ``infer``, ``none``, or the path of a file or folder.
        root: The folder of the raw data set, which ``auto`` searches.
        n_vertices: V.

    Raises:
        InputError: The file or folder does not exist, or contains no regions.
        DataError: A file is damaged, or an index is out of range.
    """
    if setting == "none":
        return Regions()
    if setting == "infer":
        return Regions(infer=True)
    paths = [root / name for name in CANDIDATES if (root / name).exists()]
    if setting != "auto":
        # Paths given as an option are relative to the working directory, and paths in a settings
        # file to the data.
        paths = [path for path in (Path(setting), root / setting) if path.exists()][:1]
        if not paths:
            raise InputError(
                f"prepare.regions: {setting} does not exist; give a folder of NAME.txt files, a "
                "single one, a .json or .pkl file that maps names to vertex indices, or one of "
                "auto, infer, none"
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
            raise InputError(f"{path}: the folder contains no regions (NAME.txt files)")
        return {text.stem: _numbers(text) for text in texts}
    content: Any
    if path.suffix == ".txt":
        return {path.stem: _numbers(path)}
    if path.suffix == ".json":
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not valid JSON ({error})") from error
    elif path.suffix == ".pkl":
        content = read_pickle(path)
    else:
        raise InputError(
            f"{path}: expected regions as a folder of .txt files, or a .txt, .json or .pkl file"
        )
    if not isinstance(content, dict) or not content:
        raise DataError(
            f"{path}: expected a table of names and vertex indices, found "
            f"{'an empty table' if isinstance(content, dict) else type(content).__name__}"
        )
    return {str(key): value for key, value in content.items()}


def _numbers(path: Path) -> np.ndarray:
    try:
        words = re.split(r"[,\s]+", read_text(path).strip())
        words = [word for word in words if word]
        values = [int(w) if w.lstrip("+-").isdecimal() else float(w) for w in words]
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected vertex indices separated by commas ({error})") from error
    return np.array(values) if values else np.empty(0, np.int64)


def _indices(content: Any, name: str, path: Path, n_vertices: int) -> np.ndarray:
    where = f"{path}: {printable(name)}"
    try:
        indices = np.asarray(content)
    except ValueError as error:
        raise DataError(f"{where}: not a list of vertex indices ({error})") from error
    if not indices.size:
        raise DataError(f"{where}: the list is empty; give its vertex indices, or remove it")
    if fault := region_fault(name, indices, n_vertices):
        raise DataError(f"{where}: {fault}; give vertex indices of this topology")
    if name in PAIRED:  # their order defines the pairs
        return indices.astype(np.int32)
    return np.unique(indices).astype(np.int32)


def sample_of(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], n_frames: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``sample`` for ``Regions.complete``, with frames spread over clips.

    Args:
        clips: The (V, 3) template and the (T, V, 3) memory-mapped vertices of each clip; the
            subjects may differ.
        n_frames: The approximate number of frames in total.

    Returns:
        The (V, 3) template of the first clip, and the (N, V, 3) float32 offset of each frame from
        the template of its own clip.
    """
    template = clips[0][0]
    n_frames = min(n_frames, SAMPLE_BYTES // template.nbytes)
    each = max(2, n_frames // len(clips))
    parts = []
    for rest, vertices in clips:
        positions = np.unique(np.linspace(0, len(vertices) - 1, each).astype(int))
        parts.append(np.asarray(vertices[positions], dtype=np.float32) - rest)
    return template, np.concatenate(parts)
