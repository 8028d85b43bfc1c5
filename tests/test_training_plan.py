"""Test the order of clips: every clip once per epoch, and the same steps for any sharding."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.train.batches import Plan

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=60)
SPLITS = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4))
"""batch_size, accumulation, n_processes."""
EPOCHS = st.integers(1, 1000)
SEEDS = st.integers(0, 2**40)


@given(LENGTHS, SPLITS, SEEDS, EPOCHS)
def test_every_clip_appears_once_per_epoch(
    lengths: list[int], split: tuple[int, int, int], seed: int, epoch: int
) -> None:
    plan = Plan(lengths, *split, seed)
    steps = plan.epoch(epoch)
    assert sorted(chain(*steps)) == list(range(len(lengths)))
    assert len(steps) == plan.steps_per_epoch
    sizes = sorted(len(step) for step in steps)
    assert sizes[0] >= 1 and set(sizes[1:]) <= {plan.clips_per_step}


@given(LENGTHS, SPLITS, SEEDS, EPOCHS)
def test_order_depends_only_on_seed_and_epoch(
    lengths: list[int], split: tuple[int, int, int], seed: int, epoch: int
) -> None:
    """It does not depend on earlier calls or on the sharding."""
    plan = Plan(lengths, *split, seed)
    for other in (1, epoch + 1):
        plan.epoch(other)
    steps = plan.epoch(epoch)
    assert steps == Plan(lengths, plan.clips_per_step, 1, 1, seed).epoch(epoch)


def test_order_differs_between_epochs_and_seeds() -> None:
    def orders(size: int) -> list[tuple[int, ...]]:
        pairs = [(seed, epoch) for seed in range(3) for epoch in range(1, 4)]
        return [tuple(chain(*Plan([9] * 30, size, seed=s).epoch(e))) for s, e in pairs]

    for size in (1, 4):
        assert len(set(orders(size))) == 9


@given(LENGTHS, SPLITS, SEEDS)
def test_shards_of_all_processes_make_up_the_step(
    lengths: list[int], split: tuple[int, int, int], seed: int
) -> None:
    batch_size, accumulation, n_processes = split
    plan = Plan(lengths, *split, seed)
    steps = plan.epoch(1)
    assert len(steps) == -(-len(lengths) // plan.clips_per_step)
    for clips in steps:
        shards = [plan.shard(clips, process) for process in range(n_processes)]
        # Processes exchange gradients after each part, so all have the same number of parts.
        assert len({len(shard.parts) for shard in shards}) == 1
        assert 1 <= len(shards[0].parts) <= accumulation
        seen: list[int] = []
        weight = 0.0
        for shard in shards:
            for part, repeated in zip(shard.parts, shard.repeated, strict=True):
                assert 1 <= len(part) <= batch_size
                if repeated:
                    assert len(part) == 1 and set(part) <= set(clips)
                else:
                    seen += part
                    weight += len(part) / shard.n_clips
        assert seen == clips
        assert weight == pytest.approx(1.0)


def test_no_clip_is_repeated_if_there_are_enough() -> None:
    plan = Plan([9] * 64, 2, 2, 4)
    steps = plan.epoch(1)
    assert len(steps) == 4
    for clips in steps:
        for process in range(4):
            shard = plan.shard(clips, process)
            assert [len(part) for part in shard.parts] == [2, 2] and not any(shard.repeated)


def padding(lengths: np.ndarray, batches: list[list[int]]) -> float:
    """Return the fraction of padded frames."""
    whole = sum(len(batch) * lengths[batch].max() for batch in batches)
    return 1 - lengths.sum() / whole


@pytest.mark.parametrize("n_clips", [314, 2000])
def test_clips_of_a_batch_have_similar_lengths(n_clips: int) -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.5, 0.5, n_clips), 20, 400).astype(int)
    plan = Plan(lengths.tolist(), 4, 2, 2, seed=3)
    steps = plan.epoch(2)
    batches = [
        list(part)
        for clips in steps
        for process in range(2)
        for part in plan.shard(clips, process).parts
    ]
    order = rng.permutation(n_clips)
    random = padding(lengths, [order[k : k + 4].tolist() for k in range(0, n_clips, 4)])
    assert padding(lengths, batches) < 0.1 * random
    # Long and short steps are mixed over the epoch.
    means = np.array([lengths[clips].mean() for clips in steps])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5
