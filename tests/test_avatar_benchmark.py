"""Test ``benchmarks/avatars.py``: its characters, and its figures for known motions."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import takes

import scripts
from codetalker_cli.rigs.avatars import Drive
from codetalker_cli.rigs.units import bundled_rig

FPS = 30.0


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return scripts.benchmark("avatars")


def write_motion(path: Path) -> None:
    """Write a motion whose mouth opens and shuts three times, and rounds once."""
    rig = bundled_rig()
    opened = np.abs(np.sin(np.linspace(0, 3 * np.pi, 36)))[:, None]
    rounded = np.linspace(0, 1, 36)[:, None] * opened
    weights = opened * rig.unit_weights({"jawOpen": 0.4})
    weights = weights + rounded * rig.unit_weights({"mouthPucker": 0.6})
    takes.head_take(weights=weights.astype(np.float32), fps=FPS).motion.save(path)


def test_table_contains_consistent_figures(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_motion(tmp_path / "a.npz")
    write_motion(tmp_path / "b.npz")
    arguments = ["avatars.py", str(tmp_path), "--characters", "ARKit", "MMD", "jaw bone"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
    program.main()
    rows = json.loads(capsys.readouterr().out)
    assert list(rows) == ["ARKit", "ARKit, different", "MMD", "MMD, different", "jaw bone"]
    for name, row in rows.items():
        assert row["closed"] == 1 and 0 <= row["false"] < 0.1
        assert 0.95 < row["r_min"] <= row["r"] <= 1
        assert (row["width_r"] is None) == (name == "jaw bone")
    assert rows["ARKit"]["opening"] == pytest.approx(1, abs=0.05)
    assert rows["ARKit"]["r"] > rows["MMD, different"]["r"]
    monkeypatch.setattr(sys, "argv", arguments)
    program.main()
    table = capsys.readouterr().out
    assert len(table.splitlines()) == 2 + len(rows)
    assert "| jaw bone | 100.0 % |" in table and table.rstrip().endswith("| – |")


def test_unknown_character_is_refused(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["avatars.py", "x.npz", "--characters", "Live2D"])
    with pytest.raises(SystemExit, match="unknown characters Live2D; choose from ARKit"):
        program.main()


def test_folder_without_motions_is_refused(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["avatars.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="no motions or recordings were found"):
        program.main()


def test_open_jaw_moves_the_lower_lip_and_not_the_forehead(program: ModuleType) -> None:
    character = program.characters()["jaw bone"]()
    jaw = np.array([0, 0.2], np.float32)
    driven = Drive({}, jaw, None, None, {}, (), (), "")
    shut, opened = character.deform(driven)
    assert np.array_equal(shut, bundled_rig().neutral)
    topology = bundled_rig().topology
    upper, lower = topology.central_lip_pairs()
    drop = (shut - opened)[:, 1]
    assert (drop[lower] > 0.01).all() and (np.abs(drop[upper]) < 0.006).all()
    assert np.abs((shut - opened)[shut[:, 1] > 0.02]).max() < 1e-3


def test_different_shapes_are_scaled_and_smoother(program: ModuleType) -> None:
    character = program.characters()["Oculus"]()
    changed = program.different(character)
    assert list(changed.shapes) == list(character.shapes)
    offsets, other = character.shapes["viseme_aa"], changed.shapes["viseme_aa"]
    assert 0.7 < np.linalg.norm(other) / np.linalg.norm(offsets) < 1.25
    assert not np.allclose(offsets, other, atol=1e-3)
