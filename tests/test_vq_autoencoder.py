"""Stage 1: codes in and out, single frames, batches, the motion basis."""

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
def test_decoding_the_codes_gives_the_reconstruction(variant: str, n_frames: int) -> None:
    vq = model(variant)
    vertices, template = clips(2, n_frames)
    whole = vq(vertices, template)
    codes = vq.encode(vertices, template)
    assert codes.shape == (2, n_frames, vq.settings.codes_per_frame)
    assert whole.vertices.shape == vertices.shape
    assert len(codes.unique()) > 1
    torch.testing.assert_close(vq.decode(codes, template), whole.vertices)


def test_codes_stand_in_the_order_of_frames() -> None:
    """Latents of frame t, cut into pieces of code_dim, become the codes of frame t."""
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


def test_the_template_is_taken_off_and_put_back() -> None:
    """Another head with the same movement has the same codes, and moves the same."""
    vq = model()
    vertices, template = clips(1, 6)
    shift = clips(1, 1, seed=9)[1]
    codes = vq.encode(vertices, template)
    assert torch.equal(vq.encode(vertices + shift[:, None], template + shift), codes)
    moved = vq.decode(codes, template + shift) - shift[:, None]
    torch.testing.assert_close(moved, vq.decode(codes, template))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_single_frame_is_decoded_as_two_equal_ones(variant: str) -> None:
    vq = model(variant)
    codes = torch.randint(12, (2, 1, 2), generator=torch.Generator().manual_seed(0))
    template = clips(2, 1)[1]
    one = vq.decode(codes, template)
    assert one.shape == (2, 1, V, 3) and bool(one.isfinite().all())
    torch.testing.assert_close(one, vq.decode(codes.expand(-1, 2, -1), template)[:, :1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_gives_what_its_clips_give_alone(variant: str) -> None:
    """The position row does not depend on the place in the batch."""
    vq = model(variant)
    vertices, template = clips(3, 7)
    whole = vq(vertices, template)
    codes = vq.encode(vertices, template)
    for k in range(3):
        alone = vq(vertices[k : k + 1], template[k : k + 1])
        torch.testing.assert_close(alone.vertices[0], whole.vertices[k])
        assert torch.equal(alone.quantized.codes[0], codes[k].flatten())


def test_gradients_reach_both_halves_and_the_codebook() -> None:
    vq = model()
    vertices, template = clips(1, 6)
    result = vq(vertices, template)
    ((result.vertices - vertices).abs().mean() + result.quantized.loss.mean()).backward()
    without = [name for name, p in vq.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


# The motion basis ------------------------------------------------------------------------------


def test_without_a_basis_the_features_are_the_offsets() -> None:
    offsets = clips(2, 3)[0]
    basis = MotionBasis(V, 0)
    assert torch.equal(basis.to_features(offsets), offsets.flatten(-2))
    assert torch.equal(basis.to_offsets(basis.to_features(offsets)), offsets)
    assert not basis.state_dict()


@given(rank=st.integers(1, 3 * V), seed=st.integers(0, 100))
def test_a_basis_projects(rank: int, seed: int) -> None:
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


def test_scales_make_the_features_of_unit_size() -> None:
    offsets = clips(1, 400)[0]
    basis = MotionBasis(V, 3).double()
    vectors = orthonormal(3)
    basis.set(vectors, (offsets.flatten(-2) @ vectors).std(dim=(0, 1)))
    spread = basis.to_features(offsets).std(dim=(0, 1))
    torch.testing.assert_close(spread, torch.ones(3, dtype=torch.float64))


def test_a_basis_of_full_rank_gives_what_plain_offsets_give() -> None:
    """Through Q, with the first and last projection turned by Q, the whole model is the same."""
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


def test_the_basis_belongs_to_the_weights_and_is_not_trained() -> None:
    vq = model("basis")
    assert {"basis.vectors", "basis.scale"} <= set(vq.state_dict())
    assert not any(name.startswith("basis.") for name, _ in vq.named_parameters())
