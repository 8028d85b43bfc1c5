"""Pack a trained checkpoint for distribution: store float16 weights and drop local paths.

python scripts/voice/pack.py runs/demo/speech assets/voice
"""

import sys
from pathlib import Path

from codetalker_cli.models import checkpoint
from codetalker_cli.settings import Settings

LIMIT_MB = 32
SOURCES = "SOURCES.md"
"""The file with origin, licenses and scores, which is written by hand and not replaced."""


def with_source(settings: Settings, source: str) -> Settings:
    """Return the settings with a different source of the speech encoder."""
    encoder = settings.speech.encoder.model_copy(update={"source": source})
    speech = settings.speech.model_copy(update={"encoder": encoder})
    return settings.model_copy(update={"speech": speech})


def main(source: Path, out: Path) -> None:
    """Write ``out``, and fail if it exceeds the size limit."""
    loaded = checkpoint.load(source)
    kept = ("step", "epoch", "metrics", "data_id")
    meta = {key: loaded.meta[key] for key in kept if key in loaded.meta}
    meta["origin"] = SOURCES
    # The checkpoint from which this training started is not distributed.
    training = loaded.settings.train_speech.model_copy(update={"start_from": None})
    loaded.model.settings = loaded.settings.model_copy(update={"train_speech": training})
    # Training with these settings loads the encoder from the bundled voice.
    loaded.model.settings = with_source(loaded.model.settings, "demo")
    sources = out / SOURCES
    text = sources.read_bytes() if sources.is_file() else b""
    sources.unlink(missing_ok=True)  # checkpoints do not replace folders with other files
    try:
        checkpoint.save(out, loaded.model, meta=meta, mesh=loaded.mesh, half=True)
    finally:
        if text:
            out.mkdir(exist_ok=True)
            sources.write_bytes(text)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(f"{out}: {size:.1f} MB")
    if size > LIMIT_MB:
        sys.exit(f"{out}: {size:.1f} MB exceeds the limit of {LIMIT_MB} MB; use a smaller model")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
