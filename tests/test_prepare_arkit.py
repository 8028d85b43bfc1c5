"""``prepare-data arkit``: recorded face curves with sound become a data set of the bundled head."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from command import listing, refuse, run, succeed
from talking_takes import write_csv, write_json

from codetalker_cli.datasets.prepared import Clip, PreparedDataSet
from codetalker_cli.datasets.readers.takes import cut_at_quiet_moments
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.idle import IDLE_UNITS
from codetalker_cli.rigs.units import bundled_rig


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def prepared(*arguments: object) -> PreparedDataSet:
    succeed("prepare-data", "arkit", "takes", "data/x", *arguments)
    return PreparedDataSet("data/x")


def clip(data: PreparedDataSet, name: str) -> Clip:
    entry = next(entry for entry in data.manifest.clips if entry.name == name)
    return Clip(entry, data.folder)


def problems(*arguments: object) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Prepare the takes; return the exit code, and (clip, reason) by kind of problem."""
    ended = run("prepare-data", "arkit", "takes", "data/x", "--json", *arguments)
    found: dict[str, list[tuple[str, str]]] = {}
    for one in json.loads(ended.out)["problems"]:
        found.setdefault(one["kind"], []).append((one["clip"], one["reason"]))
    return ended.code, found


def edit(path: Path, change: object) -> None:
    """Replace the rows of a table with the result of a function of them."""
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *change(rows)]) + "\n")  # type: ignore[operator]


def film(path: Path, sound: Path | None, timecode: str, fps: int = 30) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-t", "2"]
    command += ["-i", f"color=s=64x64:r={fps}", *(["-i", str(sound)] if sound else [])]
    subprocess.run([*command, "-timecode", timecode, str(path)], check=True)


def test_takes_of_the_app_become_the_motion_of_the_head() -> None:
    curves = write_csv(Path("takes/20261128_Slate_1"), "Slate_1_iPhone_cal")
    write_csv(Path("takes/20261128_Slate_1"), "Slate_1_iPhone_raw", seed=1)
    Path("takes/20261128_Slate_1/Slate_1_iPhone_raw.wav").unlink()
    Path("takes/20261128_Slate_1/frame_log.csv").write_text("V,0\n")
    Path("takes/20261128_Slate_1/take.json").write_text("{}")
    write_json(Path("takes/anna"), "hello", seed=2)
    data = prepared("--subject", "me", "--face", "S03")
    assert {c.name: c.subject for c in data.manifest.clips} == {
        "me_Slate_1_iPhone": "me",
        "me_anna_hello": "me",
    }
    assert data.manifest.fps == 30
    weights = curves.select(ARKIT_UNITS).select(bundled_rig().unit_names).weights
    weights[:, [name.startswith(IDLE_UNITS) for name in bundled_rig().unit_names]] = 0
    expected = bundled_rig().pose("S03", weights)
    np.testing.assert_allclose(clip(data, "me_Slate_1_iPhone").vertices, expected, atol=1e-6)
    np.testing.assert_array_equal(data.mesh.templates["me"], bundled_rig().template("S03"))
    assert data.mesh.idle_units and data.mesh.topology.regions.keys() >= {"lips"}


def test_people_are_the_folders_and_blinks_are_an_option() -> None:
    curves = write_csv(Path("takes/anna"), "one")
    write_csv(Path("takes/ben/20261128_Slate_2"), "Slate_2_ben", seed=1)
    data = prepared("--set", "capture.blinks=true", "--name", "two")
    assert {c.subject for c in data.manifest.clips} == {"anna", "ben"}
    assert data.manifest.name == "two" and not data.mesh.idle_units
    weights = curves.select(ARKIT_UNITS).select(bundled_rig().unit_names).weights
    expected = bundled_rig().pose("S01", weights)
    np.testing.assert_allclose(clip(data, "anna_one").vertices, expected, atol=1e-6)


def test_takes_are_resampled_to_one_frame_rate() -> None:
    write_csv(Path("takes"), "one")
    assert clip(prepared("--fps", 60), "takes_one").entry.n_frames == 120
    assert problems("--fps", 120, "--overwrite") == (0, {})
    assert clip(prepared("--fps", 15, "--overwrite"), "takes_one").entry.n_frames == 30


def test_dropped_rows_are_holes() -> None:
    write_csv(Path("takes"), "short")
    write_csv(Path("takes"), "long", seed=1)
    whole = clip(prepared(), "takes_short").vertices
    edit(Path("takes/short.csv"), lambda rows: [*rows[:20], *rows[22:]])
    edit(Path("takes/long.csv"), lambda rows: [*rows[:20], *rows[35:]])
    code, found = problems("--overwrite")
    assert code == 0
    assert ("takes_short", "frames 20-21 are missing; filled by interpolation") in found["hole"]
    assert ("takes_long", "frames 20 to 34 are missing (0.50 s); split") in found["hole"]
    filled = clip(PreparedDataSet("data/x"), "takes_short").vertices
    np.testing.assert_allclose(filled[20], whole[19] * 2 / 3 + whole[22] / 3, atol=1e-6)


