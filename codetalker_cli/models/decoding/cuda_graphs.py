"""CUDA graphs for decoding steps.

A step runs a few hundred small kernels, and launching them takes longer than executing them. A
graph captures them once and replays them with a single launch. Because a graph has fixed shapes,
there is one graph for every multiple of ``STRIDE`` frames. Future frames are masked.
"""

from collections.abc import Callable

import torch

STRIDE = 64
"""The difference in length between two graphs, in frames."""
_WARM_UP_STEPS = 2


def round_up(n_frames: int, stride: int) -> int:
    """Round ``n_frames`` up to a multiple of ``stride``."""
    return -(-n_frames // stride) * stride


class StepGraphs:
    """The graphs for the decoding steps of one batch, one for each length.

    Args:
        step: Decodes the next frame, given the number of frames to attend to. It must not copy
            anything to the host.
        clear: Resets the state to before the first step.
        n_frames: The number of frames of the longest clip.
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
        # Streams and graphs use the current device, which can differ from the device of the batch.
        with torch.cuda.device(device):
            self._capture(step, clear, n_frames)

    def _capture(
        self, step: Callable[[int], None], clear: Callable[[], None], n_frames: int
    ) -> None:
        sizes = range(STRIDE, round_up(n_frames, STRIDE) + 1, STRIDE)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # Libraries select kernels and allocate memory in the first steps, which a capture forbids.
        with torch.cuda.stream(stream):
            for n in sizes:
                for _ in range(_WARM_UP_STEPS):
                    clear()
                    step(n)
        torch.cuda.current_stream().wait_stream(stream)
        pool = None  # all graphs share one memory pool, because only one runs at a time
        for n in sizes:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                step(n)
            pool = graph.pool()
            self._graphs[n] = graph
        clear()

    def replay(self, n: int) -> None:
        """Run the step that attends to ``n`` frames, a multiple of ``STRIDE``."""
        with torch.cuda.device(self._device):
            self._graphs[n].replay()
