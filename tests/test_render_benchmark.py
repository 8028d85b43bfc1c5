"""The benchmark of drawing, at tiny size."""

import json
import sys

import pytest

import scripts


def test_every_row_has_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = scripts.benchmark("render")
    topology, template, _ = module.dense()
    assert len(template) == 23370 == topology.n_vertices
    # closed: every edge has two faces, the other way round
    edges = topology.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()
    assert {(b, a) for a, b in edges} == {(a, b) for a, b in edges}
    flags = "--frames 2 --size 32 --renderers software --meshes head --repeats 1 --memory-frames 1"
    monkeypatch.setattr(sys, "argv", ["render.py", *flags.split(), "--json"])
    module.main()
    result = json.loads(capsys.readouterr().out)
    (row,) = result["speed"]
    assert row["vertices"] == 5370 and row["frames_per_second"] > 0 and row["ratio"] == 1
    assert [r["frames"] for r in result["memory"]] == [1, 10]
    assert all(20 < r["main_mb"] < 500 for r in result["memory"])
