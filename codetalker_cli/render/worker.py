"""The drawing process: read the panels, then draw batches of frames until the input ends."""

import os
import signal
import sys
from typing import BinaryIO

import numpy as np

from codetalker_cli.render.backends import StageRenderer
from codetalker_cli.render.panels import Stage
from codetalker_cli.render.processes import LENGTH


def main() -> None:
    """Serve on standard input and output; the first argument is the name of the renderer."""
    # Ctrl-C reaches the whole process group; the parent handles it and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries may print to stdout, which would corrupt the pictures. Send those to a duplicate
    # of stdout, and redirect stdout itself to stderr.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin.buffer, sink)


def serve(renderer_name: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Read a stage and batches of vertices from ``source``, and write pictures to ``sink``."""
    stage = Stage.from_bytes(source.read(_read_length(source)))
    renderer = StageRenderer(stage, renderer_name)
    try:
        while n_frames := _read_length(source):
            motions = [_read_vertices(source, n_frames, v) for v in stage.n_vertices]
            for vertices in zip(*motions, strict=True):
                sink.write(renderer.render(vertices).data)
            sink.flush()
    finally:
        renderer.close()


def _read_vertices(source: BinaryIO, n_frames: int, n_vertices: int) -> np.ndarray:
    """Read the (n, V, 3) float32 vertices of one motion."""
    block = source.read(n_frames * n_vertices * 12)
    return np.frombuffer(block, "<f4").reshape(n_frames, n_vertices, 3)


def _read_length(source: BinaryIO) -> int:
    """Read the next length; return 0 at the end of the input."""
    header = source.read(LENGTH.size)
    return LENGTH.unpack(header)[0] if len(header) == LENGTH.size else 0
