"""The messages of clients, and the refusals that answer invalid ones; see docs/serving.md."""

import base64
import json
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import printable
from codetalker_cli.live.pcm import PcmReader
from codetalker_cli.settings import Section
from codetalker_cli.text_files import parse_json

PROTOCOL_VERSION = 1
SAMPLING_RATES = (8_000, 192_000)
"""The lowest and the highest rate of live sound, in hertz."""
MAX_SAMPLE = 16.0
"""The largest absolute value of a floating-point sample; full scale is 1."""
_MAX_SENTENCE = 500
_POLICY, _INVALID, _LATER = 1008, 1007, 1013
REFUSALS: dict[str, tuple[int, int]] = {
    "bad_message": (_INVALID, 400),
    "unexpected_message": (_POLICY, 400),
    "bad_option": (_INVALID, 400),
    "bad_sound": (_INVALID, 400),
    "bad_recording": (_INVALID, 400),
    "bad_character": (_INVALID, 400),
    "unauthorized": (_POLICY, 401),
    "forbidden_host": (_POLICY, 403),
    "forbidden_origin": (_POLICY, 403),
    "not_found": (_POLICY, 404),
    "wrong_method": (_POLICY, 405),
    "upload_timeout": (_POLICY, 408),
    "message_too_large": (1009, 413),
    "recording_too_large": (1009, 413),
    "character_too_large": (1009, 413),
    "recording_too_long": (1009, 413),
    "no_units": (_POLICY, 422),
    "too_many_messages": (_POLICY, 429),
    "too_much_sound": (_POLICY, 429),
    "too_many_connections": (_POLICY, 429),
    "not_ready": (_POLICY, 409),
    "too_many_files": (_POLICY, 409),
    "idle": (_POLICY, 408),
    "too_long": (_POLICY, 408),
    "slow_reader": (_POLICY, 408),
    "internal": (1011, 500),
    "shutting_down": (1012, 503),
    "too_many_streams": (_LATER, 503),
    "overloaded": (_LATER, 503),
}
"""The code of a refusal → the close code of its WebSocket, and the status of its HTTP response."""


class Refusal(Exception):
    """A reason to refuse what a client asks for.

    Args:
        code: A key of ``REFUSALS``, for programs.
        sentence: The reason, for people; text from a client in it is made printable.
    """

    def __init__(self, code: str, sentence: object) -> None:
        self.code, self.sentence = code, printable(sentence, _MAX_SENTENCE)
        self.close_code, self.status = REFUSALS[code]
        super().__init__(f"{code}: {self.sentence}")

    def message(self) -> str:
        """Return the message ``error``."""
        return encode("error", code=self.code, message=self.sentence)

    def body(self) -> bytes:
        """Return the body of an HTTP response."""
        return json.dumps({"error": {"code": self.code, "message": self.sentence}}).encode()


class _Message(Section):
    # Strict: "16000" is not a number. Tokens do not appear in messages of pydantic.
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class Config(_Message):
    """The first message of a client."""

    type: Literal["config"]
    version: Literal[1] = 1  # PROTOCOL_VERSION
    token: str | None = Field(None, max_length=1000)
    sampling_rate: int = Field(SAMPLE_RATE, ge=SAMPLING_RATES[0], le=SAMPLING_RATES[1])
    format: Literal["s16le", "f32le"] = "s16le"
    subject: str | None = Field(None, max_length=200)
    style: str | dict[str, float] | None = Field(None, max_length=1000)
    seed: int = Field(0, ge=0, lt=2**63)
    idle: bool = True
    head: bool | None = None
    lookahead_seconds: float | None = None
    backlog_seconds: float | None = Field(None, ge=0)
    frames: list[Literal["weights", "vertices", "sound"]] | None = Field(None, max_length=3)


class Command(_Message):
    """A message without fields."""

    type: Literal["start", "end", "interrupt"]


class Ping(_Message):
    """A message that is answered with ``pong`` and the same ``id``."""

    type: Literal["ping"]
    id: int | str | None = Field(None, union_mode="left_to_right")


_MESSAGES: dict[str, type[_Message]] = {
    "config": Config,
    "start": Command,
    "end": Command,
    "interrupt": Command,
    "ping": Ping,
}


def parse(text: str) -> Config | Command | Ping:
    """Return the message of a client.

    Raises:
        Refusal: The text is not a valid message.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise Refusal("bad_message", f"the message is not valid JSON ({error})") from error
    kind = content.get("type") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _MESSAGES:
        raise Refusal(
            "bad_message",
            f"the message needs a type, one of {', '.join(_MESSAGES)}; got "
            f"{printable(repr(kind), 60)}",
        )
    try:
        return _MESSAGES[kind].model_validate(content)  # type: ignore[return-value]
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(printable(part, 60) for part in fault["loc"])
        raise Refusal("bad_message", f"{kind}: {field}: {fault['msg']}") from error


def encode(kind: str, **fields: Any) -> str:
    """Return a message to a client.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    return json.dumps({"type": kind, **fields}, separators=(",", ":"), allow_nan=False)


def base64_of(array: np.ndarray) -> str:
    """Return the little-endian bytes of an array in base64."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode("ascii")


class Pcm:
    """The sound of a client, in messages of any size.

    Args:
        name: ``s16le`` or ``f32le``.
    """

    def __init__(self, name: str) -> None:
        self._reader = PcmReader(name)

    def add(self, content: bytes) -> np.ndarray:
        """Return the (n,) float32 samples that are complete after this message.

        Raises:
            Refusal: A sample is NaN, infinite or far beyond full scale.
        """
        samples = self._reader.add(content)[:, 0]
        # `not` also catches NaN.
        if len(samples) and not np.abs(samples).max() <= MAX_SAMPLE:
            raise Refusal(
                "bad_sound",
                "a sample is NaN, infinite or far beyond full scale; samples of f32le are within "
                "-1 and 1",
            )
        return samples

    def end(self) -> None:
        """End the utterance.

        Raises:
            Refusal: The sound ends within a sample.
        """
        rest = self._reader.n_rest
        self.reset()
        if rest:
            raise Refusal(
                "bad_sound",
                f"the sound ends within a sample: {rest} of its {self._reader.sample_bytes} bytes "
                "are there; send whole samples",
            )

    def reset(self) -> None:
        """Forget an incomplete sample."""
        self._reader.reset()
