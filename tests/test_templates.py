"""Templates of the forms (V, 3) and (3V,) are read, and others are refused with the reason."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from codetalker_cli.errors import DataError
from codetalker_cli.formats.frames import open_array
from codetalker_cli.formats.templates import as_vertices, read_templates
from codetalker_cli.topology import Mesh, Topology

V = 5
VERTICES = np.arange(3 * V, dtype=np.float64).reshape(V, 3)


@pytest.mark.parametrize("content", [VERTICES, VERTICES.ravel(), VERTICES.tolist()])
def test_both_forms_give_the_same_template(tmp_path: Path, content: object) -> None:
    path = tmp_path / "templates.pkl"
    path.write_bytes(pickle.dumps({"A": content}))
    np.testing.assert_array_equal(read_templates(path)["A"], VERTICES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (VERTICES.T, r"has shape \(3, 5\), expected \(V, 3\) or flat .*; transpose it"),
        (VERTICES[None], r"has shape \(1, 5, 3\), expected"),
        (VERTICES.ravel()[:-1], r"has shape \(14,\), expected"),
        (np.zeros((0, 3)), r"has shape \(0, 3\), expected"),
        (np.zeros((V, 3), bool), "contains bool, expected numbers"),
        ([[1.0, 2.0], [3.0]], "not an array of vertices"),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_vertices(content, "x.npy")
    path = tmp_path / "templates.pkl"
    path.write_bytes(pickle.dumps({"A": content}))
    with pytest.raises(DataError, match=rf"templates\.pkl: the template of A: {words}"):
        read_templates(path)


def test_transposed_vertices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((4, 3, V), np.float32))
    with pytest.raises(DataError, match=r"shape \(4, 3, 5\), .*; transpose its last two axes"):
        open_array(path)


def test_a_mesh_with_transposed_templates_is_refused(tmp_path: Path) -> None:
    topology = Topology("t", np.array([[0, 1, 2]], np.int32), V)
    Mesh(topology, {"A": VERTICES.T}).save(tmp_path / "mesh.npz")
    with pytest.raises(DataError, match=r"template of A is \(3, 5\), expected \(5, 3\)"):
        Mesh.load(tmp_path / "mesh.npz")
