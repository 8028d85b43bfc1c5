"""Convert other languages than English to the symbols of Kokoro, and its durations to phones.

Kokoro was trained on the IPA of espeak-ng for Spanish, French, Hindi, Italian and Brazilian
Portuguese, so these need few replacements. It was trained on other transcriptions of Japanese
(Hepburn syllables without stress) and Mandarin (pinyin in IPA, with an arrow for each tone after
its vowel), which are derived from the IPA of espeak-ng here.
"""

import re
from dataclasses import replace

import numpy as np

from codetalker_cli.synthetic.speech import espeak
from codetalker_cli.synthetic.speech.phones import (
    SILENCE,
    Phone,
    arpabet_of_ipa,
    fill_with_silence,
    join_consonants,
)

# The model predicts a duration for each symbol, in frames of 600 samples at 24 kHz. The sounds
# precede these times: compared with the starts by pocketsphinx of 1,057 phones in 40 English clips,
# the median is 60 ms (p, b and m 65 ms, vowels 52 ms), the median absolute deviation is 10 ms, and
# 80 % are between 40 and 90 ms. This holds if the time of a stress mark belongs to the vowel after
# it, and half of the space between two words belongs to each of them.
#
# As a check, 424 p, b and m between vowels in 13 minutes of the seven other languages were compared
# with the waveform as in `alignment`. 97 % have a closure, and its center is -4 to 7 ms (median of
# each language) from the center of the label; for English by pocketsphinx it is 4 ms.
FRAME_SECONDS = 0.025
_LATENESS_SECONDS = 0.06
_LONGEST_JOINT_SECONDS = 0.1  # longer spaces between words are pauses
_SILENT_LEVEL = 0.02  # of the peak; a last phone ends where the speech gets quieter than this
_LEVEL_SECONDS = 0.01

_PUNCTUATION = str.maketrans({
    "。": ".", "，": ",", "、": ",", "！": "!", "？": "?", "；": ";", "：": ":", "।": ".",
    "¿": None, "¡": None, "«": None, "»": None, "(": None, ")": None,
})  # fmt: skip

# Replacements as in `kokoro`, applied in this order; "-" means that the symbol is removed.
_SIGNS = "a^ɪ=I a^ʊ=W d^z=ʣ d^ʒ=ʤ e^ɪ=A o^ʊ=O ə^ʊ=Q s^s=S t^s=ʦ t^ʃ=ʧ ɔ^ɪ=Y r.=ɽ ^=- -=-"
_SIGNS_JA = """
    ˈ=- ˌ=- ä=a o\u031e=o e\u031e=e t^ɕ=ʨ d^ʑ=ʥ t^s=ʦ d^z=ʣ ɯ^ᵝ=ɯ oɯ=oː ei=eː aa=aː ii=iː ɯɯ=ɯː
    oo=oː ee=eː ɽ=ɾ w=β ĩ=ũ ^=- \u031e=-
"""
_SIGNS_ZH = """
    ˈ=- ˌ=- t^ɕ^h=ʨʰ t^ɕ=ʨ t^s.^h=ꭧʰ t^s.=ꭧ t^s^h=ʦʰ t^s=ʦ ^h=ʰ s.=ʂ i.=ɨ i\u032a=ɨ χ=x o-=ɤ
    ə^r=ɚ i^ɛ=jɛ y^ɛ=ɥe y^æ=ɥɛ i^ɑ=ja i^o=jo u^o=wo u^a=wa u^ɑ=wa u^e=we u^ə=wə y^i=y i^ə=jə y^ə=y
    ɑ=a ʐ=ɻ ji=i jy=y wu=u jj=j ww=w jɥ=ɥ o^n^ɡ=ʊŋ ^=- -=-
"""
_TONES = {"55": "→", "35": "↗", "214": "↓", "21": "↓", "51": "↘"}

# The symbols of Kokoro that are not IPA, and the symbols that belong to the phone before them.
_IPA_OF_SIGN = {
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "əʊ", "W": "aʊ", "Y": "ɔɪ", "S": "s", "T": "ɾ",
    "ʤ": "dʒ", "ʧ": "tʃ", "ʣ": "dz", "ʦ": "ts", "ʥ": "dʑ", "ʨ": "tɕ", "ꭧ": "tʂ", "ᵊ": "ə",
    "β": "β",
}  # fmt: skip
_PAUSES = " ,.;:!?—…"
_STRESS = "ˈˌʔ"  # ʔ is the closure of a doubled Japanese consonant


def phonemes(text: str, language: str) -> str:
    """Return the phoneme string for the model, with punctuation, which controls the prosody."""
    parts = [p for p in re.split(r"([,;:.!?])", text.translate(_PUNCTUATION)) if p.strip()]
    words = [part for part in parts if part not in ",;:.!?"]
    transcriptions = iter(_transcribe(words, language))
    joined = ""
    for part in parts:
        if part in ",;:.!?":
            joined += part
        else:
            joined += (" " if joined else "") + " ".join(next(transcriptions).split())
    return joined


