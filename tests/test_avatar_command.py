"""``--avatar``: characters moved by ``codetalker export`` and ``codetalker animate``."""

import json
from pathlib import Path

import characters
import numpy as np
import pytest
import soundfile
import voices
from command import run, succeed
from takes import head_take

import codetalker_cli as ct


def save(character: characters.CharacterFile, name: str) -> Path:
    path = Path(name)
    path.write_bytes(character.content())
    return path


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names() -> list[str]:
    return sorted(p.name for p in Path().iterdir())


def test_character_gets_an_animation_and_the_report_lists_what_moves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "codetalker_cli")
    before = save(characters.arkit(), "held.glb")
    head_take(9, audio=np.full(9600, 0.1, np.float32)).motion.save("talk.npz")
    text = succeed("export", "talk.npz", "--avatar", "held.glb", "-o", "out.glb", "--json")
    report = json.loads(text)
    characters.assert_untouched(before, Path("out.glb"))
    assert report["sound_file"] == "out.wav" and report["frames"] == 9
    assert report["avatar"]["naming"] == "ARKit" and "jawOpen" in report["avatar"]["matched"]
    expected = "3 moving meshes (ARKit): Head_Mesh, Teeth, Eyes by 52 of 52 morph targets"
    assert f"held.glb: {expected}" in caplog.messages


def test_character_is_animated_from_speech_and_from_curves() -> None:
    save(characters.oculus(), "held.glb")
    voices.save(Path("runs/mine"), "S01", family="whisper")
    soundfile.write("speech.wav", voices.speech(), 16000)
    ended = run("animate", "speech.wav", "--model", "mine", "--avatar", "held.glb", "-o", "x.glb")
    assert ended.code == 2 and "--units" in ended.err  # the tiny voice has a face without units
    curves = ct.solve_curves(head_take(9).motion)
    ct.export(curves, "take.csv")
    succeed("export", "take.csv", "--avatar", "held.glb")  # take.glb
    assert characters.tracks_of(Path("take.glb"))


def test_vrm_gives_a_vrma_unless_a_glb_is_named() -> None:
    save(characters.vrm1(), "held.vrm")
    head_take(9).motion.save("talk.npz")
    succeed("export", "talk.npz", "--avatar", "held.vrm")
    succeed("export", "talk.npz", "--avatar", "held.vrm", "-o", "x.glb")
    assert {"talk.vrma", "x.glb"} <= set(names())
    characters.assert_untouched(Path("held.vrm"), Path("x.glb"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "x.mp4"], "videos and pages show the bundled head"),
        (["-o", "x.csv"], "the file suffix must be .glb"),
        (["-o", "held.glb", "--overwrite"], "one of the input files"),
        (["-o", "x.vrma"], "not a VRM avatar"),
        (["-o", "x.glb", "--strength", "jow=1"], "jaw, mouth, tongue, eyes, brows"),
        (["-o", "x.glb", "--strength", "jaw"], "expected GROUP=FACTOR"),
        (["-o", "x.glb", "--strength", "jaw=1,jaw=2"], "jaw is listed twice"),
        (["-o", "x.glb", "--avatar-map", "gone.yaml"], "gone.yaml"),
        (["-o", "x.glb", "--avatar-map", "list.yaml"], "expected morph targets with units"),
        (["-o", "x.glb", "--avatar-map", "typo.yaml"], "jawOpn"),
        (["-o", "x.glb", "--avatar-node", "nobody"], "nobody"),
        (
            ["-o", "x.glb", "--targets", "arkit"],
            "has no effect on a character, which keeps its own morph targets",
        ),
    ],
)
def test_wrong_options_are_one_line_and_change_nothing(options: list[str], message: str) -> None:
    save(characters.arkit(), "held.glb")
    Path("list.yaml").write_text("[1, 2]")
    Path("typo.yaml").write_text("jawOpen: jawOpn")
    head_take(2).motion.save("talk.npz")
    before = {name: Path(name).read_bytes() for name in names()}
    ended = run("export", "talk.npz", "--avatar", "held.glb", *options)
    assert ended.code in (1, 2) and message in ended.err.splitlines()[-1]
    assert {name: Path(name).read_bytes() for name in names()} == before


