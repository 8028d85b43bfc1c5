"""Alembic files contain the triangles once, and the vertices of every frame at its time."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_exports import export
from takes import head_take, small_take

from codetalker_cli.errors import MissingDependencyError
from codetalker_cli.export.take import Take

alembic3d = pytest.importorskip("alembic3d")


def read_mesh(path: Path) -> alembic3d.AbcGeom.IPolyMesh:
    top = alembic3d.Abc.IArchive(str(path)).getTop()
    assert top.getNumChildren() == 1
    transform = alembic3d.AbcGeom.IXform(top, top.getChild(0).getName())
    assert transform.getNumChildren() == 1
    return alembic3d.AbcGeom.IPolyMesh(transform, transform.getChild(0).getName())


def frames_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the times in seconds and the (T, V, 3) vertices."""
    schema = read_mesh(path).getSchema()
    positions = schema.getPositionsProperty()
    sampling = positions.getTimeSampling()
    n_frames = positions.getNumSamples()
    times = np.array([sampling.getSampleTime(k) for k in range(n_frames)])
    frames = [np.array(memoryview(positions.getValue(k))) for k in range(n_frames)]
    return times, np.stack(frames)


@pytest.mark.parametrize(("n_frames", "fps"), [(1, 30.0), (7, 23.976), (7, 25.0), (7, 60.0)])
def test_abc_contains_all_frames_at_their_times(n_frames: int, fps: float, tmp_path: Path) -> None:
    take = small_take(n_frames, fps)
    times, vertices = frames_of(export(take, tmp_path / "Ä b.abc"))
    np.testing.assert_allclose(times, np.arange(n_frames) / fps, rtol=1e-12)
    np.testing.assert_array_equal(vertices, np.concatenate(list(take.blocks())))


def test_abc_contains_triangles_colors_and_texture_coordinates(tmp_path: Path) -> None:
    take = head_take(2)
    schema = read_mesh(export(take, tmp_path / "head.abc")).getSchema()
    assert (
        schema.getTopologyVariance() == alembic3d.AbcGeom.MeshTopologyVariance.kHomogenousTopology
    )
    corners = np.array(memoryview(schema.getValue(0).getFaceIndices())).reshape(-1, 3)
    np.testing.assert_array_equal(corners[:, ::-1], take.triangles)
    values = schema.getUVsParam().getIndexedValue()
    uv = np.array(memoryview(values.getVals()))
    indices = np.array(list(values.getIndices())).reshape(-1, 3)
    topology = take.motion.topology
    np.testing.assert_array_equal(uv[indices[:, ::-1]], topology.uv[topology.uv_triangles])
    colors = alembic3d.AbcGeom.IC3fGeomParam(schema.getArbGeomParams(), "Cf")
    shown = np.array([list(color) for color in colors.getExpandedValue().getVals()])
    np.testing.assert_allclose(shown * 255, take.colors, atol=1e-4)


@pytest.mark.parametrize("subject", ["Jörg Müller", "a/b", ""])
def test_object_has_the_name_of_the_subject(subject: str, tmp_path: Path) -> None:
    take = Take(replace(small_take().motion, subject=subject))
    mesh = read_mesh(export(take, tmp_path / "x.abc"))
    expected = subject.replace("/", "_") or "face"
    assert mesh.getFullName() == f"/{expected}/{expected}_mesh"


def test_equal_takes_give_equal_bytes(tmp_path: Path) -> None:
    files = [export(small_take(), tmp_path / f"{k}.abc").read_bytes() for k in range(2)]
    assert files[0] == files[1]


def test_full_disk_is_reported_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.abc"
    needed = export(head_take(9), path).stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed - 1))
    with pytest.raises(OSError, match="No space left on device"):
        export(head_take(9), path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed * 2))
    export(head_take(9), path)


def test_missing_package_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic3d", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'alembic3d>="):
        export(small_take(), tmp_path / "x.abc")
