"""``benchmarks/studio.py`` at its smallest size."""

import json
from pathlib import Path

import pytest
import soundfile
import voices

import scripts


def test_times_and_memory_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    monkeypatch.chdir(tmp_path)
    model = voices.save(tmp_path / "voice", "A", family="whisper", motion_history=False)
    soundfile.write("speech.wav", voices.speech(1.0), 16_000)
    program = scripts.benchmark("studio")
    arguments = ["speech.wav", "--model", str(model), "--takes", "2", "--minutes", "0.1"]
    program.main([*arguments, "--export", "npz", "--json"])
    result = json.loads(capsys.readouterr().out)
    for name, seconds in (("recording", 1.0), ("long", 6.0)):
        row = result[name]
        assert row["seconds"] == pytest.approx(seconds, abs=0.1)
        assert 0 < row["first_frames"] <= row["all_frames"] and row["mb"] > 0
    assert list(result["peak_gb"]) == ["recording", "takes", "long", "export"]
    assert all(0.1 < peak < 5 for peak in result["peak_gb"].values())
    assert result["export_seconds"] > 0
