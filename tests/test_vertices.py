"""Lazy vertices behave like the array that they represent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.motion import Motion, VertexFrames, materialize, vertex_blocks

ARRAY = np.random.default_rng(0).standard_normal((23, tiny.N_VERTICES, 3)).astype(np.float32)


def lazy(array: np.ndarray = ARRAY, computed: list[int] | None = None) -> VertexFrames:
    def compute(frames: np.ndarray) -> np.ndarray:
        if computed is not None:
            computed.append(len(frames))
        return array[frames]

    return VertexFrames(len(array), array.shape[1], compute)


indices = st.one_of(
    st.integers(-23, 22),
    st.slices(23),
    st.lists(st.integers(-23, 22), max_size=5),
    st.tuples(st.slices(23), st.lists(st.integers(0, 11), min_size=1, max_size=4)),
    st.tuples(st.integers(-23, 22), st.integers(0, 11)),
    st.tuples(st.slices(23), st.integers(0, 11), st.integers(0, 2)),
)


@given(key=indices)
def test_indexing_matches_the_array(key: Any) -> None:
    if isinstance(key, list):
        key = np.array(key, dtype=int)
    np.testing.assert_array_equal(lazy()[key], ARRAY[key])


def test_attributes_match_the_array(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices = lazy()
    assert vertices.shape == ARRAY.shape and vertices.dtype == ARRAY.dtype and vertices.ndim == 3
    assert len(vertices) == 23 and vertices.nbytes == ARRAY.nbytes
    np.testing.assert_array_equal(np.asarray(vertices), ARRAY)
    assert isinstance(materialize(vertices), np.ndarray)
    monkeypatch.setattr("codetalker_cli.motion.MATERIALIZED_BYTES", 100)
    assert materialize(vertices) is vertices


def test_blocks_are_limited_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codetalker_cli.motion.BLOCK_BYTES", 5 * ARRAY[0].nbytes)
    computed: list[int] = []
    np.testing.assert_array_equal(
        np.concatenate(list(vertex_blocks(lazy(computed=computed)))), ARRAY
    )
    assert computed == [5, 5, 5, 5, 3]
    assert [b is ARRAY for b in vertex_blocks(ARRAY)] == [True]


def motion(vertices: Any) -> Motion:
    return Motion(vertices, 25.0, tiny.topology(), "A", ARRAY[0], codes=np.zeros((23, 2), np.int32))


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_lazy_motion_is_saved_with_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    a = motion(ARRAY).save(tmp_path / f"a.{suffix}")
    b = motion(lazy()).save(tmp_path / f"b.{suffix}")
    assert a.read_bytes() == b.read_bytes()
    whole = np.load(a)["vertices"] if suffix == "npz" else np.load(a)
    np.testing.assert_array_equal(whole, ARRAY)


@pytest.mark.parametrize("fps", [12.5, 30.0, 60.0])
def test_lazy_motion_is_resampled_lazily(fps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = motion(ARRAY).at_fps(fps)
    monkeypatch.setattr("codetalker_cli.motion.MATERIALIZED_BYTES", 0)
    computed: list[int] = []
    resampled = motion(lazy(computed=computed)).at_fps(fps)
    assert isinstance(resampled.vertices, VertexFrames) and not computed
    assert isinstance(expected.vertices, np.ndarray)
    np.testing.assert_allclose(np.asarray(resampled.vertices), expected.vertices, atol=1e-6)
    assert resampled.fps == fps and abs(resampled.seconds - 23 / 25) < 1 / fps
