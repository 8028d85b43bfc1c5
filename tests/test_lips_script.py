"""Test ``benchmarks/lips.py``: the recordings it uses and the measures it prints."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

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
def program() -> ModuleType:
    return scripts.benchmark("lips")


def phone(label: str, first: float, last: float) -> dict:
    """Return the entry of a phone between two frames."""
    return {"phone": label, "start": first / FPS, "end": last / FPS}


def test_babble_has_the_requested_signal_to_noise_ratio(program: ModuleType) -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(0, level, 16000 + k) for k, level in enumerate((0.01, 0.02, 0.03, 0.005))]
    mixed = program.with_babble(samples, 0, 10.0)
    added = mixed - samples[0]
    ratio = np.square(samples[0]).mean() / np.square(added).mean()
    assert 10 * np.log10(ratio) == pytest.approx(10.0, abs=0.05)


def test_rule_based_motion_gets_perfect_scores(program: ModuleType) -> None:
    labels = ["SIL", "P", "AA", "B", "IY", "F", "AE", "M", "SIL"]
    phones = [phone(label, 6 * k, 6 * k + 6) for k, label in enumerate(labels)]
    motion = program.Rules("S01", None).animate(voices.speech(seconds=54 / FPS), phones)
    found = program.measure(motion, phones)
    assert found["closure"] == [1.0] * 3 and found["labiodental"] == [1.0]
    assert found["stressed"] == [1.0] * 2
    assert found["false"] and not any(found["false"])
    assert abs(np.median(found["lag"])) <= 1.0


def test_transcript_that_does_not_match_is_reported_and_not_used(
    program: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    class Listener:
        def animate(
            self, samples: object, subject: object, head: bool, transcript: str = ""
        ) -> str:
            assert not head
            if transcript == "wrong":
                raise ct.DataError("no match")
            return transcript

    voice: Any = Listener()
    texts = ("right", "wrong", None)
    assert [program.animate(voice, [], None, text) for text in texts] == ["right", "", ""]
    assert capsys.readouterr().err == "animated without its transcript: no match\n"


def test_only_recordings_with_phones_are_used(program: ModuleType, tmp_path: Path) -> None:
    for name in ("a.wav", "a.json", "b.flac", "c.json", "d.txt", "d.json", "e.mp3", "e.json"):
        (tmp_path / name).write_text("")
    found = program.recordings([tmp_path])
    assert [f.name for f in found] == ["a.wav", "e.mp3"]
    assert program.recordings([tmp_path / "e.mp3", tmp_path / "b.flac"]) == [tmp_path / "e.mp3"]


class ChewingVoice:
    """A voice whose mouth is open in the first half and closed in the second."""

    def animate(
        self, samples: np.ndarray, subject: str | None = None, *, head: bool = True
    ) -> Motion:
        rig = Rig.load()
        jaw = np.repeat([rig.unit_weights({"jawOpen": 0.6}), 0 * rig.unit_weights({})], 15, axis=0)
        topology, template = mesh_of(rig).topology, rig.template("S01")
        return Motion(rig.pose("S01", jaw), FPS, topology, "S01", template)


def test_table_contains_each_folder_and_all(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    soundfile.write(tmp_path / "a.wav", voices.speech(), 16000)
    phones = [phone("AA1", 3, 9), phone("M", 17, 23), phone("AE1", 22, 26)]
    (tmp_path / "a.json").write_text(json.dumps({"phones": phones}))
    monkeypatch.setattr(ct, "load", lambda model, **_: ChewingVoice(), raising=False)
    monkeypatch.setattr(sys, "argv", ["lips.py", str(tmp_path), "--json"])
    program.main()
    shares = json.loads(capsys.readouterr().out)
    assert shares["all"] == shares[tmp_path.name]
    assert shares["all"]["closure"] == [1.0, 1] and shares["all"]["opening"] == [0.5, 2]
    monkeypatch.setattr(sys, "argv", ["lips.py", str(tmp_path)])
    program.main()
    assert "closure 100.0 % of 1" in capsys.readouterr().out
    (tmp_path / "a.json").unlink()
    with pytest.raises(SystemExit, match="no recordings with phones were found"):
        program.main()
