"""Decode encoder features to codes, frame by frame, with cached results for past frames.

``decoder`` combines the two parts of a step: ``speech_cache`` (stage 2) and ``motion_cache`` (the
decoder of stage 1, which produces the motion history, exactly or through a window).
``packed_linear`` and ``cuda_graphs`` make them fast. See docs/decoding.md.
"""

from codetalker_cli.models.decoding.decoder import Decoder, Method

__all__ = ["Decoder", "Method"]
