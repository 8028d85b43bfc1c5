"""Training losses of both stages (CodeTalker, equations 4 and 6).

Every loss has one value a clip, the mean over its own frames. Padding counts nowhere, and a batch's
loss is the mean of what its clips would have given one by one.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from codetalker_cli.errors import DataError
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.layers import valid_frames
from codetalker_cli.models.vq_autoencoder import MotionBasis
from codetalker_cli.settings import TrainSettings
from codetalker_cli.topology import Topology

logger = logging.getLogger(__name__)

CLOSED_MM = 1.0
"""Inner lips closer than this touch."""
CONTACT_SECONDS = 0.3
"""Longest contact that is a sound, not a rest."""

StageTwoLoss = Callable[
    [
        MotionBasis,
        Float[Tensor, "batch frames features"],
        Float[Tensor, "batch frames vertices 3"],
        Int[Tensor, " batch"] | None,
        Float[Tensor, "batch frames"] | None,
    ],
    Float[Tensor, " batch"],
]
"""(basis, predicted features, true offsets, lengths, frame weights) → losses."""

History = Callable[
    [
        Float[Tensor, "batch encoder_features encoder_size"],
        Float[Tensor, "batch frames features"],
        Float[Tensor, "batch size"],
    ],
    Float[Tensor, "batch frames features"],
]
"""(encoder features, true motion features, style) → the motion features shown as the past."""


@dataclass(frozen=True)
class EncodedClips:
    """Clips with the encoder features of their speech.

    Attributes:
        hidden: Encoder features.
        vertices: True motion; cut when the speech is shorter.
        template: Neutral face of each clip's subject.
        style_ids: Number of each clip's training subject.
        lengths: Frames of each clip that both speech and motion have; None: all frames.
        codes: Codes of the true motion; None: stage 1 computes them.
    """

    hidden: Float[Tensor, "batch encoder_features encoder_size"]
    vertices: Float[Tensor, "batch frames vertices 3"]
    template: Float[Tensor, "batch vertices 3"]
    style_ids: Int[Tensor, " batch"]
    lengths: Int[Tensor, " batch"] | None = None
    codes: Int[Tensor, "batch coded_frames codes_per_frame"] | None = None


class SpeechLosses(NamedTuple):
    """Losses of stage 2: motion_weight × motion + latents = total.

    ``features`` are the predicted motion features.
    """

    total: Float[Tensor, " batch"]
    motion: Float[Tensor, " batch"]
    latents: Float[Tensor, " batch"]
    features: Float[Tensor, "batch frames features"]


def vertex_weights(
    topology: Topology, region_weights: dict[str, float]
) -> Float[Tensor, " vertices"] | None:
    """Weights of the reconstruction loss, their mean 1; None when all weigh the same.

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
            "lips, prepare the data with `regions`",
            topology.name,
        )
        return None
    for name, weight in region_weights.items():
        if name not in topology.regions:
            known = ", ".join(sorted(topology.regions)) or "none"
            raise DataError(
                f"region_weights: topology {topology.name} has no region {name!r}; it has: "
                f"{known}. Prepare the data with `regions`, or take the weight away with "
                "`set` train_vq.region_weights={} `set` train_speech.region_weights={}"
            )
        weights[torch.from_numpy(topology.region(name).astype("int64"))] = weight
    return weights / weights.mean()


class ContactWeights:
    """How much each frame of true motion weighs in the losses of stage 2.

    What is learned by squared error is the mean of what may be: where a p is as likely as a t, lips
    half shut, which nobody reads as either. Short contacts are rare, so they are given more say.

    Args:
        topology: Its pairs of inner-lip vertices tell contacts; without them nothing is weighted,
            and that is said.
        fps: Frames a second.
        weight: Of frames in a contact of at most ``CONTACT_SECONDS``; all others weigh 1.
    """

    def __init__(self, topology: Topology, fps: float, weight: float) -> None:
        meters, regions = topology.meters_per_unit, ("inner_lip_upper", "inner_lip_lower")
        self._weight = weight
        self._pairs: list[Tensor] | None = None
        if weight == 1.0:
            return
        if meters is None or not set(regions) <= topology.regions.keys():
            logger.warning(
                "contact_weight: %s has no pairs of inner-lip vertices of known size, so all "
                "frames weigh the same",
                topology.name,
            )
            return
        pairs = topology.central_lip_pairs()
        self._pairs = [torch.from_numpy(side.astype("int64")) for side in pairs]
        self._closed_distance = CLOSED_MM / 1000.0 / meters
        self._max_contact_frames = max(1, int(CONTACT_SECONDS * fps))

    def __call__(
        self, vertices: Float[Tensor, "batch frames vertices 3"]
    ) -> Float[Tensor, "batch frames"] | None:
        """Return the weights of the frames of true motion; None: all weigh the same."""
        if self._pairs is None:
            return None
        upper, lower = (vertices[:, :, pair.to(vertices.device)] for pair in self._pairs)
        closed = ((upper - lower).norm(dim=-1).mean(-1) < self._closed_distance).float()
        window = self._max_contact_frames + 1
        # An opening (erosion, then dilation) leaves the runs that are at least a window long. How
        # long those at the ends of a crop last is not known; they count as rest.
        padded = F.pad(closed, (window - 1, window - 1), value=1.0)
        eroded = -F.max_pool1d(-padded[:, None], window, 1)
        rest = F.max_pool1d(eroded, window, 1)[:, 0]
        return 1.0 + (self._weight - 1.0) * (closed - rest)


