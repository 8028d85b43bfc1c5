"""What a drawing process does: take a scene, then draw batches of frames until its input ends."""

import os
import signal
import sys
from typing import BinaryIO

import numpy as np

from codetalker_cli.render.backends import make_renderer
from codetalker_cli.render.processes import LENGTH
from codetalker_cli.render.scene import Scene


def main() -> None:
    """Serve on standard input and output; the first argument names the renderer."""
    # Ctrl-C reaches the whole group of processes: the parent decides, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A library that prints must not spoil the pictures: they leave by a copy of the output.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin.buffer, sink)


def serve(renderer_name: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Read a scene and batches of vertices from ``source``, write pictures to ``sink``."""
    scene = Scene.from_bytes(source.read(_length(source)))
    renderer = make_renderer(renderer_name, scene)
    n_vertices = len(scene.albedo)
    try:
        while n_frames := _length(source):
            block = source.read(n_frames * n_vertices * 12)
            for vertices in np.frombuffer(block, "<f4").reshape(n_frames, n_vertices, 3):
                sink.write(np.ascontiguousarray(renderer.render(vertices)).data)
            sink.flush()
    finally:
        renderer.close()


def _length(source: BinaryIO) -> int:
    """The next length, 0 at the end."""
    head = source.read(LENGTH.size)
    return LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
