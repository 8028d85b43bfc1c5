"""Test that codes of live streams are decoded with the kept frames of earlier hops."""

import hypothesis.strategies as st
import tiny
import torch
from hypothesis import given, settings

from codetalker_cli.models.decoding.kept_frames import KeptFrames, NewFrames, decode_frames

HOUR = 3600 * 30


SPEECH, VQ = tiny.stages(0, speech={"motion_history": False, "period_frames": 7})
SPEECH, VQ = SPEECH.float(), VQ.float()
FEATURES = torch.randn(40, SPEECH.encoder.size, generator=torch.Generator().manual_seed(1))
STYLE = SPEECH.style(torch.eye(SPEECH.style_embedding.num_embeddings)[:1]).detach()


def whole(first: int, stop: int) -> torch.Tensor:
    """Return the codes of frames that are decoded at once."""
    with torch.no_grad():
        return VQ.nearest(SPEECH.latents(FEATURES[None, first:stop], STYLE))[0]


def hop(kept: KeptFrames | None, stop: int, n_changing: int = 0, origin: int = 0) -> NewFrames:
    """Return the frames after the kept ones, the last of which still change."""
    first = 0 if kept is None else kept.stop - origin
    n_final = max(0, stop - n_changing - first)
    return NewFrames(FEATURES[first:stop], origin + first, n_final, STYLE, kept)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True).map(sorted),
    st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_hops_give_the_codes_of_the_whole(stops: list[int], n_changing: int) -> None:
    kept = None
    for stop in stops:
        codes, kept = decode_frames(SPEECH, VQ, [hop(kept, stop, n_changing)])[0]
        assert torch.equal(codes, whole(0, stop))
        assert kept.stop == len(kept.codes) == max(0, stop - n_changing)
        kept = kept if kept.stop else None


def test_frames_that_still_change_are_computed_again() -> None:
    changing = torch.cat([FEATURES[:10], FEATURES[10:15] + 1])
    first = NewFrames(changing, 0, 10, STYLE)
    kept = decode_frames(SPEECH, VQ, [first])[0][1]
    codes = decode_frames(SPEECH, VQ, [hop(kept, 18)])[0][0]
    assert torch.equal(codes, whole(0, 18))


def test_positions_continue_after_the_oldest_frames_are_left_out() -> None:
    """A frame that is left out has an effect only through what later frames computed from it."""
    kept = decode_frames(SPEECH, VQ, [hop(None, 20)])[0][1]
    codes, state = decode_frames(SPEECH, VQ, [hop(kept.newest(12), 22)])[0]
    assert torch.equal(codes[:12], whole(0, 20)[8:])
    assert len(codes) == 14
    assert (state.origin, state.stop) == (0, 22)
    # The position encoding follows the origin, whose period is 7 frames.
    for origin, is_same in ((7, True), (3, False)):
        moved = KeptFrames(origin, kept.stop, kept.codes, kept.keys, kept.values).newest(12)
        keys = decode_frames(SPEECH, VQ, [hop(moved, 22)])[0][1].keys[0]
        assert torch.equal(keys, state.keys[0]) == is_same


def test_frames_are_the_same_after_hours() -> None:
    results: list[list[torch.Tensor]] = []
    for origin in (0, 1000 * HOUR):
        kept, codes = None, []
        for stop in (9, 14, 30):
            frames, kept = decode_frames(SPEECH, VQ, [hop(kept, stop, 2, origin)])[0]
            codes.append(frames)
        results.append(codes)
    for early, late in zip(*results, strict=True):
        assert torch.equal(early, late)


def test_streams_of_different_shapes_equal_each_alone() -> None:
    states = [
        decode_frames(SPEECH, VQ, [hop(None, stop, n)])[0][1]
        for stop, n in ((10, 2), (12, 4), (15, 0))
    ]
    streams = [hop(None, 9), hop(states[0], 15), hop(states[1], 15), hop(states[2], 20)]
    together = decode_frames(SPEECH, VQ, streams)
    for stream, (codes, kept) in zip(streams, together, strict=True):
        alone, kept_alone = decode_frames(SPEECH, VQ, [stream])[0]
        assert torch.equal(codes, alone)
        for layer, layer_alone in zip(kept.keys, kept_alone.keys, strict=True):
            torch.testing.assert_close(layer, layer_alone)


def test_kept_frames_share_no_memory_with_the_batch() -> None:
    kept = decode_frames(SPEECH, VQ, [hop(None, 10), hop(None, 10)])[0][1]
    for tensor in (kept.codes, *kept.keys, *kept.values):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
