"""A trained checkpoint → the small folder that ships: float16 weights, nothing of this machine.

python scripts/voice/pack.py runs/demo/speech assets/voice
"""

import sys
from pathlib import Path

from codetalker_cli.models import checkpoint
from codetalker_cli.settings import Settings

LIMIT_MB = 32
SOURCES = "SOURCES.md"
"""Origin, licenses and figures; written by hand, it stays."""


def with_source(settings: Settings, source: str) -> Settings:
    """The same settings with another source of the speech encoder."""
    encoder = settings.speech.encoder.model_copy(update={"source": source})
    speech = settings.speech.model_copy(update={"encoder": encoder})
    return settings.model_copy(update={"speech": speech})


def main(source: Path, out: Path) -> None:
    """Write ``out`` and refuse a folder that is too big to ship."""
    loaded = checkpoint.load(source)
    kept = ("step", "epoch", "metrics", "data_id")
    meta = {key: loaded.meta[key] for key in kept if key in loaded.meta}
    meta["origin"] = SOURCES
    # Its history ends here: nothing that it was trained from ships.
    training = loaded.settings.train_speech.model_copy(update={"start_from": None})
    loaded.model.settings = loaded.settings.model_copy(update={"train_speech": training})
    # Whoever trains on from these settings takes the encoder out of this very folder.
    loaded.model.settings = with_source(loaded.model.settings, "demo")
    sources = out / SOURCES
    text = sources.read_bytes() if sources.is_file() else b""
    sources.unlink(missing_ok=True)  # a checkpoint replaces no folder that holds other files
    try:
        checkpoint.save(out, loaded.model, meta=meta, mesh=loaded.mesh, half=True)
    finally:
        if text:
            out.mkdir(exist_ok=True)
            sources.write_bytes(text)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(f"{out}: {size:.1f} MB")
    if size > LIMIT_MB:
        sys.exit(f"{out}: {size:.1f} MB, at most {LIMIT_MB} MB may ship; make the model smaller")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
