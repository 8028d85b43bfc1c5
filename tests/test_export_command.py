"""``codetalker export``, exports by ``codetalker animate``, and ``ct.export``."""

import json
import re
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import voices
from command import run, succeed
from takes import head_take, small_take, smooth_weights

import codetalker_cli as ct
from codetalker_cli.errors import InputError, OutputError, SettingsError
from codetalker_cli.export import FORMATS
from codetalker_cli.export.formats import BY_NAME
from codetalker_cli.rigs.units import bundled_units


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sound(seconds: float = 0.4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(16000 * seconds)).astype(np.float32)


def save_motion(name: str = "talk.npz", **more: object) -> Path:
    return head_take(12, **{"audio": sound(), **more}).motion.save(name)


def names() -> list[str]:
    return sorted(p.name for p in Path().iterdir())


@pytest.mark.parametrize("name", FORMATS.suffixes)
def test_every_format_is_written_from_the_command_and_reports_itself(name: str) -> None:
    save_motion("in.npz")
    suffix = FORMATS.suffixes[name]
    report = json.loads(
        succeed("export", "in.npz", "-o", f"müde a{suffix}", "--format", name, "--json")
    )
    exporter = BY_NAME[name]
    assert report["out"] == f"müde a{suffix}" and report["format"] == name
    assert report["frames"] == 12 and report["fps"] == 30 and report["subject"] == "S01"
    beside = {f"müde a{s}" for s in exporter.beside}
    assert set(report["beside"]) == beside
    has_file = exporter.sound == "beside" and bool(suffix)
    assert report["sound_file"] == ("müde a.wav" if has_file else None)
    beside |= {"müde a.wav"} if has_file else set()
    assert set(names()) == {"in.npz", f"müde a{suffix}"} | beside
    assert bool(report["opening"]) == (name not in ("npz", "npy"))
    assert "{" not in report["opening"]
    if exporter.sound == "beside" and not suffix:
        assert (Path("müde a") / "sound.wav").is_file()


@pytest.mark.parametrize("name", FORMATS.suffixes)
def test_every_format_is_deterministic_and_works_in_python(name: str) -> None:
    motion, suffix = head_take(3, fps=23.976).motion, FORMATS.suffixes[name]
    for folder in ("a", "b"):
        Path(folder).mkdir()
        path = ct.export(motion, f"{folder}/x{suffix}", format=name)
        assert path == Path(folder) / f"x{suffix}"
    files = sorted(p.relative_to("a") for p in Path("a").rglob("*") if p.is_file())
    assert files
    for file in files:
        assert (Path("a") / file).read_bytes() == (Path("b") / file).read_bytes(), file


