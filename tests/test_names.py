"""Names from files are checked once, when the file is read, and never lead out of a folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.animate.jobs import Request, from_arguments, from_manifest, plan
from codetalker_cli.datasets.manifest import MANIFEST, read_manifest
from codetalker_cli.errors import CodeTalkerError, DataError, InputError, SettingsError
from codetalker_cli.files import name_fault
from codetalker_cli.motion import Motion
from codetalker_cli.outputs import Formats
from codetalker_cli.presets import settings_from_dict
from codetalker_cli.topology import Mesh

BAD_NAMES = ["../../X", "..", ".", "a/b", "/etc/x", "a\\b", "C:x", ".hidden", "a\nb", "\x1b[2J"]
BAD_NAMES += [" ", "x" * 400]


@given(st.text(max_size=40))
def test_a_valid_name_stays_in_its_folder(name: str) -> None:
    if name_fault(name) is None:
        assert Path("/folder", f"{name}.npy").resolve().parent == Path("/folder").resolve()


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused(name: str) -> None:
    assert name_fault(name)


@pytest.mark.parametrize("name", ["S01", "FaceTalk_170725_00137_TA", "Zoë", "test-a", "a b", "x.y"])
def test_good_names_are_accepted(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("key", ["name", "clip", "subject", "split", "train_subjects", "subjects"])
def test_a_manifest_with_a_bad_name_is_refused(tmp_path: Path, key: str, name: str) -> None:
    clip = {"name": "A_x", "subject": "A", "sentence": "x", "split": "val", "n_frames": 3}
    content = {
        "format_version": 2,
        "name": "x",
        "fps": 30,
        "train_subjects": ["A"],
        "clips": [clip],
    }
    if key in ("subject", "split"):
        clip[key] = name
    elif key == "clip":
        clip["name"] = name
    else:
        content[key] = name if key == "name" else [name]
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("key", ["name", "train_subjects", "splits"])
def test_settings_with_a_bad_name_are_refused(key: str, name: str) -> None:
    facts = tiny.settings().data.model_dump(mode="json")
    facts[key] = {"name": name, "train_subjects": [name], "splits": {name: {}}}[key]
    with pytest.raises(SettingsError, match="a name"):
        settings_from_dict({"data": facts}, "settings.yaml")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_meshes_and_motions_with_a_bad_subject_are_refused(tmp_path: Path, name: str) -> None:
    template = np.zeros((tiny.N_VERTICES, 3), np.float32)
    Mesh(tiny.topology(), {name: template}).save(tmp_path / "mesh.npz")
    with pytest.raises(DataError, match="template name"):
        Mesh.load(tmp_path / "mesh.npz")
    frames = np.zeros((2, tiny.N_VERTICES, 3), np.float32)
    Motion(frames, 30, tiny.topology(), name, template).save(tmp_path / "m.npz")
    with pytest.raises(InputError, match=r"not a motion file.*subject"):
        Motion.load(tmp_path / "m.npz")


# Recordings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["../x.npz", "/tmp/x.npz", "a/../../x.npz", "..", "x/..", "d.npz/"])
def test_an_output_of_a_manifest_stays_in_its_folder(tmp_path: Path, out: str) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"audio,out\na.wav,{out}\n")
    with pytest.raises(InputError, match=r"m\.csv:2: out '"):
        from_manifest(manifest, str(tmp_path / "results"), ".npz", Request(Path()))


def test_an_output_of_a_manifest_does_not_follow_a_link_out(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "link").symlink_to(tmp_path)
    manifest = tmp_path / "m.csv"
    manifest.write_text("audio,out\na.wav,link/x.npz\n")
    with pytest.raises(InputError, match="leads out of"):
        from_manifest(manifest, str(tmp_path / "results"), ".npz", Request(Path()))


def test_two_spellings_of_one_output_are_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("audio,out\na.wav,./o.npz\nb.wav,x/../o.npz\n")
    with pytest.raises(InputError, match="would both be written"):
        from_manifest(manifest, None, ".npz", Request(Path()))


def test_a_column_listed_twice_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("audio,audio\na.wav,b.wav\n")
    with pytest.raises(InputError, match="'audio' is listed twice"):
        from_manifest(manifest, None, ".npz", Request(Path()))


@pytest.mark.parametrize("given", [{"speech": [""]}, {"speech": ["a.wav"], "out": ""}])
def test_an_empty_name_is_not_the_current_folder(given: dict) -> None:
    with pytest.raises(InputError, match="an empty name"):
        plan(request=Request(Path()), formats=Formats({"npz": ".npz"}), **given)


def animated(folder: Path, *, out: str | None, suffix: str = ".mp4") -> list[str]:
    jobs = from_arguments([str(folder)], out, suffix, Request(Path()))
    return [job.speech.relative_to(folder).as_posix() for job in jobs]


def test_a_folder_takes_every_ending_and_names_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    names = ["a.wav", "b.MP3", "c.mov", "d.WebM", "e.opus", "f.m4b", "g.3gp", "h.ts", "i.amr"]
    for name in [*names, "notes.txt", "x.xyz"]:
        (tmp_path / name).touch()
    assert animated(tmp_path, out="out") == names
    assert "not animated: notes.txt, x.xyz" in caplog.text


def test_results_next_to_their_recordings_are_not_recordings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("a.wav", "a.mp4", "b.mov", "b.mp4", "c.mp4", "a.npz"):
        (tmp_path / name).touch()
    assert animated(tmp_path, out=None) == ["a.wav", "b.mov"]
    assert "c.mp4: skipped, because the result would replace it" in caplog.text
    caplog.clear()
    assert animated(tmp_path, out="out") == ["a.wav", "b.mp4", "c.mp4"]
    assert "not animated: a.mp4, a.npz, b.mov" in caplog.text


def test_the_results_of_an_earlier_run_do_not_make_a_folder_an_input(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "results/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    given = [str(tmp_path / name) for name in ("a.wav", "b.wav", "results")]
    jobs = from_arguments(given, None, ".mp4", Request(Path()))
    assert [job.out for job in jobs] == [tmp_path / "results" / n for n in ("a.mp4", "b.mp4")]
    (tmp_path / "results" / "interview.mp4").touch()
    with pytest.raises(CodeTalkerError):
        from_arguments(given, None, ".mp4", Request(Path()))
