"""Test ``benchmarks/people.py``: the clips and tools that it reads, its rows and its probe."""

import csv
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import voices
from filmed_heads import film_head, talk

import codetalker_cli as ct
import scripts
from codetalker_cli.capture import landmarker
from codetalker_cli.face_track import (
    EYE_CORNERS,
    INNER_LIP_PAIRS,
    MOUTH_CORNERS,
    FaceTrack,
    TimedWord,
)
from codetalker_cli.formats import live_link
from codetalker_cli.formats.face_tracks import write_track
from codetalker_cli.metrics import mouth_curves, people
from codetalker_cli.metrics.mouth_curves import MouthCurves
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.posing import motion_of

FPS, SECONDS = 25.0, 2.0
NAMES = ("A/a1", "A/a2", "B/b1", "B/b2")
WORDS = tuple(
    TimedWord(label, 0.5 * k, 0.5 * k + 0.5) for k, label in enumerate(("sil", "bin", "red", "sil"))
)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return scripts.benchmark("people")


def opening(seed: int) -> np.ndarray:
    """Return (50,) openings of a mouth in eye distances."""
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.standard_normal(54), np.hanning(7)[1:-1], "valid")
    return np.maximum(0.001, 0.04 + 0.03 * smooth)


def track(seed: int, words: tuple[TimedWord, ...] = WORDS) -> FaceTrack:
    """Return a face 100 pixels between the eyes that opens and narrows its mouth."""
    ids = sorted({*sum(INNER_LIP_PAIRS, ()), *MOUTH_CORNERS, *EYE_CORNERS})
    curve = opening(seed)
    n = len(curve)
    landmarks = np.zeros((n, len(ids), 3), np.float32)
    for (right, left), half in ((EYE_CORNERS, 50.0), (MOUTH_CORNERS, 25.0 - 50 * curve)):
        landmarks[:, ids.index(right), 0], landmarks[:, ids.index(left), 0] = -half, half
    for _, lower in INNER_LIP_PAIRS:
        landmarks[:, ids.index(lower), 1] = 100 * curve
    head = np.tile(np.eye(4, dtype=np.float32), (n, 1, 1))
    times = np.arange(n) / FPS
    weights = np.zeros((n, 1), np.float32)
    return FaceTrack(
        np.array(ids), landmarks, times, (360, 288), ("jawOpen",), weights, head, words
    )


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """Return a folder of two clips of each of two people."""
    folder = tmp_path / "filmed"
    for k, name in enumerate(NAMES):
        path = folder / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_track(path, track(k))
        soundfile.write(path.with_suffix(".wav"), voices.speech(SECONDS, seed=k), 16000)
    return folder


