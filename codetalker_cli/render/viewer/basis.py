"""Encode the frames of a face as quantized coefficients of a basis that grows when needed.

Usage, for a file whose frames are all known and for a stream whose frames are not::

    coder = BasisCoder(template, tolerance)
    coder.fit(sample_of_the_frames)            # optional; a better basis for a recording
    for block in motion_blocks:                # (n, V, 3) frames
        encoded = coder.encode(block)
        send(encoded.basis_packet())           # None if the block needs no new vectors
        send(encoded.frames_packet(head_block))

Every vertex of every frame is within the tolerance of the original after decoding, which the coder
checks by decoding each block as the page does. A frame is the template plus the sum of its
coefficients times the basis vectors. Vectors are never changed, so a block can be decoded with all
vectors of its basis that were sent before it or with it. A motion with noise needs a vector for
nearly every frame. After ``MAX_VECTORS``, the next block therefore starts a new basis, so that time
grows with the length only, and memory not at all. ``FrameDecoder`` is what ``web/motion.js`` does.
"""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.render.viewer.packets import pack
from codetalker_cli.topology import Topology

TOLERANCE_MM = 0.1
"""The largest distance of a decoded vertex from the original."""
_TOLERANCE_SHARE = 0.0005
"""The tolerance for meshes of unknown unit, as a fraction of the height of the face."""
_CHECKED_SHARE = 0.95
"""The coder refines down to this fraction of the tolerance; the rest is for rounding errors."""
_GOAL_SHARE = 0.6
"""New vectors reduce the error, before quantization, to this fraction of the tolerance."""
# Measured on the bundled voice: finer steps enlarge the files, coarser ones need more vectors.
_VECTOR_STEPS, _COEFFICIENT_STEPS = 4, 8
"""Steps of the quantization per tolerance, for vectors and for coefficients."""
MAX_VECTORS = 512
"""A basis of at least this size is not extended; the next block starts a new one."""
_MAX_SAMPLES = 256
"""The most frames that new vectors are computed from at once."""
_MAX_ROUNDS = 16
_GRAM_COLUMNS = 8192
"""The coordinates that are converted to float64 at once."""
_MAX_INTEGER = 2.0**29  # differences of two numbers still fit into 32 bits


def tolerance_of(topology: Topology, template: np.ndarray) -> float:
    """Return ``TOLERANCE_MM`` in the unit of a mesh.

    If the unit has no length in meters, it is 0.05 % of the height of the face.

    Args:
        topology: Its unit is used.
        template: (V, 3) neutral face.
    """
    meters = topology.meters_per_unit
    if meters is not None:
        return TOLERANCE_MM / 1000 / meters
    return _TOLERANCE_SHARE * float(np.ptp(np.asarray(template)[:, 1]))


@dataclass(frozen=True)
class Encoded:
    """A block of frames, and the basis vectors that were added for it.

    Attributes:
        vectors: (k, 3, V) int32 new vectors, as multiples of ``scale``.
        scale: (k,) float32 size of a vector's unit step in the unit of the mesh, times the unit
            step of its coefficient.
        coefficients: (n, K) int32 coefficients of all K vectors of the basis so far.
        restarts: Whether the vectors start a new basis, which replaces the earlier vectors.
    """

    vectors: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    restarts: bool = False

    def basis_packet(self) -> bytes | None:
        """Return a packet of kind ``basis``, or None if the basis stays as it is.

        Its header contains ``restarts``.
        """
        if not len(self.vectors) and not self.restarts:
            return None
        arrays = {"vectors": self.vectors, "scale": self.scale}
        return pack("basis", {"restarts": self.restarts}, arrays)

    def frames_packet(self, head: np.ndarray | None = None) -> bytes:
        """Return a packet of kind ``frames``.

        Args:
            head: (n, 3) rotation of the head as in ``Motion.head``; None: the head is still.
        """
        arrays = {"coefficients": self.coefficients.T}
        if head is not None:
            arrays["head"] = np.asarray(head, np.float32).T
        return pack("frames", {}, arrays, deltas=("coefficients",))


