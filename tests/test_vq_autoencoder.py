"""Stage 1: encoding and decoding, single frames, batches, the motion basis."""

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.models.vq_autoencoder import MotionBasis, MotionVQ

V = tiny.N_VERTICES
VARIANTS = {
    "vocaset": {},
    "biwi": {"latent_projection": True, "output_bias": False, "code_dim": 6},
    "basis": {"basis_rank": 5},
}


def clips(n_clips: int, n_frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (n_clips, n_frames, V, 3)
    vertices = torch.randn(shape, generator=generator, dtype=torch.float64)
    return vertices, torch.randn(shape[0], V, 3, generator=generator, dtype=torch.float64)


def orthonormal(rank: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(3 * V, 3 * V, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(noise).Q[:, :rank]


def model(variant: str = "vocaset") -> MotionVQ:
    made = tiny.vq(**VARIANTS[variant])
    if made.basis.rank:
        made.basis.set(orthonormal(made.basis.rank), torch.linspace(0.5, 2, made.basis.rank))
    return made


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n_frames", [2, 9])
def test_decoded_codes_equal_the_reconstruction(variant: str, n_frames: int) -> None:
    vq = model(variant)
    vertices, template = clips(2, n_frames)
    whole = vq(vertices, template)
    codes = vq.encode(vertices, template)
    assert codes.shape == (2, n_frames, vq.settings.codes_per_frame)
    assert whole.vertices.shape == vertices.shape
    assert len(codes.unique()) > 1
    torch.testing.assert_close(vq.decode(codes, template), whole.vertices)


def test_codes_are_in_frame_order() -> None:
    """The latents of frame t are split into parts of code_dim, which become its codes."""
    vq = model()
    vertices, template = clips(2, 6)
    latents = vq.encoder(vq.basis.to_features(vertices - template[:, None]))
    quantized_latents, codes = vq.quantize(latents)
    assert torch.equal(codes, vq.encode(vertices, template))
    z = vq.settings.code_dim
    for k in range(vq.settings.codes_per_frame):
        torch.testing.assert_close(
            quantized_latents[1, 4, k * z : (k + 1) * z], vq.quantizer.codebook[codes[1, 4, k]]
        )


def test_codes_do_not_depend_on_the_template() -> None:
    """Another head with the same motion has the same codes and the same decoded motion."""
    vq = model()
    vertices, template = clips(1, 6)
    shift = clips(1, 1, seed=9)[1]
    codes = vq.encode(vertices, template)
    assert torch.equal(vq.encode(vertices + shift[:, None], template + shift), codes)
    moved = vq.decode(codes, template + shift) - shift[:, None]
    torch.testing.assert_close(moved, vq.decode(codes, template))


@pytest.mark.parametrize("variant", VARIANTS)
def test_single_frame_is_decoded_as_two_equal_frames(variant: str) -> None:
    vq = model(variant)
    codes = torch.randint(12, (2, 1, 2), generator=torch.Generator().manual_seed(0))
    template = clips(2, 1)[1]
    one = vq.decode(codes, template)
    assert one.shape == (2, 1, V, 3) and bool(one.isfinite().all())
    torch.testing.assert_close(one, vq.decode(codes.expand(-1, 2, -1), template)[:, :1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_equals_single_clips(variant: str) -> None:
    """The position encoding does not depend on the index in the batch."""
    vq = model(variant)
    vertices, template = clips(3, 7)
    whole = vq(vertices, template)
    codes = vq.encode(vertices, template)
    for k in range(3):
        alone = vq(vertices[k : k + 1], template[k : k + 1])
        torch.testing.assert_close(alone.vertices[0], whole.vertices[k])
        assert torch.equal(alone.quantized.codes[0], codes[k].flatten())


def test_gradients_reach_all_weights() -> None:
    vq = model()
    vertices, template = clips(1, 6)
    result = vq(vertices, template)
    ((result.vertices - vertices).abs().mean() + result.quantized.loss.mean()).backward()
    without = [name for name, p in vq.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


# The motion basis ------------------------------------------------------------------------------


def test_features_without_a_basis_are_the_offsets() -> None:
    offsets = clips(2, 3)[0]
    basis = MotionBasis(V, 0)
    assert torch.equal(basis.to_features(offsets), offsets.flatten(-2))
    assert torch.equal(basis.to_offsets(basis.to_features(offsets)), offsets)
    assert not basis.state_dict()


@given(rank=st.integers(1, 3 * V), seed=st.integers(0, 100))
def test_basis_is_an_orthogonal_projection(rank: int, seed: int) -> None:
    basis = MotionBasis(V, rank).double()
    vectors = orthonormal(rank, seed)
    basis.set(vectors, torch.rand(rank, dtype=torch.float64) + 0.1)
    offsets = clips(1, 4, seed)[0]
    features = basis.to_features(offsets)
    back = basis.to_offsets(features)
    assert features.shape == (1, 4, rank) and basis.feature_size == rank
    torch.testing.assert_close(back.flatten(-2), offsets.flatten(-2) @ vectors @ vectors.T)
    torch.testing.assert_close(basis.to_features(back), features)
    if rank == 3 * V:
        torch.testing.assert_close(back, offsets)


def test_scale_normalizes_the_features() -> None:
    offsets = clips(1, 400)[0]
    basis = MotionBasis(V, 3).double()
    vectors = orthonormal(3)
    basis.set(vectors, (offsets.flatten(-2) @ vectors).std(dim=(0, 1)))
    spread = basis.to_features(offsets).std(dim=(0, 1))
    torch.testing.assert_close(spread, torch.ones(3, dtype=torch.float64))


def test_basis_of_full_rank_equals_no_basis() -> None:
    """A rotation Q as the basis is undone by rotating the first and the last projection."""
    plain = tiny.vq()
    through = tiny.vq(basis_rank=3 * V)
    vectors = orthonormal(3 * V)
    through.basis.set(vectors, torch.ones(3 * V))
    first, last = plain.encoder.input_projection, plain.decoder.output_projection
    through.load_state_dict(plain.state_dict() | through.basis.state_dict(prefix="basis."))
    with torch.no_grad():
        through.encoder.input_projection.weight.copy_(first.weight @ vectors)
        through.decoder.output_projection.weight.copy_(vectors.T @ last.weight)
        through.decoder.output_projection.bias.copy_(vectors.T @ last.bias)
    vertices, template = clips(2, 6)
    torch.testing.assert_close(
        through(vertices, template).vertices, plain(vertices, template).vertices
    )


def test_basis_is_saved_but_not_trained() -> None:
    vq = model("basis")
    assert {"basis.vectors", "basis.scale"} <= set(vq.state_dict())
    assert not any(name.startswith("basis.") for name, _ in vq.named_parameters())
