"""Every mesh format keeps the vertex order, whatever else the file contains."""

import json
import struct
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import trimesh
from command import refuse
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_meshes import triangle_set

import codetalker_cli
from codetalker_cli.datasets import face_lookup
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.meshes import SUFFIXES, read_mesh_file, read_vertices, write_mesh_file

VERTICES = np.array(
    [[9, 9, 9], [0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 2, 0], [1, 1, 0]], np.float64
)
"""Test vertices, of which the first is unreferenced and the last is a duplicate."""
TRIANGLES = np.array([[1, 2, 3], [1, 6, 4], [4, 6, 5]])
COLORS = np.arange(21, dtype=np.uint8).reshape(7, 3)


# Write and read ---------------------------------------------------------------------------------


@st.composite
def mesh_arrays(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    n = draw(st.integers(1, 8))
    number = st.floats(-1e6, 1e6, allow_subnormal=False, width=32).filter(
        lambda x: x == 0 or abs(x) > 1e-30
    )
    vertices = draw(hnp.arrays(np.float64, (n, 3), elements=number))
    if draw(st.booleans()):
        vertices[-1] = vertices[0]
    shape = (draw(st.integers(0, 6)), 3)
    triangles = draw(hnp.arrays(np.int32, shape, elements=st.integers(0, n - 1)))
    colors = draw(st.none() | hnp.arrays(np.uint8, (n, 3)))
    return vertices, triangles, colors


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(mesh=mesh_arrays())
@example(mesh=(np.zeros((2, 3)), np.zeros((0, 3), np.int32), np.ones((2, 3), np.uint8)))
def test_a_written_mesh_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, mesh: tuple
) -> None:
    vertices, triangles, colors = mesh
    path = tmp_path_factory.getbasetemp() / f"written{suffix}"
    write_mesh_file(path, vertices, triangles, colors)
    content = path.read_bytes()
    read = read_mesh_file(path)
    bound = {"rtol": 1e-6, "atol": 1e-12 * np.abs(vertices).max()}
    np.testing.assert_allclose(read.vertices, vertices, **bound)
    np.testing.assert_array_equal(read_vertices(path), read.vertices)
    np.testing.assert_array_equal(read.triangles, triangles)
    assert read.triangles.dtype == np.int32
    assert (read.colors is None) == (colors is None)
    if colors is not None:
        np.testing.assert_array_equal(read.colors, colors)
    write_mesh_file(path, vertices.copy(), triangles.astype(np.int64), colors)
    assert path.read_bytes() == content


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("scale", [1e-9, 1 / 3, 1e9])
def test_precision_does_not_depend_on_the_unit(tmp_path: Path, suffix: str, scale: float) -> None:
    path = tmp_path / f"m{suffix}"
    write_mesh_file(path, VERTICES * scale, TRIANGLES)
    np.testing.assert_allclose(read_vertices(path), VERTICES * scale, rtol=1e-6)


def test_write_mesh_is_part_of_the_package(tmp_path: Path) -> None:
    codetalker_cli.write_mesh(tmp_path / "FACE.GLB", VERTICES, TRIANGLES)
    np.testing.assert_array_equal(read_vertices(tmp_path / "FACE.GLB"), VERTICES)


BAD_ARGUMENTS = {
    "cannot write a mesh as '.stl'; use .obj, .ply, .glb or .off": {"path": "m.stl"},
    "vertices have shape (7, 2)": {"vertices": VERTICES[:, :2]},
    "vertices have shape (0, 3)": {"vertices": VERTICES[:0]},
    "a coordinate is NaN": {"vertices": np.full((7, 3), np.nan)},
    "too large for float32": {"vertices": np.full((7, 3), 1e39)},
    "triangles are int64 of shape (3, 4)": {"triangles": np.zeros((3, 4), int)},
    "triangles are float64": {"triangles": TRIANGLES / 1},
    "refer to vertices 1 to 7, but the 7 vertices are": {"triangles": TRIANGLES + (TRIANGLES > 5)},
    "colors are uint8 of shape (6, 3)": {"colors": COLORS[:6]},
    "colors are float64": {"colors": COLORS / 255},
}