class FrameDecoder:
    """Decodes blocks in the order in which they were encoded, as the page does.

    Args:
        template: (V, 3) neutral face.
    """

    def __init__(self, template: np.ndarray) -> None:
        self._template = np.asarray(template, np.float32)
        self._basis = np.empty((0, self._template.size), np.float32)

    @property
    def basis(self) -> np.ndarray:
        """The (K, 3V) float32 vectors for coefficients of 1."""
        return self._basis

    def add(self, vectors: np.ndarray, scale: np.ndarray, *, restarts: bool = False) -> None:
        """Add (k, 3, V) integer vectors with their (k,) scale.

        Args:
            vectors: The vectors.
            scale: See ``Encoded``.
            restarts: Whether they replace all earlier vectors.
        """
        if restarts:
            self._basis = self._basis[:0]
        new = vectors.astype(np.float32) * scale[:, None, None].astype(np.float32)
        new = new.transpose(0, 2, 1).reshape(-1, self._template.size)
        self._basis = np.concatenate([self._basis, new])

    def decode(self, coefficients: np.ndarray) -> np.ndarray:
        """Return (n, V, 3) float32 vertices for (n, K) integer coefficients."""
        basis = self._basis[: coefficients.shape[1]]
        frames = coefficients.astype(np.float32) @ basis
        return frames.reshape(-1, *self._template.shape) + self._template


