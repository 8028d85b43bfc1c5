"""Define timed phones and their ARPABET labels, and convert IPA to ARPABET.

The labels are those of CMUdict without stress digits, and SIL for silence and breath. Three more
labels are lip shapes that English does not have: UE (front rounded, as in French "tu"), OE (as in
French "peu") and BH (lips near each other without contact, as in Spanish "abuela"). All times are
in seconds.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

SILENCE = "SIL"
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
VOWELS = frozenset((_VOWELS + " UE OE").split())
CONSONANTS = frozenset((_CONSONANTS + " BH").split())
LABELS = VOWELS | CONSONANTS | {SILENCE}
_STOPS = frozenset(["P", "B", "T", "D", "K", "G", "CH", "JH"])

# The IPA of espeak and its ARPABET. The longest match is used, so diphthongs precede their parts.
_IPA_TABLE = """
    aɪɚ=AY+ER aɪə=AY+AH aʊɚ=AW+ER tʃ=CH dʒ=JH aɪ=AY aʊ=AW ɔɪ=OY eɪ=EY oʊ=OW əʊ=OW eə=EH ɜː=ER
    əl=AH+L ɑː=AA ɔː=AO oː=AO iː=IY uː=UW ɝ=ER ɚ=ER ɒ=AA ɑ=AA æ=AE a=AE ʌ=AH ə=AH ɐ=AH ᵻ=IH
    ɔ=AO ɛ=EH e=EH ɪ=IH i=IY ʊ=UH u=UW o=OW b=B d=D ð=DH f=F ɡ=G g=G h=HH k=K x=K l=L ɬ=L m=M
    n=N ŋ=NG p=P ɹ=R r=R s=S ʃ=SH t=T ɾ=T ʔ=T θ=TH v=V w=W ʍ=W j=Y z=Z ʒ=ZH ç=HH
"""
# Other languages differ from English in these symbols. Their r is made by the tongue without
# rounding, so it is a D for the lips. "-" means that the symbol has no lip shape of its own: it is
# skipped. "s.", "r.", "i." and "o-" are the ASCII forms that espeak uses for Hindi and Mandarin,
# ä, ĩ and ũ are its Japanese, in which a nasal vowel is a moraic n.
_OTHER_TABLE = """
    aɪ=AY ai=AY aʊ=AW au=AW ɑu=AW eɪ=EY ei=EY oʊ=OW ou=OW oɪ=OY ɔɪ=OY ɔø=OY ɔʏ=OY ɑɪ=AY ər=ER
    a=AA ä=AA æ=AH ɐ=AH ɜ=AH ɤ=AH o-=AH o=AO ɵ=OE y=UE ʏ=UE ɥ=UE ø=OE œ=OE ɨ=IH ɯ=IH i.=IH ɪ=IH
    i̪=IH ĩ=NG ũ=NG pf=P+F ts=T+S dz=D+Z tɕ=CH dʑ=JH ts.=CH tʂ=CH ʈʂ=CH dʐ=JH ɖʐ=JH c=CH ɟ=JH s.=SH
    ʂ=SH ɕ=SH ʐ=ZH ʑ=ZH ɹ=R ɻ=R r=D r.=D ɾ=D ɽ=D ʀ=HH ʁ=HH x=HH χ=HH ħ=HH ɣ=HH ɦ=HH ɸ=HH ç=HH
    β=BH ʋ=V ɱ=M ɲ=N+Y ʎ=L+Y ɳ=N ɴ=NG ɭ=L ʈ=T ɖ=D ʝ=Y ʔ=- ɰ=-
