"""The lip measure: verdicts on gaps that are known, and the recordings that it takes."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import voices

import codetalker_cli as ct
import scripts
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.head import Rig
from codetalker_cli.synthetic.dataset import mesh_of

FPS = 30.0


@pytest.fixture(scope="module")
def lips() -> ModuleType:
    return scripts.benchmark("lips")


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
def test_a_bilabial_is_closed_within_a_frame_of_its_interval(
    lips: ModuleType, frames: dict, closed: bool
) -> None:
    for label in ("P", "b", "M"):
        verdicts = lips.score(gap(20, **frames), FPS, [phone(label, 9, 11)])
        assert verdicts["closure"] == [closed]
    assert verdicts["opening"] == verdicts["labiodental"] == []


@pytest.mark.parametrize(("at", "is_open"), [(6.1, True), (6.0, False), (0.0, False)])
def test_an_open_vowel_is_judged_at_its_centre(lips: ModuleType, at: float, is_open: bool) -> None:
    for label in ("AA1", "ae", "AW0", "AY2", "AH"):
        verdicts = lips.score(gap(20, f10=at, f9=9.0), FPS, [phone(label, 8, 12)])
        assert verdicts["opening"] == [is_open]
        assert verdicts["stressed"] == ([] if label == "AH" else [is_open])
    assert lips.score(gap(20, f10=at), FPS, [phone("IY1", 8, 12)])["opening"] == []


def test_false_contacts_are_those_that_no_phone_excuses(lips: ModuleType) -> None:
    phones = [phone("S", 0, 10), phone("M", 10, 12), phone("T", 12, 20)]
    # Runs: 3 to 4, which nothing excuses; 7 to 8, of which 8 is near the m; 11; 15.
    closed = {f"f{k}": 0.5 for k in (3, 4, 7, 8, 11, 15)}
    assert lips.score(gap(20, **closed), FPS, phones)["false"] == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_lag_is_from_the_middle_of_the_phone_to_that_of_the_contact(
    lips: ModuleType, late: int
) -> None:
    closed = {f"f{k + late}": 0.5 for k in (9, 10, 11)}
    assert lips.score(gap(30, **closed), FPS, [phone("B", 9, 11)])["lag"] == [late]
    assert lips.score(gap(30, f20=0.5), FPS, [phone("B", 9, 11)])["lag"] == []


def test_widths_are_told_apart_by_rank(lips: ModuleType) -> None:
    width = np.linspace(30.0, 60.0, 20)
    phones = [phone("W", 2, 4), phone("IY1", 10, 12), phone("T", 13, 15), phone("S", 16, 18)]
    found = lips.score(gap(20), FPS, phones, width_mm=width)
    assert found["rounded"] == [width[3]] and found["spread"] == [width[11], width[17]]
    assert lips.area_under_curve([1, 2], [3, 4]) == 1.0
    assert lips.area_under_curve([3, 4], [1, 2]) == 0.0
    assert lips.area_under_curve([1, 3], [2, 3]) == pytest.approx((1 + 1 + 0 + 0.5) / 4)


@pytest.mark.parametrize("subject", [f"S{k:02d}" for k in range(1, 13)])
def test_the_lower_lip_meets_the_teeth_in_f_and_in_no_vowel(lips: ModuleType, subject: str) -> None:
    rig = Rig.load()
    poses = np.stack([rig.visemes[name] for name in ("FF", "E", "aa", "U")])
    template = rig.template(subject)
    apart = lips.teeth_distance(mesh_of(rig).topology, template)(rig.pose(subject, poses)) * 1000
    assert apart[0] < 1.0 and (apart[1:] > lips.TEETH_MM).all()


def test_phones_beyond_the_motion_do_not_count(lips: ModuleType) -> None:
    phones = [phone("AA", 18, 20), phone("P", 25, 35), phone("SIL", 30, 40)]
    verdicts = lips.score(gap(20, f19=9.0), FPS, phones)
    assert verdicts["opening"] == [True] and verdicts["closure"] == []


def test_babble_is_as_loud_as_asked_for_and_made_of_the_others(lips: ModuleType) -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(0, level, 16000 + k) for k, level in enumerate((0.01, 0.02, 0.03, 0.005))]
    mixed = lips.with_babble(samples, 0, 10.0)
    added = mixed - samples[0]
    ratio = np.square(samples[0]).mean() / np.square(added).mean()
    assert 10 * np.log10(ratio) == pytest.approx(10.0, abs=0.05)


def test_the_rules_pass_their_own_examination(lips: ModuleType) -> None:
    labels = ["SIL", "P", "AA", "B", "IY", "F", "AE", "M", "SIL"]
    phones = [phone(label, 6 * k, 6 * k + 6) for k, label in enumerate(labels)]
    motion = lips.Rules("S01", None).animate(voices.speech(seconds=54 / FPS), phones)
    found = lips.measure(motion, phones)
    assert found["closure"] == [1.0] * 3 and found["labiodental"] == [1.0]
    assert found["stressed"] == [1.0] * 2 and not any(found["false"])
    assert abs(np.median(found["lag"])) <= 1.0


def test_recordings_are_those_with_phones_beside_them(lips: ModuleType, tmp_path: Path) -> None:
    for name in ("a.wav", "a.json", "b.flac", "c.json", "d.txt", "d.json", "e.mp3", "e.json"):
        (tmp_path / name).write_text("")
    found = lips.recordings([tmp_path])
    assert [f.name for f in found] == ["a.wav", "e.mp3"]
    assert lips.recordings([tmp_path / "e.mp3", tmp_path / "b.flac"]) == [tmp_path / "e.mp3"]


class Chewing:
    """A voice whose mouth is open in the first half and shut in the second."""

    def animate(self, samples: np.ndarray, subject: str | None = None) -> Motion:
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
    phones = [phone("AA1", 3, 9), phone("M", 17, 23), phone("AE1", 22, 26)]
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