def clip_means(
    values: Float[Tensor, "batch frames *rest"],
    lengths: Int[Tensor, " batch"] | None,
    weights: Float[Tensor, "batch frames"] | None = None,
) -> Float[Tensor, " batch"]:
    """Return each clip's mean over its own frames.

    Args:
        values: Anything is allowed beyond a clip's end.
        lengths: Frames of each clip; None: all.
        weights: Weights of the frames; None: all weigh the same.
    """
    if lengths is None and weights is None:
        return values.flatten(1).mean(1)
    values = values.flatten(2).mean(2) if values.dim() > 2 else values
    weights = torch.ones_like(values) if weights is None else weights
    if lengths is not None:
        padding = ~valid_frames(lengths, values.shape[1])
        values, weights = values.masked_fill(padding, 0.0), weights.masked_fill(padding, 0.0)
    return (values * weights).sum(1) / weights.sum(1)


def reconstruction_loss(
    predicted: Float[Tensor, "batch frames vertices 3"],
    true: Float[Tensor, "batch frames vertices 3"],
    weights: Float[Tensor, " vertices"] | None,
    kind: Literal["l1", "l2"],
    lengths: Int[Tensor, " batch"] | None = None,
    frame_weights: Float[Tensor, "batch frames"] | None = None,
) -> Float[Tensor, " batch"]:
    """Mean absolute or squared difference of vertices, weighted by vertex and by frame."""
    difference = predicted - true
    error = difference.abs() if kind == "l1" else difference.square()
    if weights is not None:
        error = error.mean(-1) * weights
    return clip_means(error, lengths, frame_weights)


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
        self._n_vertices = settings.loss_vertices
        probabilities = torch.ones(topology.n_vertices) if self._weights is None else self._weights
        self._probabilities = (probabilities / probabilities.sum()).double().numpy()
        self._probabilities /= self._probabilities.sum()

    def __call__(
        self,
        basis: MotionBasis,
        features: Float[Tensor, "batch frames features"],
        offsets: Float[Tensor, "batch frames vertices 3"],
        rng: np.random.Generator,
        lengths: Int[Tensor, " batch"] | None = None,
        frame_weights: Float[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Compare predicted features with true offsets."""
        if self._n_vertices is None:
            if self._weights is not None:
                self._weights = self._weights.to(offsets.device)  # once
            prediction = basis.to_offsets(features)
            return reconstruction_loss(
                prediction, offsets, self._weights, self.kind, lengths, frame_weights
            )
        sample = rng.choice(len(self._probabilities), self._n_vertices, p=self._probabilities)
        vertex_indices = torch.from_numpy(np.sort(sample)).to(offsets.device)
        prediction, target = (
            basis.to_offsets(features, vertex_indices),
            offsets[:, :, vertex_indices],
        )
        return reconstruction_loss(prediction, target, None, self.kind, lengths, frame_weights)


def plain_motion_loss(
    basis: MotionBasis,
    features: Float[Tensor, "batch frames features"],
    offsets: Float[Tensor, "batch frames vertices 3"],
    lengths: Int[Tensor, " batch"] | None,
    frame_weights: Float[Tensor, "batch frames"] | None = None,
) -> Float[Tensor, " batch"]:
    """Mean squared difference over all vertices, as the paper has it."""
    prediction = basis.to_offsets(features)
    return reconstruction_loss(prediction, offsets, None, "l2", lengths, frame_weights)


def speech_losses(
    model: CodeTalker,
    clips: EncodedClips,
    *,
    history: History | None = None,
    keep_history: Float[Tensor, " batch"] | None = None,
    motion_loss: StageTwoLoss = plain_motion_loss,
    motion_weight: float = 1.0,
    frame_weights: Float[Tensor, "batch frames"] | None = None,
) -> SpeechLosses:
    """Teacher-forced losses of stage 2.

    Args:
        model: Both stages; stage 1 gives targets and decodes, and gets no gradient to its weights.
        clips: The clips and the features of their speech.
        history: Gives the past motion that the model sees; None: the true one.
        keep_history: 1 or 0, see ``SpeechToCodes.forward``.
        motion_loss: From the basis, predicted features, true offsets, lengths and frame weights.
        motion_weight: Weight of the motion loss in the total.
        frame_weights: As ``ContactWeights`` gives them; None: all weigh the same.
    """
    speech = model.speech
    assert speech is not None
    per_frame, lengths = speech.settings.features_per_frame, clips.lengths
    n_frames = min(clips.vertices.shape[1], clips.hidden.shape[1] // per_frame)
    offsets = clips.vertices[:, :n_frames] - clips.template[:, None]
    hidden = clips.hidden[:, : n_frames * per_frame]
    with torch.no_grad():
        features = model.vq.basis.to_features(offsets)
        if clips.codes is None:
            true_latents, _ = model.vq.quantize(model.vq.encoder(features, lengths))
        else:
            true_latents = model.vq.dequantize(clips.codes[:, :n_frames])
    style = speech.style_embedding(clips.style_ids)
    past = features if history is None else history(hidden, features, style)
    prediction = speech(model.vq, hidden, past, style, keep_history, lengths)
    if frame_weights is not None:
        frame_weights = frame_weights[:, :n_frames]
    motion = motion_loss(model.vq.basis, prediction.features, offsets, lengths, frame_weights)
    latents = clip_means((prediction.latents - true_latents).square(), lengths, frame_weights)
    return SpeechLosses(motion_weight * motion + latents, motion, latents, prediction.features)
