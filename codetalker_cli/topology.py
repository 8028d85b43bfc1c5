"""The mesh of a motion: triangles, vertex regions, unit and the subjects' neutral faces."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from codetalker_cli.arrays import read_arrays
from codetalker_cli.errors import DataError, counted, printable, verb
from codetalker_cli.files import name_fault

Report = Callable[[str, str], None]
"""Called with the kind of a mesh problem (``faces`` or ``region``) and a message."""
UNITS: dict[str, float | None] = {"m": 1.0, "mm": 1e-3, "area1": None}
"""Length unit → meters; ``area1``: every mesh is scaled to a surface area of 1 (BIWI)."""
MAX_COORDINATE = 1e6
"""The largest coordinate of a vertex in any unit; larger ones occur only in damaged files."""


PAIRED = ("inner_lip_upper", "inner_lip_lower")
"""Regions whose k-th vertices touch when the mouth is shut, ordered from corner to corner; a vertex
can belong to several pairs."""


def region_fault(name: str, indices: np.ndarray, n_vertices: int) -> str | None:
    """Return why an array is not a list of vertex indices of a region, or None if it is one.

    Empty lists are valid.

    Args:
        name: The name of the region.
        indices: The array.
        n_vertices: The number of vertices V.
    """
    shape, kind = indices.shape, indices.dtype.kind
    if len(shape) != 1:
        return f"the shape is {shape}, expected (n,) vertex indices"
    if not len(indices):
        return None
    is_binary = kind in "biuf" and bool(np.isin(indices, (0, 1)).all())
    if kind == "b" or (is_binary and len(indices) > 2):
        return (
            f"this is a mask of {len(indices)} values 0 or 1; expected vertex indices; write the "
            "indices of its ones, such as np.flatnonzero(mask)"
        )
    if kind not in "iu":
        return f"contains {indices.dtype}, expected integer vertex indices"
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n_vertices:
        return f"indices are {low}..{high}, expected 0..{n_vertices - 1}"
    values, counts = np.unique(indices, return_counts=True)
    if counts.max() > 1 and name not in PAIRED:
        repeated = values[counts.argmax()]
        return f"vertex {repeated} is listed {counts.max()} times; list each vertex once"
    return None


def label_components(n_vertices: int, edges: np.ndarray) -> np.ndarray:
    """Return the (V,) index of the connected component of each vertex.

    Args:
        n_vertices: The number of vertices V.
        edges: (E, 2) indices of connected vertices, in any order.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges), bool), tuple(edges.T)), (n_vertices, n_vertices))
    return connected_components(graph, directed=False)[1]


