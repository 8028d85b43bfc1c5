"""``prepare-data video``: films and face tracks become a data set of the bundled head."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import filmed_heads
import imageio_ffmpeg
import numpy as np
import pytest
from command import listing, refuse, run, succeed
from PIL import Image
from talking_takes import track_of, write_sound, write_take

from codetalker_cli.capture.tracking import TrackFacts
from codetalker_cli.datasets.prepared import Clip, PreparedDataSet
from codetalker_cli.datasets.readers import video
from codetalker_cli.datasets.readers.takes import MAX_LAG_SECONDS
from codetalker_cli.formats.face_tracks import write_track
from codetalker_cli.rigs.units import bundled_rig


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def prepared(*arguments: object) -> PreparedDataSet:
    succeed("prepare-data", "video", "takes", "data/x", *arguments)
    return PreparedDataSet("data/x")


def clip(data: PreparedDataSet, name: str) -> Clip:
    entry = next(entry for entry in data.manifest.clips if entry.name == name)
    return Clip(entry, data.folder)


def test_faces_that_are_hard_to_track_are_printed() -> None:
    write_take(Path("takes"), "small", pixels=20.0)
    ended = run("prepare-data", "video", "takes", "data/x")
    assert ended.code == 0 and "face: takes_small: the face is small" in ended.err


def problems(*arguments: object) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Prepare the takes; return the exit code, and (clip, reason) by kind of problem."""
    ended = run("prepare-data", "video", "takes", "data/x", "--json", *arguments)
    found: dict[str, list[tuple[str, str]]] = {}
    assert ended.out, ended.err
    for one in json.loads(ended.out)["problems"]:
        found.setdefault(one["kind"], []).append((one["clip"], one["reason"]))
    return ended.code, found


def gap(vertices: np.ndarray) -> np.ndarray:
    return bundled_rig().topology.inner_lip_gap(np.asarray(vertices))


