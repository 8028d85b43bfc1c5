"""Test ``benchmarks/rig_curves.py``: its foreign topology, and its figures for known motions."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import takes

import scripts
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings.export import EXCLUSIVE

FPS = 30.0


@pytest.fixture(scope="module")
def program() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(scripts.BENCHMARKS)
        return scripts.benchmark("rig_curves")


def spoken_motion(folder: Path) -> Path:
    """Write a motion of 12 frames of silence, 12 of M and 12 of AA, and its phones."""
    rig = bundled_rig()
    weights = takes.smooth_weights(36, rig.n_units) * 0.5
    for _, other in EXCLUSIVE:
        weights[:, rig.unit_names.index(other)] = 0
    weights[:24] = 0
    weights[24:] += rig.unit_weights({"jawOpen": 0.4})
    weights[:12, rig.unit_names.index("eyeBlinkLeft")] = np.linspace(0, 1, 12)
    motion: Motion = takes.head_take(weights=weights.astype(np.float32), fps=FPS).motion
    labels = ("SIL", "M", "AA")
    phones = [
        {"phone": p, "start": 12 * k / FPS, "end": 12 * (k + 1) / FPS} for k, p in enumerate(labels)
    ]
    motion.save(folder / "a.npz")
    (folder / "a.json").write_text(json.dumps({"phones": phones}))
    return folder / "a.npz"


def test_figures_of_a_motion_with_known_weights(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["rig_curves.py", str(spoken_motion(tmp_path))]
    monkeypatch.setattr(sys, "argv", [*arguments, "--json", "--set", "l2=0"])
    program.main()
    rows = json.loads(capsys.readouterr().out)
    assert rows.pop("original")["closure"] == 1.0
    assert len(rows) == 6
    for row in rows.values():
        mean, percentile, largest = row["lips_mm"]
        assert 0 <= mean <= percentile + program.BIN_MM and percentile <= largest
        assert row["closure"] == 1.0 and row["n_closure"] == 1 and row["false"] == 0.0
        assert row["template"] < 1e-3 and row["silence"] < 1e-3 and row["jitter"] < 1e-3
        assert 0 < row["speech"] < 1 < row["size"] and row["frames_per_second"] > 0
    errors = {name: row["lips_mm"][0] for name, row in rows.items()}
    assert errors["head, 58 units"] < 0.005 and errors["foreign, own units"] < 0.005
    assert errors["head, ARKit's 52"] > 0.02 and errors["foreign, ARKit's"] > 0.02
    assert errors["foreign, units smoothed"] > 0.02
    monkeypatch.setattr(sys, "argv", [*arguments, "--faces", "head, ARKit's 52"])
    program.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[3].startswith("| head, ARKit's 52 | 0.")
    assert len({line.count("|") for line in lines}) == 1
    (tmp_path / "a.npz").rename(tmp_path / "other.wav")
    monkeypatch.setattr(sys, "argv", ["rig_curves.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="no motions or recordings with phones were found"):
        program.main()


def edges_of(triangles: np.ndarray) -> np.ndarray:
    """Return the (E, 2) edges of triangles."""
    return np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)


def test_conversion_to_the_foreign_topology_and_back_is_exact(program: ModuleType) -> None:
    motion = takes.head_take(4).motion
    faces = program.faces(motion.topology)
    assert len(faces) == 6
    for face in faces.values():
        back = face.head_vertices(motion, np.asarray(face.convert(motion).vertices))
        np.testing.assert_allclose(back, motion.vertices, atol=1e-6)


def test_foreign_topology_has_the_shape_of_the_skin(program: ModuleType) -> None:
    head = bundled_rig()
    foreign = program.Subdivided(head.topology)
    template = foreign.refine(head.template("S01"))
    n_skin = head.topology.parts["skin"][1]
    np.testing.assert_allclose(
        template[foreign.skin_of_head], head.template("S01")[:n_skin] * 1000, rtol=1e-6
    )

    def area(vertices: np.ndarray, triangles: np.ndarray) -> float:
        a, b, c = (vertices[triangles[:, k]].astype(float) for k in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    skin = head.topology.triangles[(head.topology.triangles < n_skin).all(1)]
    assert len(foreign.topology.triangles) == 4 * len(skin)
    coarse, fine = (len(edges_of(triangles)) for triangles in (skin, foreign.topology.triangles))
    assert fine == 2 * coarse + 3 * len(skin)
    expected = area(head.template("S01") * 1000, skin)
    assert area(template, foreign.topology.triangles) == pytest.approx(expected, rel=1e-5)
    units = foreign.units("S01")
    assert set(ARKIT_UNITS) - set(units.names) <= {
        name for name in ARKIT_UNITS if name.startswith(("eyeLook", "tongue"))
    }
    ratio = np.abs(foreign.scaled("S01").deltas).max((1, 2)) / np.abs(units.deltas).max((1, 2))
    assert program.SCALES[0] <= ratio.min() < 1 < ratio.max() <= program.SCALES[1]
    smoothed = np.linalg.norm(foreign.smoothed("S01").deltas - units.deltas, axis=-1).max(1)
    assert 0.1 < smoothed.max() < 20


def test_percentile_of_distances_is_that_of_numpy(program: ModuleType) -> None:
    distances = np.random.default_rng(0).exponential(1.0, 5000)
    table = program.Distances()
    for part in np.array_split(distances, 7):
        table.add(part)
    expected = [distances.mean(), np.percentile(distances, 95), distances.max()]
    assert table.summary() == pytest.approx(expected, abs=0.01)