@pytest.mark.parametrize("option", ["--avatar-map", "--avatar-node", "--strength"])
def test_options_of_characters_need_one(option: str) -> None:
    head_take(2).motion.save("talk.npz")
    ended = run("export", "talk.npz", "-o", "x.glb", option, "jaw=1")
    assert ended.code == 2
    assert f"{option} applies only to a character; also give --avatar" in ended.err


def test_map_replaces_what_names_mean() -> None:
    save(characters.named(("Aufmachen", "jawOpen")), "held.glb")
    Path("map.yaml").write_text("Aufmachen: jawOpen\njawOpen:\n")
    head_take(5).motion.save("talk.npz")
    command = ("export", "talk.npz", "--avatar", "held.glb", "--avatar-map", "map.yaml")
    report = json.loads(succeed(*command, "-o", "x.glb", "--json"))["avatar"]
    assert report["matched"]["jawOpen"] == ["Aufmachen"] and report["unused"] == ["jawOpen"]


def test_python_moves_characters_too() -> None:
    save(characters.arkit(), "held.glb")
    motion = head_take(4).motion
    ct.export(motion, "a.glb", avatar="held.glb")
    ct.export(motion, "b.glb", avatar=ct.Avatar("held.glb", strength={"jaw": 0.5}))
    assert Path("a.glb").read_bytes() != Path("b.glb").read_bytes()
    with pytest.raises(ct.InputError, match="one of the input files"):
        ct.export(motion, "held.glb", avatar="held.glb")
    with pytest.raises(ct.InputError, match=r"gone\.glb"):
        ct.export(motion, "c.glb", avatar="gone.glb")


def test_options_of_a_character_affect_a_vrma_or_are_refused() -> None:
    save(characters.vrm1(), "held.vrm")
    Path("map.yaml").write_text("A: jawOpen")
    head_take(9).motion.save("talk.npz")
    command = ("export", "talk.npz", "--avatar", "held.vrm")
    succeed(*command, "-o", "a.vrma")
    succeed(*command, "-o", "b.vrma", "--strength", "eyes=0")
    assert Path("a.vrma").read_bytes() != Path("b.vrma").read_bytes()
    ended = run(*command, "-o", "c.vrma", "--avatar-map", "map.yaml")
    assert ended.code in (1, 2) and not Path("c.vrma").exists()


def test_bones_are_listed_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "codetalker_cli")
    save(characters.jaw_bone(), "held.glb")
    head_take(9).motion.save("talk.npz")
    report = json.loads(
        succeed("export", "talk.npz", "--avatar", "held.glb", "-o", "x.glb", "--json")
    )
    (line,) = [message for message in caplog.messages if "turning bone" in message]
    for bone in report["avatar"]["bones"].values():
        assert line.count(bone) == 1


def test_a_batch_reports_the_character_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "codetalker_cli")
    save(characters.arkit(), "held.glb")
    Path("talks").mkdir()
    for name in ("a", "b", "c"):
        head_take(4).motion.save(f"talks/{name}.npz")
    succeed("export", "talks", "--avatar", "held.glb", "-o", "out")
    assert sorted(path.name for path in Path("out").glob("*.glb")) == ["a.glb", "b.glb", "c.glb"]
    assert len([message for message in caplog.messages if "moving meshes" in message]) == 1


def test_a_vrma_is_offered_only_for_a_vrm_avatar() -> None:
    path, avatar = save(characters.arkit(), "held.glb"), save(characters.vrm1(), "held.vrm")
    assert list(ct.Avatar(path).exporters()) == ["glb"]
    assert list(ct.Avatar(avatar).exporters()) == ["vrma", "glb"]
    head_take(2).motion.save("talk.npz")
    ended = run("export", "talk.npz", "--avatar", "held.glb", "--format", "vrma")
    assert ended.code == 2 and ended.err.splitlines()[-1].endswith("glb")
    with pytest.raises(ct.InputError, match=r"held\.glb is not a VRM avatar"):
        ct.export(head_take(2).motion, "x.vrma", avatar="held.glb")


def test_the_strength_of_visemes_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "codetalker_cli")
    save(characters.oculus(), "held.glb")
    head_take(4).motion.save("talk.npz")
    command = ("export", "talk.npz", "--avatar", "held.glb", "-o", "x.glb", "--overwrite")
    succeed(*command, "--strength", "brows=2")
    assert not any("strength" in message for message in caplog.messages)
    succeed(*command, "--strength", "jaw=0.5")
    assert any("the strength of jaw scales it" in message for message in caplog.messages)