def empty_film(path: Path, *sound: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-t", "1"]
    subprocess.run([*command, "-i", "color=s=64x64:r=25", *sound, str(path)], check=True)


SOUND = ("-f", "lavfi", "-t", "1", "-i", "anullsrc=r=16000")


def test_tracks_of_people_become_the_motion_of_the_head() -> None:
    words = (("sil", 0.0, 0.2), ("hello", 0.2, 0.6), ("you", 0.6, 1.0), ("sp", 1.0, 2.0))
    curves = write_take(Path("takes/anna"), "one", words=words)
    write_take(Path("takes/ben/day"), "two", seed=1)
    data = prepared()
    assert {c.name: c.subject for c in data.manifest.clips} == {
        "anna_one": "anna",
        "ben_day_two": "ben",
    }
    assert data.manifest.fps == 25 and data.manifest.clips[0].text == "hello you"
    assert data.manifest.notes["tracker"] == ["stored tracks"]
    assert data.manifest.notes["fit"].startswith("version ")
    truth = bundled_rig().pose("S01", curves.weights)
    assert np.corrcoef(gap(truth), gap(clip(data, "anna_one").vertices))[0, 1] > 0.9
    assert np.asarray(Image.open("data/x/film.png")).shape[1] > 1000
    assert "0 problems" in succeed("prepare-data", "check", "data/x")


def test_frames_without_a_face_are_holes() -> None:
    write_take(Path("takes"), "short", lost=slice(20, 22))
    write_take(Path("takes"), "long", seed=1, lost=slice(20, 30))
    write_take(Path("takes"), "start", seed=2, lost=slice(0, 15))
    code, found = problems()
    assert code == 0
    reasons = dict(found["hole"])
    assert reasons["takes_short"] == "frames 20-21 are missing; filled by interpolation"
    assert reasons["takes_long"] == "frames 20 to 29 are missing (0.40 s); split"
    assert reasons["takes_start"] == "frames 0 to 14 are missing at the start"
    data = PreparedDataSet("data/x")
    assert clip(data, "takes_short").entry.n_frames == 50
    assert [clip(data, f"takes_long_part{k}").entry.n_frames for k in (1, 2)] == [20, 20]
    start = clip(data, "takes_start")
    assert start.entry.n_frames == 35 and len(start.samples()) == round(35 / 25 * 16000)


def test_the_sound_starts_with_the_film_even_if_their_lengths_differ() -> None:
    curves = write_take(Path("takes"), "one", lost=slice(0, 15))
    assert curves.audio is not None
    write_sound(Path("takes/one.wav"), replace(curves, audio=curves.audio[: 35 * 640]))
    one = clip(prepared(), "takes_one")
    assert one.entry.n_frames == 35 and len(one.samples()) == 20 * 640
    np.testing.assert_allclose(one.samples(), curves.audio[15 * 640 : 35 * 640], atol=1e-3)


def test_a_replaced_sound_is_read_again() -> None:
    write_take(Path("takes"), "one")
    first = clip(prepared(), "takes_one").samples()
    write_take(Path("takes"), "one", seed=2)
    assert not np.array_equal(clip(prepared("--overwrite"), "takes_one").samples(), first)


def test_other_frame_rates_keep_the_time() -> None:
    write_take(Path("takes"), "one")
    slow = np.array(gap(clip(prepared(), "takes_one").vertices))
    fast = gap(clip(prepared("--fps", 50, "--overwrite"), "takes_one").vertices)
    assert len(fast) == 100
    assert np.corrcoef(slow, fast[::2])[0, 1] > 0.98


def test_a_higher_frame_rate_does_not_shorten_the_motion() -> None:
    write_take(Path("takes"), "one")
    assert problems("--fps", 100) == (0, {})
    assert clip(PreparedDataSet("data/x"), "takes_one").entry.n_frames == 200


def test_the_text_and_the_face_of_parts_of_a_long_take() -> None:
    words = (("first", 0.5, 0.9), ("last", 6.0, 6.4))
    write_take(Path("takes"), "one", seconds=7.0, words=words, lost=slice(0, 50))
    code, found = problems("--set", "capture.clip_seconds=2")
    assert code == 0
    assert any("no face from 0.0 to" in reason for _, reason in found["face"])
    texts = [entry.text for entry in PreparedDataSet("data/x").manifest.clips]
    assert texts[-1] == "last" and "first" not in texts


def test_a_shifted_sound_is_reported() -> None:
    write_take(Path("takes"), "good", seconds=9.0)
    write_take(Path("takes"), "late", seed=2, seconds=9.0, shift=0.5)
    write_take(Path("takes/ben"), "near", seed=1, seconds=9.0, shift=MAX_LAG_SECONDS / 2)
    for k in range(5):
        write_take(Path("takes/eve"), f"early{k}", seed=3 + k, seconds=3.0, shift=-0.5)
    code, found = problems()
    assert code == 0
    reasons = dict(found["sync"])
    assert reasons.keys() == {"takes_late", "eve"}
    assert re.search(r"move 0\.(4[4-9]|5[0-6]) s before the sound", reasons["takes_late"])
    assert reasons["eve"].startswith("all takes together: the mouth seems to move")


def _no_sound() -> None:
    Path("takes/bad.wav").unlink()


def _silent_film() -> None:
    Path("takes/bad.wav").unlink()
    empty_film(Path("takes/bad.mp4"))


def _no_film() -> None:
    Path("takes/bad.wav").rename("takes/bad.mp4")


def _no_track() -> None:
    np.savez("takes/bad.npz", vertices=np.zeros(3))


def _no_face() -> None:
    write_take(Path("takes"), "bad", lost=slice(None))


def _rare_face() -> None:
    write_take(Path("takes"), "bad", lost=slice(20, 40))


def _small_face() -> None:
    write_take(Path("takes"), "bad", pixels=20.0)


@pytest.mark.parametrize(
    ("damage", "kind", "message", "code"),
    [
        (_no_sound, "missing", "bad.npz: no sound; expected bad.wav", 0),
        (_silent_film, "missing", "bad.mp4: the film has no sound", 0),
        (_no_track, "broken", "bad.npz: not a face track", 1),
        (_no_face, "broken", "bad.npz: no frame shows a face", 1),
        (_rare_face, "face", "40 % of the frames show no face", 0),
        (_small_face, "face", "its eye corners are 20 pixels apart", 0),
    ],
)
def test_a_faulty_take_is_reported_and_the_others_are_prepared(
    damage: object, kind: str, message: str, code: int
) -> None:
    write_take(Path("takes"), "good")
    write_take(Path("takes"), "bad", seed=1)
    damage()  # type: ignore[operator]
    found_code, found = problems()
    assert found_code == code and kind in found
    assert any(name == "takes_bad" and message in reason for name, reason in found[kind]), found
    assert "takes_good" in {entry.name for entry in PreparedDataSet("data/x").manifest.clips}


def test_films_are_tracked_once_and_second_faces_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("takes").mkdir()
    empty_film(Path("takes/one.mp4"), *SOUND)
    write_sound(Path("takes/one.wav"), filmed_heads.talk(2.0, 0, 25.0))
    asked: list[tuple] = []

    def track(path: Path, folder: Path, landmarker: Path | None, **_: object) -> tuple:
        asked.append((path, folder, landmarker))
        track = track_of(filmed_heads.talk(2.0, 0, 25.0))
        return track, TrackFacts(track.n_frames, track.n_frames, 0.25, 70.0, "mediapipe X")

    monkeypatch.setattr(video, "cached_with_facts", track)
    _, found = problems("--landmarker", "my.task")
    assert "25 % of the frames show a second face" in found["face"][0][1]
    assert set(asked) == {(Path("takes/one.mp4"), Path("data/x/tracks"), Path("my.task"))}
    assert PreparedDataSet("data/x").manifest.notes["tracker"] == ["mediapipe X"]
    assert Path("data/x/film.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "contains no film"),
        (["takes", "home"], "home: contains letter.txt, which is not part of a prepared data set"),
        (["takes", "--face", "S99"], "capture.face: the bundled head has no subject 'S99'"),
        (["takes", "--set", "capture.clip_seconds=1"], "capture.clip_seconds"),
        (["takes", "--name", "a/b"], "capture.name: 'a/b' is not a valid folder name; use 'a_b'"),
        (["takes", "--subject", "../b"], "capture.subject: '../b' is not a valid folder name"),
    ],
)
def test_unusable_input_is_refused_with_one_line(arguments: list, message: str) -> None:
    write_take(Path("takes"), "one")
    Path("empty").mkdir()
    Path("home").mkdir()
    Path("home/letter.txt").write_text("")
    assert message in refuse("prepare-data", "video", *arguments)


