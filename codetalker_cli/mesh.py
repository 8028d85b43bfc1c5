"""The faces of a data set: shared topology, and what each subject looks like.

Written as ``mesh.npz`` into prepared data sets and into checkpoints.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from codetalker_cli import resources
from codetalker_cli.errors import DataError
from codetalker_cli.topology import Topology


@dataclass(frozen=True)
class Mesh:
    """Topology, templates and looks.

    Attributes:
        topology: Shared connectivity.
        templates: Subject → (V, 3) float32 neutral face, in the topology's unit.
        colours: Subject → (V, 3) uint8 sRGB albedo; empty where unknown.
        idle_units: Unit (``eyeBlinkLeft``, ``eyeLookUpLeft``, …) → (V, 3) offset at weight 1, for
            blinks and gaze that no speech tells; empty where the face has no such units.
        lid_closure: Subject → weight of eyeBlink at which that subject's lids just close.
    """

    topology: Topology
    templates: dict[str, np.ndarray]
    colours: dict[str, np.ndarray] = field(default_factory=dict)
    idle_units: dict[str, np.ndarray] = field(default_factory=dict)
    lid_closure: dict[str, float] = field(default_factory=dict)

    def check(self, n_vertices: int, origin: str) -> None:
        """Refuse templates or faces of another vertex count.

        Raises:
            DataError: Names what has how many vertices.
        """
        shapes = {f"template of {k}": v.shape for k, v in self.templates.items()}
        shapes["topology"] = (self.topology.n_vertices, 3)
        for what, shape in shapes.items():
            if shape != (n_vertices, 3):
                raise DataError(f"{origin}: {what} is {shape}, expected ({n_vertices}, 3)")

    def save(self, path: Path) -> None:
        """Write as .npz."""
        arrays = {f"topology_{k}": v for k, v in self.topology.to_arrays().items()}
        _pack(arrays, "template", self.templates, np.float32)
        _pack(arrays, "colour", self.colours, np.uint8)
        _pack(arrays, "idle_unit", self.idle_units, np.float16)
        _pack(arrays, "lid_closure", self.lid_closure, np.float32)
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Mesh":
        """Read what :meth:`save` wrote.

        Raises:
            DataError: Not such a file.
        """
        arrays = resources.read_arrays(path)
        prefix = "topology_"
        own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        try:
            return cls(
                Topology.from_arrays(own),
                _unpack(arrays, "template"),
                _unpack(arrays, "colour"),
                {k: v.astype(np.float32) for k, v in _unpack(arrays, "idle_unit").items()},
                {k: float(v) for k, v in _unpack(arrays, "lid_closure").items()},
            )
        except (ValueError, KeyError) as error:
            raise DataError(f"{path}: not a mesh file ({error!r})") from error


def _pack(arrays: dict[str, np.ndarray], kind: str, values: dict, dtype: type) -> None:
    if values:
        arrays[f"{kind}_names"] = np.array(list(values), dtype="U")
        arrays[f"{kind}s"] = np.stack([np.asarray(v, dtype=dtype) for v in values.values()])


def _unpack(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    if f"{kind}_names" not in arrays:
        return {}
    names = [str(name) for name in arrays[f"{kind}_names"]]
    return dict(zip(names, arrays[f"{kind}s"], strict=True))