@dataclass(frozen=True)
class Topology:
    """Connectivity shared by all subjects of a data set.

    Attributes:
        name: The name shown in messages.
        triangles: (F, 3) int32 vertex indices, counter-clockwise seen from outside.
        n_vertices: The number of vertices V.
        unit: One of ``UNITS``.
        regions: Name (``lips``, ``upper_face``, …) → (n,) int32 vertex indices.
        uv: (N, 2) float32 texture coordinates, or None.
        uv_triangles: (F, 3) int32 indices into ``uv``, or None.
        parts: Vertex ranges [start, stop) of the separate parts (skin, teeth_upper, ...).
    """

    name: str
    triangles: np.ndarray
    n_vertices: int
    unit: str = "m"
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    uv: np.ndarray | None = None
    uv_triangles: np.ndarray | None = None
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise DataError(f"topology {self.name}: unit {self.unit!r} is not one of {[*UNITS]}")
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
            raise DataError(
                f"topology {self.name}: triangles have shape {self.triangles.shape}, expected "
                "(F, 3)"
            )
        low, high = (self.triangles.min(), self.triangles.max()) if self.triangles.size else (0, 0)
        if self.triangles.size and not 0 <= low <= high < self.n_vertices:
            raise DataError(
                f"topology {self.name}: triangles: indices are {low}..{high}, expected "
                f"0..{self.n_vertices - 1}"
            )
        self._check_uv()
        for region, indices in self.regions.items():
            if fault := region_fault(region, indices, self.n_vertices):
                raise DataError(f"topology {self.name}: {region}: {fault}")

    def _check_uv(self) -> None:
        if self.uv is None or self.uv_triangles is None:
            return
        low, high = self.uv_triangles.min(initial=0), self.uv_triangles.max(initial=-1)
        is_valid = self.uv.ndim == 2 and self.uv.shape[1] == 2 and low >= 0 and high < len(self.uv)
        if not is_valid or self.uv_triangles.shape != self.triangles.shape:
            raise DataError(
                f"topology {self.name}: texture coordinates have shape {self.uv.shape} and "
                f"{self.uv_triangles.shape}, expected (n, 2) and {self.triangles.shape} with "
                "indices into them"
            )

    def __repr__(self) -> str:
        """Return the name and the size, without arrays."""
        return (
            f"<Topology {printable(self.name)}: {self.n_vertices} vertices, "
            f"{counted(len(self.triangles), 'triangle')}, {counted(len(self.regions), 'region')}, "
            f"unit {self.unit}>"
        )

    @property
    def meters_per_unit(self) -> float | None:
        """The size of the length unit in meters, or None if the scale is unknown."""
        return UNITS[self.unit]

    def summary(self) -> dict[str, str | int]:
        """Return the name and the size, for manifests and reports."""
        return {"name": self.name, "n_vertices": self.n_vertices, "n_faces": len(self.triangles)}

    def region(self, name: str) -> np.ndarray:
        """Return the vertex indices of a region; the error lists the known regions."""
        if name not in self.regions:
            known = ", ".join(sorted(self.regions)) or "none"
            raise DataError(f"topology {self.name}: no region {name!r}; it has: {known}")
        return self.regions[name]

    def central_lip_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the vertices of the upper and the lower lip that ``inner_lip_gap`` compares.

        Raises:
            DataError: The topology has no such regions.
        """
        upper, lower = self.region("inner_lip_upper"), self.region("inner_lip_lower")
        skip = len(upper) // 4
        central = slice(skip, len(upper) - skip)
        return upper[central], lower[central]

    def inner_lip_gap(self, vertices: np.ndarray) -> np.ndarray:
        """Return the mean distance between the lips, over the central half of the lip pairs.

        ``inner_lip_upper[i]`` and ``inner_lip_lower[i]`` are vertices that touch when the mouth is
        shut, ordered from corner to corner. The outer quarter on each side is skipped.

        Args:
            vertices: (..., V, 3).

        Returns:
            (...) in the topology's unit.

        Raises:
            DataError: The topology has no such regions.
        """
        upper, lower = self.central_lip_pairs()
        offsets = vertices[..., upper, :] - vertices[..., lower, :]
        return np.linalg.norm(offsets, axis=-1).mean(-1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Convert to plain arrays for an .npz (inverse of ``from_arrays``)."""
        arrays: dict[str, np.ndarray] = {
            "name": np.array(self.name),
            "unit": np.array(self.unit),
            "n_vertices": np.array(self.n_vertices),
            "faces": self.triangles.astype(np.int32),
            "part_names": np.array(list(self.parts), dtype="U"),
            "part_ranges": np.array(list(self.parts.values()), dtype=np.int32).reshape(-1, 2),
        }
        arrays |= {f"region_{k}": v.astype(np.int32) for k, v in self.regions.items()}
        if self.uv is not None and self.uv_triangles is not None:
            arrays |= {"uv": self.uv, "uv_faces": self.uv_triangles}
        return arrays

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], report: Report | None = None
    ) -> "Topology":
        """Create a topology from the arrays of ``to_arrays``; other arrays are ignored.

        Args:
            arrays: The arrays by name.
            report: Called for each index list with unknown vertices, which are then dropped.
                None: unknown vertices are an error.
        """
        if report is not None:
            arrays = _without_unknown_vertices(arrays, report)
        ranges = arrays["part_ranges"]
        names = [str(name) for name in arrays["part_names"]]
        return cls(
            name=str(arrays["name"]),
            triangles=np.asarray(arrays["faces"], dtype=np.int32),
            n_vertices=int(arrays["n_vertices"]),
            unit=str(arrays["unit"]),
            regions={
                key.removeprefix("region_"): _as_indices(value)
                for key, value in arrays.items()
                if key.startswith("region_")
            },
            uv=arrays.get("uv"),
            uv_triangles=arrays.get("uv_faces"),
            parts={n: (int(a), int(b)) for n, (a, b) in zip(names, ranges, strict=True)},
        )


def _as_indices(indices: np.ndarray) -> np.ndarray:
    """Convert integers to int32; other arrays stay as they are, and ``Topology`` refuses them."""
    return np.asarray(indices, np.int32) if indices.dtype.kind in "iu" else indices


def _without_unknown_vertices(
    arrays: Mapping[str, np.ndarray], report: Report
) -> dict[str, np.ndarray]:
    """Drop triangles and region indices that refer to unknown vertices."""
    kept, n_vertices = dict(arrays), int(arrays["n_vertices"])
    triangles = arrays["faces"]
    bad = ((triangles < 0) | (triangles >= n_vertices)).any(-1)
    if triangles.ndim == 2 and bad.any():
        first = bad.argmax()
        report(
            "faces",
            f"{bad.sum()} of {counted(len(triangles), 'triangle')} "
            f"{verb(bad.sum(), 'refers', 'refer')} to vertices that do not exist "
            f"(triangle {first}: {[int(i) for i in triangles[first]]}; there are {n_vertices} "
            "vertices)",
        )
        kept["faces"] = triangles[~bad]
    for key in [key for key in arrays if key.startswith("region_")]:
        if arrays[key].ndim != 1 or arrays[key].dtype.kind not in "iu":
            continue  # ``Topology`` refuses it
        name = key.removeprefix("region_")
        bad = (arrays[key] < 0) | (arrays[key] >= n_vertices)
        if bad.any():
            report(
                "region",
                f"region {name} refers to {counted(bad.sum(), 'vertex')} that "
                f"{verb(bad.sum(), 'does', 'do')} not exist",
            )
            kept[key] = arrays[key][~bad]
        if fault := region_fault(name, kept[key], n_vertices):
            report("region", f"region {name}: {fault}")
            del kept[key]
    return kept