def run(program: ModuleType, patch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    patch.setattr(sys, "argv", ["people.py", *map(str, arguments)])
    program.main()


def jaw(weights: np.ndarray, fps: float = FPS) -> RigCurves:
    return RigCurves(("jawOpen",), fps, weights[:, None])


class CopyingVoice:
    """A voice that opens the jaw as the filmed person does, ten times as far in style B."""

    def animate_many(self, requests: list[ct.Request]) -> Any:
        for k, request in reversed(list(enumerate(requests))):
            assert not request.idle
            stem = Path(str(request.speech)).stem
            seed = [Path(name).name for name in NAMES].index(stem)
            yield k, motion_of(jaw(opening(seed) * (10 if request.style == "B" else 1)))


def test_rows_of_person_baselines_and_voices(
    program: ModuleType,
    filmed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ct, "load", lambda model, device: CopyingVoice(), raising=False)
    arguments = [filmed, "--voice", "mine", "--style", "A", "B"]
    run(program, monkeypatch, *arguments, "--json", "--csv", filmed / "clips.csv")
    found = json.loads(capsys.readouterr().out)
    assert (found["clips"], found["people"]) == (4, 2)
    rows = found["rows"]
    assert list(rows) == ["person", "loudness", "word again", "mean word", "mine A", "mine B"]
    for name in ("opening_r", "width_r", "closings_f1", "opening_p95_ratio"):
        assert rows["person"][name]["value"] == pytest.approx(1.0, abs=1e-6)
    ratios = [rows[f"mine {style}"]["opening_p95_ratio"]["value"] for style in "AB"]
    assert ratios[1] / ratios[0] == pytest.approx(10, rel=0.1)
    assert rows["mine A"]["opening_r"]["value"] > 0.99
    assert rows["mine A"]["opening_r_control"]["value"] < 0.7
    assert "closings_f1" not in rows["loudness"]
    # With two clips of each person, the mean over the other clips is the other clip.
    again = rows["word again"]
    assert again == rows["mean word"] and "opening_r_words" in again
    assert not {"opening_r", "rest_opening", "lead_seconds"} & set(again)
    with (filmed / "clips.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["clip"] for line in lines if line["tool"] == "mine A"] == list(NAMES)
    values = [float(line["opening_r"]) for line in lines if line["tool"] == "mine A"]
    assert np.mean(values) == pytest.approx(rows["mine A"]["opening_r"]["value"], abs=1e-5)
    (filmed / "clips.csv").unlink()
    run(program, monkeypatch, *arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["opening_r", "1.000±0.000"]
    assert [line.split()[0] for line in lines[1:]] == [
        name for name in people.FIGURES if any(name in row for row in rows.values())
    ]


def test_words_are_repeated_only_by_the_same_person(program: ModuleType, filmed: Path) -> None:
    clips = program.read_clips(filmed)
    once, mean = program.repeated(clips[:1], clips)
    inside = slice(13, 37)
    np.testing.assert_allclose(once["A/a1"].opening[inside], clips[1].curves.opening[inside])
    np.testing.assert_allclose(mean["A/a1"].opening[inside], clips[1].curves.opening[inside])


def write_table(path: Path, header: str, *columns: np.ndarray) -> None:
    rows = [",".join(f"{number:.6f}" for number in row) for row in np.transpose(columns)]
    path.write_text("\n".join([header, *rows]))


def test_every_kind_of_file_is_read(program: ModuleType, tmp_path: Path) -> None:
    times, curve = np.arange(50) / FPS, opening(0)
    motion = motion_of(jaw(curve))
    motion.save(tmp_path / "motion.npz")
    motion.save(tmp_path / "vertices.npy")
    write_track(tmp_path / "track.npz", track(0))
    live_link.write(tmp_path / "take.csv", jaw(curve))
    write_table(tmp_path / "eyes.csv", "time,opening,width", times, curve, 0.5 - curve)
    write_table(tmp_path / "mm.csv", "time, opening_mm", times, 90 * curve)

    def read(name: str) -> MouthCurves:
        return program.read_file(tmp_path / name, FPS)

    of_motion = mouth_curves.of_motion(motion)
    for name in ("motion.npz", "vertices.npy", "take.csv"):
        assert read(name).opening == pytest.approx(of_motion.opening, abs=2e-3)
        assert read(name).closed_below is not None
    for name in ("track.npz", "eyes.csv", "mm.csv"):
        assert read(name).opening == pytest.approx(curve, abs=1e-3)
        assert read(name).times == pytest.approx(times, abs=1e-6)
    assert read("eyes.csv").width == pytest.approx(0.5 - curve, abs=1e-5)
    assert np.isnan(read("mm.csv").width).all()
    write_table(tmp_path / "bad.csv", "opening", curve)
    with pytest.raises(ct.DataError, match="column time is missing"):
        read("bad.csv")


def test_tools_are_ranked_on_the_clips_that_they_have(
    program: ModuleType,
    filmed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = np.arange(50) / FPS
    for k, name in enumerate(NAMES[:3]):
        path = tmp_path / "tool" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(path, "time,opening", times, 2 * opening(k))
    run(program, monkeypatch, filmed, "--curves", f"tool={tmp_path / 'tool'}", "--json")
    result = capsys.readouterr()
    row = json.loads(result.out)["rows"]["tool"]
    assert row["opening_r"]["n_clips"] == 3 and "width_r" not in row
    assert row["opening_p95_ratio"]["value"] == pytest.approx(2.0, abs=0.01)
    assert "1 of 4 clips are missing, such as B/b2" in result.err


def test_clips_are_chosen_by_number_or_by_words(program: ModuleType, filmed: Path) -> None:
    write_track(filmed / "B" / "b1.npz", track(2, (TimedWord("f", 0.0, 1.0),)))
    clips = program.read_clips(filmed)
    assert [clip.name for clip in clips] == list(NAMES)
    assert [clip.person for clip in clips] == ["A", "A", "B", "B"]
    assert [clip.name for clip in program.chosen(clips, 3, None)] == ["A/a1", "B/b2"]
    assert [clip.name for clip in program.chosen(clips, 1, ["f", "g"])] == ["B/b1"]


def test_clips_without_recordings_or_words(
    program: ModuleType, filmed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (filmed / "A" / "a1.wav").unlink()
    write_track(filmed / "A" / "a2.npz", track(1, ()))
    clips = program.read_clips(filmed)
    assert [clip.name for clip in clips] == list(NAMES[1:])
    assert "a1.npz: skipped, because it has no recording" in capsys.readouterr().err
    assert [word.label for word in clips[0].words] == [mouth_curves.SPEECH]
    assert [clip.has_words for clip in clips] == [False, True, True]
    with pytest.raises(SystemExit, match="no films or tracked clips"):
        patch = pytest.MonkeyPatch()
        with patch.context() as context:
            context.delenv("CODETALKER_CAPTURE", raising=False)
            run(program, context)


def test_films_are_tracked_once_and_unusable_ones_are_reported(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CODETALKER_CACHE", str(tmp_path / "cache"))
    curves = talk(seconds=1.0, fps=25.0)
    film_head(tmp_path / "anna.mp4", curves, 25.0, sound=curves.audio)
    (tmp_path / "ben.mp4").write_bytes(b"text")
    (clip,) = program.read_clips(tmp_path)
    assert (clip.name, clip.recording) == ("anna", tmp_path / "anna.mp4")
    assert "skipped: " in (said := capsys.readouterr().err) and "ben.mp4" in said
    ours = mouth_curves.of_motion(motion_of(curves, "S01"))
    at = people.resample(ours.times, ours.opening, clip.curves.times)
    r = people.correlate(at, clip.curves.opening)
    assert r is not None and r > 0.9
    monkeypatch.setattr(landmarker, "borrow", None)  # a second run uses the stored track
    assert len(program.read_clips(tmp_path)) == 1


def test_ridge_agrees_with_a_plain_solution() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 6)) * [1, 2, 3, 4, 5, 6] + 3, rng.standard_normal((200, 2))
    moments = scripts.benchmark("encoder_probe").Moments(6, 2)
    for part in (slice(0, 80), slice(80, 200)):
        moments.add(x[part], y[part])
    weights, offset = moments.ridge(30.0)
    z = (x - x.mean(0)) / x.std(0)
    plain = np.linalg.solve(z.T @ z + 30.0 * np.eye(6), z.T @ (y - y.mean(0)))
    np.testing.assert_allclose(x @ weights + offset, z @ plain + y.mean(0), atol=1e-4)


def test_probe_is_fitted_on_the_clips_that_are_not_measured(
    program: ModuleType,
    filmed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = voices.save(tmp_path / "voice", "S01", family="whisper")
    monkeypatch.syspath_prepend(str(scripts.BENCHMARKS))
    encoder_probe = importlib.import_module("encoder_probe")
    monkeypatch.setattr(encoder_probe, "RIDGE", 1e-3)
    run(program, monkeypatch, filmed, "--probe", str(model), "--every", "4", "--json")
    row = json.loads(capsys.readouterr().out)["rows"]["probe voice"]
    assert row["opening_r"]["n_clips"] == 1 and "width_r" in row
    # A probe with as many inputs as frames remembers what it was fitted on.
    clips = program.read_clips(filmed)
    one = clips[0]
    fitted, measured = [(one.recording, one.curves)], {"A/a1": one.recording}
    remembered = encoder_probe.probe(ct.load(str(model), device="cpu"), fitted, measured)["A/a1"]
    own = clips[0].curves
    predicted = people.resample(remembered.times, remembered.opening, own.times)
    r = people.correlate(own.opening, predicted)
    assert r is not None and r > 0.9
    with pytest.raises(SystemExit, match="fitted on the other clips"):
        run(program, monkeypatch, filmed, "--probe", str(model))