"""


def _read_table(table: str) -> dict[str, list[str]]:
    entries = (entry.partition("=") for entry in table.split())
    return {ipa: [] if labels == "-" else labels.split("+") for ipa, _, labels in entries}


_ENGLISH_IPA = _read_table(_IPA_TABLE)
_OTHER_IPA = _ENGLISH_IPA | _read_table(_OTHER_TABLE)
# espeak writes the last vowel of Portuguese "noite", an i, as y.
_PORTUGUESE_IPA = _OTHER_IPA | {"y": ["IY"]}
_TABLES = {"en": _ENGLISH_IPA, "pt": _PORTUGUESE_IPA}
_LONGEST = max(map(len, _OTHER_IPA))


@dataclass(frozen=True)
class Phone:
    """A phone with its times in a recording.

    Attributes:
        label: The ARPABET label in upper case without stress digit, or "SIL".
        start_seconds: The start in the recording.
        end_seconds: The end, which is after the start.
        word: The word that contains the phone, in lower case; "" for silence.
    """

    label: str
    start_seconds: float
    end_seconds: float
    word: str = ""

    def shifted(self, seconds: float) -> "Phone":
        """Return the phone at a later time."""
        start, end = self.start_seconds + seconds, self.end_seconds + seconds
        return Phone(self.label, start, end, self.word)

    def to_json(self) -> dict[str, Any]:
        """Return the entry in the .json file of a clip, with times rounded to 0.1 ms."""
        return {
            "phone": self.label,
            "start": round(self.start_seconds, 4),
            "end": round(self.end_seconds, 4),
            "word": self.word,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "Phone":
        """Return the phone of an entry; accept lower case and stress digits ("ah0").

        Raises:
            KeyError, TypeError, ValueError: The entry is malformed.
        """
        label = str(entry["phone"]).upper().rstrip("012")
        word = "" if label == SILENCE else str(entry.get("word") or "")
        start, end = float(entry["start"]), float(entry["end"])
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ValueError(f"times {start:g} to {end:g}")
        return cls(label, start, end, word)


def arpabet_of_ipa(ipa: str, language: str = "en") -> list[str]:
    """Convert the IPA of espeak to ARPABET; skip stress, tones, ties and unknown symbols."""
    table = _TABLES.get(language, _OTHER_IPA)
    rest = ipa.replace("^", "").replace("\u0361", "")
    labels: list[str] = []
    while rest:
        for size in range(min(_LONGEST, len(rest)), 0, -1):
            match = table.get(rest[:size])
            if match is not None:
                labels.extend(match)
                break
        else:
            size = 1
        rest = rest[size:]
    return labels


def fill_with_silence(phones: Iterable[Phone], duration_seconds: float) -> list[Phone]:
    """Return contiguous phones from 0 to `duration_seconds`.

    Gaps become SIL, adjacent SILs are merged, and phones are clipped at the end.
    """
    filled: list[Phone] = []

    def add(label: str, start: float, end: float, word: str) -> None:
        if end - start <= 1e-6:
            return
        if label == SILENCE and filled and filled[-1].label == SILENCE:
            start = filled.pop().start_seconds
        filled.append(Phone(label, start, end, word))

    time = 0.0
    for phone in phones:
        start = max(phone.start_seconds, time)
        end = min(phone.end_seconds, duration_seconds)
        add(SILENCE, time, min(start, duration_seconds), "")
        add(phone.label, start, end, phone.word)
        time = max(time, end)
    add(SILENCE, time, duration_seconds, "")
    return filled


def join_consonants(phones: Iterable[Phone], shortest_pause_seconds: float = 0.08) -> list[Phone]:
    """Merge doubled consonants, and give pauses that are too short to be pauses to a neighbor.

    A doubled consonant, such as the "mm" of Italian "mamma", is one long contact of the lips. A
    short pause before a stop is the closure of the stop; other short pauses extend the phone before
    them.
    """
    joined: list[Phone] = []
    for phone in phones:
        start = phone.start_seconds
        if len(joined) > 1 and _is_short_pause(joined[-1], shortest_pause_seconds):
            pause = joined.pop()
            if phone.label in _STOPS:
                start = pause.start_seconds
            else:
                joined[-1] = replace(joined[-1], end_seconds=pause.end_seconds)
        if joined and joined[-1].label == phone.label and phone.label in CONSONANTS:
            start = joined.pop().start_seconds
        joined.append(replace(phone, start_seconds=start))
    return joined


def _is_short_pause(phone: Phone, limit_seconds: float) -> bool:
    return phone.label == SILENCE and phone.end_seconds - phone.start_seconds < limit_seconds
