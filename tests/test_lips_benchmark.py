"""The lip measure: verdicts on gaps that are known, and the recordings that it takes."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import voices

import codetalker_cli as ct
from codetalker_cli.data.synthetic.demo import mesh_of
from codetalker_cli.data.synthetic.rig import Rig
from codetalker_cli.motion import Motion

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "lips.py"
FPS = 30.0


@pytest.fixture(scope="module")
def lips() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lips", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def phone(label: str, first: float, last: float) -> dict:
    """A phone between two frames."""
    return {"phone": label, "start": first / FPS, "end": last / FPS}


def gap(n: int, **frames: float) -> np.ndarray:
    """(n,) gaps of 3 mm, but ``f7=0.5`` at frame 7."""
    made = np.full(n, 3.0)
    for name, value in frames.items():
        made[int(name[1:])] = value
    return made


@pytest.mark.parametrize(
    ("frames", "closed"),
    [
        ({"f10": 0.9}, True),
        ({"f8": 0.5}, True),
        ({"f12": 0.5}, True),
        ({"f7": 0.5}, False),
        ({"f13": 0.5}, False),
        ({"f10": 1.0}, False),
        ({}, False),
    ],
)
def test_a_bilabial_is_closed_within_two_frames_of_its_centre(
    lips: ModuleType, frames: dict, closed: bool
) -> None:
    for label in ("P", "b", "M"):
        verdicts = lips.score(gap(20, **frames), FPS, [phone(label, 9, 11)])
        assert verdicts["closure"] == [closed]
    assert verdicts["opening"] == verdicts["false"] == []


def test_a_long_bilabial_may_close_anywhere_in_it(lips: ModuleType) -> None:
    verdicts = lips.score(gap(30, f16=0.5), FPS, [phone("M", 6, 14)])
    assert verdicts["closure"] == [False] and verdicts["closure*"] == [True]
    assert lips.score(gap(30, f17=0.5), FPS, [phone("M", 6, 14)])["closure*"] == [False]


@pytest.mark.parametrize(("at", "is_open"), [(4.1, True), (4.0, False), (0.0, False)])
def test_an_open_vowel_is_judged_at_its_centre(lips: ModuleType, at: float, is_open: bool) -> None:
    for label in ("AA1", "ae", "AW0", "AY2", "AH"):
        verdicts = lips.score(gap(20, f10=at, f9=9.0), FPS, [phone(label, 8, 12)])
        assert verdicts["opening"] == [is_open]
    assert lips.score(gap(20, f10=at), FPS, [phone("IY1", 8, 12)])["opening"] == []


def test_false_contacts_are_those_that_no_phone_excuses(lips: ModuleType) -> None:
    phones = [phone("S", 0, 10), phone("M", 10, 12), phone("T", 12, 20)]
    verdicts = lips.score(gap(20, f3=0.5, f11=0.5, f13=0.5), FPS, phones)
    # Frames 8 to 14 are near the m; of the other 13 only frame 3 has a contact.
    assert len(verdicts["false"]) == 13 and sum(verdicts["false"]) == 1


def test_phones_beyond_the_motion_do_not_break_it(lips: ModuleType) -> None:
    phones = [phone("AA", 18, 30), phone("P", 25, 35), phone("SIL", 30, 40)]
    verdicts = lips.score(gap(20, f19=9.0), FPS, phones)
    assert verdicts["opening"] == [True] and verdicts["closure"] == [False]


def test_recordings_are_those_with_phones_beside_them(lips: ModuleType, tmp_path: Path) -> None:
    for name in ("a.wav", "a.json", "b.flac", "c.json", "d.txt", "d.json", "e.mp3", "e.json"):
        (tmp_path / name).write_text("")
    found = lips.recordings([tmp_path])
    assert [f.name for f in found] == ["a.wav", "e.mp3"]
    assert lips.recordings([tmp_path / "e.mp3", tmp_path / "b.flac"]) == [tmp_path / "e.mp3"]


class Chewing:
    """A voice whose mouth is open in the first half and shut in the second."""

    def animate(self, file: Path, subject: str | None = None) -> Motion:
        rig = Rig.load()
        jaw = np.repeat([rig.unit_weights({"jawOpen": 0.6}), 0 * rig.unit_weights({})], 15, axis=0)
        topology, template = mesh_of(rig).topology, rig.template("S01")
        return Motion(rig.pose("S01", jaw), FPS, topology, "S01", template)


def test_the_table_of_a_folder(
    lips: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    soundfile.write(tmp_path / "a.wav", voices.speech(), 16000)
    phones = [phone("AA1", 3, 9), phone("M", 17, 23), phone("AE1", 24, 28)]
    (tmp_path / "a.json").write_text(json.dumps({"phones": phones}))
    monkeypatch.setattr(ct, "load", lambda model: Chewing(), raising=False)
    monkeypatch.setattr(sys, "argv", ["lips.py", str(tmp_path), "--json"])
    lips.main()
    shares = json.loads(capsys.readouterr().out)
    assert shares["all"] == shares[tmp_path.name]
    assert shares["all"]["closure"] == [1.0, 1] and shares["all"]["opening"] == [0.5, 2]
    monkeypatch.setattr(sys, "argv", ["lips.py", str(tmp_path)])
    lips.main()
    assert "closure 100.0 % of 1" in capsys.readouterr().out
    (tmp_path / "a.json").unlink()
    with pytest.raises(SystemExit, match=r"no recording with a \.json of phones"):
        lips.main()
