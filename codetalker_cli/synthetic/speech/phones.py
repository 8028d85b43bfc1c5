"""Phones: the type that alignment gives, the ARPABET labels, and IPA (as espeak writes it) →
ARPABET.

ARPABET without stress marks, as in CMUdict, plus SIL for silence and breath. All times are in
seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SILENCE = "SIL"
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
VOWELS = frozenset(_VOWELS.split())
CONSONANTS = frozenset(_CONSONANTS.split())
LABELS = VOWELS | CONSONANTS | {SILENCE}

# IPA as espeak writes it = ARPABET; the longest that fits is taken: diphthongs before their parts.
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
    """One spoken sound.

    Attributes:
        label: ARPABET in upper case without stress, or "SIL".
        start_seconds: Where it starts in the recording.
        end_seconds: Where it ends, above start_seconds.
        word: The word it belongs to, lower case; "" for silence.
    """

    label: str
    start_seconds: float
    end_seconds: float
    word: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form used in the .json beside a clip; times to a tenth of a millisecond."""
        return {
            "phone": self.label,
            "start": round(self.start_seconds, 4),
            "end": round(self.end_seconds, 4),
            "word": self.word,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "Phone":
        """The inverse of `to_json`; also takes labels in lower case or with stress ("ah0").

        Raises:
            KeyError, TypeError, ValueError: On a malformed entry (the caller names the file).
        """
        label = str(entry["phone"]).upper().rstrip("012")
        word = "" if label == SILENCE else str(entry.get("word") or "")
        return cls(label, float(entry["start"]), float(entry["end"]), word)


def arpabet_of_ipa(ipa: str) -> list[str]:
    """ARPABET of IPA as espeak writes English; stress, ties and unknown signs are skipped."""
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
    """Contiguous phones from 0 to the end: gaps become SIL, SILs are joined, overruns are cut."""
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
