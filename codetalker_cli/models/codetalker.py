"""The two stages together: prepared speech, a template and a style in; vertices and codes out."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ
from codetalker_cli.settings import Settings


class Animation(NamedTuple):
    """(B, T, V, 3) vertices, template included, and (B, T, codes_per_frame) codes."""

    vertices: Tensor
    codes: Tensor


class CodeTalker(nn.Module):
    """Stage 1 (``vq``) and, unless only that was trained, stage 2 (``speech``).

    Args:
        settings: The sections ``data``, ``vq`` and ``speech`` are used.
        with_speech: Build stage 2 too.
    """

    def __init__(self, settings: Settings, *, with_speech: bool = True) -> None:
        super().__init__()
        self.settings = settings
        self.vq = MotionVQ(settings.vq, settings.data.n_vertices)
        self.speech: SpeechToCodes | None = None
        if with_speech:
            self.speech = SpeechToCodes(
                settings.speech,
                fps=settings.data.fps,
                n_styles=len(settings.data.train_subjects),
                feature_size=self.vq.feature_size,
                latent_size=settings.vq.latent_size,
            )

    @torch.no_grad()
    def animate(
        self,
        audio: Tensor,
        template: Tensor,
        style_weights: Tensor,
        progress: Callable[[int, int], None] | None = None,
    ) -> Animation:
        """Free-running result for a batch of clips of equal length.

        Args:
            audio: (B, n) prepared samples (``speech.encoder.prepare``).
            template: (B, V, 3) neutral faces.
            style_weights: (B, n_styles) weights of the training subjects' styles.
            progress: Called with (frames done, T).
        """
        if self.speech is None:
            raise ValueError("this model holds stage 1 only")
        hidden = self.speech.encoder(audio)
        style = self.speech.style(style_weights)
        generated = self.speech.generate(self.vq, hidden, style, progress)
        offsets = self.vq.basis.to_offsets(generated.features)
        return Animation(offsets + template[:, None], generated.codes)
