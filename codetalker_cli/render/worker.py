"""What a drawing process does: take a stage, then draw batches of frames until its input ends."""

import os
import signal
import sys
from typing import BinaryIO

import numpy as np

from codetalker_cli.render.backends import StageRenderer
from codetalker_cli.render.panels import Stage
from codetalker_cli.render.processes import LENGTH


def main() -> None:
    """Serve on standard input and output; the first argument names the renderer."""
    # Ctrl-C reaches the whole group of processes: the parent decides, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A library that prints must not spoil the pictures: they leave by a copy of the output.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin.buffer, sink)


def serve(renderer_name: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Read a stage and batches of vertices from ``source``, write pictures to ``sink``."""
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
    """(n, V, 3) float32 of one motion."""
    block = source.read(n_frames * n_vertices * 12)
    return np.frombuffer(block, "<f4").reshape(n_frames, n_vertices, 3)


def _read_length(source: BinaryIO) -> int:
    """The next length, 0 at the end."""
    header = source.read(LENGTH.size)
    return LENGTH.unpack(header)[0] if len(header) == LENGTH.size else 0