def _transcribe(texts: list[str], language: str) -> list[str]:
    """Return the symbols of each text, without punctuation."""
    signs = {"ja": _SIGNS_JA, "zh": _SIGNS_ZH}.get(language, _SIGNS)
    transcriptions = [re.sub(r"\(.*?\)", "", ipa) for ipa in espeak.ipa(texts, language)]
    if language == "zh":
        names = espeak.ipa(texts, language, tones=True)
        transcriptions = [_restore_tones(*pair) for pair in zip(transcriptions, names, strict=True)]
    for entry in signs.split():
        theirs, ours = entry.split("=")
        ours = "" if ours == "-" else ours
        transcriptions = [ipa.replace(theirs, ours) for ipa in transcriptions]
    if language == "ja":
        transcriptions = [_japanese(ipa) for ipa in transcriptions]
    return transcriptions


def _restore_tones(ipa: str, names: str) -> str:
    """Replace the tone digits in the IPA by the arrows of the whole tones in the names."""
    names = re.sub(r"\(.*?\)", "", names)
    arrows = iter(_TONES.get(tone, "") for tone in re.findall(r"\d+", names))
    return re.sub(r"[125ɜ]", lambda _: next(arrows, ""), ipa)


def _japanese(ipa: str) -> str:
    """Return Hepburn symbols: m before p, b and m, ɴ elsewhere, and ʔ for a doubled consonant."""
    ipa = re.sub(r"ũ(?=[pbm])", "m", ipa).replace("ũ", "ɴ")
    ipa = re.sub(r"([pbtkɡdsɕʨʦ])\1", r"ʔ\1", ipa).replace("tʦ", "ʔʦ").replace("tʨ", "ʔʨ")
    return re.sub(r"(?<=[szʦ])ɯ", "ɨ", ipa)


def timed_phones(
    signs: str, durations: np.ndarray, samples: np.ndarray, sample_rate: int, language: str
) -> list[Phone]:
    """Convert the durations of the model to phones.

    Args:
        signs: The symbols that were given to the model.
        durations: The number of frames of each symbol, and of the padding at both ends.
        samples: (n,) the synthesized speech.
        sample_rate: The sample rate in hertz.
        language: The language of the symbols.
    """
    # Token 0 is padding, so symbol k starts where token k ends.
    bounds = np.cumsum(durations) * FRAME_SECONDS
    phones: list[Phone] = []
    start = None  # of the stress marks before a vowel
    for k, sign in enumerate(signs):
        begin, end = float(bounds[k]), float(bounds[k + 1])
        labels = arpabet_of_ipa(_IPA_OF_SIGN.get(sign, sign), language)
        if sign == "β" and language == "ja":
            labels = ["W"]
        if sign in _STRESS:
            start = begin if start is None else start
        elif sign in _PAUSES:
            phones.append(Phone(SILENCE, begin, end))
            start = None
        elif not labels:
            if phones:
                phones[-1] = replace(phones[-1], end_seconds=end)
        else:
            first = begin if start is None else start
            width = (end - first) / len(labels)
            for i, label in enumerate(labels):
                phones.append(Phone(label, first + i * width, first + (i + 1) * width))
            start = None
    return _clean(phones, samples, sample_rate)


def _clean(phones: list[Phone], samples: np.ndarray, sample_rate: int) -> list[Phone]:
    """Correct the lateness, divide the joints between words, and find the end of last phones."""
    duration = len(samples) / sample_rate
    late = _LATENESS_SECONDS
    shifted = [
        Phone(p.label, max(0.0, p.start_seconds - late), max(0.0, p.end_seconds - late))
        for p in phones
    ]
    filled = _divide_joints(fill_with_silence(shifted, duration))
    ended = []
    for i, phone in enumerate(filled):
        if phone.label != SILENCE and i + 1 < len(filled) and filled[i + 1].label == SILENCE:
            phone = replace(phone, end_seconds=_end_of_sound(phone, samples, sample_rate))
        ended.append(phone)
    return join_consonants(fill_with_silence(ended, duration))


def _divide_joints(phones: list[Phone]) -> list[Phone]:
    """Give half of each short space to the words on its two sides."""
    divided: list[Phone] = []
    half = None
    for i, phone in enumerate(phones):
        length = phone.end_seconds - phone.start_seconds
        inside = 0 < i < len(phones) - 1
        if phone.label == SILENCE and inside and length <= _LONGEST_JOINT_SECONDS:
            half = phone.start_seconds + length / 2
            divided[-1] = replace(divided[-1], end_seconds=half)
        else:
            divided.append(phone if half is None else replace(phone, start_seconds=half))
            half = None
    return divided


def _end_of_sound(phone: Phone, samples: np.ndarray, sample_rate: int) -> float:
    """Return the time in a phone after which the speech is quiet; half the phone at the least."""
    step = round(_LEVEL_SECONDS * sample_rate)
    first = round((phone.start_seconds + phone.end_seconds) / 2 * sample_rate)
    # The model draws out a last stop until the end of the pause after it.
    first = min(first, round((phone.start_seconds + 0.05) * sample_rate))
    part = np.abs(samples[first : round(phone.end_seconds * sample_rate)])
    levels = [float(part[i : i + step].max()) for i in range(0, len(part), step)]
    threshold = _SILENT_LEVEL * float(np.abs(samples).max(initial=1e-6))
    loud = [i for i, level in enumerate(levels) if level >= threshold]
    end = (first + (loud[-1] + 1 if loud else 1) * step) / sample_rate
    return max(phone.start_seconds + 0.02, min(phone.end_seconds, end))
