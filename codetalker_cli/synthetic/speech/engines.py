"""The text-to-speech engines by name; an engine is a table entry and a module."""

from collections.abc import Callable
from typing import Any

from codetalker_cli.errors import InputError
from codetalker_cli.synthetic.speech.utterance import Engine


def _espeak(**options: Any) -> Engine:
    if options:
        raise InputError(
            f"espeak takes no {', '.join(options)} (`voices_dir` is kokoro's); give `engine` kokoro"
        )
    from codetalker_cli.synthetic.speech.espeak import EspeakEngine

    return EspeakEngine()


def _kokoro(**options: Any) -> Engine:
    from codetalker_cli.synthetic.speech.kokoro import KokoroEngine

    return KokoroEngine(**options)


ENGINES: dict[str, Callable[..., Engine]] = {"espeak": _espeak, "kokoro": _kokoro}


def load_engine(name: str, **options: Any) -> Engine:
    """The engine of that name.

    Args:
        name: A key of `ENGINES`.
        options: What that engine takes: kokoro `voices_dir`, `cache`, `n_threads`; espeak nothing.

    Raises:
        InputError: There is no such engine; the message lists them.
        MissingDependencyError: It is not installed; the message says how to.
    """
    if name not in ENGINES:
        raise InputError(f"no speech engine {name!r}; there are {', '.join(ENGINES)}")
    return ENGINES[name](**options)