@pytest.mark.parametrize(("message", "change"), BAD_ARGUMENTS.items(), ids=range(10))
def test_invalid_arguments_leave_an_existing_file_unchanged(
    tmp_path: Path, message: str, change: dict[str, Any]
) -> None:
    path = tmp_path / change.get("path", "m.ply")
    path.write_bytes(b"older")
    arguments = {"vertices": VERTICES, "triangles": TRIANGLES, **change, "path": path}
    with pytest.raises(InputError) as caught:
        write_mesh_file(**arguments)
    assert message in str(caught.value)
    assert path.read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1


def test_a_failed_write_leaves_the_existing_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "m.off"
    path.write_bytes(b"older")

    def write_half(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("disk full")

    with (
        mock.patch.object(Path, "write_bytes", write_half),
        pytest.raises(OSError, match="disk full"),
    ):
        write_mesh_file(path, VERTICES, TRIANGLES)
    assert path.read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1


# Files of other programs --------------------------------------------------------------------------

OBJ = "".join(f"v {x} {y} {z}\n" for x, y, z in VERTICES)
OFF = "".join(f"{x} {y} {z}\n" for x, y, z in VERTICES)
PLY = (
    "ply\nformat ascii 1.0\nelement vertex 7\nproperty float x\nproperty float y\n"
    "property float z\n{columns}element face {n}\nproperty list uchar int vertex_indices\n"
    "{lists}end_header\n"
)
UV_COLUMNS = PLY.format(columns="property float s\nproperty float t\n", n=3, lists="")
UV_LISTS = PLY.format(columns="", n=3, lists="property list uchar float texcoord\n")
POLYGONS = PLY.format(columns="", n=3, lists="")
MIXED = [[0, 1, 2], [1, 2, 3, 4], [1, 2, 3, 5, 4]]
FANS = [[0, 1, 2], [1, 2, 3], [1, 3, 4], [1, 2, 3], [1, 3, 5], [1, 5, 4]]

KEPT = {
    "UV seam.obj": OBJ + "vt 0 0\nvt 1 1\nf 2/1 3/2 4/1\nf 2/2 7/1 5/2\nf 5/2 7/2 6/1\n",
    "normals.obj": OBJ + "vn 0 0 1\nvn 0 1 0\nf 2//1 3//1 4//1\nf 2//2 7//2 5//2\nf 5//1 7//1 6//1",
    "materials.obj": "mtllib m.mtl\no a\nusemtl a\n"
    + OBJ
    + "f 2 3 4\no b\ng b\nusemtl b\nf 2 7 5\nusemtl a\nf 5 7 6\n",
    "negative indices.obj": OBJ.replace("v 0.5", "f -4 -3 -2\nv 0.5").replace("f -4", "f 2 3 4\n#")
    + "f -6 -1 -3\nf -3 -1 -2\n",
    "UV columns.ply": UV_COLUMNS
    + OFF.replace("\n", " 0 1\n")
    + "".join(f"3 {a} {b} {c}\n" for a, b, c in TRIANGLES),
    "UV seam.ply": UV_LISTS
    + OFF
    + "".join(f"3 {a} {b} {c} 6 0 0 {k} 0 1 1\n" for k, (a, b, c) in enumerate(TRIANGLES)),
    "comments.off": "OFF # a face\n\n7 3 0\n# vertices\n"
    + OFF
    + "".join(f"3 {a} {b} {c} 255 0 0 # red\n" for a, b, c in TRIANGLES),
    "one line.off": "OFF 7 3 0\n" + OFF + "3 1 2 3\n3 1 6 4\n3 4 6 5\n",
    "normals.off": "NOFF\n7 3 0\n" + OFF.replace("\n", " 0 0 1\n") + "3 1 2 3\n3 1 6 4\n3 4 6 5\n",
}


@pytest.mark.parametrize("name", KEPT)
def test_no_vertex_is_split_dropped_or_reordered(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(KEPT[name])
    read = read_mesh_file(path)
    np.testing.assert_array_equal(read.vertices, VERTICES)
    np.testing.assert_array_equal(read_vertices(path), VERTICES)
    assert read.triangles.tolist() == TRIANGLES.tolist() and read.colors is None


POLYGON_FILES = {
    "m.obj": OBJ + "".join(f"f {' '.join(str(k + 1) for k in p)}\n" for p in MIXED),
    "m.ply": POLYGONS + OFF + "".join(f"{len(p)} {' '.join(map(str, p))}\n" for p in MIXED),
    "m.off": "OFF\n7 3 0\n" + OFF + "".join(f"{len(p)} {' '.join(map(str, p))}\n" for p in MIXED),
}


@pytest.mark.parametrize("name", POLYGON_FILES)
def test_polygons_become_triangle_fans(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(POLYGON_FILES[name])
    read = read_mesh_file(path)
    np.testing.assert_array_equal(read.vertices, VERTICES)
    assert read.triangles.tolist() == FANS


@pytest.mark.parametrize("row", ["255 0 51 255", "1.0 0.0 0.2 1.0", "1 0.0 0.2"])
def test_off_colors_are_read(tmp_path: Path, row: str) -> None:
    path = tmp_path / "c.off"
    path.write_text("COFF\n3 1 0\n" + f"0 0 0 {row}\n1 0 0 {row}\n0 1 0 {row}\n" + "3 0 1 2\n")
    colors = read_mesh_file(path).colors
    assert colors is not None and colors.tolist() == [[255, 0, 51]] * 3


# GLB --------------------------------------------------------------------------------------------

Tree = dict[str, Any]


def glb(tree: object, data: bytes = b"") -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if data:
        data += b"\0" * (-len(data) % 4)
        chunks += struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def face_tree(**changes: Any) -> tuple[Tree, bytes]:
    """Return a face with two primitives (materials), one POSITION accessor and 16-bit colors."""
    colors = np.full((7, 4), 65535, "<u2")
    colors[:, :3] = COLORS.astype(np.uint16) * 257
    blocks = [
        VERTICES.astype("<f4").tobytes(),
        TRIANGLES[:2].astype("<u2").tobytes(),
        TRIANGLES[2:].astype("<u4").tobytes(),
        colors.tobytes(),
    ]
    starts = np.cumsum([0, *map(len, blocks)])
    views = [
        {"buffer": 0, "byteOffset": int(start), "byteLength": len(block)}
        for start, block in zip(starts, blocks, strict=False)
    ]
    kinds = [(5126, 7, "VEC3"), (5123, 6, "SCALAR"), (5125, 3, "SCALAR"), (5123, 7, "VEC4")]
    accessors = [
        {"bufferView": k, "componentType": t, "count": n, "type": kind}
        for k, (t, n, kind) in enumerate(kinds)
    ]
    attributes = {"POSITION": 0, "COLOR_0": 3}
    primitives = [
        {"attributes": attributes, "indices": 1, "material": 0},
        {"attributes": attributes, "indices": 2, "material": 1},
    ]
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "head", "mesh": 0}],
        "meshes": [{"name": "face", "primitives": primitives}],
        "materials": [{"name": "skin"}, {"name": "lips"}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": int(starts[-1])}],
    }
    return tree | changes, b"".join(blocks)


def written(folder: Path, tree: Tree, data: bytes) -> Path:
    (folder / "m.glb").write_bytes(glb(tree, data))
    return folder / "m.glb"


def test_primitives_that_share_vertices_are_one_mesh(tmp_path: Path) -> None:
    path = written(tmp_path, *face_tree())
    read = read_mesh_file(path)
    np.testing.assert_array_equal(read.vertices, VERTICES)
    np.testing.assert_array_equal(read_vertices(path), VERTICES)
    np.testing.assert_array_equal(read.triangles, TRIANGLES)
    np.testing.assert_array_equal(read.colors, COLORS)


def test_node_transforms_are_applied(tmp_path: Path) -> None:
    half = np.sqrt(0.5)
    nodes = [
        {"children": [1], "translation": [0, 0, 5]},
        {"children": [2], "rotation": [0, 0, half, half]},
        {"mesh": 0, "scale": [2, 1, 1], "camera": 0},
    ]
    read = read_mesh_file(written(tmp_path, *face_tree(nodes=nodes)))
    x, y, z = VERTICES.T
    np.testing.assert_allclose(read.vertices, np.stack([-y, 2 * x, z + 5], axis=1), atol=1e-12)
    np.testing.assert_array_equal(read.triangles, TRIANGLES)
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[3, :3] = [1, 2, 3]  # glTF stores matrices by columns, so this is the translation
    read = read_mesh_file(
        written(tmp_path, *face_tree(nodes=[{"mesh": 0, "matrix": mirror.ravel().tolist()}]))
    )
    np.testing.assert_allclose(read.vertices, VERTICES * [-1, 1, 1] + [1, 2, 3])
    np.testing.assert_array_equal(read.triangles, TRIANGLES[:, ::-1])


def test_the_node_transform_of_a_skinned_mesh_is_ignored(tmp_path: Path) -> None:
    nodes = [{"mesh": 0, "skin": 0, "translation": [0, 0, 5]}, {}]
    read = read_mesh_file(written(tmp_path, *face_tree(nodes=nodes, skins=[{"joints": [1]}])))
    np.testing.assert_array_equal(read.vertices, VERTICES)


def test_interleaved_vertices_strips_and_missing_scenes_are_read(tmp_path: Path) -> None:
    rows = np.zeros(7, [("position", "<f4", 3), ("normal", "<f4", 3)])
    rows["position"] = VERTICES
    tree, _ = face_tree()
    del tree["scenes"], tree["scene"]
    tree["bufferViews"] = [
        {"buffer": 0, "byteLength": rows.nbytes, "byteStride": 24},
        {"buffer": 0, "byteOffset": rows.nbytes, "byteLength": 4},
    ]
    tree["accessors"] = [
        {"bufferView": 0, "componentType": 5126, "count": 7, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5121, "count": 4, "type": "SCALAR"},
    ]
    tree["meshes"][0]["primitives"] = [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 5}]
    read = read_mesh_file(written(tmp_path, tree, rows.tobytes() + bytes([1, 2, 4, 3])))
    np.testing.assert_array_equal(read.vertices, VERTICES)
    assert triangle_set(VERTICES, read.triangles) == triangle_set(
        VERTICES, np.array([[1, 2, 4], [4, 2, 3]])
    )


