"""The codec of the viewer: every vertex stays within the tolerance, in files and in streams."""

from itertools import pairwise

import numpy as np
import pytest
from ball import make_motion, sphere
from hypothesis import given, settings
from hypothesis import strategies as st

from codetalker_cli.errors import DataError
from codetalker_cli.render.viewer import basis
from codetalker_cli.render.viewer.basis import (
    TOLERANCE_MM,
    BasisCoder,
    Encoded,
    FrameDecoder,
    tolerance_of,
)
from codetalker_cli.render.viewer.packets import pack, unpack
from codetalker_cli.topology import Topology

TEMPLATE, TRIANGLES = sphere(6)


def largest(decoded: np.ndarray, frames: np.ndarray) -> float:
    """Return the largest distance of a vertex, computed in float64."""
    return float(np.linalg.norm(decoded.astype(np.float64) - frames, axis=-1).max(initial=0))


def received(decoder: FrameDecoder, encoded: Encoded) -> np.ndarray:
    """Send a block through packets and decode it, as the page does."""
    packet = encoded.basis_packet()
    if packet is not None:
        header, arrays = unpack(packet)
        decoder.add(arrays["vectors"], arrays["scale"], restarts=header["restarts"])
    return decoder.decode(unpack(encoded.frames_packet())[1]["coefficients"].T)


def random_frames(seed: int, n: int, rank: int, size: float, noise: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    shapes = generator.standard_normal((rank, *TEMPLATE.shape))
    weights = generator.standard_normal((n, rank)) * size
    frames = TEMPLATE + np.einsum("nr,rvc->nvc", weights, shapes)
    return (frames + noise * generator.standard_normal(frames.shape)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    unit=st.sampled_from([1.0, 100.0, 1000.0]),
    rank=st.integers(0, 5),
    size=st.floats(0, 0.1),
    noise=st.sampled_from([0.0, 1e-5, 1e-3]),
    cuts=st.lists(st.integers(0, 20), max_size=4),
    fits=st.booleans(),
)
def test_every_vertex_is_within_the_tolerance_in_any_unit_and_any_blocks(
    seed: int, unit: float, rank: int, size: float, noise: float, cuts: list[int], fits: bool
) -> None:
    # Units of a meter, a centimeter and a millimeter; the motions are up to decimeters.
    frames = random_frames(seed, 20, rank, size, noise) * np.float32(unit)
    template, tolerance = TEMPLATE * np.float32(unit), 1e-4 * unit
    coder, decoder = BasisCoder(template, tolerance), FrameDecoder(template)
    if fits:
        coder.fit(frames)
    for start, stop in pairwise([0, *sorted(cuts), 20]):
        block = frames[start:stop]
        assert largest(received(decoder, coder.encode(block)), block) <= tolerance


def test_frames_that_were_fitted_need_no_further_vectors() -> None:
    frames = random_frames(1, 40, 4, 0.05, 0.0)
    coder = BasisCoder(TEMPLATE, 1e-4)
    coder.fit(frames)
    first, second = coder.encode(frames[:20]), coder.encode(frames[20:])
    assert len(first.vectors) == coder.n_vectors > 0
    assert second.basis_packet() is None and second.coefficients.shape == (20, coder.n_vectors)


def test_a_still_face_needs_no_vectors() -> None:
    coder = BasisCoder(TEMPLATE, 1e-4)
    encoded = coder.encode(np.repeat(TEMPLATE[None], 3, axis=0))
    assert encoded.basis_packet() is None and coder.n_vectors == 0
    np.testing.assert_array_equal(
        FrameDecoder(TEMPLATE).decode(encoded.coefficients), np.repeat(TEMPLATE[None], 3, axis=0)
    )


def test_later_vectors_do_not_change_earlier_frames() -> None:
    calm, wild = random_frames(2, 5, 1, 0.01, 0.0), random_frames(3, 5, 5, 0.2, 1e-3)
    coder, decoder = BasisCoder(TEMPLATE, 1e-4), FrameDecoder(TEMPLATE)
    first = coder.encode(calm)
    before = received(decoder, first)
    received(decoder, coder.encode(wild))
    np.testing.assert_array_equal(decoder.decode(first.coefficients), before)


def test_noise_starts_a_new_basis_instead_of_a_larger_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis, "MAX_VECTORS", 12)
    coder, decoder = BasisCoder(TEMPLATE, 1e-4), FrameDecoder(TEMPLATE)
    frames, restarts = random_frames(5, 60, 3, 0.05, 1e-3), []
    still = np.repeat(TEMPLATE[None], 5, axis=0)
    for block in (*np.split(frames, 12), still):
        encoded = coder.encode(block)
        assert largest(received(decoder, encoded), block) <= 1e-4
        assert len(decoder.basis) == encoded.coefficients.shape[1] <= 12 + len(block)
        restarts.append(encoded.restarts)
    assert not restarts[0] and sum(restarts) >= 3
    assert decoder.basis.base is None or len(decoder.basis.base) <= 24  # nothing old is kept


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_frames_without_a_position_are_refused(value: float) -> None:
    frames = np.repeat(TEMPLATE[None], 2, axis=0)
    frames[1, 3, 0] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        BasisCoder(TEMPLATE, 1e-4).encode(frames)


def test_coordinates_beyond_the_precision_of_float32_are_refused() -> None:
    frames = np.random.default_rng(0).uniform(-1e6, 1e6, (4, *TEMPLATE.shape)).astype(np.float32)
    with pytest.raises(DataError, match="too large for a precision"):
        BasisCoder(TEMPLATE, 1e-4).encode(frames)


def test_the_tolerance_has_the_unit_of_the_mesh() -> None:
    for unit, expected in (("m", TOLERANCE_MM / 1000), ("mm", TOLERANCE_MM)):
        topology = Topology("ball", TRIANGLES, len(TEMPLATE), unit)
        assert tolerance_of(topology, TEMPLATE) == pytest.approx(expected)
    unknown = Topology("ball", TRIANGLES, len(TEMPLATE), "area1")
    assert tolerance_of(unknown, TEMPLATE) == pytest.approx(0.0005 * np.ptp(TEMPLATE[:, 1]))


def test_the_rotation_of_the_head_is_sent_as_it_is() -> None:
    head = np.random.default_rng(4).normal(size=(6, 3)).astype(np.float32)
    motion = make_motion(head=head)
    encoded = BasisCoder(motion.template, 1e-4).encode(motion.vertices)
    np.testing.assert_array_equal(unpack(encoded.frames_packet(head))[1]["head"].T, head)


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=12),
    delta=st.booleans(),
    text=st.text(max_size=8),
)
def test_packets_keep_their_values(values: list[int], delta: bool, text: str) -> None:
    numbers = np.array(values).reshape(1, -1)
    floats = np.array(values, np.float32) / np.float32(3)
    arrays = {"numbers": numbers, "floats": floats}
    if delta and np.abs(np.diff(numbers, prepend=0)).max() >= 2**31:
        return
    header, found = unpack(
        pack("test", {"text": text}, arrays, deltas=("numbers",) if delta else ())
    )
    assert header["kind"] == "test" and header["text"] == text
    np.testing.assert_array_equal(found["numbers"], numbers)
    np.testing.assert_array_equal(found["floats"], floats)