def test_one_line_explains_how_to_open_the_file(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "codetalker_cli")
    save_motion()
    out = succeed("export", "talk.npz", "-o", "a.glb")
    assert out.startswith("a.glb: mesh with named morph targets")
    assert out.endswith("12 frames, 0.4 s; sound: a.wav\n")
    assert "a.glb" in caplog.messages[-1] and "`" not in caplog.messages[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["talk.npz", "-o", "x.foo"], "--out x.foo: the file suffix must be one of .glb, .csv"),
        (["talk.npz", "-o", "x.obj"], "give --out x and --format obj"),
        (["talk.npz", "-o", "x.csv", "--format", "visemes"], "already determines the format"),
        (["talk.npz", "-o", "x.glb", "--format", "fbx"], "expected one of glb, csv, json"),
        (
            ["talk.npz", "-o", "x.obj", "--format", "mdd"],
            "mdd writes .mdd files, but --out",
        ),
        (["talk.npz"], "--format is missing; give one of glb, csv"),
        (["talk.npz", "-o", "x.csv", "--targets", "arkit"], "export.targets: has no effect in"),
        (["talk.npz", "-o", "x.abc", "--set", "solve.l2=1"], "solve.l2: has no effect in"),
        (["talk.npz", "-o", "x.abc", "--units", "u.npz"], "units: has no effect in the format abc"),
        (["talk.npz", "-o", "x.glb", "--set", "export.basis_error_mm=1"], "has no effect with"),
        (["talk.npz", "-o", "x.glb", "--targets", "all"], "units"),
        (["talk.npz", "talk2.npz", "-o", "out/", "--format", "glb", "--audio", "a.wav"], "--audio"),
        (["gone.npz", "-o", "x.glb"], "gone.npz"),
        (["empty/", "-o", "out/", "--format", "glb"], "the folder contains no motions"),
        (["talk.npz", "-o", "talk.npz"], "already exists"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(arguments: list[str], message: str) -> None:
    save_motion()
    save_motion("talk2.npz")
    Path("empty").mkdir()
    before = names()
    ended = run("export", *arguments)
    assert ended.code in (1, 2)
    assert message in ended.err.splitlines()[-1]
    assert len([line for line in ended.err.splitlines() if "error" in line]) == 1
    assert names() == before


def test_face_without_units_says_what_to_bring() -> None:
    small_take().motion.save("small.npz")
    ended = run("export", "small.npz", "-o", "x.glb")
    assert ended.code == 2 and "--units: a .glb with morph targets" in ended.err
    assert succeed("export", "small.npz", "-o", "x.abc")


def test_face_with_own_units_is_exported() -> None:
    take = small_take()
    take.motion.save("small.npz")
    Path("units").mkdir()
    for name, delta in zip(take.units.names, take.units.deltas, strict=True):
        ct.write_mesh(f"units/{name}.obj", take.template + delta, take.triangles)
    ct.write_mesh("units/neutral.obj", take.template, take.triangles)
    succeed("export", "small.npz", "-o", "x.csv", "--units", "units")
    curves = ct.read_curves("x.csv")
    np.testing.assert_allclose(
        curves.select(("jawOpen",)).weights[:, 0], smooth_weights(7, 2, seed=1)[:, 0], atol=2e-3
    )


def test_several_motions_and_folders_are_exported_and_finished_ones_skipped() -> None:
    Path("in/sub").mkdir(parents=True)
    save_motion("in/a.npz")
    save_motion("in/sub/b.npz")
    Path("in/c.npz").write_bytes(b"PK nothing")
    ended = run("export", "in", "-o", "out", "--format", "csv")
    assert ended.code == 1 and "2 exported, 1 failed: in/c.npz" in ended.out
    found = sorted(str(p) for p in Path("out").rglob("*.csv"))
    assert found == ["out/a.csv", "out/sub/b.csv"]
    again = run("export", "in", "-o", "out", "--format", "csv", "--json")
    report = json.loads(again.out)
    assert report["skipped"] == found and not report["done"]


def test_single_motion_goes_into_a_folder_that_ends_with_a_slash() -> None:
    save_motion()
    succeed("export", "talk.npz", "-o", "out/", "--format", "obj")
    assert len(list(Path("out/talk").glob("*.obj"))) == 12
    assert run("export", "talk.npz", "-o", "out/", "--format", "obj").code == 2
    succeed("export", "talk.npz", "-o", "out/", "--format", "obj", "--overwrite")


def test_folder_with_other_files_is_never_replaced() -> None:
    save_motion()
    Path("work").mkdir()
    Path("work/thesis.txt").write_text("years of work")
    ended = run("export", "talk.npz", "-o", "work", "--format", "obj", "--overwrite")
    assert ended.code == 2 and "thesis.txt, which is not a frame" in ended.err
    assert Path("work/thesis.txt").read_text() == "years of work" and len(names()) == 2


def test_sound_next_to_the_file_is_kept_if_it_is_the_same_and_never_replaced() -> None:
    motion = head_take(12, audio=sound()).motion
    ct.export(motion, "talk.glb")
    first = Path("talk.wav").read_bytes()
    with wave.open("talk.wav") as file:
        assert file.getframerate() == 16000 and file.getnframes() == len(sound())
    ct.export(motion, "talk.csv")
    assert Path("talk.wav").read_bytes() == first
    other = replace(motion, audio=sound(seed=1))
    with pytest.raises(OutputError, match=r"talk\.wav already exists and contains another sound"):
        ct.export(other, "talk.glb")
    assert Path("talk.wav").read_bytes() == first
    ct.export(other, "talk.glb", sound=False)
    assert Path("talk.wav").read_bytes() == first


def test_failed_export_leaves_nothing_and_keeps_existing_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    motion = head_take(12, audio=sound()).motion
    ct.export(motion, "talk.pc2")
    before = {name: Path(name).read_bytes() for name in names()}
    assert set(before) == {"talk.pc2", "talk.obj", "talk.wav"}

    def fail(take: object, target: object, settings: object) -> None:
        BY_NAME["mdd"].write(take, replace(target, path=target.path), settings)  # type: ignore[arg-type, type-var, attr-defined]
        raise RuntimeError("the disk is on fire")

    monkeypatch.setitem(BY_NAME, "pc2", replace(BY_NAME["pc2"], write=fail))
    with pytest.raises(RuntimeError):
        ct.export(motion, "talk.pc2")
    assert {name: Path(name).read_bytes() for name in names()} == before


def test_python_errors_are_ours() -> None:
    motion = head_take(2).motion
    with pytest.raises(InputError, match="export expects a motion or rig curves, got a int"):
        ct.export(5, "x.glb")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the file suffix must be one of"):
        ct.export(motion, "x.fbx")
    with pytest.raises(SettingsError, match=r"export\.targts"):
        ct.export(motion, "x.glb", targts="arkit")
    with pytest.raises(SettingsError, match=r"export\.targets: has no effect"):
        ct.export(motion, "x.csv", targets="arkit")
    assert names() == []


def test_rig_curves_are_exported_and_read_again() -> None:
    curves = ct.solve_curves(head_take(9).motion).select(("jawOpen", "eyeBlinkLeft"))
    ct.export(curves, "take.csv")
    again = ct.read_curves("take.csv")
    np.testing.assert_allclose(again.select(curves.names).weights, curves.weights, atol=1e-6)
    ct.export(again, "take.glb")
    succeed("export", "take.csv", "-o", "take.usdc", "--subject", "S03", "--fps", "60")


def test_animate_writes_exports() -> None:
    voices.save(Path("runs/mine"), "S01", family="whisper")
    soundfile.write("speech.wav", voices.speech(), 16000)
    line = succeed("animate", "speech.wav", "--model", "mine", "-o", "talk.abc")
    assert line == "talk.abc: S01, 25 frames, 1.0 s; sound: talk.wav\n"
    assert "talk.wav" in names()
    ended = run("animate", "speech.wav", "--model", "mine", "-o", "x.glb")
    assert ended.code == 2 and "--units" in ended.err and "x.glb" not in names()
    ended = run("animate", "speech.wav", "-o", "x.mp4", "--targets", "arkit")
    assert ended.code in (1, 2) and "export.targets: has no effect in a video" in ended.err
    succeed("animate", "speech.wav", "--model", "mine", "-o", "frames", "--format", "ply")
    assert len(list(Path("frames").glob("*.ply"))) == 25


def test_page_lists_every_format_with_its_name() -> None:
    page = (Path(__file__).parent.parent / "docs" / "export.md").read_text("utf-8")
    table = page.split("## Formats")[1].split("## Guides")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    listed = {name for cell in cells[1:] for name in re.findall(r"`(\w+)`", cell)}
    assert listed == set(FORMATS.suffixes)


def test_two_formats_with_one_suffix_get_different_names() -> None:
    save_motion()
    for name in ("json", "visemes"):
        succeed("export", "talk.npz", "-o", "out/", "--format", name)
    assert {p.name for p in Path("out").iterdir()} == {"talk.json", "talk.visemes.json", "talk.wav"}


def test_neutral_face_next_to_a_cache_is_shared_if_it_is_the_same() -> None:
    motion = head_take(3).motion
    ct.export(motion, "a.pc2", overwrite=False)
    ct.export(motion, "a.mdd", overwrite=False)
    Path("a.pc2").unlink()
    Path("a.obj").write_text("v 0 0 0\n")
    with pytest.raises(OutputError, match=r"a\.obj already exists"):
        ct.export(motion, "a.pc2", overwrite=False)
    assert Path("a.obj").read_text() == "v 0 0 0\n" and not Path("a.pc2").exists()
    ct.export(motion, "a.pc2")
    assert Path("a.obj").stat().st_size > 1000


@pytest.mark.parametrize("options", [["--units", "face.npz"], ["--audio", "face.npz"]])
def test_output_that_is_an_input_is_refused(options: list[str]) -> None:
    save_motion()
    Path("face.npz").write_bytes(b"mine")
    ended = run("export", "talk.npz", "-o", "face.npz", "--overwrite", *options)
    assert ended.code == 2 and Path("face.npz").read_bytes() == b"mine"


def test_sound_is_a_riff_file_that_pythons_own_reader_accepts() -> None:
    soundfile.write("stereo.flac", np.stack([sound(1)] * 2, axis=1), 44100)
    save_motion()
    succeed("export", "talk.npz", "-o", "a.glb", "--audio", "stereo.flac")
    assert Path("a.wav").read_bytes()[:4] == b"RIFF"
    with wave.open("a.wav") as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (44100, 2, 16000)


def test_other_sound_is_found_before_the_recording_is_animated() -> None:
    voices.save(Path("runs/mine"), "S01", family="whisper")
    soundfile.write("talk.flac", voices.speech(), 16000)
    soundfile.write("talk.wav", voices.speech(seed=1), 16000)
    ended = run("animate", "talk.flac", "--model", "mine", "-o", "talk.abc")
    assert ended.code == 2 and "contains another sound" in ended.err
    assert "animate:" not in ended.err


def test_units_that_cannot_show_the_movement_are_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    motion = head_take(weights=smooth_weights(20, 58)).motion
    ct.solve_curves(motion)
    assert not caplog.messages
    units = bundled_units("S01").select(("browDownLeft", "mouthSmileLeft"))
    ct.solve_curves(motion, units)
    assert "the units reproduce only" in caplog.messages[-1]
