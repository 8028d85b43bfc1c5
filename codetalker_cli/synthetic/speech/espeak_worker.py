"""Call the espeak-ng C library for one JSON request on stdin, and write the response to stdout.

This file is run by its path, not as a module of the package, and only needs the standard library,
so it starts in about 30 ms. It runs in its own process for two reasons: the library keeps state
between utterances, so repeating a sentence gives different samples, and its initialization can exit
the process.

The request is one JSON object:
    {"library", "data", "texts": [...], "voice", "rate", "pitch", "range", "seed", "speak": bool,
     "ipa": bool}
The response is one line of JSON:
    Without "speak": {"phonemes": [IPA of each text]}, with tied symbols joined by "^"; without
        "ipa", the phoneme names of espeak.
    With "speak": {"sample_rate", "n_samples", "events": [[sample, IPA], ...]}, followed by the
        samples as little-endian int16.
    On failure: {"error": message}, with exit status 3.
"""

import ctypes
import json
import sys
from typing import Any

_AUDIO_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 1, 2, 0x8000
_CHARS_UTF8 = 1
_IPA_TIED_BY_CARET = 0x02 | 0x80 | (ord("^") << 8)
_RATE, _PITCH, _RANGE = 1, 3, 4
_EVENT_END, _EVENT_PHONEME = 0, 7


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class WorkerError(Exception):
    """An error of the espeak-ng library."""


def open_library(request: dict[str, Any]) -> tuple[ctypes.CDLL, int]:
    """Return the initialized library, with the voice selected, and its sample rate in hertz."""
    library = ctypes.CDLL(request["library"])
    options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
    rate = library.espeak_Initialize(_AUDIO_SYNCHRONOUS, 0, request["data"].encode(), options)
    if rate <= 0:
        raise WorkerError(f"espeak-ng could not be initialized with the data in {request['data']}")
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        raise WorkerError(f"voice {request['voice']!r} is unknown")
    return library, rate


def phonemes(library: ctypes.CDLL, text: str, ipa: bool) -> str:
    """Return the IPA or the phoneme names of one text, with its clauses separated by spaces."""
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    buffer = ctypes.create_string_buffer(text.encode())
    position = ctypes.c_void_p(ctypes.addressof(buffer))
    clauses = []
    while position.value:
        clause = library.espeak_TextToPhonemes(
            ctypes.byref(position), _CHARS_UTF8, _IPA_TIED_BY_CARET if ipa else 0
        )
        clauses.append(clause.decode())
    return " ".join(clause for clause in clauses if clause)


def speak(library: ctypes.CDLL, request: dict[str, Any]) -> tuple[bytes, list[tuple[int, str]]]:
    """Return the int16 samples of the first text, and its phone events [(first sample, IPA)]."""
    chunks: list[bytes] = []
    events: list[tuple[int, str]] = []

    def receive(wave: Any, n_samples: int, event: Any) -> int:
        if wave and n_samples > 0:
            chunks.append(ctypes.string_at(wave, 2 * n_samples))
        i = 0
        while event[i].type != _EVENT_END:
            if event[i].type == _EVENT_PHONEME:
                name = ctypes.string_at(ctypes.addressof(event[i].id), 8).split(b"\0")[0]
                events.append((event[i].sample, name.decode("utf-8", "replace")))
            i += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    for parameter, key in ((_RATE, "rate"), (_PITCH, "pitch"), (_RANGE, "range")):
        library.espeak_SetParameter(parameter, int(request[key]), 0)
    # By default the library seeds the noise of breathy voices with the clock.
    library.espeak_ng_SetRandSeed(ctypes.c_long(int(request["seed"])))
    text = request["texts"][0].encode()
    if library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _CHARS_UTF8, None, None) != 0:
        raise WorkerError("the text could not be synthesized")
    return b"".join(chunks), events


def main() -> int:
    """Handle the request on stdin, and return the exit status."""
    request = json.loads(sys.stdin.buffer.read())
    samples = b""
    try:
        library, rate = open_library(request)
        if request["speak"]:
            samples, events = speak(library, request)
            answer: dict[str, Any] = {
                "sample_rate": rate,
                "n_samples": len(samples) // 2,
                "events": events,
            }
        else:
            texts, ipa = request["texts"], request["ipa"]
            answer = {"phonemes": [phonemes(library, text, ipa) for text in texts]}
    except (OSError, WorkerError) as error:
        answer = {"error": str(error)}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + samples)
    sys.stdout.buffer.flush()
    return 3 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
