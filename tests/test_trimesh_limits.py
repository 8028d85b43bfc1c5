"""Show what trimesh changes in mesh files, which is why we parse .obj and .ply ourselves.

A failing test here means that trimesh has been fixed. Its message names the code that may no longer
be needed.
"""

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import trimesh

CORNERS = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 9 9 9\n"
UV = "vt 0 0\nvt 1 0\nvt 1 1\nvt .5 .5\n"
PLY = (
    "ply\nformat {kind} 1.0\nelement vertex 5\nproperty float x\nproperty float y\n"
    "property float z\n{columns}element face {n}\nproperty list uchar int vertex_indices\n"
    "{lists}end_header\n"
)
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9]], "<f4")


def load(content: str | bytes, kind: str) -> Any:
    """Load a file with the trimesh options that change the least."""
    content = content.encode() if isinstance(content, str) else content
    return trimesh.load(BytesIO(content), file_type=kind, process=False, maintain_order=True)


def fixed(code: str) -> str:
    return (
        f"trimesh {trimesh.__version__} reads this correctly; check whether {code} can be removed"
    )


def ply(faces: list[list[int]], kind: str = "ascii", columns: str = "", lists: str = "") -> bytes:
    header = PLY.format(kind=kind, n=len(faces), columns=columns, lists=lists).encode()
    if kind != "ascii":
        rows = [struct.pack(f"<B{len(face)}i", len(face), *face) for face in faces]
        return header + POINTS.tobytes() + b"".join(rows)
    texture = " 0 1" if columns else ""
    text = [f"{x} {y} {z}{texture}" for x, y, z in POINTS.tolist()]
    for k, face in enumerate(faces):
        corners = " ".join(map(str, [len(face), *face]))
        text.append(f"{corners} 6 0 0 1 {k} 1 1" if lists else corners)
    return header + "\n".join(text).encode()


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_trimesh_drops_unreferenced_vertices_of_an_obj_with_uv_or_normal_indices(
    slashes: str,
) -> None:
    text = UV if slashes == "/" else "vn 0 0 1\nvn 0 1 0\nvn 1 0 0\nvn 0 1 1\n"
    text = CORNERS + text + "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n".replace("/", slashes)
    assert len(load(text, "obj").vertices) == 4, fixed("formats/obj.py")


def test_trimesh_splits_an_obj_by_material() -> None:
    read = load(CORNERS + "usemtl a\nf 1 2 3\nusemtl b\nf 1 3 4\n", "obj")
    assert isinstance(read, trimesh.Scene) and len(read.geometry) == 2, fixed("formats/obj.py")


def test_trimesh_counts_negative_indices_from_the_end_of_the_file() -> None:
    read = load("v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\nv 0 1 0\n", "obj")
    assert read.faces.tolist() == [[1, 2, 3]], fixed("formats/obj.py")


def test_trimesh_accepts_the_index_zero() -> None:
    assert load(CORNERS + "f 0 1 2\n", "obj").faces.tolist() == [[0, 0, 1]], fixed("formats/obj.py")


def test_trimesh_skips_a_face_with_two_corners() -> None:
    assert load(CORNERS + "f 1 2 3\nf 1 2\n", "obj").faces.tolist() == [[0, 1, 2]], fixed(
        "formats/obj.py"
    )


def test_trimesh_skips_lines_with_tabs() -> None:
    read = load("v\t0 0 0\nv\t1 0 0\nv\t0 1 0\nf\t1 2 3\n", "obj")
    assert not isinstance(read, trimesh.Trimesh), fixed("formats/obj.py")


def test_trimesh_starts_the_second_triangle_of_a_quad_at_its_third_corner() -> None:
    read = load(CORNERS + "f 1 2 3 4\n", "obj")
    assert read.faces.tolist() == [[0, 1, 2], [2, 3, 0]], fixed("formats/obj.py")


def test_trimesh_reorders_the_polygons_of_a_ply() -> None:
    read = load(ply([[0, 1, 2, 3], [0, 1, 4]]), "ply")
    assert read.faces.tolist()[0] == [0, 1, 4], fixed("formats/ply.py")


def test_trimesh_refuses_a_binary_ply_with_triangles_and_quads() -> None:
    with pytest.raises(ValueError, match="unexpected length"):
        load(ply([[0, 1, 2], [0, 1, 2, 3]], "binary_little_endian"), "ply")
        pytest.fail(fixed("formats/ply.py"))


def test_trimesh_drops_unreferenced_vertices_of_a_ply_with_texture_columns() -> None:
    read = load(ply([[0, 1, 2]], columns="property float s\nproperty float t\n"), "ply")
    assert len(read.vertices) == 3, fixed("formats/ply.py")


def test_trimesh_splits_vertices_of_a_ply_with_texture_coordinates_of_faces() -> None:
    lists = "property list uchar float texcoord\n"
    read = load(ply([[0, 1, 2], [0, 1, 2], [0, 3, 4]], lists=lists), "ply")
    assert len(read.vertices) > 5, fixed("formats/ply.py")


def test_trimesh_accepts_a_truncated_ascii_ply() -> None:
    content = ply([[0, 1, 2], [0, 2, 3], [0, 3, 4]])
    read = load(content[: content.rindex(b"\n")], "ply")
    assert len(read.faces) == 2, fixed("formats/ply.py")


OFF = "OFF\n5 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n9 9 9\n3 0 1 2\n3 0 2 3\n"


def test_trimesh_accepts_a_truncated_off() -> None:
    assert len(load(OFF.removesuffix("3 0 2 3\n"), "off").faces) == 1, fixed("off._rows")
    assert len(load(OFF.replace("3 0 2 3", "3 0 2"), "off").faces) == 1, fixed("off._check")


def test_trimesh_fails_on_an_off_with_a_triangle_and_a_pentagon() -> None:
    with pytest.raises(TypeError):
        load(OFF.replace("3 0 2 3", "5 0 1 2 3 4"), "off")
        pytest.fail(fixed("off._triangles"))


def test_trimesh_reorders_the_polygons_of_an_off() -> None:
    read = load(OFF.replace("3 0 1 2", "4 0 1 2 3"), "off")
    assert read.faces.tolist()[0] == [0, 2, 3], fixed("off._triangles")


def test_trimesh_neither_reads_nor_writes_colors_of_an_off() -> None:
    text = "COFF\n3 1 0\n" + "1 0 0 255 0 0 255\n" * 3 + "3 0 1 2\n"
    assert load(text, "off").visual.kind != "vertex", fixed("off._colors")
    colors = np.full((5, 3), 7, np.uint8)
    mesh = trimesh.Trimesh(POINTS, [[0, 1, 2]], vertex_colors=colors, process=False)
    assert mesh.export(file_type="off").startswith("OFF\n"), fixed("off.with_colors")


def test_trimesh_skips_meshes_without_triangles_in_a_glb() -> None:
    mesh = trimesh.Trimesh(POINTS, np.zeros((0, 3), int), process=False)
    content = mesh.export(file_type="glb")
    assert not load(content, "glb").geometry, fixed("the PointCloud in meshes._encode")
