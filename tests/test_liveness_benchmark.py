"""Energy and jitter against sines whose values are known; what a voice of known motion is given."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import talking

import scripts
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.head import Rig
from codetalker_cli.synthetic.dataset import mesh_of

FPS = 30.0


@pytest.fixture(scope="module")
def liveness() -> ModuleType:
    return scripts.benchmark("liveness")


def swinging(hertz: float, n_frames: int, size: float = 1.0) -> np.ndarray:
    """(n_frames, 2, 3): one of two vertices swings along y."""
    lips = np.zeros((n_frames, 2, 3))
    lips[:, 0, 1] = size * np.sin(2 * np.pi * hertz * np.arange(n_frames) / FPS)
    return lips


@pytest.mark.parametrize("n_frames", [60, 61, 301])
def test_energy_is_the_mean_squared_velocity_of_a_vertex(
    liveness: ModuleType, n_frames: int
) -> None:
    lips = np.random.default_rng(0).standard_normal((n_frames, 4, 3))
    whole, shaky = liveness.energies(lips, FPS)
    velocity = np.diff(lips, axis=0) * FPS
    assert whole == pytest.approx(np.square(velocity).sum(-1).mean())
    assert 0 < shaky < whole


def test_only_what_is_faster_than_8_hertz_is_jitter(liveness: ModuleType) -> None:
    for hertz, share in ((2.0, 0.0), (7.0, 0.0), (9.0, 1.0), (13.0, 1.0)):
        whole, shaky = liveness.energies(swinging(hertz, 301), FPS)
        assert shaky / whole == pytest.approx(share, abs=1e-6)
        bigger, _ = liveness.energies(swinging(hertz, 301, size=3.0), FPS)
        assert bigger == pytest.approx(9 * whole)


def test_sounds_without_speech_are_as_loud_as_they_say(liveness: ModuleType) -> None:
    sounds = liveness.sounds_without_speech(1.0)
    peaks = {name: float(np.abs(samples).max()) for name, samples in sounds.items()}
    assert peaks == pytest.approx({"silence": 0.0002, "room": 0.003, "noise": 0.3, "music": 0.5})
    assert all(len(s) == 16000 and s.dtype == np.float32 for s in sounds.values())


class Parrot:
    """A voice that knows the data, and halves its motion in another style than the speaker's."""

    subjects = styles = talking.SUBJECTS

    def __init__(self, data: PreparedDataSet) -> None:
        self._known = [(c.samples(), c) for c in data.clips("train")]
        self._mesh = data.mesh

    def animate(self, samples: np.ndarray, subject: str, style: str = "", **_: Any) -> Motion:
        clip = next(c for known, c in self._known if np.array_equal(known, samples))
        template = self._mesh.templates[subject]
        share = 1.0 if style == subject else 0.5
        vertices = template + share * (np.array(clip.vertices) - template)
        return Motion(
            vertices.astype(np.float32), talking.FPS, self._mesh.topology, subject, template
        )


def test_a_voice_that_knows_the_data_is_as_lively_as_they(
    liveness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talking.write(tmp_path / "data")
    data = PreparedDataSet(tmp_path / "data")
    monkeypatch.setattr(data, "clips", lambda split: PreparedDataSet.clips(data, "train"))
    found, energy = liveness.against_data(data, Parrot(data), 3)
    assert found["energy"] == pytest.approx(1.0) and found["jitter"] == pytest.approx(1.0)
    assert found["own"] == 1.0 and found["styles"] > 0.1 and energy > 0


class Ajar:
    """A voice whose lips are open in a quarter of the frames, and still."""

    subjects = ("S01", "S05", "S09", "S12")

    def animate(self, samples: np.ndarray, subject: str, **_: Any) -> Motion:
        rig = Rig.load()
        weights = np.repeat([rig.unit_weights({}), rig.unit_weights({"jawOpen": 0.4})], [30, 10], 0)
        topology, template = mesh_of(rig).topology, rig.template(subject)
        return Motion(rig.pose(subject, weights), FPS, topology, subject, template)


def test_open_lips_without_speech_are_counted(liveness: ModuleType) -> None:
    found = liveness.without_speech(Ajar(), "hum", np.zeros(100), 1e-3)
    assert found["hum open"] == 0.25 and 5 < found["hum gap"] < 25 and found["hum energy"] > 0
