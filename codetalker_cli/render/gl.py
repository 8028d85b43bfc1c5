"""Draw with OpenGL, and probe whether OpenGL works on this machine.

pyrender creates the offscreen context; importing it requires both libGL and libEGL. A broken
OpenGL driver can crash the process that uses it. The renderer is therefore used only in the
drawing processes, and the probe runs in a process of its own.

Lighting is baked into the vertex colors. The result matches the software renderer, and it is by
far the fastest method without a graphics card. Triangles are uploaded once; each frame uploads
only positions and colors.
"""

import ctypes
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from codetalker_cli.render.scene import Painter, Scene
from codetalker_cli.render.subprocesses import environment, last_line, python_command

PLATFORMS = ("egl", "osmesa")
"""Platforms that provide an offscreen OpenGL context, in the order they are tried."""
_PROBE_SECONDS = 60.0
_PROBE_CODE = "from codetalker_cli.render.gl import draw_one_triangle; draw_one_triangle()"
_SUCCESS_MARKER = "opengl-works"
# Keep a reference to the context of this process: garbage collection would destroy it.
_OPEN_PLATFORMS: list[Any] = []
_SAMPLES = 4
_VERTEX_SHADER = """#version 330 core
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 color;
uniform mat4 projection;
out vec3 shade;
void main() {
    gl_Position = projection * vec4(position, 1.0);
    shade = color / 255.0;
}
"""
_FRAGMENT_SHADER = """#version 330 core
in vec3 shade;
out vec4 pixel;
void main() {
    pixel = vec4(shade, 1.0);
}
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probe:
    """The result of the OpenGL probe.

    Attributes:
        platform: One of ``PLATFORMS``, or None if OpenGL does not work.
        reason: Why OpenGL does not work, in one line; empty if it works.
        device: Name of the rendering device, as reported by OpenGL.
    """

    platform: str | None
    reason: str = ""
    device: str = ""


@lru_cache(maxsize=1)
def probe() -> Probe:
    """Test in a separate process whether pyrender can draw on this machine; cache the result."""
    return run_probe(python_command(_PROBE_CODE))


def run_probe(command: Sequence[str], seconds: float = _PROBE_SECONDS) -> Probe:
    """Run ``command`` for each platform until one works; a crash counts as not working.

    Args:
        command: The command of the probe.
        seconds: Time limit for each platform.
    """
    reasons = []
    for platform in PLATFORMS:
        env = environment() | {"PYOPENGL_PLATFORM": platform}
        try:
            completed = subprocess.run(
                command, env=env, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            reasons.append(f"{platform}: no response within {seconds:g} s")
            continue
        except OSError as error:
            reasons.append(f"{platform}: {error.strerror or error}")
            continue
        output = completed.stdout.decode(errors="replace")
        if completed.returncode == 0 and _SUCCESS_MARKER in output:
            return Probe(platform, device=output.partition(_SUCCESS_MARKER)[2].strip())
        message = last_line(completed.stderr) or f"exit code {completed.returncode}"
        reasons.append(f"{platform}: {message}")
    return Probe(None, "; ".join(reasons))


def draw_one_triangle() -> None:
    """Draw a white triangle on black and check the picture; this is what the probe runs.

    Raises:
        RuntimeError: OpenGL cannot be used, or the picture is wrong.
    """
    triangles = np.array([[0, 1, 2]], np.int32)
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], np.float32)
    scene = Scene(
        triangles=triangles,
        open_triangles=np.zeros(1, bool),
        albedo=np.ones((3, 3), np.float32),
        occlusion=np.ones(3, np.float32),
        gloss=np.ones((3, 2), np.float32),
        background=np.zeros((32, 32, 3), np.float32),
        rotation=np.eye(3),
        eye=np.array([0.0, 0.0, 5.0]),
        focal=64.0,
        samples=4,
        transparent=False,
        heat=0.0,
        min_heat=np.ones(3, np.float32),
    )
    renderer = GLRenderer(scene)
    picture = renderer.render(vertices)
    if picture[16, 16].min() < 100 or picture[0].max() > 0:
        raise RuntimeError("the picture drawn by OpenGL is wrong")
    sys.stdout.write(f"{_SUCCESS_MARKER} {renderer.device}")


class GLRenderer:
    """A renderer that draws the frames of one scene with OpenGL.

    The environment variable PYOPENGL_PLATFORM must be set. All renderers of a process share one
    OpenGL context, which exists until the process ends.

    Args:
        scene: Everything that is constant over the clip.
    """

    def __init__(self, scene: Scene) -> None:
        self._gl = gl = _context()
        self._scene, self._camera, self._painter = scene, scene.camera, Painter(scene)
        height, width = scene.background.shape[:2]
        multisampled = int(gl.glGetIntegerv(gl.GL_MAX_SAMPLES)) >= _SAMPLES
        # Without multisampling, draw at twice the size and average blocks of pixels.
        self._supersampling = 1 if multisampled else 2
        self._size = width * self._supersampling, height * self._supersampling
        self._canvas = _framebuffer(gl, self._size, _SAMPLES if multisampled else 0, depth=True)
        self._resolved_canvas = _framebuffer(gl, self._size, 0, depth=False)
        self._program = _program(gl)
        self._projection_location = gl.glGetUniformLocation(self._program, "projection")
        n_vertices = len(scene.albedo)
        self._position_buffer = _buffer(gl, np.zeros((n_vertices, 3), np.float32))
        self._color_buffer = _buffer(gl, np.zeros((n_vertices, 3), np.float32))
        back = _buffer(gl, scene.back_colors().astype(np.float32))
        # First pass: outer sides. Second pass: inner sides of open surfaces, in other colors.
        inner = scene.triangles[scene.open_triangles]
        self._passes = [
            (_vertex_array(gl, triangles, self._position_buffer, colors), triangles.size, winding)
            for triangles, colors, winding in (
                (scene.triangles, self._color_buffer, gl.GL_CW),
                (inner, back, gl.GL_CCW),
            )
            if triangles.size
        ]
        self._pixels = np.empty((self._size[1], self._size[0], 4), np.uint8)
        self._backdrop = np.empty((height, width, 4), np.uint8)
        self._backdrop[..., :3] = scene.background + 0.5
        self._backdrop[..., 3] = 0 if scene.transparent else 255

    @property
    def device(self) -> str:
        """The name of the rendering device, as reported by OpenGL."""
        name = self._gl.glGetString(self._gl.GL_RENDERER)
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)

    def render(self, vertices: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
        """Return a (height, width, 3 or 4) uint8 picture; for the inputs see ``Painter.paint``."""
        gl = self._gl
        view, colors = self._painter.paint(vertices, against)
        _upload(gl, self._position_buffer, view.astype(np.float32))
        _upload(gl, self._color_buffer, colors)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._canvas)
        gl.glViewport(0, 0, *self._size)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT | gl.GL_DEPTH_BUFFER_BIT)
        gl.glUseProgram(self._program)
        gl.glUniformMatrix4fv(
            self._projection_location, 1, gl.GL_TRUE, self._projection_matrix(view[:, 2])
        )
        for vertex_array, n_corners, winding in self._passes:
            gl.glFrontFace(winding)
            gl.glBindVertexArray(vertex_array)
            gl.glDrawElements(gl.GL_TRIANGLES, n_corners, gl.GL_UNSIGNED_INT, ctypes.c_void_p(0))
        gl.glBindFramebuffer(gl.GL_DRAW_FRAMEBUFFER, self._resolved_canvas)
        area = (0, 0, *self._size)
        gl.glBlitFramebuffer(*area, *area, gl.GL_COLOR_BUFFER_BIT, gl.GL_NEAREST)
        gl.glBindFramebuffer(gl.GL_READ_FRAMEBUFFER, self._resolved_canvas)
        gl.glReadPixels(*area, gl.GL_RGBA, gl.GL_UNSIGNED_BYTE, self._pixels)
        return self._composite(self._downsample())

    def _projection_matrix(self, z: np.ndarray) -> np.ndarray:
        """Return the (4, 4) float32 projection from camera space to clip space, y flipped.

        Args:
            z: (V,) depths in camera space, negative in front of the camera.
        """
        camera = self._camera
        # Tight near and far planes give the highest depth precision.
        far = max(1.01 * float(-z.min()), 1e-6)
        near = max(0.99 * float(-z.max()), 1e-3 * far)
        projection = np.zeros((4, 4), np.float32)
        projection[0, 0] = 2 * camera.focal / camera.width
        projection[1, 1] = -2 * camera.focal / camera.height  # glReadPixels starts at the bottom
        projection[2, 2:] = -(far + near) / (far - near), -2 * far * near / (far - near)
        projection[3, 2] = -1
        return projection

    def _downsample(self) -> np.ndarray:
        """Return (height, width, 4) uint8 pixels with premultiplied alpha."""
        n = self._supersampling
        if n == 1:
            return self._pixels
        width, height = self._size
        blocks = self._pixels.reshape(height // n, n, width // n, n, 4)
        return np.ascontiguousarray(
            (blocks.sum((1, 3), dtype=np.uint16) + n * n // 2) // n**2, np.uint8
        )

    def _composite(self, pixels: np.ndarray) -> np.ndarray:
        """Return the picture (height, width, 3 or 4): the pixels composited on the backdrop."""
        picture = self._backdrop.copy()
        coverage = pixels[..., 3]
        np.copyto(picture.view(np.uint32), pixels.view(np.uint32), where=coverage[..., None] == 255)
        target, source = picture.reshape(-1, 4), pixels.reshape(-1, 4)
        edge = np.flatnonzero((coverage != 0) & (coverage != 255))
        alpha = source[edge, 3:].astype(np.float32) / 255
        color = source[edge, :3]
        if self._scene.transparent:
            target[edge, :3] = np.minimum(color / alpha + 0.5, 255)
            target[edge, 3] = source[edge, 3]
            return picture
        background = self._scene.background.reshape(-1, 3)[edge]
        target[edge, :3] = np.minimum(color + (1 - alpha) * background + 0.5, 255)
        return picture[..., :3]

    def close(self) -> None:
        """Do nothing: the context is freed when the process ends."""


def _upload(gl: Any, buffer: int, values: np.ndarray) -> None:
    gl.glBindBuffer(gl.GL_ARRAY_BUFFER, buffer)
    gl.glBufferSubData(gl.GL_ARRAY_BUFFER, 0, values.nbytes, np.ascontiguousarray(values))


def _buffer(gl: Any, values: np.ndarray) -> int:
    buffer = gl.glGenBuffers(1)
    gl.glBindBuffer(gl.GL_ARRAY_BUFFER, buffer)
    gl.glBufferData(gl.GL_ARRAY_BUFFER, values.nbytes, values, gl.GL_DYNAMIC_DRAW)
    return int(buffer)


def _vertex_array(gl: Any, triangles: np.ndarray, positions: int, colors: int) -> int:
    """Return a vertex array of triangles (n, 3) over buffers of positions and colors."""
    vertex_array = gl.glGenVertexArrays(1)
    gl.glBindVertexArray(vertex_array)
    for location, buffer in enumerate((positions, colors)):
        gl.glBindBuffer(gl.GL_ARRAY_BUFFER, buffer)
        gl.glEnableVertexAttribArray(location)
        gl.glVertexAttribPointer(location, 3, gl.GL_FLOAT, gl.GL_FALSE, 0, ctypes.c_void_p(0))
    indices = np.ascontiguousarray(triangles, np.uint32)
    gl.glBindBuffer(gl.GL_ELEMENT_ARRAY_BUFFER, gl.glGenBuffers(1))
    gl.glBufferData(gl.GL_ELEMENT_ARRAY_BUFFER, indices.nbytes, indices, gl.GL_STATIC_DRAW)
    return int(vertex_array)


def _framebuffer(gl: Any, size: tuple[int, int], samples: int, *, depth: bool) -> int:
    framebuffer = gl.glGenFramebuffers(1)
    gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, framebuffer)
    attachments = [(gl.GL_RGBA8, gl.GL_COLOR_ATTACHMENT0)]
    attachments += [(gl.GL_DEPTH_COMPONENT24, gl.GL_DEPTH_ATTACHMENT)] * depth
    for format_, attachment in attachments:
        renderbuffer = gl.glGenRenderbuffers(1)
        gl.glBindRenderbuffer(gl.GL_RENDERBUFFER, renderbuffer)
        gl.glRenderbufferStorageMultisample(gl.GL_RENDERBUFFER, samples, format_, *size)
        gl.glFramebufferRenderbuffer(
            gl.GL_FRAMEBUFFER, attachment, gl.GL_RENDERBUFFER, renderbuffer
        )
    if gl.glCheckFramebufferStatus(gl.GL_FRAMEBUFFER) != gl.GL_FRAMEBUFFER_COMPLETE:
        raise RuntimeError(f"OpenGL cannot create a framebuffer of {size[0]}x{size[1]} pixels")
    return int(framebuffer)


def _program(gl: Any) -> int:
    program = gl.glCreateProgram()
    for kind, code in (
        (gl.GL_VERTEX_SHADER, _VERTEX_SHADER),
        (gl.GL_FRAGMENT_SHADER, _FRAGMENT_SHADER),
    ):
        shader = gl.glCreateShader(kind)
        gl.glShaderSource(shader, code)
        gl.glCompileShader(shader)
        if not gl.glGetShaderiv(shader, gl.GL_COMPILE_STATUS):
            raise RuntimeError(f"OpenGL cannot compile a shader: {gl.glGetShaderInfoLog(shader)}")
        gl.glAttachShader(program, shader)
    gl.glLinkProgram(program)
    if not gl.glGetProgramiv(program, gl.GL_LINK_STATUS):
        raise RuntimeError(f"OpenGL cannot link the shaders: {gl.glGetProgramInfoLog(program)}")
    return int(program)


@lru_cache(maxsize=1)
def _context() -> Any:
    """Create the OpenGL context of this process, make it current, and return PyOpenGL's module."""
    platform = _make_platform()
    platform.init_context()
    platform.make_current()
    from OpenGL import GL as gl

    gl.glEnable(gl.GL_MULTISAMPLE)
    gl.glEnable(gl.GL_DEPTH_TEST)
    gl.glDepthFunc(gl.GL_LESS)
    gl.glEnable(gl.GL_CULL_FACE)
    gl.glCullFace(gl.GL_BACK)
    gl.glDisable(gl.GL_BLEND)
    # Clear to black with alpha 0, so that resolved pixels at edges have premultiplied alpha and
    # the backdrop can be added later.
    gl.glClearColor(0.0, 0.0, 0.0, 0.0)
    gl.glPixelStorei(gl.GL_PACK_ALIGNMENT, 1)
    _OPEN_PLATFORMS.append(platform)
    return gl


def _make_platform() -> Any:
    """Return pyrender's context factory for the platform in PYOPENGL_PLATFORM."""
    name = os.environ.get("PYOPENGL_PLATFORM")
    if name not in PLATFORMS:
        raise RuntimeError(f"PYOPENGL_PLATFORM is {name}, expected {' or '.join(PLATFORMS)}")
    if name == "egl":
        from pyrender.platforms import egl

        device = egl.get_device_by_index(int(os.environ.get("EGL_DEVICE_ID", "0")))
        return egl.EGLPlatform(1, 1, device=device)
    from pyrender.platforms import osmesa

    return osmesa.OSMesaPlatform(1, 1)