class BasisCoder:
    """Encodes blocks of frames; see the module.

    Args:
        template: (V, 3) neutral face. Frames may differ from it without limit.
        tolerance: The largest distance of a decoded vertex from the original, in the unit of the
            template; see ``tolerance_of``.
    """

    def __init__(self, template: np.ndarray, tolerance: float) -> None:
        if not tolerance > 0:
            raise ValueError(f"tolerance {tolerance}: expected a number > 0")
        self._template = np.asarray(template, np.float32)
        self.tolerance = float(tolerance)
        self._restart()

    def _restart(self) -> None:
        self._new: list[np.ndarray] = []
        self._new_scales: list[np.float32] = []
        self._n_sent = 0
        self._decoder = FrameDecoder(self._template)
        self._gram = np.empty((0, 0))
        self._solver = np.empty((self._template.size, 0), np.float32)

    @property
    def n_vectors(self) -> int:
        """The number of vectors K of the present basis."""
        return len(self._decoder.basis)

    def fit(self, frames: np.ndarray) -> None:
        """Add basis vectors for (n, V, 3) frames, which are then encoded without further ones."""
        for start in range(0, len(frames), _MAX_SAMPLES):
            self._refine(frames[start : start + _MAX_SAMPLES])

    def encode(self, frames: np.ndarray) -> Encoded:
        """Return the (n, V, 3) frames as coefficients, and the vectors that were not sent yet.

        Raises:
            DataError: The frames contain values that are not finite, or too large for the
                precision of float32.
        """
        restarts = self._n_sent >= MAX_VECTORS
        if restarts:
            self._restart()
        coefficients = self._refine(frames)
        empty = np.empty((0, 3, len(self._template)), np.int32)
        vectors = np.stack(self._new) if self._new else empty
        scale = np.array(self._new_scales, np.float32)
        self._new, self._new_scales, self._n_sent = [], [], self.n_vectors
        return Encoded(vectors, scale, coefficients, restarts)

    def _refine(self, frames: np.ndarray) -> np.ndarray:
        """Add vectors until all frames are within the tolerance; return their coefficients."""
        frames = np.asarray(frames, np.float32)
        if not np.isfinite(frames).all():
            raise DataError("the frames contain NaN or infinite coordinates")
        offsets = (frames - self._template).reshape(len(frames), self._template.size)
        for number in range(_MAX_ROUNDS):
            coefficients = self._solve(offsets)
            errors = _largest(self._decoder.decode(coefficients) - frames)
            bad = np.flatnonzero(errors > _CHECKED_SHARE * self.tolerance)
            if not len(bad):
                return coefficients
            worst = bad[np.argsort(-errors[bad], kind="stable")[:_MAX_SAMPLES]]
            found = coefficients[worst].astype(np.float32) @ self._decoder.basis
            self._grow(offsets[worst] - found, number)
        raise self._imprecise(frames)

    def _imprecise(self, values: np.ndarray) -> DataError:
        return DataError(
            f"the motion, up to {np.abs(values).max():.3g} in size, is too large for a precision "
            f"of {self.tolerance:.3g}; check the unit of the motion"
        )

    def _solve(self, offsets: np.ndarray) -> np.ndarray:
        """Return the (n, K) int32 coefficients nearest to (n, 3V) offsets."""
        exact = np.clip(offsets @ self._solver, -_MAX_INTEGER, _MAX_INTEGER)
        return np.rint(exact).astype(np.int32)

    def _grow(self, residual: np.ndarray, number: int) -> None:
        """Add vectors for a residual (n, 3V) that the present vectors leave."""
        limit = _GOAL_SHARE * self.tolerance
        _, directions = np.linalg.eigh(residual.astype(np.float64) @ residual.T)
        directions = directions[:, ::-1].T.astype(np.float32)  # the strongest first
        rest, chosen = residual, 0
        while chosen < len(directions) and _largest(rest.reshape(len(rest), -1, 3)).max() > limit:
            part = directions[chosen : chosen + 4]
            rest = rest - part.T @ (part @ rest)
            chosen += len(part)
        # The errors of many vectors add up, and a round that did not suffice needs finer steps.
        step = self.tolerance / _VECTOR_STEPS / max(1.0, chosen / 16) ** 0.5 / 2**number
        new = [
            self._quantized(np.abs(direction).max() * (direction @ residual), step)
            for direction in directions[:chosen]
        ]
        if not any(one.any() for one in new):
            new = [self._quantized(residual[0], step)]
        if new := [one for one in new if one.any()]:
            self._extend(np.stack(new))

    def _quantized(self, vector: np.ndarray, step: float) -> np.ndarray:
        """Return a vector (3V,), whose largest coefficient is about 1, as (3, V) int32."""
        if not np.abs(vector).max(initial=0) < _MAX_INTEGER * step:
            raise self._imprecise(vector)
        return np.rint(vector.reshape(-1, 3).T / step).astype(np.int32)

    def _extend(self, vectors: np.ndarray) -> None:
        """Add (k, 3, V) int32 vectors, and prepare the least-squares solution with them."""
        peaks = np.sqrt(np.square(vectors, dtype=np.float64).sum(1).max(1, initial=0))
        # A coefficient is counted in steps that move no vertex farther than this.
        scales = (self.tolerance / _COEFFICIENT_STEPS / peaks).astype(np.float32)
        self._new += list(vectors)
        self._new_scales += list(scales)
        self._decoder.add(vectors, scales)
        self._gram = gram = self._extended_gram(len(vectors))
        # Scaled to a diagonal of 1, which is better conditioned.
        size = np.sqrt(np.diag(gram))
        inverse = np.linalg.pinv(gram / size / size[:, None], rcond=1e-9, hermitian=True)
        inverse = (inverse / size / size[:, None]).astype(np.float32)
        self._solver = np.ascontiguousarray(self._decoder.basis.T @ inverse)

    def _extended_gram(self, n_new: int) -> np.ndarray:
        """Return the (K, K) products of all vectors, of which the last ``n_new`` are new."""
        basis = self._decoder.basis
        rows = np.zeros((n_new, len(basis)))
        for start in range(0, basis.shape[1], _GRAM_COLUMNS):
            part = basis[:, start : start + _GRAM_COLUMNS].astype(np.float64)
            rows += part[-n_new:] @ part.T
        n_old = len(self._gram)
        return np.block([[self._gram, rows[:, :n_old].T], [rows]])


def _largest(offsets: np.ndarray) -> np.ndarray:
    """Return the (n,) largest length of the vectors (n, V, 3) of each frame."""
    return np.sqrt(np.square(offsets, dtype=np.float32).sum(-1).max(1, initial=0.0))
