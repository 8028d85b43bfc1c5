"""Move the fine-tuned speech encoder of a checkpoint part of the way back to its source.

    python scripts/voice/blend_encoder.py runs/voice/speech-last runs/voice/blended [--share 0.5]

The weights of the result are (1 − share) · pretrained + share · fine-tuned. An encoder that is
fine-tuned for long on synthetic speech fits this speech better and real speech worse. The mean of
both encoders keeps most of what was learned, and is as robust as the pretrained one (WiSE-FT,
Wortsman et al. 2022, arXiv 2109.01903). Afterwards, train stage 2 further at a low `encoder_rate`.
"""

import argparse
from pathlib import Path

import torch

from codetalker_cli.models import checkpoint
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.models.speech_encoders.pretrained import load_pretrained


@torch.no_grad()
def blend(fine_tuned: AudioEncoder, share: float) -> float:
    """Blend an encoder in place with the weights of its source.

    Returns:
        The distance between both encoders before, relative to the size of the pretrained weights.
    """
    source = AudioEncoder(fine_tuned.settings, fine_tuned.fps, fine_tuned.features_per_frame)
    load_pretrained(source)
    pretrained = source.state_dict()
    difference = size = 0.0
    for name, weights in fine_tuned.state_dict().items():
        difference += float((weights - pretrained[name]).square().sum())
        size += float(pretrained[name].square().sum())
        weights.lerp_(pretrained[name], 1 - share)
    return (difference / size) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    args = parser.parse_args()
    if not 0 <= args.share <= 1:
        parser.error(f"--share {args.share:g}: expected a number from 0 to 1")
    loaded = checkpoint.load(args.checkpoint)
    assert loaded.model.speech is not None
    distance = blend(loaded.model.speech.encoder, args.share)
    checkpoint.save(args.out, loaded.model, meta=loaded.meta, mesh=loaded.mesh)
    print(f"{args.out}: distance of the encoders {distance:.4f}, share {args.share:g}")


if __name__ == "__main__":
    main()
