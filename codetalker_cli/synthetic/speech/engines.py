"""Load a text-to-speech engine by name."""

from collections.abc import Callable
from typing import Any

from codetalker_cli.errors import InputError
from codetalker_cli.synthetic.speech.utterance import Engine


def _espeak(**options: Any) -> Engine:
    if options:
        raise InputError(
            f"the espeak engine does not support {', '.join(f'`{name}`' for name in options)}; "
            "set `engine` to kokoro"
        )
    from codetalker_cli.synthetic.speech.espeak import EspeakEngine

    return EspeakEngine()


def _kokoro(**options: Any) -> Engine:
    from codetalker_cli.synthetic.speech.kokoro import KokoroEngine

    return KokoroEngine(**options)


ENGINES: dict[str, Callable[..., Engine]] = {"espeak": _espeak, "kokoro": _kokoro}


def load_engine(name: str, **options: Any) -> Engine:
    """Return the engine with the given name.

    Args:
        name: A key of `ENGINES`.
        options: The options of the engine: `voices_dir`, `cache` and `n_threads` for kokoro, none
            for espeak.

    Raises:
        InputError: The engine is unknown, or it does not support an option.
        MissingDependencyError: The engine is not installed.
    """
    if name not in ENGINES:
        raise InputError(f"speech engine {name!r} is unknown; use one of {', '.join(ENGINES)}")
    return ENGINES[name](**options)
