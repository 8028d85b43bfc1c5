"""Test ``benchmarks/liveness.py``: its sounds and its measures of a voice with known motion."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import talking

import codetalker_cli as ct
import scripts
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.motion import Motion
from codetalker_cli.synthetic.dataset import mesh_of

JAW = np.stack([talking.rig().unit_weights({"jawOpen": weight}) for weight in (0.0, 0.4)])


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return scripts.benchmark("liveness")


def test_non_speech_sounds_have_the_documented_peaks(program: ModuleType) -> None:
    sounds = program.sounds_without_speech(1.0)
    peaks = {name: float(np.abs(samples).max()) for name, samples in sounds.items()}
    assert peaks == pytest.approx({"silence": 0.0002, "room": 0.003, "noise": 0.3, "music": 0.5})
    assert all(len(s) == 16000 and s.dtype == np.float32 for s in sounds.values())


class RestrainedVoice:
    """A voice that moves half as far as the data, with an offset of 2 mm in any other style.

    For audio that is not in the data, it opens the mouth in a quarter of the frames.
    """

    subjects = styles = talking.SUBJECTS

    def __init__(self, data: PreparedDataSet) -> None:
        self.data = data

    def animate(self, samples: np.ndarray, subject: str, style: str = "", **_: Any) -> Motion:
        known = [c for c in self.data.clips("test") if np.array_equal(c.samples(), samples)]
        if known:
            mesh = self.data.mesh
            template = mesh.templates[subject]
            offset = np.float32([0.0 if style == subject else 0.002, 0.0, 0.0])
            vertices = template + 0.5 * (np.array(known[0].vertices) - template) + offset
        else:
            mesh = mesh_of(talking.rig())
            template = mesh.templates[subject]
            vertices = talking.rig().pose(subject, np.repeat(JAW, [30, 10], axis=0))
        return Motion(vertices.astype(np.float32), talking.FPS, mesh.topology, subject, template)


def test_measures_of_a_voice_with_known_motion(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    writer = PreparedWriter(tmp_path / "data", overwrite=False)
    for k, name in enumerate(talking.CLIPS):
        vertices, samples = talking.spoken(name)
        split: Any = "train" if k == 0 else "test"
        writer.add(NewClip(name, name.split("_")[0], split, vertices, samples))
    facts = DataSetFacts("talking", talking.FPS, talking.SUBJECTS)
    writer.finish(facts, talking.mesh(), {})
    voice = RestrainedVoice(PreparedDataSet(tmp_path / "data"))
    monkeypatch.setattr(ct, "load", lambda model: voice, raising=False)
    arguments = ["liveness.py", str(tmp_path / "data"), "--clips", "3"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
    program.main()
    found = json.loads(capsys.readouterr().out)
    assert found["energy"] == pytest.approx(0.25, rel=1e-3)
    assert found["jitter"] == pytest.approx(0.25, rel=1e-3)
    assert found["styles"] == pytest.approx(2.0, rel=1e-3)
    sounds = ("silence", "room", "noise", "music")
    assert [found[f"{name} open"] for name in sounds] == [0.25] * 4
    open_mouths = [talking.rig().pose(subject, JAW[1:]) for subject in talking.SUBJECTS]
    widest = 1000 * max(talking.rig().topology.inner_lip_gap(v).max() for v in open_mouths)
    assert [found[f"{name} gap"] for name in sounds] == pytest.approx([widest] * 4)
    assert all(found[f"{name} energy"] > 0 for name in sounds)
    monkeypatch.setattr(sys, "argv", arguments)
    program.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(maxsplit=1)[0] for line in lines] == list(found)
    assert lines[0].split() == ["energy", "0.250"]
