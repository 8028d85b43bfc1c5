"""Timed phones from a line of text."""

from codetalker_cli.synthetic.speech.phones import SILENCE, Phone


def phones_of(text: str, seconds: float = 0.08, pause: float = 0.4) -> list[Phone]:
    """Parse labels such as "SIL M AA:0.2" into contiguous phones.

    Phones without a duration are `seconds` long, and silences are `pause` seconds long.
    """
    phones, now = [], 0.0
    for item in text.split():
        label, _, length = item.partition(":")
        duration = float(length) if length else (pause if label == SILENCE else seconds)
        phones.append(Phone(label, now, now + duration, ""))
        now += duration
    return phones
