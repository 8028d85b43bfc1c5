"""Animation of several recordings: batches, existing results, failures, several processes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import voices
from command import refuse, run, succeed

import codetalker_cli as ct
from codetalker_cli.animate import Voice, batch_decoding
from codetalker_cli.animate.batch import longest_first
from codetalker_cli.animate.jobs import Request
from codetalker_cli.animate.segments import plan_segments
from codetalker_cli.devices import shard
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.motion import Motion

HERE = Path(__file__).parent
# The faces in these tests are a few units large. In float32, batches and single clips differ by
# rounding errors of this size.
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.save(tmp_path_factory.mktemp("many") / "voice", "A", "S01", family="whisper")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a.wav, b.wav, in/c.wav and the model "mine", without a bundled one."""
    folder = tmp_path / "work"
    (folder / "in").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CODETALKER_MODEL", raising=False)
    monkeypatch.setattr(checkpoint, "bundled", dict)
    shutil.copytree(stored, folder / "runs" / "mine")
    for k, name in enumerate(("a.wav", "b.wav", "in/c.wav")):
        soundfile.write(name, voices.speech(0.6 + 0.3 * k, seed=k), 16000, subtype="FLOAT")


def animate(*arguments: object) -> list[object]:
    return ["animate", *arguments, "--model", "mine", "--format", "npz"]


@pytest.fixture
def voice() -> Voice:
    return ct.load("mine")


# Batches ---------------------------------------------------------------------------------------


def test_batch_equals_single_animations(voice: Voice) -> None:
    requests = [
        Request("a.wav", "A", "B"),
        Request("b.wav", "S01", "A:0.5,C:0.5", seed=3),
        Request(voices.speech(1.7, seed=9), "A", fps=60),
        Request("in/c.wav", "S01", idle=False),
    ]
    made = dict(voice.animate_many(requests))
    assert sorted(made) == [0, 1, 2, 3]
    for number, r in enumerate(requests):
        together = made[number]
        assert isinstance(together, Motion)
        alone = voice.animate(r.speech, r.subject, r.style, seed=r.seed, idle=r.idle, fps=r.fps)
        np.testing.assert_allclose(together.vertices, alone.vertices, **CLOSE)
        assert together.subject == alone.subject and together.fps == alone.fps
        if r.fps is None:
            np.testing.assert_array_equal(together.codes, alone.codes)


