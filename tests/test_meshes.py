"""OBJ and PLY files keep the vertex order, and damaged ones are refused in one line."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from custom_raw import FACES, HEAD, write_obj, write_ply
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.meshes import MeshFile, read_mesh_file, read_vertices

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
PLY_SQUARE = (
    "ply\nformat {kind} 1.0\ncomment of a square\nelement vertex 5\nproperty float x\n"
    "property float y\nproperty float z\nelement face {n}\n"
    "property list uchar int vertex_index\nend_header\n"
)
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9]], "<f4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def obj(folder: Path, text: str | bytes) -> Path:
    path = folder / "mesh.obj"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# Comparison with trimesh ------------------------------------------------------------------------


@st.composite
def meshes(draw: st.DrawFn) -> tuple[np.ndarray, list[list[int]]]:
    """Draw distinct vertices and faces with 3 or 4 corners."""
    n = draw(st.integers(4, 12))
    grid = hnp.arrays(np.int32, (n, 3), elements=st.integers(-(10**6), 10**6), unique=True)
    corners = st.lists(st.integers(0, n - 1), min_size=3, max_size=4, unique=True)
    return draw(grid) / 1000.0, draw(st.lists(corners, min_size=1, max_size=9))


@st.composite
def obj_text(draw: st.DrawFn, vertices: np.ndarray, polygons: list[list[int]]) -> str:
    """Draw an OBJ file of a mesh with a varied layout, index style and line ending."""
    lines = ["# written by a test", "mtllib none.mtl", "o head", "vt 0 0", "vn 0 0 1"]
    style = draw(st.sampled_from(["{}", "{}/1", "{}//1", "{}/1/1"]))
    for x, y, z in vertices:
        lines.append(" ".join(["v", repr(float(x)), f"{y:.3f}", f"{z:e}"]))
        lines += draw(st.sampled_from([[], ["vn 1 0 0"], [""], ["s off"], ["g lips"]]))
    for corners in polygons:
        back = draw(st.booleans())
        shown = [c - len(vertices) if back else c + 1 for c in corners]
        lines.append(" ".join(["f", *(style.format(c) for c in shown)]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines) + draw(st.sampled_from(["", end]))


def triangle_set(vertices: np.ndarray, triangles: np.ndarray) -> set[tuple]:
    """Return each triangle as its corner positions, rotated so that the smallest comes first."""
    found = set()
    for corners in np.round(np.asarray(vertices)[triangles], 6).tolist():
        turns = [tuple(map(tuple, corners[k:] + corners[:k])) for k in range(3)]
        found.add(min(turns))
    return found


@given(meshes(), st.data())
def test_obj_files_are_read_as_trimesh_reads_them(
    tmp_path_factory: pytest.TempPathFactory, mesh: tuple, data: st.DataObject
) -> None:
    vertices, polygons = mesh
    text = data.draw(obj_text(vertices, polygons))
    path = obj(tmp_path_factory.getbasetemp(), text.replace(" ", " \t"))
    read = read_mesh_file(path)
    np.testing.assert_allclose(read.vertices, vertices, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(read_vertices(path), read.vertices)
    path.write_text(text)  # trimesh does not accept tabs
    other = trimesh.load(path, process=False, force="mesh")
    assert triangle_set(read.vertices, read.triangles) == triangle_set(other.vertices, other.faces)


@given(meshes(), st.sampled_from(["ascii", "binary_little_endian"]))
def test_ply_files_written_by_trimesh_are_read(
    tmp_path_factory: pytest.TempPathFactory, mesh: tuple, kind: str
) -> None:
    vertices, polygons = mesh
    path = tmp_path_factory.getbasetemp() / "mesh.ply"
    triangles = np.array([corners[:3] for corners in polygons])
    trimesh.Trimesh(vertices, triangles, process=False).export(
        path, encoding=kind.replace("binary_little_endian", "binary")
    )
    read = read_mesh_file(path)
    np.testing.assert_allclose(read.vertices, vertices, rtol=1e-5)
    np.testing.assert_array_equal(read.triangles, triangles)
    np.testing.assert_array_equal(read_vertices(path), read.vertices)


# Content that is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["obj", "ply", "ascii.ply"])
def test_unused_and_equal_vertices_keep_their_index(folder: Path, suffix: str) -> None:
    vertices = np.concatenate([[[5.0, 5, 5]], HEAD, HEAD[:1], [[7.0, 7, 7]]])
    triangles = FACES[::-1] + 1
    path = folder / f"m.{suffix}"
    if suffix == "obj":
        write_obj(path, vertices, triangles)
    else:
        write_ply(path, vertices, triangles, binary=suffix == "ply")
    read = read_mesh_file(path)
    np.testing.assert_allclose(read.vertices, vertices, rtol=1e-8)
    np.testing.assert_array_equal(read.triangles, triangles)
    assert read.vertices.dtype == np.float64 and read.triangles.dtype == np.int32
    assert read.colors is None


def test_obj_polygons_texture_seams_and_continued_lines_are_read(folder: Path) -> None:
    text = SQUARE + "vt 0 0\nvt 1 1\nf 1/1 2/2 3/1 4/2 # a square\nf 1/2 \\\n3/1 4/1\nl 1 2\np 1\n"
    read = read_mesh_file(obj(folder, text))
    assert len(read.vertices) == 4
    assert read.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]


def test_negative_obj_indices_count_back_from_their_face(folder: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\nv 0 1 0\nv 0 2 0\nf -3 -2 -1\nf 1 -1 2\n"
    assert read_mesh_file(obj(folder, text)).triangles.tolist() == [[0, 1, 2], [2, 3, 4], [0, 4, 1]]


@pytest.mark.parametrize("full", ["1", "255"])
def test_obj_colors_are_read(folder: Path, full: str) -> None:
    text = f"v 0 0 0 {full} 0 0\nv 1 0 0 0 {full} 0\nv 0 1 0 0 0 0\nf 1 2 3\n"
    colors = read_mesh_file(obj(folder, text)).colors
    assert colors is not None and colors.dtype == np.uint8
    assert colors.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 0]]


def test_obj_weights_and_incomplete_colors_are_ignored(folder: Path) -> None:
    read = read_mesh_file(obj(folder, "v 0 0 0 1.0\nv 1 2 3 .1 .2 .3\nv 0 1 0\nf 1 2 3\n"))
    assert read.vertices.tolist() == [[0, 0, 0], [1, 2, 3], [0, 1, 0]] and read.colors is None


@pytest.mark.parametrize("binary", [True, False])
def test_ply_colors_are_read(folder: Path, binary: bool) -> None:
    colors = np.arange(len(HEAD) * 3, dtype=np.uint8).reshape(-1, 3)
    read = read_mesh_file(write_ply(folder / "c.ply", HEAD, colors=colors, binary=binary))
    np.testing.assert_array_equal(read.colors, colors)
    np.testing.assert_array_equal(read.vertices, HEAD)


POLYGONS = [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]
FANS = [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


def mixed_ply(kind: str) -> bytes:
    header = PLY_SQUARE.format(kind=kind, n=len(POLYGONS)).encode()
    if kind == "ascii":
        lines = [" ".join(map(str, row)) for row in CORNERS.tolist()]
        lines += [" ".join(map(str, [len(p), *p])) for p in POLYGONS]
        return header + "\n".join(lines).encode()
    order = "<" if "little" in kind else ">"
    triangles = b"".join(bytes([len(p)]) + np.array(p, order + "i4").tobytes() for p in POLYGONS)
    return header + CORNERS.astype(order + "f4").tobytes() + triangles


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_files_with_polygons_of_several_sizes_are_read(folder: Path, kind: str) -> None:
    (folder / "m.ply").write_bytes(mixed_ply(kind))
    read = read_mesh_file(folder / "m.ply")
    assert read.triangles.tolist() == FANS
    np.testing.assert_array_equal(read.vertices, CORNERS)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
def test_additional_ply_elements_and_properties_are_skipped(folder: Path, kind: str) -> None:
    """Normals, face flags, texture coordinates, edges and other elements are skipped."""
    header = (
        f"ply\nformat {kind} 1.0\nelement camera 1\nproperty float view\n"
        "element vertex 3\nproperty double x\nproperty double y\nproperty double z\n"
        "property float nx\nelement face 2\nproperty uchar flags\n"
        "property list uchar uint vertex_indices\nproperty list uchar float texcoord\n"
        "element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header\n"
    )
    vertices = np.zeros(3, [("v", "<f8", 3), ("n", "<f4")])
    vertices["v"] = CORNERS[:3]
    row = [("f", "u1"), ("n", "u1"), ("v", "<u4", 3), ("t", "u1"), ("uv", "<f4", 6)]
    triangles = np.zeros(2, row)
    triangles["n"], triangles["t"], triangles["uv"] = 3, 6, 0.5
    triangles["v"] = [[0, 1, 2], [2, 1, 0]]
    edge = np.array([0, 1], "<i4")
    if kind == "ascii":
        rows = ["1.5", *(f"{a} {b} {c} 0" for a, b, c in CORNERS[:3])]
        rows += [f"7 3 {a} {b} {c} 6" + " 0.5" * 6 for a, b, c in triangles["v"]]
        body = "\n".join([*rows, "0 1", ""]).encode()
    else:
        body = b"".join([np.float32(1.5).tobytes(), vertices.tobytes(), triangles.tobytes()])
        body += edge.tobytes()
    (folder / "m.ply").write_bytes(header.encode() + body)
    read = read_mesh_file(folder / "m.ply")
    assert read.triangles.tolist() == [[0, 1, 2], [2, 1, 0]]
    np.testing.assert_array_equal(read.vertices, CORNERS[:3])
    np.testing.assert_array_equal(read_vertices(folder / "m.ply"), CORNERS[:3])


def test_meshes_without_faces_are_read(folder: Path) -> None:
    for path in (
        write_obj(folder / "p.obj", HEAD, None),
        write_ply(folder / "p.ply", HEAD, np.zeros((0, 3), int)),
    ):
        read = read_mesh_file(path)
        assert isinstance(read, MeshFile)
        assert read.triangles.shape == (0, 3) and len(read.vertices) == len(HEAD)


# Invalid files ----------------------------------------------------------------------------------

BAD_OBJ = {
    "": "contains no vertices",
    "hello": "contains no vertices",
    "v 1 2\n": "vertex 0 has 2 numbers",
    "v 1 2 x\n": "could not convert string to float: b?'x'",
    "v 0 0 0\nv 1 nan 3\nv 0 0 inf\n": r"vertex 1 is NaN or infinite \(number of such vertices: 2",
    SQUARE + "f 1 2 5\n": r"face 1 refers to vertex 4 \(counted from 0\), but there are only 4",
    SQUARE + "f 1 2 3\nf 1 -5 2\n": r"face 2 refers to vertex -1",
    SQUARE + "f 1 2 3\nf 1 0 2\n": "face 2 refers to vertex 0, but .obj counts from 1",
    SQUARE + "f 1 2\n": "face 1 has 2 corners",
    SQUARE + "f 1 2 a\n": "invalid literal for int",
}


@pytest.mark.parametrize(("text", "reason"), BAD_OBJ.items(), ids=range(len(BAD_OBJ)))
def test_a_damaged_obj_is_refused_in_one_line(folder: Path, text: str, reason: str) -> None:
    with pytest.raises(DataError, match=rf"mesh\.obj: .*{reason}") as caught:
        read_mesh_file(obj(folder, text))
    assert "\n" not in str(caught.value)


def header(**changes: str) -> bytes:
    text = PLY_SQUARE.format(kind="ascii", n=0)
    for old, new in changes.items():
        text = text.replace(old.replace("_", " "), new)
    return text.encode()


BAD_PLY = {
    b"": "does not begin with a PLY header",
    b"solid cube\n": "does not begin with a PLY header",
    header(format_ascii="format zip"): "unknown header line 'format zip 1.0'",
    header(property_float_x="property complex x"): "unknown header line 'property complex x'",
    header(property_float_x="property float y"): "the element vertex in its header is invalid",
    header(property_float_x="property float w"): "its vertices have no x",
    header(element_vertex_5="element vertex many"): "unknown header line 'element vertex many'",
    header(element_vertex_5="element vertex -5"): "the element vertex in its header is invalid",
    header(element_vertex_5="element vertex 999999999999"): "ends within its 999999999999 vertex",
    header(element_vertex="element corner"): "it contains no vertices",
    header() + b"0 0 0 1": "ends within its 5 vertex entries",
    header() + b"0 0 0 1 0 0 1 1 0 0 1 0 2 2 zwei": "could not convert",
}


@pytest.mark.parametrize(("content", "reason"), BAD_PLY.items(), ids=range(len(BAD_PLY)))
def test_a_damaged_ply_is_refused_in_one_line(folder: Path, content: bytes, reason: str) -> None:
    (folder / "m.ply").write_bytes(content)
    for read in (read_mesh_file, read_vertices):
        with pytest.raises(
            DataError, match=rf"m\.ply: not a readable mesh file .*{reason}"
        ) as caught:
            read(folder / "m.ply")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_a_ply_truncated_anywhere_is_an_error(folder: Path, kind: str) -> None:
    content = mixed_ply(kind)
    for n in range(0, len(content) - 1, 7):
        (folder / "m.ply").write_bytes(content[:n])
        with pytest.raises(DataError, match=r"m\.ply: "):
            read_mesh_file(folder / "m.ply")


@given(st.data())
def test_changed_bytes_raise_no_other_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["ascii", "binary_little_endian", "binary_big_endian"]))
    content = bytearray(mixed_ply(kind))
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.ply"
    path.write_bytes(content)
    try:
        read = read_mesh_file(path)
    except CodeTalkerError:
        return
    assert np.isfinite(read.vertices).all()
    if read.triangles.size:
        assert 0 <= read.triangles.min() <= read.triangles.max() < len(read.vertices)


def test_vertices_can_be_read_from_a_ply_truncated_in_its_faces(folder: Path) -> None:
    path = write_ply(folder / "m.ply", HEAD)
    path.write_bytes(path.read_bytes()[:-5])
    assert len(read_vertices(path)) == len(HEAD)
    with pytest.raises(DataError, match="ends within its 48 face entries"):
        read_mesh_file(path)


def test_missing_files_and_other_formats_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"none\.ply: no such mesh file"):
        read_mesh_file(folder / "none.ply")
    (folder / "head.stl").write_text("solid\nendsolid\n")
    with pytest.raises(DataError, match=r"head\.stl: .* give \.obj, \.ply, \.off or \.glb"):
        read_mesh_file(folder / "head.stl")
    write_obj(folder / "HEAD.OBJ", HEAD)
    assert len(read_vertices(folder / "HEAD.OBJ")) == len(HEAD)