def test_a_textured_glb_written_by_trimesh_keeps_its_vertices(tmp_path: Path) -> None:
    from PIL import Image

    visual = trimesh.visual.TextureVisuals(uv=VERTICES[:, :2], image=Image.new("RGB", (2, 2)))
    mesh = trimesh.Trimesh(VERTICES, TRIANGLES, visual=visual, process=False)
    mesh.export(tmp_path / "m.glb")
    with mock.patch.object(Image, "open", side_effect=AssertionError("an image was decoded")):
        read = read_mesh_file(tmp_path / "m.glb")
    np.testing.assert_array_equal(read.vertices, VERTICES)
    np.testing.assert_array_equal(read.triangles, TRIANGLES)


def second_mesh(tree: Tree) -> None:
    tree["nodes"].append({"mesh": 1})
    tree["meshes"].append({"name": "eyes", "primitives": tree["meshes"][0]["primitives"]})
    tree["scenes"][0]["nodes"] = [0, 1]


def second_vertices(tree: Tree) -> None:
    tree["accessors"].append(tree["accessors"][0])
    tree["meshes"][0]["primitives"][1]["attributes"] = {"POSITION": 4}


def set_in(*keys: Any, value: Any) -> Any:
    def change(tree: Tree) -> None:
        at: Any = tree
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return change