# Mesh ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mesh:
    """A topology with the templates and colors of its subjects.

    Attributes:
        topology: Shared connectivity.
        templates: Subject → (V, 3) float32 neutral face, in the topology's unit.
        colors: Subject → (V, 3) uint8 sRGB albedo; empty where unknown.
        idle_units: Unit (``eyeBlinkLeft``, ``eyeLookUpLeft``, …) → (V, 3) offset at weight 1, for
            blinks and gaze, which are independent of speech; empty if the face has none.
        lid_closure: Subject → weight of eyeBlink at which that subject's lids just close.
    """

    topology: Topology
    templates: dict[str, np.ndarray]
    colors: dict[str, np.ndarray] = field(default_factory=dict)
    idle_units: dict[str, np.ndarray] = field(default_factory=dict)
    lid_closure: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return the name and the size, without arrays."""
        return (
            f"<Mesh {printable(self.topology.name)}: {self.topology.n_vertices} vertices, "
            f"{counted(len(self.templates), 'subject')}>"
        )

    def check(self, n_vertices: int, origin: str) -> None:
        """Refuse templates or triangles with the wrong vertex count.

        Raises:
            DataError: A vertex count differs. The message contains both counts.
        """
        shapes = {f"template of {k}": v.shape for k, v in self.templates.items()}
        shapes["topology"] = (self.topology.n_vertices, 3)
        for what, shape in shapes.items():
            if shape != (n_vertices, 3):
                raise DataError(f"{origin}: {what} is {shape}, expected ({n_vertices}, 3)")

    def check_values(self, origin: str) -> None:
        """Refuse templates, offsets and weights that are not plausible numbers.

        Raises:
            DataError: An array contains NaN, infinite or huge values, or a template has no size.
        """
        arrays = {f"template of {name}": array for name, array in self.templates.items()}
        arrays |= {f"idle unit {name}": array for name, array in self.idle_units.items()}
        arrays |= {f"lid closure of {k}": np.asarray(v) for k, v in self.lid_closure.items()}
        for what, array in arrays.items():
            if not np.isfinite(array).all() or np.abs(array).max(initial=0) > MAX_COORDINATE:
                raise DataError(f"{origin}: {what} contains NaN, infinite or huge values")
            if what.startswith("template") and not np.ptp(array, axis=0).any():
                raise DataError(f"{origin}: all vertices of {what} are at the same point")

    def save(self, path: Path) -> None:
        """Write as .npz."""
        arrays = {f"topology_{k}": v for k, v in self.topology.to_arrays().items()}
        _pack(arrays, "template", self.templates, np.float32)
        _pack(arrays, "color", self.colors, np.uint8)
        _pack(arrays, "idle_unit", self.idle_units, np.float16)
        _pack(arrays, "lid_closure", self.lid_closure, np.float32)
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Mesh":
        """Read what ``save`` wrote.

        Raises:
            DataError: The file is not a mesh file, or a template has another shape.
        """
        arrays = read_arrays(path)
        try:
            mesh = cls.from_arrays(arrays)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        mesh.check(mesh.topology.n_vertices, str(path))
        return mesh

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], report: Report | None = None) -> "Mesh":
        """Create a mesh from the arrays of a file that ``save`` wrote.

        Args:
            arrays: The arrays by name.
            report: See ``Topology.from_arrays``.

        Raises:
            DataError: The arrays are not those of a mesh.
        """
        prefix = "topology_"
        topology = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        try:
            return cls(
                Topology.from_arrays(topology, report),
                _unpack(arrays, "template"),
                _unpack(arrays, "color") or _unpack(arrays, "colour"),  # the name in older files
                {k: v.astype(np.float32) for k, v in _unpack(arrays, "idle_unit").items()},
                {k: float(v) for k, v in _unpack(arrays, "lid_closure").items()},
            )
        except (DataError, ValueError, KeyError, TypeError) as error:
            reason = f"array {error} is missing" if isinstance(error, KeyError) else error
            raise DataError(f"not a mesh file ({reason})") from error


def _pack(arrays: dict[str, np.ndarray], kind: str, values: dict, dtype: type) -> None:
    if values:
        arrays[f"{kind}_names"] = np.array(list(values), dtype="U")
        arrays[f"{kind}s"] = np.stack([np.asarray(v, dtype=dtype) for v in values.values()])


def _unpack(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    if f"{kind}_names" not in arrays:
        return {}
    names = [str(name) for name in arrays[f"{kind}_names"]]
    for name in names:
        if fault := name_fault(name):
            raise DataError(f"{kind} name {printable(name)!r} {fault}")
    return dict(zip(names, arrays[f"{kind}s"], strict=True))
