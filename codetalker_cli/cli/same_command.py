"""The command that does the same as a take of the studio."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codetalker_cli.studio.options import TakeOptions


def command_of(name: str, options: "TakeOptions", model: str, flags: Sequence[str] = ()) -> str:
    """Return the command that animates a recording as a take of the studio.

    Args:
        name: The name of the recording.
        options: The options of the take.
        model: The name or the folder of the checkpoint.
        flags: Further words, such as ``--set decode.precision=bf16``.
    """
    file = f"./{name}" if name.startswith("-") else name
    words = ["codetalker", "animate", file, "--model", model]
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
    words += [*flags, "-o", f"./{out}" if out.startswith("-") else out]
    return shlex.join(words)


def _style_text(style: str | dict[str, float]) -> str:
    if isinstance(style, str):
        return style
    return ",".join(f"{name}:{_number(weight)}" for name, weight in style.items())


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else str(value)