def active_clips(speaker: Voice, seconds: list[float]) -> tuple[list[int], list[int]]:
    """Return the frames of each recording, and the number of clips in each decoding step."""
    steps: list[int] = []
    decode = Decoder.decode

    def counted(*given: Any, lengths: Sequence[int], **options: Any) -> Any:
        steps.extend(sum(n > k for n in lengths) for k in range(max(lengths)))
        return decode(*given, lengths=lengths, **options)

    requests = [Request(voices.speech(s, seed=k)) for k, s in enumerate(seconds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "decode", counted)
        made = dict(speaker.animate_many(requests))
    motions = [made[k] for k in range(len(seconds))]
    assert all(isinstance(motion, Motion) for motion in motions)
    return [motion.n_frames for motion in motions], steps  # type: ignore[union-attr]


def expected_active_clips(lengths: list[int]) -> list[int]:
    """Return the number of clips in each step if they are decoded in pairs, in this order."""
    steps = []
    for one, other in zip_longest(lengths[::2], lengths[1::2], fillvalue=0):
        steps += [2] * min(one, other) + [1] * abs(one - other)
    return steps


def test_batches_combine_recordings_of_similar_length(voice: Voice) -> None:
    speaker = ct.load("mine", decode={"batch_size": 2})
    frames, steps = active_clips(speaker, [0.5, 1.5, 0.52, 1.52])
    short, long = sorted([frames[0], frames[2]]), sorted([frames[1], frames[3]])
    assert long[0] > 2 * short[1] and long[1] - long[0] <= 1 and short[1] - short[0] <= 1
    # A pair of different lengths would end with steps of a single clip.
    assert steps == expected_active_clips(sorted(frames, reverse=True))


def test_long_recordings_are_decoded_in_segments(voice: Voice) -> None:
    decode = {"batch_size": 2, "whole_frames": 45, "segment_seconds": 1.2}
    speaker = ct.load("mine", decode=decode)
    (n_frames,), steps = active_clips(speaker, [4.0])
    fps = speaker.checkpoint.settings.data.fps
    segments = plan_segments(voices.speech(4.0), n_frames, fps, speaker.decode)
    lengths = [segment.n_frames for segment in segments]
    assert len(lengths) > 2 and max(lengths) < n_frames
    assert steps == expected_active_clips(lengths)
    (alone,), steps = active_clips(ct.load("mine", decode={"whole_frames": n_frames}), [4.0])
    assert alone == n_frames and steps == [1] * n_frames


def test_requests_are_consumed_lazily(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = given = 0
    monkeypatch.setattr(batch_decoding, "LOOKAHEAD", 1)
    speaker = ct.load("mine", decode={"batch_size": 2})

    def requests() -> Any:
        nonlocal taken
        for k in range(12):
            taken += 1
            yield Request(voices.speech(0.5, seed=k), idle=False)

    for _ in speaker.animate_many(requests()):
        given += 1
        assert taken <= given + 3
    assert given == 12


def test_failed_request_yields_its_error(voice: Voice) -> None:
    requests = [Request("none.wav"), Request("a.wav"), Request("b.wav", "nobody")]
    made = dict(voice.animate_many(requests))
    assert isinstance(made[1], Motion)
    assert "none.wav: no such audio file" in str(made[0])
    assert "`subject` 'nobody' is unknown" in str(made[2]) and isinstance(made[2], CodeTalkerError)
    with pytest.raises(InputError, match="no such audio file"):
        voice.animate("none.wav")


def test_progress_counts_the_frames_of_all_recordings(voice: Voice) -> None:
    seen: list[tuple[int, int]] = []
    made = dict(voice.animate_many([Request("a.wav"), Request("b.wav")], lambda *x: seen.append(x)))
    total = sum(m.n_frames for m in made.values() if isinstance(m, Motion))
    done = [n for n, _ in seen]
    assert seen[-1] == (total, total) and done == sorted(done)


SHORT, LONG = 1.4, 2.2
"""The seconds of recordings with fewer and more frames than ``whole_frames`` of ``DECODE``."""
DECODE = {"window_frames": 1, "refresh_frames": 0, "whole_frames": 45, "segment_seconds": 9.0}


@pytest.fixture(scope="module")
def attentive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice whose codes depend on its motion history."""
    return voices.save(tmp_path_factory.mktemp("attentive") / "attentive", "A")


@pytest.fixture(scope="module")
def codes(attentive: Path) -> dict[tuple[float, str], np.ndarray]:
    """The codes of each recording with each method."""
    speaker = ct.load(str(attentive), decode=DECODE)
    model = speaker.checkpoint.model
    assert model.speech is not None
    encoder, decoder = model.speech.encoder, Decoder(model.speech, model.vq, speaker.decode)
    made = {}
    with torch.no_grad():
        style = model.speech.style(torch.tensor([[1.0, 0.0, 0.0]]))
        for seconds in (SHORT, LONG):
            hidden = encoder(encoder.prepare(torch.from_numpy(voices.speech(seconds))[None]))
            for name in ("exact", "window"):
                made[seconds, name] = decoder.decode(hidden, style, method=name)[0].numpy()
    return made


@pytest.mark.parametrize("method", ["exact", "window", "auto"])
@pytest.mark.parametrize("seconds", [SHORT, LONG])
def test_method_follows_the_setting(
    attentive: Path, codes: dict[tuple[float, str], np.ndarray], method: Any, seconds: float
) -> None:
    made = ct.load(str(attentive), decode={**DECODE, "method": method})
    motion = made.animate(voices.speech(seconds), "A")
    assert not np.array_equal(codes[seconds, "exact"], codes[seconds, "window"])
    expected = method if method != "auto" else "exact" if seconds == SHORT else "window"
    np.testing.assert_array_equal(motion.codes, codes[seconds, expected])


def test_decode_settings_are_stored_in_the_checkpoint_and_checked(voice: Voice) -> None:
    assert voice.decode == voice.checkpoint.settings.decode
    with pytest.raises(CodeTalkerError, match=r"decode.windw: unknown key"):
        ct.load("mine", decode={"windw": 3})
    with pytest.raises(
        CodeTalkerError, match="segment_seconds 1 must be at least 4 × crossfade_seconds"
    ):
        ct.load("mine", decode={"segment_seconds": 1, "crossfade_seconds": 0.5})


# The command -----------------------------------------------------------------------------------


def test_files_and_folders_are_written_to_the_output_folder() -> None:
    assert succeed(*animate("a.wav", "b.wav", "in", "-o", "out/")) == "3 animated\n"
    assert sorted(p.name for p in Path("out").iterdir()) == ["a.npz", "b.npz", "c.npz"]
    alone = ct.load("mine").animate("b.wav")
    np.testing.assert_allclose(Motion.load("out/b.npz").vertices, alone.vertices, **CLOSE)


def test_existing_results_are_skipped_and_broken_files_reported() -> None:
    Path("in/broken.wav").write_text("no sound")
    soundfile.write("in/silent.wav", 0 * voices.speech(), 16000)
    ended = run(*animate("a.wav", "in", "-o", "out"), "--json")
    report = json.loads(ended.out)
    assert ended.code == 1
    assert sorted(row["out"] for row in report["done"]) == ["out/a.npz", "out/c.npz"]
    reasons = {row["speech"]: row["reason"] for row in report["failed"]}
    assert set(reasons) == {"in/broken.wav", "in/silent.wav"}
    assert "not an audio file" in reasons["in/broken.wav"] and "silent" in reasons["in/silent.wav"]
    before = {p: p.read_bytes() for p in Path("out").iterdir()}

    for name in ("broken", "silent"):
        soundfile.write(f"in/{name}.wav", voices.speech(), 16000)
    assert (
        succeed(*animate("a.wav", "in", "-o", "out"))
        == "2 animated, 2 skipped (already animated)\n"
    )
    assert all(p.read_bytes() == content for p, content in before.items())
    assert (
        succeed(*animate("a.wav", "in", "-o", "out"))
        == "0 animated, 4 skipped (already animated)\n"
    )
    assert succeed(*animate("a.wav", "-o", "out/"), "--overwrite") == "1 animated\n"


def test_interrupted_run_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = Motion.save, []

    def stop_at_the_second(self: Motion, path: Any, **more: Any) -> Path:
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        return save(self, path, **more)

    monkeypatch.setattr(Motion, "save", stop_at_the_second)
    with pytest.raises(BaseException):  # noqa: B017 (Ctrl-C is a BaseException)
        succeed(*animate("a.wav", "b.wav", "in", "-o", "out"))
    monkeypatch.setattr(Motion, "save", save)
    (written,) = Path("out").iterdir()
    assert Path(saved[0]).name == f".{written.stem}.codetalker-partial.npz"
    assert (
        succeed(*animate("a.wav", "b.wav", "in", "-o", "out"))
        == "2 animated, 1 skipped (already animated)\n"
    )


def test_bad_first_row_of_a_manifest_fails_alone() -> None:
    """The first row determines neither the model nor the checks before the batch."""
    voices.save(Path("runs/newer"), "Z")
    Path("list.csv").write_text("audio,subject,style\na.wav,Z,\nb.wav,,\n")
    ended = run("animate", "--manifest", "list.csv", "--model", "mine", "--format", "npz")
    assert ended.code == 1 and ended.out == "1 animated, 1 failed: a.wav\n"
    Path("list.csv").write_text("audio,subject,style\nb.wav,,nobody\na.wav,,\n")
    ended = run(
        "animate", "--manifest", "list.csv", "--model", "mine", "--format", "npz", "--overwrite"
    )
    assert ended.code == 1 and ended.out == "1 animated, 1 failed: b.wav\n"


def test_manifest_is_animated(caplog: pytest.LogCaptureFixture) -> None:
    Path("list.csv").write_text("audio,out,subject,style\na.wav,x.npz,S01,B\nb.wav,,,\nno.wav,,,\n")
    ended = run("animate", "--manifest", "list.csv", "--model", "mine", "--format", "npz")
    assert ended.code == 1 and ended.out == "2 animated, 1 failed: no.wav\n"
    assert "failed: no.wav: no such audio file" in caplog.messages
    assert Motion.load("x.npz").subject == "S01" and Motion.load("b.npz").subject == "A"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "--manifest", "list.csv"], "--manifest list.csv: recordings were also given"),
        (["a.wav", "none.wav"], "none.wav: no such audio file"),
        (
            ["a.wav", "b.wav", "--subject", "nobody"],
            "--subject 'nobody' is unknown; this model has: A",
        ),
        (
            ["a.wav", "b.wav", "--style", "nobody"],
            "--style 'nobody' is unknown; this model has: A, B",
        ),
        (["a.wav", "b.wav", "--fps", "999"], "--fps 999: expected 1 to 240 frames per second"),
        (["a.wav", "b.wav", "--set", "decode.method=fast"], "decode.method: Input should be"),
        (["a.wav", "b.wav", "-o", "in/c.wav/"], "cannot write here (Not a directory)"),
        ([], "no recordings: give files or folders, or --manifest with a CSV file"),
    ],
)
def test_invalid_arguments_are_rejected_before_any_output(
    arguments: list[str], message: str
) -> None:
    assert message in refuse(*animate(*arguments))


def test_single_recording_with_format() -> None:
    succeed(*animate("a.wav"))
    assert Path("a.npz").is_file()
    assert "--format npz: --out b.npy already determines the format" in refuse(
        *animate("a.wav", "-o", "b.npy")
    )
    assert "--format 'gif': expected one of" in refuse(
        "animate", "a.wav", "b.wav", "--model", "mine", "--format", "gif"
    )


# Processes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_cover_all_jobs_evenly(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from codetalker_cli.animate.jobs import from_arguments

    jobs = from_arguments(["a.wav", "b.wav", "in"], None, ".npz", Request(Path()))
    monkeypatch.setenv("WORLD_SIZE", str(count))
    shares = []
    for rank in range(count):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(shard(jobs, longest_first))
    assert sorted(str(j.out) for s in shares for j in s) == ["a.npz", "b.npz", "in/c.npz"]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_two_processes_equal_one() -> None:
    Path("in/broken.wav").write_text("no sound")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "codetalker_cli", "animate", "a.wav", "b.wav", "in", "-o", "out"]
    command += ["--model", "mine", "--format", "npz", "--device", "cpu", "--json"]
    ended = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report = json.loads(ended.stdout)
    assert ended.returncode == 1, ended.stderr
    assert sorted(row["out"] for row in report["done"]) == ["out/a.npz", "out/b.npz", "out/c.npz"]
    assert [row["speech"] for row in report["failed"]] == ["in/broken.wav"]
    alone = ct.load("mine").animate("in/c.wav")
    np.testing.assert_allclose(Motion.load("out/c.npz").vertices, alone.vertices, **CLOSE)
