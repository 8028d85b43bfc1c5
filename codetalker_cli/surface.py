"""Vertex normals and edges of a mesh, and the conversion between sRGB and linear colors."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Convert sRGB values from 0 to 1 to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Convert linear light from 0 to 1 to sRGB values (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


class VertexNormals:
    """Vertex normals of a mesh with fixed triangles and moving vertices.

    Args:
        triangles: (F, 3) vertex indices.
        n_vertices: V.
    """

    def __init__(self, triangles: np.ndarray, n_vertices: int) -> None:
        self._corners = np.ascontiguousarray(triangles.T, dtype=np.intp)
        self._n_vertices = n_vertices

    def of(self, vertices: np.ndarray) -> np.ndarray:
        """Return (V, 3) float32 unit normals, area-weighted means over the adjacent triangles."""
        positions = np.ascontiguousarray(vertices.T, dtype=np.float64)
        a, b, c = (positions.take(corner, axis=1) for corner in self._corners)
        u, v = b - a, c - a
        normals = np.zeros((3, self._n_vertices))
        for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
            weights = u[j] * v[k] - u[k] * v[j]
            for corner in self._corners:
                normals[i] += np.bincount(corner, weights, minlength=self._n_vertices)
        length = np.sqrt(np.square(normals).sum(0))
        return (normals / np.where(length > 0, length, 1)).T.astype(np.float32)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (V, 3) float32 unit normals; see ``VertexNormals``."""
    return VertexNormals(triangles, len(vertices)).of(vertices)


def edge_graph(vertices: np.ndarray, triangles: np.ndarray) -> "csr_array":
    """Return the (V, V) symmetric sparse matrix of the lengths of the edges of a mesh.

    Edges between vertices that share a position, such as those of touching lips, get a thousandth
    of the mean length, so that they stay edges.

    Args:
        vertices: (V, 3).
        triangles: (F, 3) vertex indices.
    """
    from scipy.sparse import coo_array, csr_array

    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = np.unique(np.sort(sides, axis=1), axis=0)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    lengths = np.maximum(lengths, 1e-3 * lengths.mean())
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    both = np.concatenate([lengths, lengths])
    return csr_array(coo_array((both, (rows, columns)), (len(vertices), len(vertices))))
