"""The options of a take, and the Python code that does the same."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from codetalker_cli.animate.request import Request
from codetalker_cli.errors import printable
from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.settings import Section
from codetalker_cli.text_files import parse_json


class TakeOptions(Section):
    """How a recording is animated, as the page sends it; see ``Voice.animate``."""

    # Strict: "3" is not a number.
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    subject: str | None = Field(None, max_length=200)
    style: str | dict[str, float] | None = Field(None, max_length=1000)
    seed: int = Field(0, ge=0, lt=2**53)  # the largest integers of JavaScript
    idle: bool = True
    head: bool | None = None
    fps: float | None = Field(None, gt=0)
    transcript: str = Field("", max_length=20_000)

    def request(self, recording: Path, transcript: Path | None) -> Request:
        """Return the request.

        Args:
            recording: The file of the recording.
            transcript: The file of the transcript, or None.
        """
        return Request(
            recording,
            self.subject,
            self.style,
            self.seed,
            self.idle,
            self.fps,
            self.head,
            needs_speech=True,  # as in the command
            transcript=transcript,
        )


def parse_options(text: str) -> TakeOptions:
    """Return the options in a JSON object.

    Raises:
        Refusal: The text is not a valid object of options.
    """
    try:
        return TakeOptions.model_validate(parse_json(text))
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(printable(part, 60) for part in fault["loc"]) or "options"
        raise Refusal("bad_option", f"{field}: {fault['msg']}") from error
    except ValueError as error:
        raise Refusal("bad_option", f"the options are not valid JSON ({error})") from error


@dataclass(frozen=True)
class Origin:
    """How the voice of the studio was loaded.

    Attributes:
        model: The name or the folder of the checkpoint.
        decode: The decoding settings that were given.
        command: Returns the command that makes the same motion of a recording with this name.
    """

    model: str
    decode: dict[str, Any]
    command: Callable[[str, TakeOptions], str]


def python_of(name: str, options: TakeOptions, origin: Origin) -> str:
    """Return the Python code that makes the same motion of a recording called ``name``."""
    loading = [repr(origin.model)]
    if origin.decode:
        loading.append(f"decode={origin.decode!r}")
    given = [repr(name)]
    for key, value in options.model_dump(exclude_defaults=True).items():
        if key != "transcript" or value.strip():
            given.append(f"{key}={value!r}")
    return (
        "import codetalker_cli as ct\n\n"
        f"voice = ct.load({', '.join(loading)})\n"
        f"motion = voice.animate({', '.join(given)})\n"
        f"motion.save({str(Path(name).with_suffix('.npz'))!r})\n"
    )
