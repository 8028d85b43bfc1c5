"""Define the languages of synthetic speech, and how the engines name their voices.

A language has a two-letter code. The voices of espeak are named LANGUAGE-VARIANT ("de-f2"), or
us-VARIANT and gb-VARIANT for English. The voices of Kokoro begin with a letter for the language
("ef_dora" is Spanish); Kokoro has no German and no Polish voices.
"""

from codetalker_cli.errors import InputError

ENGLISH = "en"

ESPEAK_ACCENTS = {
    "us": "en-us", "gb": "gmw/en", "de": "gmw/de", "es": "roa/es", "fr": "roa/fr", "hi": "inc/hi",
    "it": "roa/it", "ja": "jpx/ja", "pl": "zlw/pl", "pt": "roa/pt-BR", "zh": "sit/cmn",
}  # fmt: skip
"""The names in espeak-ng of the accents and languages; pt is Brazilian, and zh is Mandarin."""

KOKORO_LETTERS = {
    "a": "en", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt",
    "z": "zh",
}  # fmt: skip
"""The language of each first letter of the Kokoro voices; a is American, and b is British."""

LANGUAGES = (ENGLISH, *(accent for accent in ESPEAK_ACCENTS if accent not in ("us", "gb")))


def language_of_accent(accent: str) -> str:
    """Return the language of an espeak accent: English for us and gb."""
    return ENGLISH if accent in ("us", "gb") else accent


def check_language(language: str) -> None:
    """Raise `InputError` if a language is unknown."""
    if language not in LANGUAGES:
        raise InputError(f"language {language!r} is unknown; use one of {', '.join(LANGUAGES)}")
