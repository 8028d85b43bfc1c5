"""Training losses of both stages (CodeTalker, equations 4 and 6).

Every loss is (B,): of each clip the mean over its own frames. Padding counts nowhere, and a batch's
loss is the mean of what its clips would have given one by one.
"""

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from codetalker_cli.errors import DataError
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.layers import valid_frames
from codetalker_cli.models.vq_autoencoder import MotionBasis
from codetalker_cli.settings import TrainSettings
from codetalker_cli.topology import Topology

logger = logging.getLogger(__name__)

History = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(encoder features, true motion features, style) → the motion features shown as the past."""


class SpeechLosses(NamedTuple):
    """Losses of stage 2, each (B,): motion_weight × motion + latents = total.

    ``features`` are the (B, T, feature_size) motion features that they are of.
    """

    total: Tensor
    motion: Tensor
    latents: Tensor
    features: Tensor


def vertex_weights(topology: Topology, region_weights: dict[str, float]) -> Tensor | None:
    """(V,) weights of the reconstruction loss, their mean 1; None when all weigh the same.

    A topology without any region weighs all the same, and that is said.

    Raises:
        DataError: A region that the topology does not have; it lists those it has.
    """
    if not region_weights:
        return None
    weights = torch.ones(topology.n_vertices)
    if not topology.regions:
        logger.warning(
            "region_weights: %s has no regions, so all its vertices weigh the same; to weigh the "
            "lips, prepare the data with --regions",
            topology.name,
        )
        return None
    for name, weight in region_weights.items():
        if name not in topology.regions:
            known = ", ".join(sorted(topology.regions)) or "none"
            raise DataError(
                f"region_weights: topology {topology.name} has no region {name!r}; it has: "
                f"{known}. Prepare the data with --regions, or take the weight away with "
                "--set train_vq.region_weights={} --set train_speech.region_weights={}"
            )
        weights[torch.from_numpy(topology.region(name).astype("int64"))] = weight
    return weights / weights.mean()


def clip_means(values: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, …) values → (B,): of each clip the mean over its own frames.

    Args:
        values: Whatever stands beyond a clip's end.
        lengths: (B,) frames of each clip; None: all have T.
    """
    if lengths is None:
        return values.flatten(1).mean(1)
    values = values.flatten(2).mean(2)
    valid = valid_frames(lengths, values.shape[1])
    return values.masked_fill(~valid, 0.0).sum(1) / lengths


def reconstruction_loss(
    predicted: Tensor,
    true: Tensor,
    weights: Tensor | None,
    kind: Literal["l1", "l2"],
    lengths: Tensor | None = None,
) -> Tensor:
    """(B,) mean absolute or squared difference of (B, T, V, 3) vertices, weighted by vertex."""
    difference = predicted - true
    error = difference.abs() if kind == "l1" else difference.square()
    if weights is not None:
        error = error.mean(-1) * weights
    return clip_means(error, lengths)


class MotionLoss:
    """Reconstruction loss of motion features, over all vertices or a weighted draw of them.

    A draw in proportion to the weights has the weighted mean over all vertices as its expectation.

    Args:
        kind: l1 (stage 1) or l2 (stage 2).
        topology: Gives the regions.
        settings: ``region_weights`` and ``loss_vertices``.
    """

    def __init__(
        self, kind: Literal["l1", "l2"], topology: Topology, settings: TrainSettings
    ) -> None:
        self.kind = kind
        self._weights = vertex_weights(topology, settings.region_weights)
        self._n = settings.loss_vertices
        share = torch.ones(topology.n_vertices) if self._weights is None else self._weights
        self._share = (share / share.sum()).double().numpy()
        self._share /= self._share.sum()

    def __call__(
        self,
        basis: MotionBasis,
        features: Tensor,
        offsets: Tensor,
        rng: np.random.Generator,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """(B,) losses of (B, T, feature_size) features against (B, T, V, 3) offsets."""
        if self._n is None:
            if self._weights is not None:
                self._weights = self._weights.to(offsets.device)  # once
            made = basis.to_offsets(features)
            return reconstruction_loss(made, offsets, self._weights, self.kind, lengths)
        drawn = rng.choice(len(self._share), self._n, p=self._share)
        chosen = torch.from_numpy(np.sort(drawn)).to(offsets.device)
        made, true = basis.to_offsets(features, chosen), offsets[:, :, chosen]
        return reconstruction_loss(made, true, None, self.kind, lengths)


def plain_motion_loss(
    basis: MotionBasis, features: Tensor, offsets: Tensor, lengths: Tensor | None
) -> Tensor:
    """(B,) mean squared difference over all vertices, as the paper has it."""
    return reconstruction_loss(basis.to_offsets(features), offsets, None, "l2", lengths)


def speech_losses(
    model: CodeTalker,
    hidden: Tensor,
    vertices: Tensor,
    template: Tensor,
    style_ids: Tensor,
    *,
    lengths: Tensor | None = None,
    codes: Tensor | None = None,
    history: History | None = None,
    keep_history: Tensor | None = None,
    motion_loss: Callable[[MotionBasis, Tensor, Tensor, Tensor | None], Tensor] = plain_motion_loss,
    motion_weight: float = 1.0,
) -> SpeechLosses:
    """Teacher-forced losses of stage 2.

    Args:
        model: Both stages; stage 1 gives targets and decodes, and gets no gradient to its weights.
        hidden: (B, S, size) encoder features of the clips.
        vertices: (B, T, V, 3) true motion; cut when the speech is shorter.
        template: (B, V, 3).
        style_ids: (B,) int64 training-subject numbers.
        lengths: (B,) frames of each clip that both speech and motion have; None: all frames.
        codes: (B, T, q) of the true motion; None: stage 1 gives them.
        history: Gives the past motion that the model sees; None: the true one.
        keep_history: (B,) 1 or 0, see :meth:`SpeechToCodes.forward`.
        motion_loss: From the basis, predicted features, true offsets and lengths.
        motion_weight: Weight of the motion loss in the total.
    """
    speech = model.speech
    assert speech is not None
    n_frames = min(vertices.shape[1], hidden.shape[1] // speech.settings.features_per_frame)
    offsets = vertices[:, :n_frames] - template[:, None]
    hidden = hidden[:, : n_frames * speech.settings.features_per_frame]
    with torch.no_grad():
        features = model.vq.basis.to_features(offsets)
        if codes is None:
            true_latents, _ = model.vq.snap(model.vq.encoder(features, lengths))
        else:
            true_latents = model.vq.lookup(codes[:, :n_frames])
    style = speech.style_embedding(style_ids)
    past = features if history is None else history(hidden, features, style)
    made = speech(model.vq, hidden, past, style, keep_history, lengths)
    motion = motion_loss(model.vq.basis, made.features, offsets, lengths)
    latents = clip_means((made.latents - true_latents).square(), lengths)
    return SpeechLosses(motion_weight * motion + latents, motion, latents, made.features)
