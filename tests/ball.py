"""A small closed mesh, a motion of it, and render settings for tests."""

import numpy as np

from codetalker_cli.motion import Motion
from codetalker_cli.render import RenderSettings
from codetalker_cli.topology import Topology

SOFTWARE = RenderSettings(renderer="software", size=64, workers=1)


def sphere(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return a closed sphere of radius 1: vertices (V, 3) and triangles (F, 3)."""
    theta, phi = np.linspace(0, np.pi, n + 1)[1:-1], np.linspace(0, 2 * np.pi, 2 * n, False)
    t, p = (a.ravel() for a in np.meshgrid(theta, phi, indexing="ij"))
    ring = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], axis=1)
    vertices = np.concatenate([ring, [[0, 1, 0], [0, -1, 0]]]).astype(np.float32)
    north, south, m = len(ring), len(ring) + 1, 2 * n
    triangles = []
    for j in range(m):
        k = (j + 1) % m
        triangles += [(north, j, k), (south, len(ring) - m + k, len(ring) - m + j)]
        for i in range(n - 2):
            a, b, c, d = i * m + j, i * m + k, (i + 1) * m + j, (i + 1) * m + k
            triangles += [(a, c, b), (b, c, d)]
    return vertices, np.array(triangles, np.int32)


def make_motion(n_frames: int = 6, fps: float = 25.0, **kwargs) -> Motion:
    """Return a motion of the sphere that swells and shrinks; ``kwargs`` are fields of Motion."""
    vertices, triangles = sphere()
    topology = Topology("ball", triangles, len(vertices))
    swell = 1 + 0.2 * np.sin(np.arange(n_frames))[:, None, None]
    frames = (vertices * swell).astype(np.float32)
    return Motion(frames, fps, topology, "S01", vertices, **kwargs)
