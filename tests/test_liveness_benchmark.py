"""Energy and jitter against sines whose values are known; sounds in which nobody speaks."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "liveness.py"
FPS = 30.0


@pytest.fixture(scope="module")
def liveness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("liveness", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
