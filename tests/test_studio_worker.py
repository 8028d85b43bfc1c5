"""The blocks in which the motion of a take reaches the page, and memory after long jobs."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from ball import make_motion

from codetalker_cli.studio.memory import keep_loaded, release_memory
from codetalker_cli.studio.worker import blocks


@pytest.mark.parametrize("known", [[1], [10, 100], [25, 26, 100], [100]])
def test_the_first_block_is_short_and_all_frames_are_in_one(known: list[int]) -> None:
    motion = make_motion(100, 25.0)
    found = [
        block
        for start, stop in zip([0, *known], known, strict=False)
        for block in blocks(motion, start, stop)
    ]
    assert found[0] == (0, min(known[0], 25))
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert found[-1][1] == known[-1]


def test_blocks_of_large_meshes_are_short() -> None:
    motion = make_motion(10, 25.0)
    large = np.broadcast_to(motion.vertices[:, :1], (10, 300_000, 3))  # 3.6 MB a frame
    topology = replace(motion.topology, n_vertices=300_000)
    motion = replace(motion, vertices=large, topology=topology, template=large[0])
    assert list(blocks(motion, 0, 10)) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]


class Circle:
    """An object that refers to itself, which only a collection of garbage frees."""

    def __init__(self) -> None:
        self.itself = self


def test_released_memory_is_that_of_later_objects() -> None:
    keep_loaded()
    frozen = gc.get_freeze_count()
    later = weakref.ref(Circle())
    release_memory()
    assert later() is None
    assert gc.get_freeze_count() == frozen > 100_000  # the modules
