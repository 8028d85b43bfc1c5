"""Move the lips of any mesh smoothly, given how far the paired inner-lip vertices move.

The displacement of the inner lips is continued over the skin around the mouth by the smoothest
field that fades to zero (a biharmonic one; Botsch and Kobbelt, "An intuitive framework for
real-time freeform modeling", 2004). Distances are measured along the surface, so the upper lip does
not follow the lower one. Teeth, tongue and jaw do not move.
"""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.errors import DataError, printable
from codetalker_cli.surface import edge_graph
from codetalker_cli.topology import PAIRED, Topology

REACH_MM = 30.0
"""The distance along the skin from the inner lips at which the displacement ends."""


def millimeters_per_unit(topology: Topology) -> float:
    """Return the length unit of a mesh with paired inner lips, in millimeters.

    Raises:
        DataError: The mesh has no paired inner-lip vertices, or its unit is unknown.
    """
    name = printable(topology.name)
    for region in PAIRED:
        if not len(topology.regions.get(region, ())):
            raise DataError(
                f"the mesh {name} has no region {region}, which is needed to close the lips with a "
                "transcript; animate without a transcript, or prepare the data of the mesh with "
                "the regions inner_lip_upper and inner_lip_lower, and train again"
            )
    if topology.meters_per_unit is None:
        raise DataError(
            f"the length unit of the mesh {name} is unknown, so a transcript cannot close its "
            "lips; animate without a transcript"
        )
    return topology.meters_per_unit * 1000.0


@dataclass(frozen=True)
class LipField:
    """The linear map from inner-lip displacements to the displacements of the mouth.

    Attributes:
        upper, lower: (P,) the control of each lip pair on the upper and on the lower lip.
        controls: (C,) the vertices of the inner lips.
        vertices: (N,) the vertices that move.
        weights: (N, C) the share of each control's displacement in each of them.
    """

    upper: np.ndarray
    lower: np.ndarray
    controls: np.ndarray
    vertices: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, topology: Topology, template: np.ndarray) -> "LipField":
        """Compute the field of a mesh.

        Args:
            topology: The mesh, with paired inner lips and a known length unit.
            template: (V, 3) neutral face.

        Raises:
            DataError: See ``millimeters_per_unit``.
        """
        reach = REACH_MM / millimeters_per_unit(topology)
        pairs = [topology.region(name) for name in PAIRED]
        controls, pair_controls = np.unique(np.concatenate(pairs), return_inverse=True)
        upper, lower = pair_controls.reshape(2, -1)
        vertices, weights = _biharmonic(topology, template.astype(np.float64), controls, reach)
        return cls(upper, lower, controls, vertices, weights)

    def add(self, frames: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """Return (n, V, 3) frames with displaced lips.

        Args:
            frames: (n, V, 3) vertices.
            moves: (n, C, 3) displacements of the controls.
        """
        moved = frames.copy()
        moved[:, self.vertices] += (self.weights @ moves).astype(frames.dtype)
        return moved


def _biharmonic(
    topology: Topology, template: np.ndarray, controls: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (N,) vertices within reach of the controls, and their (N, C) weights."""
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.csgraph import dijkstra
    from scipy.sparse.linalg import splu

    n = topology.n_vertices
    graph = edge_graph(template, topology.triangles)
    distances = dijkstra(graph, indices=controls, min_only=True, limit=reach)
    near = np.isfinite(distances)
    near[controls] = False
    free = np.flatnonzero(near)
    # A surface that ends within reach has no fixed border, and moves as a whole.
    adjacency = graph.copy()
    adjacency.data = 1.0 / adjacency.data
    degrees = np.maximum(adjacency.sum(1), 1e-12)
    laplacian = csr_array(diags_array(np.ones(n)) - diags_array(1.0 / degrees) @ adjacency)
    energy = csr_array(laplacian.T @ laplacian)
    solver = splu((energy[free][:, free] + 1e-9 * diags_array(np.ones(len(free)))).tocsc())
    weights = solver.solve(-energy[free][:, controls].toarray())
    return np.concatenate([controls, free]), np.concatenate([np.eye(len(controls)), weights])
