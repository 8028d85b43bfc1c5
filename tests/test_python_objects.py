"""Objects of the Python API: short reprs, pickling, copies, and use by several threads."""

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import voices

import codetalker_cli as ct
from codetalker_cli import motion as motion_module
from codetalker_cli.animate import batch_decoding
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.motion import VertexFrames
from codetalker_cli.synthetic.speech import alignment
from codetalker_cli.train import state

MODULES = (alignment, state)
"""The modules that define further errors."""


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> ct.Voice:
    folder = tmp_path_factory.mktemp("objects") / "voice"
    return ct.load(voices.save(folder, "A", "B", family="whisper"), decode={"batch_size": 3})


@pytest.fixture
def lazy(voice: ct.Voice, monkeypatch: pytest.MonkeyPatch) -> ct.Motion:
    """A motion whose vertices are computed on access."""
    monkeypatch.setattr(motion_module, "MATERIALIZED_BYTES", 0)
    motion = voice.animate(voices.speech())
    assert isinstance(motion.vertices, VertexFrames)
    return motion


def same(first: ct.Motion, second: ct.Motion) -> bool:
    return np.array_equal(first.vertices, second.vertices) and all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("fps", "subject", "template", "audio", "audio_path", "codes")
    )


# Text ---------------------------------------------------------------------------------------------


def test_reprs_are_one_short_line(voice: ct.Voice, lazy: ct.Motion) -> None:
    folder = voice.checkpoint.path
    speech = voices.speech()
    assert repr(voice) == f"<Voice {folder}: 2 subjects, 3 styles, 25 fps, on cpu>"
    assert repr(voice.checkpoint) == f"<Checkpoint {folder}: both stages, 2 subjects, 12 vertices>"
    assert repr(voice.checkpoint.mesh) == "<Mesh strip: 12 vertices, 2 subjects>"
    assert repr(lazy) == "<Motion A: 25 frames at 25 fps, 12 vertices, sound>"
    assert repr(replace(lazy, audio=None)).endswith("no sound>")
    assert repr(lazy.vertices) == "<VertexFrames (25, 12, 3)>"
    assert repr(lazy.topology) == ("<Topology strip: 12 vertices, 10 triangles, 2 regions, unit m>")
    assert repr(ct.Request("a.wav")) == "Request('a.wav')"
    assert repr(ct.Request(Path("a.wav"), "A", fps=30, idle=False, samples=speech)) == (
        "Request('a.wav', subject='A', idle=False, fps=30, samples=<float32 ndarray (16000,)>)"
    )
    assert repr(ct.Request((16000, speech.tolist()), style={"A": 0.5})) == (
        "Request((16000, <list of 16000>), style={'A': 0.5})"
    )
    assert repr(ct.Request(torch.zeros(2, 9))) == "Request(<torch.float32 Tensor (2, 9)>)"
    assert repr(ct.Request(b"RIFF")) == "Request(<4 bytes>)"


def test_reprs_of_odd_objects_are_one_line(lazy: ct.Motion) -> None:
    odd = replace(lazy, subject="a\nb", fps=0.0, vertices=np.zeros(3, np.float32))
    assert repr(odd) == "<Motion a\\nb: 3 frames at 0 fps, 12 vertices, sound>"
    stage1 = checkpoint.Checkpoint(tiny.codetalker(with_speech=False), tiny.settings(), {})
    assert repr(stage1) == "<Checkpoint without a path: stage 1, 0 subjects, 12 vertices>"
    for speech in (None, "x" * 10**6, "a\nb", {"array": voices.speech()}, list(range(9)), open):
        text = repr(ct.Request(speech))  # type: ignore[arg-type]
        assert len(text) < 400 and text.isprintable()


# Pickles and copies -------------------------------------------------------------------------------


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [pickled, copy.deepcopy, copy.copy])
def test_motions_can_be_pickled_and_copied(
    voice: ct.Voice, lazy: ct.Motion, duplicate: Callable[[Any], Any], tmp_path: Path
) -> None:
    plain = replace(lazy, vertices=np.asarray(lazy.vertices))
    mapped = ct.Motion.load(lazy.save(tmp_path / "m.npz"))
    for motion in (plain, lazy, mapped):
        assert same(duplicate(motion), motion)
    assert isinstance(
        duplicate(lazy).vertices, np.ndarray if duplicate is pickled else VertexFrames
    )
    if duplicate is not copy.copy:
        again = duplicate(plain)
        again.vertices[:] = 0
        assert plain.vertices.any()  # type: ignore[union-attr]


def test_requests_can_be_pickled() -> None:
    request = ct.Request(b"RIFF", "A", {"A": 1.0}, seed=3, sampling_rate=8000)
    assert pickled(request) == request
    assert np.array_equal(pickled(ct.Request(voices.speech())).speech, voices.speech())


