"""Processes that draw: how they start, what they are told, how frames come back in order.

Each is a fresh Python that runs ``codetalker_cli.render.worker.main``; nothing is forked and
the caller's own script is not run again, so it works from scripts, notebooks and every system.
Over its pipes go the stage, once, then batches of vertices one way, each motion's once whatever
many panels show it, and pictures of all panels the other way, as plain bytes.
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
"""Frames that a process draws in one go, at most."""
_BATCH_BYTES = 32 << 20
"""Of the pictures of a batch, about."""
LENGTH = struct.Struct("<Q")
"""How lengths stand before what they measure."""
_EXIT_TIMEOUT = 10.0
"""How long a process that stopped talking may take to end by itself."""
WORKER_CODE = "from codetalker_cli.render.worker import main; main()"


class _Worker:
    """One drawing process."""

    def __init__(self, command: Sequence[str], env: dict[str, str], stage: Stage) -> None:
        self._stage = stage
        self._stage_sent = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )

    def draw(self, vertices: Sequence[np.ndarray]) -> np.ndarray:
        """(n, height, width, channels) uint8 pictures of vertices (n, V, 3) of each motion."""
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
                f"a drawing process was killed (signal {-code}), often for lack of memory; "
                "try fewer workers or a smaller size"
            )
        return RenderError(
            f"a drawing process ended early (exit code {code}): {message}; try renderer software"
        )

    def stop(self) -> None:
        """End the process; harmless if it has ended."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # unsent bytes to a process that is gone
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
    """Pictures of some frames, in their order; few are held at a time.

    Args:
        stage: What stays the same.
        sources: The motions, in the order of the stage's numbers.
        frames: Indices to draw.
        renderer: ``software`` or ``pyrender``.
        n_workers: Processes.
        platform: OpenGL platform for pyrender.

    Raises:
        RenderError: A process ended early, or a frame holds NaN.
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
