"""Animate with a transcript: where it comes from, how it is used, and what is refused."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import voices
from command import run

import codetalker_cli as ct
from codetalker_cli.animate import Voice
from codetalker_cli.animate.lip_contacts import enforce_contacts
from codetalker_cli.animate.transcripts import read_transcript
from codetalker_cli.errors import DataError, InputError, MissingDependencyError
from codetalker_cli.metrics.lips import CLOSED_MM
from codetalker_cli.models import checkpoint
from codetalker_cli.synthetic.speech import alignment
from codetalker_cli.synthetic.speech.phones import Phone

PHONES = [Phone("AA", 0.0, 0.4), Phone("P", 0.4, 0.6), Phone("AA", 0.6, 1.0)]
LIPS = {
    "inner_lip_upper": np.array([0, 1], np.int32),
    "inner_lip_lower": np.array([2, 3], np.int32),
}


def aligned(samples: np.ndarray, text: str, worst_fit: float = 0.0) -> list[Phone]:
    """Stand in for the aligner, which a buzz does not fit."""
    alignment.check_text(text)
    if text == "no match":
        raise alignment.AlignmentError("the transcript does not match the recording")
    return PHONES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a voice whose mesh has two lip pairs."""
    mesh = voices.mesh("A")
    topology = replace(mesh.topology, regions=mesh.topology.regions | LIPS)
    path = tmp_path_factory.mktemp("transcripts") / "voice"
    return checkpoint.save(path, tiny.codetalker(), mesh=replace(mesh, topology=topology))


@pytest.fixture(scope="module")
def voice(folder: Path) -> Voice:
    return ct.load(folder)


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with speech.wav, and an aligner that accepts it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alignment, "align", aligned)
    monkeypatch.setattr(alignment, "is_available", lambda: True)
    monkeypatch.setattr(alignment, "dictionary", frozenset)
    shutil.copytree(folder, "runs/mine")
    soundfile.write("speech.wav", voices.speech(), 16000)
    return tmp_path


def animate(*arguments: object) -> list[object]:
    return ["animate", "speech.wav", "--model", "mine", "--overwrite", "-o", "a.npz", *arguments]


def animated(*arguments: object) -> bytes:
    """Return the motion file that the command writes."""
    ended = run(*animate(*arguments))
    assert ended.code == 0, ended.err
    return Path("a.npz").read_bytes()


def refused(code: int, *arguments: object) -> str:
    """Return the message of a command that fails without a result."""
    ended = run(*arguments)
    assert ended.code == code and not Path("a.npz").exists()
    return ended.err


# The Python API -----------------------------------------------------------------------------------


def test_transcript_closes_the_lips_of_the_motion(voice: Voice) -> None:
    plain = voice.animate(voices.speech())
    moved = voice.animate(voices.speech(), transcript="ah pa")
    expected = enforce_contacts(plain, PHONES)
    np.testing.assert_array_equal(moved.vertices, expected.vertices)
    assert (plain.topology.inner_lip_gap(np.asarray(plain.vertices))[10:15] > 1e-3).all()
    assert moved.topology.inner_lip_gap(np.asarray(moved.vertices))[10:15].min() * 1000 < CLOSED_MM


def test_lips_are_closed_at_the_requested_frame_rate(voice: Voice) -> None:
    moved = voice.animate(voices.speech(), fps=60, transcript="ah pa")
    gap = moved.topology.inner_lip_gap(np.asarray(moved.vertices)) * 1000
    assert moved.fps == 60 and (gap[26:32] < CLOSED_MM).all()


def test_transcripts_are_used_in_batches(voice: Voice) -> None:
    requests = [
        ct.Request(voices.speech(), transcript=text) for text in (None, "ah pa", "no match")
    ]
    results = dict(voice.animate_many(requests))
    assert isinstance(results[2], DataError)
    assert not np.array_equal(results[0].vertices, results[1].vertices)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["words.txt", "words.lab"])
def test_transcript_is_read_from_a_file(name: str) -> None:
    Path(name).write_text("\ufeffMy  mother\n bought it.\n", encoding="utf-8")
    assert read_transcript(name) == read_transcript(Path(name)) == "My mother bought it."
    assert read_transcript("My mother.") == "My mother."
    assert read_transcript("long " * 2000) == "long " * 2000


def test_unusable_transcripts_are_input_errors(voice: Voice) -> None:
    with pytest.raises(InputError, match=r"`transcript` none\.txt: the file cannot be read"):
        voice.animate(voices.speech(), transcript="none.txt")
    with pytest.raises(InputError, match="`transcript` is int, expected the words"):
        voice.animate(voices.speech(), transcript=5)  # type: ignore[arg-type]


