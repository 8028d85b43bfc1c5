"""CUDA graphs of a decoding step.

A step of one clip is some hundred small kernels, and launching them takes longer than running
them. Captured once, they are replayed with one launch. A graph has fixed shapes, so there is one
for every ``STRIDE`` frames of length, and it looks at a few frames more than there are, masked.
"""

from collections.abc import Callable

import torch

STRIDE = 64
"""Frames by which the number of frames looked at grows."""
_WARM_UP_STEPS = 2


def round_up(n_frames: int, stride: int) -> int:
    """``n_frames`` up to the next multiple of ``stride``."""
    return -(-n_frames // stride) * stride


class StepGraphs:
    """Graphs of one batch's step, by the number of frames looked at.

    Args:
        step: Does the step to come, looking at so many frames; reads nothing back.
        clear: Sets everything back to before the first step.
        n_frames: Of the longest clip.
        device: The CUDA device of the batch.
    """

    def __init__(
        self,
        step: Callable[[int], None],
        clear: Callable[[], None],
        n_frames: int,
        device: torch.device,
    ) -> None:
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._device = device
        # Streams and captures belong to the current device, which need not be the batch's.
        with torch.cuda.device(device):
            self._capture(step, clear, n_frames)

    def _capture(
        self, step: Callable[[int], None], clear: Callable[[], None], n_frames: int
    ) -> None:
        sizes = range(STRIDE, round_up(n_frames, STRIDE) + 1, STRIDE)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose kernels and allocate while not captured
            for n in sizes:
                for _ in range(_WARM_UP_STEPS):
                    clear()
                    step(n)
        torch.cuda.current_stream().wait_stream(stream)
        pool = None
        for n in sizes:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                step(n)
            pool = graph.pool()
            self._graphs[n] = graph
        clear()

    def replay(self, n: int) -> None:
        """Do the step that looks at ``n`` frames, a multiple of ``STRIDE``."""
        with torch.cuda.device(self._device):
            self._graphs[n].replay()
