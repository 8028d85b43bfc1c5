"""Training losses of both stages (CodeTalker, equations 4 and 6).

Every loss has one value per clip: the mean over the frames of the clip, without padding. The loss
of a batch is therefore the mean of the losses of its clips computed one at a time.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
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
"""The distance of the inner lips, in millimeters, below which the mouth counts as closed."""
CONTACT_SECONDS = 0.3
"""The maximum duration of a lip contact that belongs to a sound; longer ones are pauses."""

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
"""Maps (basis, predicted features, true offsets, lengths, frame weights) to losses."""

History = Callable[
    [
        Float[Tensor, "batch encoder_features encoder_size"],
        Float[Tensor, "batch frames features"],
        Float[Tensor, "batch size"],
    ],
    Float[Tensor, "batch frames features"],
]
"""Maps (encoder features, true motion features, style) to the motion history for the decoder."""


@dataclass(frozen=True)
class EncodedClips:
    """Clips with the encoder features of their speech.

    Attributes:
        hidden: The encoder features.
        vertices: The true motion; frames after the end of the speech are ignored.
        template: The neutral face of each clip's subject.
        style_ids: The index of each clip's training subject.
        lengths: The number of frames for which each clip has both speech and motion; None: all.
        codes: The codes of the true motion; None: stage 1 computes them.
    """

    hidden: Float[Tensor, "batch encoder_features encoder_size"]
    vertices: Float[Tensor, "batch frames vertices 3"]
    template: Float[Tensor, "batch vertices 3"]
    style_ids: Int[Tensor, " batch"]
    lengths: Int[Tensor, " batch"] | None = None
    codes: Int[Tensor, "batch coded_frames codes_per_frame"] | None = None


class SpeechLosses(NamedTuple):
    """The losses of stage 2, where total = motion_weight × motion + latents.

    Attributes:
        total: The loss to minimize.
        motion: The reconstruction loss of the motion.
        latents: The squared error of the latents.
        features: The predicted motion features.
        codes: The predicted codes.
    """

    total: Float[Tensor, " batch"]
    motion: Float[Tensor, " batch"]
    latents: Float[Tensor, " batch"]
    features: Float[Tensor, "batch frames features"]
    codes: Int64[Tensor, "batch frames codes_per_frame"]


def vertex_weights(
    topology: Topology, region_weights: dict[str, float]
) -> Float[Tensor, " vertices"] | None:
    """Return the vertex weights of the reconstruction loss, with mean 1, or None if all are equal.

    If the topology has no regions at all, log a warning and return None.

    Raises:
        DataError: The topology does not have a region in ``region_weights``; the message lists
            the regions that it has.
    """
    if not region_weights:
        return None
    weights = torch.ones(topology.n_vertices)
    if not topology.regions:
        logger.warning(
            "region_weights: %s has no regions, so all its vertices have the same weight; to give "
            "the lips more weight, prepare the data with `regions`",
            topology.name,
        )
        return None
    for name, weight in region_weights.items():
        if name not in topology.regions:
            known = ", ".join(sorted(topology.regions)) or "none"
            raise DataError(
                f"region_weights: the topology {topology.name} has no region {name!r}; it has: "
                f"{known}; prepare the data with `regions`, or remove the weight (stage 1: `set` "
                "train_vq.region_weights={}, stage 2: `set` train_speech.region_weights={})"
            )
        weights[torch.from_numpy(topology.region(name).astype("int64"))] = weight
    return weights / weights.mean()


class ContactWeights:
    """Computes the weight of each frame in the losses of stage 2, from the true motion.

    Squared error converges to the conditional mean. Where a p and a t are equally likely, the lips
    end up half shut and read as neither. Short lip contacts are rare, so they get more weight.

    Args:
        topology: The topology, whose pairs of inner-lip vertices show contacts. Without pairs, a
            warning is logged and all frames have the same weight.
        fps: The frame rate.
        weight: The weight of frames in a contact of at most ``CONTACT_SECONDS``; all other frames
            have weight 1.
    """

    def __init__(self, topology: Topology, fps: float, weight: float) -> None:
        meters, regions = topology.meters_per_unit, ("inner_lip_upper", "inner_lip_lower")
        self._weight = weight
        self._pairs: list[Tensor] | None = None
        if weight == 1.0:
            return
        if meters is None or not set(regions) <= topology.regions.keys():
            logger.warning(
                "contact_weight: %s has no pairs of inner-lip vertices or no physical unit, so all "
                "frames have the same weight",
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
        """Return the weights of the frames of true motion, or None if all are equal."""
        if self._pairs is None:
            return None
        upper, lower = (vertices[:, :, pair.to(vertices.device)] for pair in self._pairs)
        closed = ((upper - lower).norm(dim=-1).mean(-1) < self._closed_distance).float()
        window = self._max_contact_frames + 1
        # A morphological opening (erosion, then dilation) keeps only closures that last at least a
        # window. The length of closures at the ends of a crop is unknown; padding makes them long.
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
        values: The values to average; those after the end of a clip are ignored.
        lengths: The number of frames of each clip; None: all frames.
        weights: The weights of the frames; None: all equal.
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
    """Return the mean absolute (l1) or squared (l2) error, weighted by vertex and by frame.

    Args:
        predicted: The predicted vertices or offsets.
        true: The true ones.
        weights: The weights of the vertices; None: all equal.
        kind: The kind of error.
        lengths: The number of frames of each clip; None: all frames.
        frame_weights: The weights of the frames; None: all equal.
    """
    difference = predicted - true
    error = difference.abs() if kind == "l1" else difference.square()
    if weights is not None:
        error = error.mean(-1) * weights
    return clip_means(error, lengths, frame_weights)


class MotionLoss:
    """Computes the reconstruction loss of motion features on all vertices or a random sample.

    Vertices are sampled in proportion to their weights, so the expected loss of a sample is the
    weighted mean over all vertices.

    Args:
        kind: The kind of error: l1 (stage 1) or l2 (stage 2).
        topology: The topology, with the regions to weight.
        settings: The training settings; ``region_weights`` and ``loss_vertices`` are used.
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
        """Return the loss of predicted motion features.

        Args:
            basis: The motion basis, which converts features to offsets.
            features: The predicted motion features.
            offsets: The true offsets from the template.
            rng: The generator that samples the vertices.
            lengths: The number of frames of each clip; None: all frames.
            frame_weights: The weights of the frames; None: all equal.
        """
        if self._n_vertices is None:
            if self._weights is not None:
                self._weights = self._weights.to(offsets.device)  # copies only at the first call
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
    """Return the mean squared error over all vertices, as in the paper."""
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
    """Return the teacher-forced losses of stage 2.

    Args:
        model: Both stages. Stage 1 provides the targets and decodes; its weights should be frozen.
        clips: The clips and the encoder features of their speech.
        history: Returns the motion history that the decoder sees; None: the true motion.
        keep_history: 1 to show the history of a clip, 0 to hide it; see ``SpeechToCodes.forward``.
        motion_loss: Computes the reconstruction loss.
        motion_weight: The weight of the motion loss in the total.
        frame_weights: The result of ``ContactWeights``; None: all equal.
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
    return SpeechLosses(
        motion_weight * motion + latents, motion, latents, prediction.features, prediction.codes
    )