@pytest.mark.parametrize("duplicate", [pickled, copy.deepcopy])
def test_voices_are_pickled_as_the_path_of_their_checkpoint(
    voice: ct.Voice, duplicate: Callable[[Any], Any]
) -> None:
    assert len(pickle.dumps(voice)) < 1000
    again = duplicate(voice)
    assert again.decode == voice.decode and again.decode.batch_size == 3
    assert again.device == voice.device and again.checkpoint.path == voice.checkpoint.path
    assert same(again.animate(voices.speech()), voice.animate(voices.speech()))


def test_relative_path_of_a_voice_is_pickled_as_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    voices.save(Path("mine"), "A", family="whisper")
    content = pickle.dumps(relative := ct.load("mine"))
    monkeypatch.chdir(tmp_path.parent)
    assert content == pickle.dumps(relative)
    assert pickle.loads(content).subjects == ["A"]


def test_voice_without_a_path_is_pickled_with_its_weights() -> None:
    encoder = {"family": "whisper", "config": tiny.ENCODER_CONFIGS["whisper"]}
    model = tiny.codetalker(speech={"encoder": encoder})
    loaded = checkpoint.Checkpoint(model, model.settings, {}, voices.mesh("A"))
    voice = ct.Voice(loaded, torch.device("cpu"), {"batch_size": 2})
    again = pickled(voice)
    assert repr(again) == repr(voice) and "without a path" in repr(voice)
    assert again.decode.batch_size == 2
    assert same(again.animate(voices.speech()), voice.animate(voices.speech()))


def animated(voice: ct.Voice, speech: np.ndarray) -> ct.Motion:
    return voice.animate(speech)


def test_other_processes_receive_voices_and_return_motions(voice: ct.Voice) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        motion = pool.submit(animated, voice, voices.speech()).result(timeout=300)
        error = pool.submit(animated, voice, voices.speech()[:0]).exception(timeout=300)
    assert same(motion, voice.animate(voices.speech()))
    assert isinstance(error, ct.InputError) and "contains no audio samples" in str(error)


def error_classes(base: type[Exception] = CodeTalkerError) -> list[type[Exception]]:
    below = [one for child in base.__subclasses__() for one in error_classes(child)]
    return [base, *below]


def test_errors_can_be_pickled_with_their_attributes() -> None:
    classes = error_classes()
    assert {"CodeTalkerError", "OutputError", "AlignmentError", "Interrupted"} <= {
        one.__name__ for one in classes
    }
    for cls in classes:
        error = cls("a.wav: silent")
        error.path = Path("a.wav")  # type: ignore[attr-defined]
        for again in (pickled(error), copy.deepcopy(error)):
            assert type(again) is cls and str(again) == "a.wav: silent"
            assert again.path == Path("a.wav") and again.exit_code == cls.exit_code


# Threads ------------------------------------------------------------------------------------------


def test_threads_can_share_a_voice(voice: ct.Voice) -> None:
    clips = [voices.speech(0.4 + 0.1 * k, seed=k) for k in range(8)]
    expected = [voice.animate(clip, seed=k) for k, clip in enumerate(clips)]
    fresh = copy.deepcopy(voice)
    start = threading.Barrier(4)

    def animate(k: int) -> ct.Motion:
        if k < 4:
            start.wait(60)
        return fresh.animate(clips[k], seed=k)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(animate, range(8)))
    assert all(same(first, second) for first, second in zip(made, expected, strict=True))


def test_threads_share_one_decoder(voice: ct.Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Decoder] = []
    both = threading.Barrier(2)

    def slow(*given: Any) -> Decoder:
        # The first thread waits here for the second one, which must not create another decoder.
        made.append(Decoder(*given))
        threading.Event().wait(0.5)
        return made[-1]

    monkeypatch.setattr(batch_decoding, "Decoder", slow)
    fresh = copy.deepcopy(voice)

    def animate(_: int) -> int:
        both.wait(60)
        return fresh.animate(voices.speech(0.4)).n_frames

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(animate, range(2))) == [10, 10]
    assert len(made) == 1


def test_progress_may_animate(voice: ct.Voice) -> None:
    inner: list[int] = []

    def progress(done: float, total: float) -> None:
        if not inner:
            inner.append(voice.animate(voices.speech(0.3)).n_frames)

    made: list[ct.Motion] = []
    work = partial(voice.animate, voices.speech(0.5), progress=progress)
    thread = threading.Thread(target=lambda: made.append(work()), daemon=True)
    thread.start()
    thread.join(60)
    assert len(made) == 1, "the voice waits for itself"
    assert same(made[0], voice.animate(voices.speech(0.5))) and inner == [7]