def test_mesh_without_lip_pairs_refuses_a_transcript(tmp_path: Path) -> None:
    without = ct.load(voices.save(tmp_path / "without", "A"))
    with pytest.raises(DataError, match=r"strip has no region inner_lip_upper.* without a transcr"):
        without.animate(voices.speech(), transcript="ah pa")


# The command --------------------------------------------------------------------------------------


def test_text_next_to_the_recording_is_used_unless_turned_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain, given = animated(), animated("--transcript", "ah pa")
    Path("speech.txt").write_text("ah pa")
    caplog.clear()
    assert plain == animated("--no-transcript") != given
    assert "transcript" not in caplog.text
    assert animated() == given
    assert caplog.text.count("transcript: speech.txt") == 1


def test_text_of_another_name_is_not_used() -> None:
    plain = animated()
    Path("other.txt").write_text("ah pa")
    assert animated() == plain


@pytest.mark.parametrize("text", ["no match", "in 1999", "..."])
def test_unusable_text_next_to_the_recording_is_a_warning(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = animated()
    Path("speech.txt").write_text(text)
    assert animated() == plain
    assert "speech.wav: animated without its transcript: the transcript " in caplog.text


@pytest.mark.parametrize(
    ("transcript", "code", "words"),
    [
        ("no match", 1, "error: speech.wav: the transcript does not match the recording"),
        ("in 1999", 1, "error: speech.wav: the transcript contains digits; write '1999' in words"),
        ("...", 1, "error: speech.wav: the transcript contains no words"),
        ("none.txt", 2, "error: --transcript none.txt: the file cannot be read"),
        ("", 2, "error: --transcript is empty"),
    ],
)
def test_a_given_transcript_must_be_usable(transcript: str, code: int, words: str) -> None:
    assert words in refused(code, *animate("--transcript", transcript))


def test_contradicting_options_are_refused() -> None:
    message = refused(2, *animate("--transcript", "ah", "--no-transcript"))
    assert "--transcript contradicts --no-transcript" in message


def test_one_transcript_for_several_recordings_is_refused() -> None:
    shutil.copy("speech.wav", "b.wav")
    arguments = ["animate", "speech.wav", "b.wav", "--model", "mine", "-o", "out/"]
    message = refused(2, *arguments, "--transcript", "ah pa")
    assert "--transcript belongs to one recording, but 2 were given" in message
    assert not Path("out").exists()


def test_each_recording_of_a_folder_has_its_own_transcript(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Path("talks").mkdir()
    for name in ("a", "b", "c"):
        shutil.copy("speech.wav", f"talks/{name}.wav")
    Path("talks/a.txt").write_text("ah pa")
    Path("talks/b.txt").write_text("no match")
    ended = run("animate", "talks", "-o", "out", "--model", "mine", "--format", "npz")
    assert ended.code == 0 and "2 of 3 recordings have a transcript" in caplog.text
    assert "talks/b.wav: animated without its transcript" in caplog.text
    assert "not animated" not in caplog.text
    moved, *plain = (ct.Motion.load(f"out/{name}.npz").vertices for name in "abc")
    np.testing.assert_array_equal(plain[0], plain[1])
    assert not np.array_equal(moved, plain[0])


def test_missing_aligner_is_an_error_only_for_a_given_transcript(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = animated()
    monkeypatch.setattr(alignment, "is_available", lambda: False)
    Path("speech.txt").write_text("ah pa")
    assert animated() == plain
    assert "1 transcript not used: aligning speech needs pocketsphinx" in caplog.text
    Path("a.npz").unlink()
    assert "pocketsphinx" in refused(1, *animate("--transcript", "ah pa"))


def test_missing_aligner_is_an_error_in_python(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingDependencyError, match="pocketsphinx"):
        voice.animate(voices.speech(), transcript="ah pa")


def test_mesh_without_lip_pairs_ignores_text_next_to_the_recording(
    caplog: pytest.LogCaptureFixture,
) -> None:
    voices.save(Path("runs/plain"), "A")
    arguments = ["animate", "speech.wav", "--model", "plain", "-o", "a.npz"]
    message = refused(1, *arguments, "--transcript", "ah pa")
    assert "error: the mesh strip has no region inner_lip_upper" in message
    Path("speech.txt").write_text("ah pa")
    assert run(*arguments).code == 0
    assert "animated without its transcript: the mesh strip" in caplog.text
