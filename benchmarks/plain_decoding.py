"""Decode free-running as the official code does, by recomputing everything at each step.

In each step the decoder layers of PyTorch process all previous frames, with the speech of the whole
clip as their memory. The result is quantized and decoded by stage 1, and the last decoded frame is
projected as input of the next step. This is the reference of the tests and the baseline of the
benchmark.
"""

import torch
from torch import Tensor, nn

from codetalker_cli.models.speech_to_codes import SpeechToCodes, attention_slopes
from codetalker_cli.models.vq_autoencoder import MotionVQ


def torch_layer(layer: nn.Module, speech: SpeechToCodes) -> nn.TransformerDecoderLayer:
    """Return PyTorch's decoder layer with the weights of one of our layers."""
    s = speech.settings
    made = nn.TransformerDecoderLayer(s.hidden_size, s.n_heads, s.mlp_size, batch_first=True)
    ours = layer.state_dict()
    state = {}
    for kind in ("weight", "bias"):
        state |= {
            f"self_attn.in_proj_{kind}": ours[f"self_attention.qkv.{kind}"],
            f"self_attn.out_proj.{kind}": ours[f"self_attention.output.{kind}"],
            f"multihead_attn.in_proj_{kind}": torch.cat(
                [ours[f"cross_attention.{part}.{kind}"] for part in ("query", "key_value")]
            ),
            f"multihead_attn.out_proj.{kind}": ours[f"cross_attention.output.{kind}"],
            f"linear1.{kind}": ours[f"mlp_in.{kind}"],
            f"linear2.{kind}": ours[f"mlp_out.{kind}"],
            f"norm1.{kind}": ours[f"self_norm.{kind}"],
            f"norm2.{kind}": ours[f"cross_norm.{kind}"],
            f"norm3.{kind}": ours[f"mlp_norm.{kind}"],
        }
    made = made.to(speech.head.weight).eval()
    made.load_state_dict(state)
    return made


class PlainDecoding:
    """Decoding without any cache.

    Args:
        speech: Stage 2 in evaluation mode.
        vq: Stage 1 in evaluation mode.
    """

    def __init__(self, speech: SpeechToCodes, vq: MotionVQ) -> None:
        self.speech, self.vq = speech, vq
        self.layers = [torch_layer(layer, speech) for layer in speech.layers]

    def latents(self, memory: Tensor, style: Tensor, past: Tensor) -> Tensor:
        """Return the latents of all frames so far.

        Args:
            memory: (B, S, D) projected encoder features of the whole clip.
            style: (B, D) style embeddings.
            past: (B, T, D) projected motion of the frame before each frame.
        """
        s, device = self.speech.settings, past.device
        steps = torch.arange(past.shape[1], device=device)
        x = past + style[:, None] + self.speech.position[steps % s.period_frames]
        distance = steps[:, None] - steps
        slopes = attention_slopes(s.n_heads, device)[:, None, None]
        bias = (-slopes * (distance // s.period_frames)).to(past)
        causal = bias.masked_fill(distance < 0, float("-inf"))
        cross_cache = torch.arange(memory.shape[1], device=device) // s.features_per_frame
        others = steps[:, None] != cross_cache
        for layer in self.layers:
            x = layer(x, memory, tgt_mask=causal.repeat(len(x), 1, 1), memory_mask=others)
        return self.speech.head(x)

    @torch.no_grad()
    def decode(self, hidden: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Decode a batch of clips.

        Args:
            hidden: (B, T·F, size) encoder features.
            style: (B, D) style embeddings.

        Returns:
            (B, T, …) motion features, and the codes.
        """
        n_frames = hidden.shape[1] // self.speech.settings.features_per_frame
        memory = self.speech.audio_projection(hidden)
        # The first frame has no previous motion, so even the bias of the projection is left out.
        past = torch.zeros_like(style)[:, None]
        for _ in range(n_frames):
            quantized_latents, codes = self.vq.quantize(self.latents(memory, style, past))
            features = self.vq.decode_features(quantized_latents)
            past = torch.cat([past, self.speech.motion_projection(features[:, -1:])], dim=1)
        return features, codes
