"""Drawing with OpenGL through pyrender, and the probe that tells whether that works here.

Broken OpenGL drivers can crash the process that calls them, so this module's renderer lives in the
drawing processes only and the probe in one of its own. The light is baked into vertex colours
(pyrender's FLAT flag), which gives the picture of the software renderer and is much the fastest
way where no graphics card helps.
"""

import logging
import os
import subprocess
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from codetalker_cli.render.processes import environment, last_line, python_command
from codetalker_cli.render.scene import Scene

PLATFORMS = ("egl", "osmesa")
"""Ways to an OpenGL context without a screen, in the order they are tried."""
_PROBE_SECONDS = 60.0
_PROBE_CODE = "from codetalker_cli.render.gl import draw_one_triangle; draw_one_triangle()"
_ALIVE = "opengl-works"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probe:
    """What the probe found.

    Attributes:
        platform: One of :data:`PLATFORMS`, or None where OpenGL does not work.
        reason: Why not, one line; empty if it does.
    """

    platform: str | None
    reason: str = ""


@lru_cache(maxsize=1)
def probe() -> Probe:
    """Whether pyrender can draw on this machine; tried once a process, in processes of its own."""
    return run_probe(python_command(_PROBE_CODE))


def run_probe(command: Sequence[str], seconds: float = _PROBE_SECONDS) -> Probe:
    """Run the probe's ``command`` for each platform until one works; never raises for a crash."""
    reasons = []
    for platform in PLATFORMS:
        env = environment() | {"PYOPENGL_PLATFORM": platform}
        try:
            done = subprocess.run(
                command, env=env, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            reasons.append(f"{platform}: no answer within {seconds:g} s")
            continue
        except OSError as error:
            reasons.append(f"{platform}: {error.strerror or error}")
            continue
        if done.returncode == 0 and _ALIVE.encode() in done.stdout:
            return Probe(platform)
        said = last_line(done.stderr) or f"exit code {done.returncode}"
        reasons.append(f"{platform}: {said}")
    return Probe(None, "; ".join(reasons))


def draw_one_triangle() -> None:
    """The probe: draw a white triangle on black and look whether it is there."""
    faces = np.array([[0, 1, 2]], np.int32)
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], np.float32)
    scene = Scene(
        faces=faces,
        open_faces=np.zeros(1, bool),
        albedo=np.ones((3, 3), np.float32),
        occlusion=np.ones(3, np.float32),
        gloss=np.ones((3, 2), np.float32),
        background=np.zeros((32, 32, 3), np.float32),
        rotation=np.eye(3),
        eye=np.array([0.0, 0.0, 5.0]),
        focal=64.0,
        samples=4,
    )
    picture = GLRenderer(scene).render(vertices)
    if picture[16, 16].min() < 100 or picture[0].max() > 0:
        raise RuntimeError("OpenGL draws a wrong picture")
    sys.stdout.write(_ALIVE)


class GLRenderer:
    """Draws a scene, frame by frame, with one OpenGL context. Needs PYOPENGL_PLATFORM to be set.

    Args:
        scene: What stays the same over the clip.
    """

    def __init__(self, scene: Scene) -> None:
        self._pyrender = pyrender = _import_pyrender()
        self._scene = scene
        camera = scene.camera
        far = float(np.linalg.norm(camera.eye)) * 4 + 1
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = camera.rotation.T, camera.eye
        lens = pyrender.PerspectiveCamera(
            yfov=2 * float(np.arctan(camera.height / 2 / camera.focal)),
            aspectRatio=camera.width / camera.height,
            znear=1e-3 * far,
            zfar=far,
        )
        # black with alpha 0: what is resolved at an edge then only lacks its part of the backdrop
        self._world = pyrender.Scene(bg_color=[0.0, 0.0, 0.0, 0.0])
        self._world.add(lens, pose=pose)
        # OSMesa in pyrender has neither several samples a pixel nor alpha: drawn larger, averaged
        self._enlargement = 2 if os.environ["PYOPENGL_PLATFORM"] == "osmesa" else 1
        size = np.array([camera.width, camera.height]) * self._enlargement
        self._flags = pyrender.RenderFlags.FLAT | pyrender.RenderFlags.RGBA
        self._offscreen = pyrender.OffscreenRenderer(*size.tolist())
        self._material = pyrender.MetallicRoughnessMaterial(
            baseColorFactor=[1.0, 1.0, 1.0, 1.0], doubleSided=False
        )
        n_vertices = len(scene.albedo)
        # inner sides are faces of their own, the other way round, with colours of their own
        inner = scene.faces[scene.open_faces][:, ::-1] + n_vertices
        self._indices = np.concatenate([scene.faces, inner]).astype(np.uint32)
        self._back_colours = scene.back_colours()
        self._node: Any = None

    def render(self, vertices: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 picture of vertices (V, 3)."""
        colours = np.concatenate([self._scene.colours(vertices), self._back_colours]) / 255
        primitive = self._pyrender.Primitive(
            positions=np.concatenate([vertices, vertices]).astype(np.float32),
            color_0=np.concatenate([colours, np.ones((len(colours), 1))], axis=1, dtype=np.float32),
            indices=self._indices,
            material=self._material,
        )
        if self._node is not None:
            self._world.remove_node(self._node)
        self._node = self._world.add(self._pyrender.Mesh([primitive]))
        picture, depth = self._offscreen.render(self._world, flags=self._flags)
        if self._enlargement == 1:
            colour, empty = picture[:, :, :3], 1 - picture[:, :, 3:].astype(np.float32) / 255
        else:
            colour, empty = self._average(picture[:, :, :3]), self._average(depth[..., None] == 0)
        return (colour + empty * self._scene.background + 0.5).astype(np.uint8)

    def _average(self, picture: np.ndarray) -> np.ndarray:
        """(height, width, channels) float32 mean of the enlarged picture's squares."""
        height, width = self._scene.background.shape[:2]
        n = self._enlargement
        squares = picture.reshape(height, n, width, n, -1)
        return squares.sum((1, 3), dtype=np.float32) / n**2

    def close(self) -> None:
        """Free the context."""
        self._offscreen.delete()


def _import_pyrender() -> Any:
    """pyrender without its window: that one wants libGL and a screen library even when unused."""
    if not os.environ.get("PYOPENGL_PLATFORM"):
        raise RuntimeError("PYOPENGL_PLATFORM is not set")
    if "pyrender.viewer" not in sys.modules:
        viewer = types.ModuleType("pyrender.viewer")
        viewer.Viewer = None  # type: ignore[attr-defined]
        sys.modules["pyrender.viewer"] = viewer
    import pyrender

    return pyrender
