"""Preparation: frames and audio stay in sync, nothing is lost, and interrupted runs resume."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import raw_clips
from command import listing
from raw_clips import clip, data_set, settings, tone

from codetalker_cli.datasets import preflight, prepared_writer
from codetalker_cli.datasets import prepare as module
from codetalker_cli.datasets.manifest import UNFINISHED
from codetalker_cli.datasets.prepare import Prepared, prepare
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.raw_clips import Problem, RawAudio, RawClip, RawDataSet
from codetalker_cli.datasets.regions import Regions
from codetalker_cli.errors import DataError, InputError, OutputError
from codetalker_cli.progress import Progress, Stages
from codetalker_cli.settings import DataSettings, PrepareSettings


def run(
    raw: RawDataSet,
    out: Path,
    data: DataSettings | None = None,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Prepared:
    prepare_settings = PrepareSettings.model_validate(options or {})
    return prepare(
        raw, out, data or settings(), prepare_settings, more.pop("regions", Regions()), **more
    )


def numbers(out: Path, name: str) -> list[float]:
    """Return the raw frame numbers encoded in the vertices of a prepared clip."""
    whole = PreparedDataSet(out)
    return next(
        raw_clips.numbers_in(c.vertices, c.entry.subject)
        for entry in whole.manifest.clips
        for c in whole.clips(entry.split)
        if c.entry.name == name
    )


def seconds(out: Path, name: str) -> tuple[float, float]:
    """Return the start and the end of a prepared clip in the 1 s ramp ``tone(60)``."""
    whole = PreparedDataSet(out)
    samples = next(
        c.samples()
        for entry in whole.manifest.clips
        for c in whole.clips(entry.split)
        if c.entry.name == name
    )
    inner = samples[50:-50]  # the resampling filter distorts the ends
    slope = (inner[-1] - inner[0]) / (len(inner) - 1)
    start = inner[0] - 50 * slope
    return float(start + 0.5), float(start + len(samples) * slope + 0.5)


def problems(done: Prepared) -> list[tuple[str, str, str]]:
    return [(p["clip"], p["kind"], p["reason"]) for p in done.manifest.problems]


def test_the_prepared_data_set_is_complete(tmp_path: Path) -> None:
    done = run(data_set(clip("A_1"), clip("B_6"), clip("B_9")), tmp_path / "out")
    data = PreparedDataSet(tmp_path / "out")
    assert data.manifest == done.manifest and done.n_written == 3
    assert {c.name: c.split for c in done.manifest.clips} == {
        "A_1": "train",
        "B_6": "val",
        "B_9": "unused",
    }
    entry = done.manifest.clips[0]
    assert (entry.subject, entry.sentence, entry.text) == ("A", "1", "says 1")
    assert (entry.n_frames, entry.n_samples, entry.source) == (30, 16000, "A_1")
    assert numbers(tmp_path / "out", "A_1") == list(range(0, 60, 2))
    assert seconds(tmp_path / "out", "A_1") == pytest.approx((0, 1), abs=2e-3)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["unit"] == "m" and manifest["fps"] == 30
    assert manifest["topology"] == {"name": "strip", "n_vertices": 12, "n_faces": 10}
    assert manifest["subjects"] == ["A", "B"] and manifest["splits"]["val"]["frames"] == 30
    assert (
        "one of every 2 captured frames (60 per second), unchanged" in manifest["notes"]["frames"]
    )
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "no problems were found" in report and "val: 1 clip, 30 frames" in report


def test_a_short_hole_is_interpolated(tmp_path: Path) -> None:
    there = [n for n in range(60) if n not in (10, 11, 12)]
    done = run(data_set(clip("A_1", there)), tmp_path / "out")
    assert numbers(tmp_path / "out", "A_1") == list(range(0, 60, 2))
    assert problems(done) == [("A_1", "hole", "frames 10-12 are missing; filled by interpolation")]


def test_a_long_hole_splits_the_clip_and_its_audio(tmp_path: Path) -> None:
    there = [*range(0, 21), *range(30, 60)]
    done = run(data_set(clip("A_1", there)), tmp_path / "out", options={"min_seconds": 0.2})
    out = tmp_path / "out"
    assert [c.name for c in done.manifest.clips] == ["A_1_part1", "A_1_part2"]
    assert {c.source for c in done.manifest.clips} == {"A_1"}
    assert numbers(out, "A_1_part1") == list(range(0, 21, 2))
    assert numbers(out, "A_1_part2") == list(range(30, 60, 2))
    assert seconds(out, "A_1_part1") == pytest.approx((0, 21 / 60), abs=2e-3)
    assert seconds(out, "A_1_part2") == pytest.approx((30 / 60, 1), abs=2e-3)
    assert problems(done) == [
        ("A_1", "hole", "frames 21 to 29 are missing (0.15 s); split"),
    ]


def test_a_short_part_is_skipped_and_reported(tmp_path: Path) -> None:
    there = [*range(0, 45), *range(55, 60)]
    done = run(data_set(clip("A_1", there)), tmp_path / "out")
    assert [c.name for c in done.manifest.clips] == ["A_1_part1"]
    assert (
        "A_1_part2: the part between two holes is only 0.08 s long; skipped"
        in problems(done)[-1][2]
    )


def test_audio_of_missing_first_frames_is_removed(tmp_path: Path) -> None:
    raw = data_set(clip("A_1", range(12, 60), sound=lambda: tone(60)), clip("A_2"))
    done = run(raw, tmp_path / "out")
    assert numbers(tmp_path / "out", "A_1") == list(range(12, 60, 2))
    assert seconds(tmp_path / "out", "A_1") == pytest.approx((12 / 60, 1), abs=2e-3)
    assert problems(done) == [("A_1", "hole", "frames 0 to 11 are missing at the start")]


def test_clips_with_different_audio_length_are_kept_and_reported(tmp_path: Path) -> None:
    raw = data_set(clip("A_1", sound=lambda: tone(75)), clip("A_2", sound=lambda: tone(61)))
    done = run(raw, tmp_path / "out")
    reason = "A_1: 1.250 s of audio, 1.000 s of motion (+0.250 s)"
    assert problems(done) == [("A_1", "length", reason)]
    assert done.manifest.clips[0].n_samples == 20000


def test_samples_beyond_full_scale_are_scaled_down(tmp_path: Path) -> None:
    loud = RawAudio(tone(60).samples * 5, raw_clips.RATE)
    done = run(data_set(clip("A_1", sound=lambda: loud)), tmp_path / "out")
    assert problems(done)[0][:2] == ("A_1", "audio")
    samples = PreparedDataSet(tmp_path / "out").clips("train")[0].samples()
    assert np.abs(samples).max() == pytest.approx(1, abs=1e-3)
    assert samples[8000] == pytest.approx(0, abs=1e-3)  # still a ramp, not clipped
    assert samples[4000] == pytest.approx(-0.5, abs=3e-2)


def nan_at_20(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    vertices[numbers == 20, 3] = np.nan
    return vertices


def damaged(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    raise DataError("raw/A_2/frame_013.vl: cut short")


def other_topology(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return vertices[:, :-1]


def unreadable() -> RawAudio:
    raise InputError("raw/A_2.wav: not an audio file")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"fault": nan_at_20}, "frame 20 has NaN or infinite vertices"),
        ({"fault": damaged}, "raw/A_2/frame_013.vl: cut short"),
        ({"fault": other_topology}, "frames have shape (11, 3), expected (12, 3)"),
        ({"sound": unreadable}, "raw/A_2.wav: not an audio file"),
    ],
)
def test_a_broken_clip_is_reported_and_skipped(
    tmp_path: Path, fault: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out"
    clips = [clip("A_1"), clip("A_2", **fault), clip("B_1")]
    done = run(data_set(*clips), out)
    assert [c.name for c in done.manifest.clips] == ["A_1", "B_1"]
    assert problems(done)[0][:2] == ("A_2", "broken") and message in problems(done)[0][2]
    assert message in (out / "report.txt").read_text()
    assert list(out.glob("*/A_1*")) and not list(out.glob("*/A_2*"))
    before = listing(out)
    assert run(data_set(*clips), out).n_written == 0 and listing(out) == before
    clips[1] = clip("A_2", stamp="repaired")
    done = run(data_set(*clips), out)
    assert done.n_written == 1 and problems(done) == []
    assert [c.name for c in done.manifest.clips] == ["A_1", "A_2", "B_1"]
    assert listing(out)[str(out / "clips/A_1.npy")] == before[str(out / "clips/A_1.npy")]


def test_nothing_is_written_if_all_clips_are_broken(tmp_path: Path) -> None:
    raw = data_set(clip("A_1", fault=nan_at_20), clip("A_2", sound=unreadable))
    with pytest.raises(DataError, match=r"no clip could be prepared .A_1: frame 20 has NaN"):
        run(raw, tmp_path / "out")
    assert listing(tmp_path) == {}


def test_problems_of_the_reader_are_reported(tmp_path: Path) -> None:
    gap = Problem("A_2", "missing", "no frames")
    done = run(data_set(clip("A_1"), problems=(gap,)), tmp_path / "out")
    assert problems(done) == [("A_2", "missing", "no frames")]
    assert "missing: not in the raw data" in (tmp_path / "out" / "report.txt").read_text()


def test_clips_named_by_splits_are_reported_missing(tmp_path: Path) -> None:
    rules = {"train": {"subjects": ["A", "B"], "sentences": ["08-10", "x*"]}}
    data = settings(splits={**rules, "val": {"share": 0.5}})
    done = run(data_set(clip("A_08")), tmp_path / "out", data)
    assert problems(done) == [
        ("A_09", "missing", "neither motion nor speech found"),
        ("A_10", "missing", "neither motion nor speech found"),
        ("B", "missing", "no data for this subject; the splits name 3 of its clips"),
    ]


# Second and interrupted runs -----------------------------------------------------------------


class Killed(BaseException):
    """Simulates a signal that ends the process."""


def kill_at(n: int) -> Stages:
    def progress(done: float, total: float) -> None:
        if done == n:
            raise Killed

    return lambda stage: progress


class Counted(NamedTuple):
    raw: RawDataSet
    opened: list[str]


def counted(*names: str, **stamps: str) -> Counted:
    """Return a raw data set that records which clips are read."""
    opened: list[str] = []

    def recorder(name: str) -> Callable[[], RawAudio]:
        def sound() -> RawAudio:
            opened.append(name)
            return tone(60)

        return sound

    clips = [clip(n, sound=recorder(n), stamp=stamps.get(n, "1")) for n in names]
    return Counted(data_set(*clips), opened)


def test_a_second_run_is_a_no_op(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(counted("A_1", "A_2").raw, out)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in out.rglob("*")}
    assert out / "clips" / "A_1.npy" in before
    again = counted("A_1", "A_2")
    assert run(again.raw, out).n_written == 0 and again.opened == []
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in out.rglob("*")} == before


@pytest.mark.parametrize("n", [1, 2, 3])
def test_an_interrupted_run_resumes(tmp_path: Path, n: int) -> None:
    names = ("A_1", "A_2", "B_1", "B_6")
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(counted(*names).raw, whole)
    with pytest.raises(Killed):
        run(counted(*names).raw, out, stages=kill_at(n))
    assert not (out / "manifest.json").exists() and (out / UNFINISHED).exists()
    (out / "clips" / f".{names[n]}.codetalker-partial.npy").write_bytes(b"half a clip")
    with (out / UNFINISHED).open("a") as journal:
        journal.write('{"source": "B_1", "stam')  # a line cut short by the interruption
    rest = counted(*names)
    run(rest.raw, out)
    assert rest.opened == list(names[n:])
    written = {path.removeprefix(str(out)): content for path, content in listing(out).items()}
    assert written == {p.removeprefix(str(whole)): c for p, c in listing(whole).items()}


def test_a_damaged_clip_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        run(counted("A_1", "A_2", "A_3").raw, out, stages=kill_at(2))
    (out / "clips" / "A_1.npy").write_bytes((out / "clips" / "A_1.npy").read_bytes()[:-1])
    rest = counted("A_1", "A_2", "A_3")
    run(rest.raw, out)
    assert rest.opened == ["A_1", "A_3"]


def test_changed_settings_restart_an_interrupted_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        run(counted("A_1", "A_2").raw, out, stages=kill_at(1))
    rest = counted("A_1", "A_2")
    run(rest.raw, out, settings(fps=60))
    assert rest.opened == ["A_1", "A_2"]
    assert len(numbers(out, "A_1")) == 60


@pytest.mark.parametrize(
    ("again", "data", "message"),
    [
        (counted("A_1", "A_2").raw, settings(fps=60), "made with different settings"),
        (
            counted("A_1", "A_2", A_1="2").raw,
            None,
            r"1 of its clips has changed since, .* \(A_1\)",
        ),
        (counted("A_2").raw, None, r"1 of its clips is no longer in the raw data \(A_1\)"),
    ],
)
def test_prepared_clips_are_replaced_only_with_overwrite(
    tmp_path: Path, again: RawDataSet, data: DataSettings | None, message: str
) -> None:
    out = tmp_path / "out"
    run(counted("A_1", "A_2").raw, out)
    before = listing(out)
    with pytest.raises(InputError, match=rf"{message}.*`overwrite`"):
        run(again, out, data)
    assert listing(out) == before
    done = run(again, out, data, overwrite=True)
    assert done.n_written == len(again.clips) and not (out / UNFINISHED).exists()
    assert {p.stem for p in (out / "clips").iterdir()} == {c.name for c in again.clips}


def test_new_clips_are_added_to_a_finished_data_set(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(counted("A_1", "B_6").raw, out)
    more = counted("A_1", "A_2", "B_6")
    done = run(more.raw, out)
    assert more.opened == ["A_2"] and done.n_written == 1
    assert [c.name for c in done.manifest.clips] == ["A_1", "A_2", "B_6"]


def test_a_full_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(
        InputError, match=r"needs about 0\.0 GB, but this disk has only 0\.0 GB free"
    ):
        run(data_set(clip("A_1")), tmp_path / "a" / "out")
    assert listing(tmp_path) == {}


def test_a_folder_with_unrelated_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips" / "mine.npy", np.zeros(3))
    with pytest.raises(InputError, match="but no prepared data set; give an empty"):
        run(data_set(clip("A_1")), tmp_path)


def test_unused_clips_can_be_omitted(tmp_path: Path) -> None:
    raw = data_set(clip("A_1"), clip("A_9"))
    done = run(raw, tmp_path / "out", options={"keep_unused": False})
    assert [c.name for c in done.manifest.clips] == ["A_1"]
    assert done.manifest.notes["left_out_unused"] == ["A_9"]


def test_long_clips_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 12 * 12 * 8)
    largest: list[int] = []

    def noted(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        largest.append(len(numbers))
        return vertices

    run(data_set(clip("A_1", range(600), fault=noted)), tmp_path / "out")
    assert max(largest) == 8 and len(largest) == 38
    assert numbers(tmp_path / "out", "A_1") == list(range(0, 600, 2))


def test_an_interrupted_run_that_adds_clips_resumes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(counted("A_1").raw, out)
    with pytest.raises(Killed):
        run(counted("A_1", "A_2", "A_3", "B_6").raw, out, stages=kill_at(3))
    assert len(PreparedDataSet(out).manifest.clips) == 1  # the old data set stays readable
    rest = counted("A_1", "A_2", "A_3", "B_6")
    done = run(rest.raw, out)
    assert rest.opened == ["B_6"] and len(done.manifest.clips) == 4
    # After an interruption at the last clip, nothing is left to read, but the manifest is written.
    with pytest.raises(Killed):
        run(counted("A_1", "A_2", "A_3", "B_6", "B_1").raw, out, stages=kill_at(5))
    last = counted("A_1", "A_2", "A_3", "B_6", "B_1")
    assert len(run(last.raw, out).manifest.clips) == 5 and last.opened == []
    assert not (out / UNFINISHED).exists()


def test_overwriting_with_broken_raw_data_keeps_the_old_data_set(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(counted("A_1", "A_2").raw, out)
    before = listing(out)
    with pytest.raises(DataError, match="no clip could be prepared"):
        broken = [clip("A_1", fault=nan_at_20), clip("A_2", sound=unreadable)]
        run(data_set(*broken), out, overwrite=True)
    assert listing(out) == before
    assert run(counted("A_1", "A_2").raw, out).n_written == 0


@pytest.mark.parametrize("order", [("A_1", "A_1_part1"), ("A_1_part1", "A_1")])
def test_parts_never_replace_another_clip(tmp_path: Path, order: tuple[str, str]) -> None:
    there = [*range(0, 40), *range(55, 100)]
    raw = {"A_1": clip("A_1", there), "A_1_part1": _named(clip("A_2"), "A_1_part1")}
    done = run(data_set(*(raw[name] for name in order)), tmp_path / "out")
    assert {c.source for c in done.manifest.clips} == {order[0]}
    assert problems(done)[-1][1] == "broken" and "is already taken by" in problems(done)[-1][2]
    first = done.manifest.clips[0].name
    expected = list(range(0, 40 if order[0] == "A_1" else 60, 2))
    assert numbers(tmp_path / "out", first) == expected


def _named(raw: RawClip, name: str) -> RawClip:
    return replace(raw, name=name)


@pytest.mark.parametrize(
    "name", ["../A_1", "/tmp/x", "..", ".hidden", "a:b", "a\\b", "", "x" * 300]
)
def test_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    done = run(data_set(_named(clip("A_1"), name), clip("A_2")), tmp_path / "out")
    assert [c.name for c in done.manifest.clips] == ["A_2"]
    assert "is not a valid file name" in problems(done)[0][2]
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_frames_before_the_usual_first_number_keep_their_audio(tmp_path: Path) -> None:
    raw = data_set(clip("A_1", range(0, 60), sound=lambda: tone(59)), first_number=1)
    run(raw, tmp_path / "out")
    assert PreparedDataSet(tmp_path / "out").manifest.clips[0].n_samples == pytest.approx(
        15733, abs=1
    )


def test_only_the_part_without_audio_is_skipped(tmp_path: Path) -> None:
    there = [*range(0, 60), *range(100, 160)]
    done = run(data_set(clip("A_1", there, sound=lambda: tone(60))), tmp_path / "out")
    assert [c.name for c in done.manifest.clips] == ["A_1_part1"]
    assert problems(done)[-1][1:] == (
        "length",
        "A_1_part2: no audio for its 1.00 s of motion; skipped",
    )


def test_an_output_error_does_not_mark_the_clip_as_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path) -> Any:
        raise OutputError(f"{path}: cannot write here")

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="cannot write here"):
        patch.setattr(prepared_writer, "atomic_path", refuses)
        run(data_set(clip("A_1")), tmp_path / "out")
    assert problems(run(data_set(clip("A_1")), tmp_path / "out")) == []


def test_a_new_fault_of_a_broken_clip_is_reported(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data_set(clip("A_1"), clip("A_2", fault=nan_at_20)), out)
    done = run(data_set(clip("A_1"), clip("A_2", sound=unreadable, stamp="2")), out)
    assert done.n_written == 1 and "not an audio file" in problems(done)[0][2]


def test_a_grown_data_set_is_split_like_a_new_one(tmp_path: Path) -> None:
    rules = {"val": {"share": 0.3}, "train": {}}
    few, many = ([clip(f"A_{k}") for k in range(n)] for n in (5, 12))
    run(data_set(*few), tmp_path / "grown", settings(splits=rules))
    grown = run(data_set(*many), tmp_path / "grown", settings(splits=rules))
    fresh = run(data_set(*many), tmp_path / "fresh", settings(splits=rules))
    assert grown.manifest.clips == fresh.manifest.clips


def test_values_beyond_float32_are_reported(tmp_path: Path) -> None:
    def huge(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return vertices * 1e300

    done = run(data_set(clip("A_1"), clip("A_2", fault=huge)), tmp_path / "out")
    assert "NaN or infinite" in problems(done)[0][2]


@pytest.mark.parametrize("name", ["notes.txt", "etc", "clips/../photo.jpg"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_refused(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / name).write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"which is not part of a prepared data set; give an empt"):
        run(data_set(clip("A_1")), tmp_path, overwrite=overwrite)
    assert listing(tmp_path) == before


def test_hidden_files_do_not_make_a_folder_foreign(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "speech").mkdir()
    assert run(data_set(clip("A_1")), tmp_path).n_written == 1
    assert (tmp_path / ".DS_Store").exists()


def test_two_preparations_of_one_folder_at_once_are_refused(tmp_path: Path) -> None:
    inner: list[str] = []

    def another() -> None:
        with pytest.raises(InputError) as caught:
            run(data_set(clip("A_1")), tmp_path / "out")
        inner.append(str(caught.value))

    def stages(name: str) -> Progress:
        def report(done: float, total: float, note: str = "") -> None:
            if not inner:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(another).result()

        return report

    assert run(data_set(clip("A_1"), clip("A_2")), tmp_path / "out", stages=stages).n_written == 2
    assert "another run is writing this" in inner[0]


def test_any_error_costs_one_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("odd")

    def large(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        raise MemoryError("Unable to allocate 9 TiB")

    def full(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clips = (clip("A_1"), clip("A_2", fault=broken), clip("A_3", fault=large))
    done = run(data_set(*clips), tmp_path / "out")
    reasons = {name: reason for name, kind, reason in problems(done) if kind == "broken"}
    assert set(reasons) == {"A_2", "A_3"}
    assert reasons["A_2"].startswith("unexpected error (ZeroDivisionError: odd)")
    assert reasons["A_3"] == "not enough memory (Unable to allocate 9 TiB)"
    with pytest.raises(OSError, match="No space left"):
        run(data_set(clip("A_1", fault=full)), tmp_path / "other")


def test_a_foreign_manifest_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"start_url": "/"}')
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "mine.wav").write_bytes(b"mine")
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"manifest\.json: not a codetalker manifest"):
        run(data_set(clip("A_1")), tmp_path, overwrite=True)
    assert listing(tmp_path) == before


def test_templates_of_an_implausible_size_are_reported(tmp_path: Path) -> None:
    small = raw_clips.mesh()
    large = replace(small, templates={"A": small.templates["A"] * 1000, "B": small.templates["B"]})

    def enlarged(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return vertices * 1000

    done = run(data_set(clip("A_1", fault=enlarged), mesh=large), tmp_path / "out")
    assert [(p[0], p[1]) for p in problems(done)] == [("A", "unit")]
    assert "but a head measures about 0.25 m; check the unit" in problems(done)[0][2]


@pytest.mark.parametrize("damage", ["NaN", "zeros"])
def test_clips_of_a_subject_with_a_broken_template_are_broken(tmp_path: Path, damage: str) -> None:
    valid = raw_clips.mesh()
    broken = valid.templates["A"].copy()
    if damage == "NaN":
        broken[3, 1] = np.nan
    else:
        broken[:] = 0
    mesh = replace(valid, templates={**valid.templates, "A": broken})
    done = run(data_set(clip("A_1"), clip("B_1"), mesh=mesh), tmp_path / "out")
    assert [p for p in problems(done) if p[1] == "broken"] == [
        (
            "A_1",
            "broken",
            "subject A has no template, or its template contains NaN or only one point",
        )
    ]
    assert list(PreparedDataSet(tmp_path / "out").mesh.templates) == ["B"]


def test_a_clip_of_one_frame_is_skipped(tmp_path: Path) -> None:
    done = run(data_set(clip("A_1", range(1)), clip("A_2")), tmp_path / "out")
    assert [c.name for c in done.manifest.clips] == ["A_2"]
    assert "the motion has only 1 frame; at least 2 are needed" in problems(done)[0][2]


# Frames that do not fit the template --------------------------------------------------------------


def template_of(subject: str) -> np.ndarray:
    return raw_clips.mesh().templates[subject].astype(np.float64)


def displacements(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return vertices - template_of("A")


def normalized(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    low, high = template_of("A").min(), template_of("A").max()
    return (vertices - low) / (high - low)


def zeros_between(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return np.where((numbers % 4 == 0)[:, None, None], 0.0, vertices)


def always_zero(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return vertices * 0


def outlier(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    vertices[numbers == 20, 3] = 1e30
    return vertices


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (displacements, "look like displacements from the template, not positions"),
        (normalized, "times as large as the template; they may be normalized"),
        (zeros_between, "15 of 30 frames (the first at position 0) have all vertices at one point"),
        (always_zero, "all vertices are at one point in every frame"),
        (outlier, "the frame at position 10 of 30 has vertices far away from the face"),
        (lambda v, _: v * 1000, "1000 times as large as the template (mm against m?)"),
        (lambda v, _: v / 1000, "0.001 times as large as the template (m against mm?)"),
        (lambda v, _: np.add(v, [0, 0.5, 0]), "displaced from the template by (0, 0.5, "),
        (lambda v, _: v[..., [0, 2, 1]] * [1, 1, -1], "rotated by 90° relative to the template"),
        (lambda v, _: v * [-1, 1, 1], "mirrored relative to the template"),
        (lambda v, _: v[:, ::-1], "have a different shape than the template"),
    ],
)
def test_frames_that_do_not_fit_the_template_are_broken(
    tmp_path: Path, fault: Callable, words: str
) -> None:
    done = run(data_set(clip("A_1"), clip("A_2", fault=fault)), tmp_path / "out")
    assert [c.name for c in done.manifest.clips] == ["A_1"]
    assert problems(done)[0][:2] == ("A_2", "broken") and words in problems(done)[0][2]
    with pytest.raises(DataError, match="no clip could be prepared"):
        run(data_set(clip("A_2", fault=fault)), tmp_path / "all")
    assert not (tmp_path / "all").exists()


def head_motion(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Move the head by up to 4 cm and turn it by up to 30°."""
    phase = np.sin(numbers / 10)
    angle = np.radians(30) * (0.6 + 0.4 * phase)
    c, s, zero, one = np.cos(angle), np.sin(angle), np.zeros(len(angle)), np.ones(len(angle))
    turn = np.stack([[c, zero, s], [zero, one, zero], [-s, zero, c]]).transpose(2, 0, 1)
    return vertices @ turn + (0.04 * phase)[:, None, None]


def large_expression(vertices: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    vertices[:, :4, 1] -= 0.03
    return vertices


@pytest.mark.parametrize("change", [head_motion, large_expression])
def test_head_motion_and_large_expressions_fit_the_template(
    tmp_path: Path, change: Callable
) -> None:
    assert problems(run(data_set(clip("A_1", fault=change)), tmp_path / "out")) == []
