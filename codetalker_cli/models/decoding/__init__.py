"""Free-running decoding: from speech features to codes, frame by frame, without recomputing.

``decoder`` holds both halves of a step, ``speech_cache`` (stage 2) and ``motion_cache`` (what stage
1 tells of the past: exact, or through a window); ``packed_linear`` and ``cuda_graphs`` make them
fast.
"""

from codetalker_cli.models.decoding.decoder import Decoder, Method

__all__ = ["Decoder", "Method"]
