"""The options of a take, and the command and the Python code that do the same."""

import math
import shlex
from collections.abc import Sequence
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
        flags: Further words for the command, such as ``--set decode.precision=bf16``.
    """

    model: str
    decode: dict[str, Any]
    flags: Sequence[str] = ()


def command_of(name: str, options: TakeOptions, origin: Origin) -> str:
    """Return the command that makes the same motion of a recording called ``name``."""
    file = f"./{name}" if name.startswith("-") else name
    words = ["codetalker", "animate", file, "--model", origin.model]
    if options.subject is not None:
        words += ["--subject", options.subject]
    if options.style:
        words += ["--style", _style_text(options.style)]
    if options.seed:
        words += ["--seed", str(options.seed)]
    if not options.idle:
        words.append("--no-idle")
    if options.head is not None and options.head != options.idle:
        words.append("--head" if options.head else "--no-head")
    if options.fps is not None:
        words += ["--fps", f"{options.fps:g}"]
    if options.transcript.strip():
        words += ["--transcript", options.transcript]
    stem = Path(file).with_suffix(".mp4")
    out = str(stem) if str(stem) != file else str(Path(file).with_suffix(".animated.mp4"))
    words += [*origin.flags, "-o", f"./{out}" if out.startswith("-") else out]
    return shlex.join(words)


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


def _style_text(style: str | dict[str, float]) -> str:
    if isinstance(style, str):
        return style
    return ",".join(f"{name}:{_number(weight)}" for name, weight in style.items())


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else str(value)