BAD_GLB = {
    "it contains 2 meshes: head, eyes; export one": second_mesh,
    "'face' consists of 2 parts with 2 vertex lists": second_vertices,
    "the file '../secret.bin'": set_in("buffers", 0, "uri", value="../secret.bin"),
    "the file 'http://x/y.png'": set_in("images", value=[{"uri": "http://x/y.png"}]),
    "the file 'a;base64,AAAA'": set_in("buffers", 0, "uri", value="a;base64,AAAA"),
    "its scene contains no mesh": set_in("nodes", value=[{}]),
    "its node 0 occurs twice": set_in("nodes", 0, "children", value=[0]),
    "its meshes have no entry 7": set_in("nodes", 0, "mesh", value=7),
    "its accessors have no entry -1": set_in(
        "meshes", 0, "primitives", value=[{"attributes": {"POSITION": -1}}]
    ),
    "is compressed or sparse": set_in("accessors", 0, "sparse", value={}),
    "compressed or sparse": set_in("bufferViews", 0, "extensions", value={"EXT_meshopt": {}}),
    "without quantization": set_in("accessors", 0, "componentType", value=5122),
    "invalid size or offset": set_in("accessors", 0, "count", value=-7),
    "its accessor 1 has an invalid size": set_in("bufferViews", 1, "byteStride", value=0.5),
    "m.glb: not a readable mesh file (it has": set_in("accessors", 0, "count", value=10**9),
    "its JSON is invalid: AssertionError": set_in("bufferViews", 0, "byteLength", value=10**12),
    "its JSON is invalid: KeyError('primitives')": set_in("meshes", 0, value={}),
    "primitive mode 6": set_in("meshes", 0, "primitives", 0, "mode", value=6),
    "face 1 refers to vertex 1000": set_in("accessors", 1, "byteOffset", value=0),
}


