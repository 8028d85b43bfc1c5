"""Define timed phones and their ARPABET labels, and convert IPA to ARPABET.

The labels are those of CMUdict without stress digits, and SIL for silence and breath. All times are
in seconds.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SILENCE = "SIL"
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
VOWELS = frozenset(_VOWELS.split())
CONSONANTS = frozenset(_CONSONANTS.split())
LABELS = VOWELS | CONSONANTS | {SILENCE}

# The IPA of espeak and its ARPABET. The longest match is used, so diphthongs precede their parts.
_IPA_TABLE = """
    aɪɚ=AY+ER aɪə=AY+AH aʊɚ=AW+ER tʃ=CH dʒ=JH aɪ=AY aʊ=AW ɔɪ=OY eɪ=EY oʊ=OW əʊ=OW eə=EH ɜː=ER
    əl=AH+L ɑː=AA ɔː=AO oː=AO iː=IY uː=UW ɝ=ER ɚ=ER ɒ=AA ɑ=AA æ=AE a=AE ʌ=AH ə=AH ɐ=AH ᵻ=IH
    ɔ=AO ɛ=EH e=EH ɪ=IH i=IY ʊ=UH u=UW o=OW b=B d=D ð=DH f=F ɡ=G g=G h=HH k=K x=K l=L ɬ=L m=M
    n=N ŋ=NG p=P ɹ=R r=R s=S ʃ=SH t=T ɾ=T ʔ=T θ=TH v=V w=W ʍ=W j=Y z=Z ʒ=ZH ç=HH
"""
_ARPABET_OF_IPA = {
    ipa: labels.split("+")
    for ipa, _, labels in (entry.partition("=") for entry in _IPA_TABLE.split())
}
_LONGEST = max(map(len, _ARPABET_OF_IPA))


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


def arpabet_of_ipa(ipa: str) -> list[str]:
    """Convert the English IPA of espeak to ARPABET; skip stress marks, ties and unknown symbols."""
    rest = ipa.replace("^", "").replace("\u0361", "")
    labels: list[str] = []
    while rest:
        for size in range(min(_LONGEST, len(rest)), 0, -1):
            match = _ARPABET_OF_IPA.get(rest[:size])
            if match:
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