def test_timecodes_align_curves_and_film() -> None:
    write_csv(Path("takes"), "one")
    data = prepared()
    whole, sound = clip(data, "takes_one").vertices, clip(data, "takes_one").samples()
    # The curves start at 00:00:00:00. The film starts 10 frames earlier, then 10 frames later.
    film(Path("takes/one.mov"), Path("takes/one.wav"), "23:59:59:20")
    Path("takes/one.wav").unlink()
    late = clip(prepared("--overwrite"), "takes_one")
    np.testing.assert_allclose(late.vertices, whole, atol=1e-6)
    n = len(late.samples())
    assert abs(n - (len(sound) - 5333)) < 1200
    Path("takes/one.wav").unlink(missing_ok=True)
    Path("takes/one.mov").unlink()
    write_csv(Path("takes"), "one")
    film(Path("takes/one.mov"), Path("takes/one.wav"), "00:00:00:10")
    Path("takes/one.wav").unlink()
    early = clip(prepared("--overwrite"), "takes_one")
    np.testing.assert_allclose(early.vertices, whole[10:], atol=1e-6)
    Path("takes/one.mov").unlink()
    write_csv(Path("takes"), "one")
    film(Path("takes/one.mov"), Path("takes/one.wav"), "10:00:00:00")
    Path("takes/one.wav").unlink()
    _, found = problems("--overwrite")
    assert "are 36000 s apart" in found["sync"][0][1]


def _no_sound() -> None:
    Path("takes/bad.wav").unlink()


def _silent_film() -> None:
    Path("takes/bad.wav").unlink()
    film(Path("takes/bad.mov"), None, "00:00:00:00")


def _damaged_sound() -> None:
    Path("takes/bad.wav").write_bytes(b"RIFF")


def _short() -> None:
    edit(Path("takes/bad.csv"), lambda rows: rows[:40])


def _empty() -> None:
    Path("takes/bad.csv").write_text("")


def _cut() -> None:
    text = Path("takes/bad.csv").read_text()
    Path("takes/bad.csv").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    ("damage", "kind", "message", "code"),
    [
        (_no_sound, "missing", "no sound; expected bad.mov, bad.wav", 0),
        (_silent_film, "missing", "the film has no sound", 0),
        (_damaged_sound, "broken", "bad.wav", 1),
        (_short, "length", "2.000 s of audio, 1.333 s of motion", 0),
        (_empty, "broken", "names no ARKit unit", 1),
        (_cut, "broken", "the file may be cut short", 1),
    ],
)
def test_a_faulty_take_is_reported_and_the_others_are_prepared(
    damage: object, kind: str, message: str, code: int
) -> None:
    write_csv(Path("takes"), "good")
    write_csv(Path("takes"), "bad", seed=1)
    damage()  # type: ignore[operator]
    found_code, found = problems()
    assert found_code == code
    assert found.keys() == {kind}
    assert len(found[kind]) == 1 and found[kind][0][0] == "takes_bad"
    assert message in found[kind][0][1]
    names = {entry.name for entry in PreparedDataSet("data/x").manifest.clips}
    assert names == {"takes_good"} | ({"takes_bad"} if kind == "length" else set())


def test_two_takes_with_one_name_are_reported() -> None:
    write_csv(Path("takes/a"), "b_c")
    write_csv(Path("takes/a/b"), "c", seed=1)
    code, found = problems()
    assert code == 1 and "has the same name; rename one" in found["broken"][0][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "contains no recording of Live Link Face"),
        (["takes", "--face", "S99"], "capture.face: the bundled head has no subject 'S99'"),
        (["takes", "--name", "a/b"], "capture.name: 'a/b' is not a valid folder name"),
        (["takes", "--set", "prepare.regions=none"], "prepare.regions: the bundled head has"),
        (["takes", "--set", "prepare.neutral=true"], "prepare.neutral"),
        (["takes", "--set", "capture.splits={train: {subjects: [eve]}}"], "no clips of eve"),
        (["takes", "--fps", "0"], "capture.fps"),
        (["silent"], "no take is usable; silent_one"),
    ],
)
def test_unusable_input_is_refused_with_one_line(arguments: list, message: str) -> None:
    write_csv(Path("takes"), "one")
    write_csv(Path("silent"), "one")
    Path("silent/one.wav").unlink()
    Path("empty").mkdir()
    assert message in refuse("prepare-data", "arkit", *arguments)


def test_a_second_run_changes_nothing() -> None:
    write_csv(Path("takes"), "one")
    prepared()
    before = listing()
    out = succeed("prepare-data", "arkit", "takes", "data/x")
    assert "already up to date" in out and listing() == before


def test_long_takes_are_cut_at_quiet_moments() -> None:
    level = np.zeros(1000)
    level[[280, 281, 282, 555, 556, 557, 800, 801, 802]] = -50
    cuts = cut_at_quiet_moments(level, 300, 3)
    assert cuts == [281, 556, 801]
    assert cut_at_quiet_moments(np.zeros(300), 300, 3) == []
    lengths = np.diff([0, *cut_at_quiet_moments(np.zeros(301), 300, 3), 301])
    assert len(lengths) == 2 and lengths.min() > 60


def test_the_clips_of_a_long_take_join_without_a_gap() -> None:
    write_csv(Path("takes"), "one", seconds=7)
    whole = clip(prepared(), "takes_one")
    vertices, samples = np.array(whole.vertices), whole.samples()
    data = prepared("--overwrite", "--set", "capture.clip_seconds=3")
    clips = [Clip(entry, data.folder) for entry in data.manifest.clips]
    assert len(clips) >= 3 and clips[0].entry.name == "takes_one_01"
    joined = np.concatenate([c.vertices for c in clips])
    np.testing.assert_allclose(joined, vertices, atol=1e-7)
    np.testing.assert_array_equal(np.concatenate([c.samples() for c in clips]), samples)
    for one in clips:
        seconds = one.entry.n_frames / 30
        assert abs(len(one.samples()) / 16000 - seconds) < 1e-3