@pytest.mark.parametrize(("message", "change"), BAD_GLB.items(), ids=range(len(BAD_GLB)))
def test_an_unsupported_glb_is_refused_without_opening_files(
    tmp_path: Path, message: str, change: Any
) -> None:
    tree, data = face_tree()
    tree = json.loads(json.dumps(tree))
    if "refers to vertex" in message:
        data = data.replace(TRIANGLES[:2].astype("<u2").tobytes()[:2], b"\xe8\x03", 1)
        start = tree["bufferViews"][1]["byteOffset"]
        data = data[:start] + b"\xe8\x03" + data[start + 2 :]
    change(tree)
    with (
        mock.patch("builtins.open", side_effect=AssertionError("another file was opened")),
        pytest.raises(DataError) as caught,
    ):
        read_mesh_file_of_bytes(tmp_path / "m.glb", glb(tree, data))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def read_mesh_file_of_bytes(path: Path, content: bytes) -> None:
    """Read a mesh without ``open``, so that a test can forbid ``open`` for other files."""
    with (
        mock.patch.object(Path, "is_file", return_value=True),
        mock.patch.object(Path, "read_bytes", return_value=content),
    ):
        read_mesh_file(path)


def test_a_base64_buffer_in_the_json_is_read(tmp_path: Path) -> None:
    import base64

    tree, data = face_tree()
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    tree["buffers"][0]["uri"] = uri
    np.testing.assert_array_equal(read_vertices(written(tmp_path, tree, b"")), VERTICES)


# Damaged files ----------------------------------------------------------------------------------