def test_wrong_arguments_are_refused_before_films_are_tracked() -> None:
    Path("takes").mkdir()
    empty_film(Path("takes/one.mp4"), *SOUND)
    write_take(Path("takes"), "two")
    Path("text.task").write_text("hello")
    for arguments, message in (
        (["--face", "S99"], "capture.face: the bundled head has no subject 'S99'"),
        (["--landmarker", "nowhere.task"], "nowhere.task: no such file"),
        (["--landmarker", "text.task"], "text.task: not a face landmarker model"),
    ):
        refusal = refuse("prepare-data", "video", "takes", "data/x", *arguments)
        assert refusal.startswith(message)
        assert not Path("data").exists()


def test_a_file_in_place_of_a_folder_is_refused() -> None:
    write_take(Path("takes"), "one")
    message = refuse("prepare-data", "video", "takes/one.npz")
    assert "takes/one.npz: is not a folder" in message
    message = refuse("prepare-data", "video", "takes", "takes/one.npz")
    assert message.startswith("takes/one.npz: cannot write here") and "another OUT" in message


def test_prepared_data_sets_below_the_folder_are_not_takes() -> None:
    write_take(Path("takes"), "one")
    succeed("prepare-data", "video", "takes", "takes/first")
    write_take(Path("takes/killed/tracks/a-0123456789abcdef"), "track")
    _, found = problems()
    assert found == {}
    assert [entry.name for entry in PreparedDataSet("data/x").manifest.clips] == ["takes_one"]


def test_pictures_before_the_sound_are_reported() -> None:
    write_take(Path("takes"), "good")
    curves = filmed_heads.talk(2.0, 1, 25.0)
    track = track_of(curves)
    write_track(Path("takes/early.npz"), replace(track, times=track.times - 9))
    write_sound(Path("takes/early.wav"), curves)
    code, found = problems()
    assert code == 1
    reason = "takes/early.npz: the pictures end before the sound starts"
    assert found["broken"] == [("takes_early", reason)]


def test_a_second_run_changes_nothing_and_new_takes_need_overwrite() -> None:
    write_take(Path("takes"), "one")
    prepared()
    before = listing()
    assert "already up to date" in succeed("prepare-data", "video", "takes", "data/x")
    assert listing() == before
    write_take(Path("takes"), "two", seed=1)  # it changes the neutral face of the person
    assert "--overwrite" in refuse("prepare-data", "video", "takes", "data/x")
    assert len(prepared("--overwrite").manifest.clips) == 2


def test_a_killed_run_continues_with_the_tracks_that_it_has() -> None:
    Path("takes").mkdir()
    for name, seed in (("a", 0), ("b", 1)):
        curves = filmed_heads.talk(1.6, seed, 25.0)
        filmed_heads.film_head(
            Path(f"takes/{name}.mp4"), curves, size=(200, 200), sound=curves.audio
        )
    command = ["prepare-data", "video", "takes", "data/x"]
    process = subprocess.Popen([sys.executable, "-m", "codetalker_cli", *command])
    try:
        deadline = time.monotonic() + 60
        while not (tracks := list(Path("data/x/tracks").glob("a-*/track.npz"))):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    before = tracks[0].stat().st_mtime_ns
    assert not Path("data/x/manifest.json").exists()
    succeed(*command)
    assert tracks[0].stat().st_mtime_ns == before
    data = PreparedDataSet("data/x")
    assert [entry.name for entry in data.manifest.clips] == ["takes_a", "takes_b"]
    assert re.fullmatch(r"mediapipe [\d.]+, model [0-9a-f]{16}", data.manifest.notes["tracker"][0])
    truth = bundled_rig().pose("S01", filmed_heads.talk(1.6, 0, 25.0).weights)
    made = gap(clip(data, "takes_a").vertices)
    assert np.corrcoef(gap(truth)[: len(made)], made)[0, 1] > 0.9
