"""Drawing with OpenGL, and the probe that tells whether that works here.

pyrender makes the context without a screen; importing it takes libGL as well as libEGL. Broken
OpenGL drivers can crash the process that calls them, so this module's renderer lives in the drawing
processes only and the probe in one of its own. The light is baked into vertex colors, which gives
the picture of the software renderer and is by far the fastest way where no graphics card helps.
Triangles stay in the card's memory; each frame brings places and colors.
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
"""Ways to an OpenGL context without a screen, in the order they are tried."""
_PROBE_SECONDS = 60.0
_PROBE_CODE = "from codetalker_cli.render.gl import draw_one_triangle; draw_one_triangle()"
_SUCCESS_MARKER = "opengl-works"
_OPEN_PLATFORMS: list[Any] = []
"""The context of this process: freed, it would be gone."""
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
    """What the probe found.

    Attributes:
        platform: One of ``PLATFORMS``, or None where OpenGL does not work.
        reason: Why not, one line; empty if it does.
        device: The name of the device that draws, as OpenGL reports it.
    """

    platform: str | None
    reason: str = ""
    device: str = ""


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
            completed = subprocess.run(
                command, env=env, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            reasons.append(f"{platform}: no answer within {seconds:g} s")
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
    """The probe: draw a white triangle on black and look whether it is there."""
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
        raise RuntimeError("OpenGL draws a wrong picture")
    sys.stdout.write(f"{_SUCCESS_MARKER} {renderer.device}")


class GLRenderer:
    """Draws a scene, frame by frame. Needs PYOPENGL_PLATFORM to be set.

    All of a process draw in one OpenGL context, which lives as long as the process.

    Args:
        scene: What stays the same over the clip.
    """

    def __init__(self, scene: Scene) -> None:
        self._gl = gl = _context()
        self._scene, self._camera, self._painter = scene, scene.camera, Painter(scene)
        height, width = scene.background.shape[:2]
        multisampled = int(gl.glGetIntegerv(gl.GL_MAX_SAMPLES)) >= _SAMPLES
        # where a pixel has one sample only it is drawn larger, and averaged
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
        # outer sides, then the inner ones of open surfaces in colors of their own
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
        """The name of the device that draws, as OpenGL reports it."""
        name = self._gl.glGetString(self._gl.GL_RENDERER)
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)

    def render(self, vertices: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
        """(height, width, 3 or 4) uint8 picture of vertices (V, 3); see ``Painter.paint``."""
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
        """(4, 4) float32 from the camera's axes to OpenGL's; the first row read is the upper one.

        The planes in front and behind lie close about what is seen, for an exact depth.
        """
        camera = self._camera
        far = max(1.01 * float(-z.min()), 1e-6)
        near = max(0.99 * float(-z.max()), 1e-3 * far)
        projection = np.zeros((4, 4), np.float32)
        projection[0, 0] = 2 * camera.focal / camera.width
        projection[1, 1] = -2 * camera.focal / camera.height
        projection[2, 2:] = -(far + near) / (far - near), -2 * far * near / (far - near)
        projection[3, 2] = -1
        return projection

    def _downsample(self) -> np.ndarray:
        """(height, width, 4) uint8, the colors multiplied by the covered part of the pixel."""
        n = self._supersampling
        if n == 1:
            return self._pixels
        width, height = self._size
        blocks = self._pixels.reshape(height // n, n, width // n, n, 4)
        return np.ascontiguousarray(
            (blocks.sum((1, 3), dtype=np.uint16) + n * n // 2) // n**2, np.uint8
        )

    def _composite(self, pixels: np.ndarray) -> np.ndarray:
        """The picture: whole pixels as they are, those at edges mixed."""
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
        """Nothing to free: the context ends with its process."""


def _upload(gl: Any, buffer: int, values: np.ndarray) -> None:
    gl.glBindBuffer(gl.GL_ARRAY_BUFFER, buffer)
    gl.glBufferSubData(gl.GL_ARRAY_BUFFER, 0, values.nbytes, np.ascontiguousarray(values))


def _buffer(gl: Any, values: np.ndarray) -> int:
    buffer = gl.glGenBuffers(1)
    gl.glBindBuffer(gl.GL_ARRAY_BUFFER, buffer)
    gl.glBufferData(gl.GL_ARRAY_BUFFER, values.nbytes, values, gl.GL_DYNAMIC_DRAW)
    return int(buffer)


def _vertex_array(gl: Any, triangles: np.ndarray, positions: int, colors: int) -> int:
    """A vertex array of triangles (n, 3) over buffers of places and colors."""
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
        raise RuntimeError(f"OpenGL gives no framebuffer of {size[0]}x{size[1]} pixels")
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
            raise RuntimeError(f"OpenGL refuses a shader: {gl.glGetShaderInfoLog(shader)}")
        gl.glAttachShader(program, shader)
    gl.glLinkProgram(program)
    if not gl.glGetProgramiv(program, gl.GL_LINK_STATUS):
        raise RuntimeError(f"OpenGL refuses the shaders: {gl.glGetProgramInfoLog(program)}")
    return int(program)


@lru_cache(maxsize=1)
def _context() -> Any:
    """PyOpenGL's functions, with a context that is current from now on."""
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
    # black with alpha 0: what is resolved at an edge then only lacks its part of the backdrop
    gl.glClearColor(0.0, 0.0, 0.0, 0.0)
    gl.glPixelStorei(gl.GL_PACK_ALIGNMENT, 1)
    _OPEN_PLATFORMS.append(platform)
    return gl


def _make_platform() -> Any:
    """Return pyrender's maker of contexts for the platform that is asked for."""
    name = os.environ.get("PYOPENGL_PLATFORM")
    if name not in PLATFORMS:
        raise RuntimeError(f"PYOPENGL_PLATFORM is {name}, expected {' or '.join(PLATFORMS)}")
    if name == "egl":
        from pyrender.platforms import egl

        device = egl.get_device_by_index(int(os.environ.get("EGL_DEVICE_ID", "0")))
        return egl.EGLPlatform(1, 1, device=device)
    from pyrender.platforms import osmesa

    return osmesa.OSMesaPlatform(1, 1)