GOOD = glb(*face_tree())
DAMAGED = {
    "empty.obj": (b"", "contains no vertices"),
    "empty.ply": (b"", "does not begin with a PLY header"),
    "empty.glb": (b"", "does not begin with a GLB header"),
    "empty.off": (b"", "does not begin with OFF"),
    "garbage.obj": (bytes(range(256)), "contains no vertices"),
    "garbage.ply": (bytes(range(256)), "does not begin with a PLY header"),
    "garbage.glb": (bytes(range(256)), "does not begin with a GLB header"),
    "garbage.off": (bytes(range(256)), "does not begin with OFF"),
    "claims.glb": (
        GOOD[:8] + b"\xff" * 4 + GOOD[12:],
        f"declares 4294967295 bytes but has only {len(GOOD)}",
    ),
    "chunk.glb": (GOOD[:12] + b"\xff" * 4 + GOOD[16:], "it declares 4294967315 bytes"),
    "cut.glb": (GOOD[:-9], "it is cut short"),
    "old.glb": (GOOD[:4] + b"\x01" + GOOD[5:], "glTF version 1"),
    "deep.glb": (glb("[" * 100_000).replace(b'"', b"["), "nested too deeply"),
    "list.glb": (glb([]), "not an object"),
    "nan.off": (b"OFF\n1 0 0\nnan 0 0\n", "vertex 0 is NaN or infinite"),
    "far.off": (b"OFF\n1 1 0\n0 0 0\n3 0 0 9\n", "face index outside the range"),
    "cut.off": (b"OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "ends within its 2 face entries"),
    "row.off": (
        b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1\n",
        "face 1 lists only 2 of its 3 corners",
    ),
    "two.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n2 0 1\n", "face 1 has 2 corners"),
    "huge.off": (b"OFF\n99999999999 2 0\n0 0 0\n", "ends within its 99999999999 vertex entries"),
    "word.off": (b"OFF\n1 0 0\n0 zero 0\n", "could not convert string to float"),
    "binary.off": (b"OFF BINARY\n\0\0\0\7", "not followed by the vertex and face counts"),
    "latin.off": (b"OFF\n1 0 0\n0 0 0\xe9\n", "not ASCII text"),
    "none.off": (b"OFF\n0 0 0\n", "contains no vertices"),
    "m.gltf": (b"{}", ".gltf stores its vertices in another file; export it as .glb"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_mesh_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content, message = DAMAGED[name]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    np.save("a.npy", np.zeros((2, 7, 3), np.float32))
    line = refuse("render", "a.npy", "--mesh", name, "--fps", 25, "-o", "v.png")
    assert name in line and message in line
    with pytest.raises(CodeTalkerError) as caught:
        face_lookup.of_mesh_file(Path(name))
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("suffix", [".glb", ".off"])
def test_a_truncated_file_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    write_mesh_file(path, VERTICES, TRIANGLES, COLORS)
    content = path.read_bytes().rstrip() if suffix == ".off" else path.read_bytes()
    for n in range(0, len(content) - 1, 5):
        path.write_bytes(content[:n])
        with pytest.raises(DataError, match=rf"m\{suffix}: "):
            read_mesh_file(path)


@pytest.mark.parametrize("suffix", [".glb", ".off"])
@given(data=st.data())
def test_changed_bytes_raise_no_other_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"changed{suffix}"
    write_mesh_file(path, VERTICES, TRIANGLES, COLORS)
    content = bytearray(path.read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read = read_mesh_file(path)
    except CodeTalkerError:
        return
    assert np.isfinite(read.vertices).all()
    if read.triangles.size:
        assert 0 <= read.triangles.min() <= read.triangles.max() < len(read.vertices)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_face_is_read_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"face{suffix}"
    write_mesh_file(path, VERTICES, TRIANGLES, COLORS)
    mesh = face_lookup.of_mesh_file(path).mesh
    np.testing.assert_array_equal(mesh.topology.triangles, TRIANGLES)
    np.testing.assert_array_equal(mesh.templates["face"], VERTICES)
    np.testing.assert_array_equal(mesh.colors["face"], COLORS)


@pytest.mark.parametrize("name", [b"ve\x7f\xffx", b"\x00\x00", b"\x1b[2J"])
def test_an_error_shows_names_from_the_file_without_control_characters(
    tmp_path: Path, name: bytes
) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(b"ply\nformat ascii 1.0\nelement " + name + b" -1\nend_header\n")
    with pytest.raises(DataError) as caught:
        read_mesh_file(path)
    assert str(caught.value).isprintable()
