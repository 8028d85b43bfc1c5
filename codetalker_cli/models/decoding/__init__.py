"""Autoregressive decoding: encoder features → codes, frame by frame, without recomputing the past.

``decoder`` combines the two halves of a step: ``speech_cache`` (stage 2) and ``motion_cache`` (the
decoder of stage 1, which produces the motion history, exactly or through a window).
``packed_linear`` and ``cuda_graphs`` make them fast.
"""

from codetalker_cli.models.decoding.decoder import Decoder, Method

__all__ = ["Decoder", "Method"]
