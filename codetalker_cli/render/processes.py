"""Draw frames in several processes and return the pictures in order.

Each process is a new Python interpreter that runs ``codetalker_cli.render.worker.main``. Nothing
is forked and the caller's script is not imported again, so this works in scripts and notebooks
and on every operating system.

The stage is sent once, through the standard input of each process. Then batches of vertices are
sent as plain bytes, each motion once even if several panels show it, and the pictures come back
through the standard output.
"""

import math
import struct
import subprocess
import tempfile
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.render.panels import Source, Stage
from codetalker_cli.render.subprocesses import environment, last_line, python_command

BATCH_FRAMES = 4
"""The largest number of frames in a batch."""
_BATCH_BYTES = 32 << 20
"""Approximate limit on the size of the pictures of one batch, in bytes."""
LENGTH = struct.Struct("<Q")
"""The format of the length that precedes each block of data."""
_EXIT_TIMEOUT = 10.0
"""Seconds that a process may take to exit after it has closed its output."""
WORKER_CODE = "from codetalker_cli.render.worker import main; main()"


class _Worker:
    """A drawing process."""

    def __init__(self, command: Sequence[str], env: dict[str, str], stage: Stage) -> None:
        self._stage = stage
        self._stage_sent = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )

    def draw(self, vertices: Sequence[np.ndarray]) -> np.ndarray:
        """Return the (n, height, width, channels) uint8 pictures of a batch of frames.

        Args:
            vertices: (n, V, 3) vertices of each motion.

        Raises:
            RenderError: The process has ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        pictures = np.empty((len(vertices[0]), *self._stage.shape), np.uint8)
        try:
            if not self._stage_sent:
                stage_bytes = self._stage.to_bytes()
                self._process.stdin.write(LENGTH.pack(len(stage_bytes)))
                self._process.stdin.write(stage_bytes)
                self._stage_sent = True
            self._process.stdin.write(LENGTH.pack(len(vertices[0])))
            for motion_vertices in vertices:
                self._process.stdin.write(np.ascontiguousarray(motion_vertices, "<f4").data)
            self._process.stdin.flush()
        except OSError as error:
            raise self._failure() from error
        remaining = pictures.data.cast("B")
        while remaining.nbytes:
            n_bytes = self._process.stdout.readinto(remaining)  # type: ignore[attr-defined]
            if not n_bytes:
                raise self._failure()
            remaining = remaining[n_bytes:]
        return pictures

    def _failure(self) -> RenderError:
        try:
            code = self._process.wait(timeout=_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._log.seek(0)
        message = last_line(self._log.read())
        if code < 0:
            return RenderError(
                f"a drawing process was killed (signal {-code}), often because memory ran out; "
                "try fewer workers or a smaller size"
            )
        return RenderError(
            f"a drawing process exited early (exit code {code}): {message}; "
            "try the software renderer"
        )

    def stop(self) -> None:
        """Kill the process if it is still running, and close its pipes."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # closing flushes unsent bytes, which fails if the process has ended
                continue
        self._process.wait()


def draw_in_processes(
    stage: Stage,
    sources: Sequence[Source],
    frames: Sequence[int],
    *,
    renderer: str,
    n_workers: int,
    platform: str | None = None,
) -> Generator[np.ndarray, None, None]:
    """Yield the pictures of the given frames in order, keeping only a few in memory.

    Args:
        stage: Everything that is constant over the clip.
        sources: The motions, in the order of the stage's indices.
        frames: Indices of the frames to draw.
        renderer: ``software`` or ``pyrender``.
        n_workers: Number of processes.
        platform: OpenGL platform for pyrender.

    Raises:
        RenderError: A process exited early, or a frame contains NaN or infinite coordinates.
    """
    batch_size = min(max(_BATCH_BYTES // math.prod(stage.shape), 1), BATCH_FRAMES)
    batches = [frames[i : i + batch_size] for i in range(0, len(frames), batch_size)]
    n_workers = min(n_workers, len(batches))
    env = environment()
    if platform is not None:
        env["PYOPENGL_PLATFORM"] = platform
    command = python_command(WORKER_CODE, renderer)
    workers: list[_Worker] = []
    idle_workers: SimpleQueue[_Worker] = SimpleQueue()

    def draw(batch: Sequence[int]) -> np.ndarray:
        worker = idle_workers.get()
        try:
            return worker.draw([source.read(batch) for source in sources])
        finally:
            idle_workers.put(worker)

    threads = ThreadPoolExecutor(max_workers=max(n_workers, 1))
    try:
        for _ in range(n_workers):
            workers.append(_Worker(command, env, stage))
            idle_workers.put(workers[-1])
        pending: deque[Future[np.ndarray]] = deque()
        for batch in batches:
            pending.append(threads.submit(draw, batch))
            if len(pending) > 2 * n_workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        for worker in workers:
            worker.stop()
        threads.shutdown(cancel_futures=True)
