"""A mesh file loads as it was saved, and other vertex counts are refused."""

from pathlib import Path

import numpy as np
import pytest
import tiny

from codetalker_cli.errors import DataError
from codetalker_cli.topology import Mesh


def mesh() -> Mesh:
    rng = np.random.default_rng(0)
    shape = (tiny.N_VERTICES, 3)
    return Mesh(
        topology=tiny.topology(),
        templates={name: rng.standard_normal(shape).astype(np.float32) for name in ("A", "Zoë")},
        colors={"Zoë": rng.integers(0, 256, shape, dtype=np.uint8)},
        idle_units={"eyeBlinkLeft": rng.standard_normal(shape).astype(np.float16)},
        lid_closure={"A": 0.75, "Zoë": 1.0},
    )


def test_a_mesh_loads_as_it_was_saved(tmp_path: Path) -> None:
    saved = mesh()
    saved.save(tmp_path / "mesh.npz")
    loaded = Mesh.load(tmp_path / "mesh.npz")
    for name in ("templates", "colors", "idle_units"):
        ours, theirs = getattr(saved, name), getattr(loaded, name)
        assert list(ours) == list(theirs)
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours), name
    assert loaded.lid_closure == saved.lid_closure
    assert loaded.topology.parts == saved.topology.parts
    assert np.array_equal(loaded.topology.triangles, saved.topology.triangles)


def test_missing_optional_fields_load_as_empty(tmp_path: Path) -> None:
    Mesh(tiny.topology(), mesh().templates).save(tmp_path / "mesh.npz")
    loaded = Mesh.load(tmp_path / "mesh.npz")
    assert (loaded.colors, loaded.idle_units, loaded.lid_closure) == ({}, {}, {})


def test_another_vertex_count_is_refused() -> None:
    mesh().check(tiny.N_VERTICES, "here")
    with pytest.raises(DataError, match=r"here: template of A is \(12, 3\), expected \(13, 3\)"):
        mesh().check(13, "here")
    with pytest.raises(DataError, match=r"here: topology is \(12, 3\), expected \(13, 3\)"):
        Mesh(tiny.topology(), {}).check(13, "here")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mesh.npz"
    with pytest.raises(DataError, match="no such file"):
        Mesh.load(path)
    mesh().save(path)
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["template_names"] = arrays["template_names"][:1]
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            Mesh.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="not a mesh file"):
        Mesh.load(path)
