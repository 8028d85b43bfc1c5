"""Read units from .glb files, folders of meshes and .npz files, and fit them to a motion."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from morph_files import NAMES, OFFSETS, TRIANGLES, VERTICES, GlbFile, motion_of

from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.export.take import Take
from codetalker_cli.formats.glb_morphs import parse
from codetalker_cli.formats.meshes import write_mesh_file
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.unit_files import read_units
from codetalker_cli.rigs.unit_names import arkit_name, canonical_names
from codetalker_cli.rigs.units import UnitSet

MM = VERTICES * 1000


def saved(folder: Path, file: GlbFile) -> Path:
    path = folder / "Gesicht mit Käse.glb"
    path.write_bytes(file.content())
    return path


def assert_units(units: UnitSet, offsets: np.ndarray = OFFSETS, atol: float = 1e-7) -> None:
    assert units.names == NAMES
    assert units.deltas.dtype == np.float32
    np.testing.assert_allclose(units.deltas, offsets, atol=atol)


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "unit"),
    {
        "jawOpen": "jawOpen",
        "JawOpen": "jawOpen",
        "jaw_open": "jawOpen",
        "JAW OPEN": "jawOpen",
        "eyeBlink_L": "eyeBlinkLeft",
        "EyeBlink.R": "eyeBlinkRight",
        "eyeblink_right": "eyeBlinkRight",
        "eyeBlinkR": "eyeBlinkRight",
        "L_eyeBlink": "eyeBlinkLeft",
        "right eye blink": "eyeBlinkRight",
        "mouth_L": "mouthLeft",
        "mouthFunnel": "mouthFunnel",
        "mouthRollLower": "mouthRollLower",
        "browInnerUp_L": None,
        "cheekPuff_R": None,
        "viseme_aa": None,
        "jawOpen2": None,
        "mouth Löwer": None,
        "": None,
    }.items(),
)
def test_arkit_units_are_recognized(name: str, unit: str | None) -> None:
    assert arkit_name(name) == unit


SPELLINGS: dict[str, Callable[[str], str]] = {
    "lower case": str.lower,
    "Pascal case": lambda name: name[0].upper() + name[1:],
    "letters": lambda name: re.sub("Left$", "_L", re.sub("Right$", "_R", name)),
    "dots": lambda name: re.sub("Left$", ".l", re.sub("Right$", ".r", name)),
    "prefix": lambda name: f"blendShape.{name}",
    "long prefix": lambda name: f"Kopf_Mesh|Head_bs:{name}_",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_arkit_unit_is_recognized_in_each_spelling(spelling: str) -> None:
    spelled = [SPELLINGS[spelling](name) for name in ARKIT_UNITS]
    assert canonical_names([*spelled, "smirk"], "m") == [*ARKIT_UNITS, "smirk"]


def test_a_prefix_that_few_names_have_is_kept() -> None:
    names = ["jawOpen", "mouthClose", "fix_jawOpen", "fix_smirk"]
    assert canonical_names(names, "m") == names
    assert canonical_names(["fix_jawOpen"], "m") == ["jawOpen"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["smirk", "smirk"], r"^m: unit 'smirk' is listed twice; rename or remove one"),
        (
            ["eyeBlink_L", "EyeBlinkLeft"],
            "'eyeBlink_L' and 'EyeBlinkLeft' are both eyeBlinkLeft; rename or remove one",
        ),
        (["jawOpen", " "], "a unit has an empty name"),
    ],
)
def test_ambiguous_names_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        canonical_names(names, "m")


# GLB ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "scale", "shift"),
    [("m", 1.0, 0.0), ("mm", 1000.0, 0.0), ("mm", 1000.0, 70.0), ("area1", 3.7, 0.5)],
)
def test_morph_targets_are_returned_in_meters(
    unit: str, scale: float, shift: float, tmp_path: Path
) -> None:
    file = GlbFile()
    file.add()
    units = read_units(saved(tmp_path, file), motion_of(VERTICES * scale + shift, unit=unit))
    assert_units(units, OFFSETS * (scale if unit == "area1" else 1), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), unit=st.sampled_from(["m", "mm"]))
def test_split_and_shuffled_vertices_are_matched(
    seed: int, unit: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each triangle has its own vertices. Those of both boxes coincide but move apart."""
    order = np.random.default_rng(seed).permutation(TRIANGLES.size)
    source = TRIANGLES.ravel()[order]
    file = GlbFile()
    file.add(VERTICES[source], np.argsort(order), OFFSETS[:, source])
    path = saved(tmp_path_factory.mktemp("glb"), file)
    assert_units(read_units(path, motion_of(VERTICES * (1000 if unit == "mm" else 1), unit=unit)))


def test_triangles_that_are_inside_out_make_no_difference(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(16)
    file = GlbFile()
    file.add(VERTICES[order], np.argsort(order)[TRIANGLES][:, ::-1], OFFSETS[:, order])
    assert_units(read_units(saved(tmp_path, file), motion_of()))


def test_meshes_are_merged_and_those_without_targets_stay_still(tmp_path: Path) -> None:
    file = GlbFile()
    still = VERTICES + np.array([0, 0.2, 0])
    file.add(still, offsets=OFFSETS[:0], names=(), name="hair")
    file.add(VERTICES[:8], TRIANGLES[:12], OFFSETS[:, :8], ("Head_a", "Head_b", "Head_c"))
    file.add(VERTICES[8:], TRIANGLES[:12], OFFSETS[:2, 8:], ("Head_a", "Head_b"))
    for mesh, prefix in zip(file.tree["meshes"][1:], ("Head_", "Teeth."), strict=True):
        names = [prefix + "jaw_open", prefix + "MouthSmile_L", NAMES[2]]
        mesh["extras"]["targetNames"] = names[: len(mesh["extras"]["targetNames"])]
    both = motion_of(
        np.concatenate([VERTICES, still]) * 1000,
        np.concatenate([TRIANGLES, TRIANGLES + 16]),
        "mm",
    )
    offsets = np.concatenate([OFFSETS, 0 * OFFSETS], axis=1)
    assert_units(read_units(saved(tmp_path, file), both), offsets)


def test_a_mesh_of_a_larger_scene_is_found(tmp_path: Path) -> None:
    """The motion is only the lower box, in another place and of unknown scale."""
    file = GlbFile()
    file.add(VERTICES[:8], TRIANGLES[:12], OFFSETS[:2, :8], NAMES[:2])
    file.add(VERTICES[8:] * [1, 2, 1], TRIANGLES[:12], OFFSETS[:2, 8:], NAMES[:2])
    motion = motion_of(VERTICES[8:][::-1] * [2, 4, 2] - 0.7, 7 - TRIANGLES[:12], "area1")
    units = read_units(saved(tmp_path, file), motion)
    np.testing.assert_allclose(units.deltas, 2 * OFFSETS[:2, 8:][:, ::-1], atol=1e-6)


def moved(file: GlbFile) -> np.ndarray:
    half = np.sqrt(0.5)
    file.add()
    file.tree["nodes"][0] = {
        "children": [1],
        "translation": [1, 2, 3],
        "rotation": [0, 0, half, half],
    }
    file.tree["nodes"].append({"mesh": 0, "scale": [2, 2, 2]})
    return np.array([[0, -2, 0], [2, 0, 0], [0, 0, 2.0]])


def mirrored(file: GlbFile) -> np.ndarray:
    linear = np.diag([-1.0, 1, 1])
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[3, :3] = 0.1, 0.2, 0.3  # stored by columns
    file.add(matrix=matrix.ravel().tolist())
    return linear


def skinned(file: GlbFile) -> np.ndarray:
    file.add(skin=0, translation=[5, 5, 5], scale=[7, 8, 9])
    return np.eye(3)


@pytest.mark.parametrize("place", [moved, mirrored, skinned])
def test_node_transforms_apply_to_positions_and_offsets(
    place: Callable[[GlbFile], np.ndarray], tmp_path: Path
) -> None:
    file = GlbFile()
    linear = place(file)
    (mesh,) = parse(file.content())
    shift = mesh.vertices[0] - linear @ VERTICES[0]
    np.testing.assert_allclose(mesh.vertices, VERTICES @ linear.T + shift, atol=1e-6)
    triangles = TRIANGLES[:, ::-1] if np.linalg.det(linear) < 0 else TRIANGLES
    np.testing.assert_array_equal(mesh.triangles, triangles)
    units = read_units(saved(tmp_path, file), motion_of(VERTICES @ linear.T))
    assert_units(units, OFFSETS @ linear.T.astype(np.float32), atol=1e-6)


def test_sparse_targets_and_targets_without_positions_are_read(tmp_path: Path) -> None:
    file = GlbFile()
    mesh = file.add()
    targets: list[Any] = [{"POSITION": file.sparse(delta)} for delta in OFFSETS]
    mesh["primitives"][0]["targets"] = [*targets, {"NORMAL": targets[0]["POSITION"]}]
    mesh["extras"]["targetNames"].append("only normals")
    assert_units(read_units(saved(tmp_path, file), motion_of()))


def test_quantized_positions_are_read(tmp_path: Path) -> None:
    file = GlbFile()
    largest = float(np.abs(VERTICES).max())
    mesh = file.mesh(
        {"POSITION": file.accessor(VERTICES / largest * 32767, "<i2", normalized=True)},
        file.accessor(TRIANGLES.ravel(), "u1"),
        [{"POSITION": file.accessor(d / largest * 127, "i1", normalized=True)} for d in OFFSETS],
        scale=[largest] * 3,
    )
    mesh["extras"] = {"targetNames": list(NAMES)}
    units = read_units(saved(tmp_path, file), motion_of())
    assert_units(units, atol=largest / 127)
    assert np.abs(units.deltas[0, 8:, 1] + 0.02).max() < largest / 127


@pytest.mark.parametrize("owner", ["primitive", "accessors"])
def test_names_of_targets_can_be_in_other_places(owner: str, tmp_path: Path) -> None:
    file = GlbFile()
    mesh = file.add(names=())
    (primitive,) = mesh["primitives"]
    if owner == "primitive":
        primitive["extras"] = {"targetNames": list(NAMES)}
    else:
        for target, name in zip(primitive["targets"], NAMES, strict=True):
            file.tree["accessors"][target["POSITION"]]["name"] = name
    assert_units(read_units(saved(tmp_path, file), motion_of()))


@pytest.mark.parametrize(
    ("mode", "corners", "triangles"),
    [
        (5, [0, 1, 2, 3], [[0, 1, 2], [1, 3, 2]]),
        (6, [0, 1, 2, 3], [[0, 1, 2], [0, 2, 3]]),
        (1, [0, 1, 2, 3], []),
    ],
)
def test_strips_fans_and_lines_are_read(
    mode: int, corners: list[int], triangles: list[list[int]]
) -> None:
    file = GlbFile()
    mesh = file.add(triangles=np.array(corners))
    mesh["primitives"][0]["mode"] = mode
    assert parse(file.content())[0].triangles.tolist() == triangles


def test_primitives_that_share_vertices_are_one_mesh() -> None:
    file = GlbFile()
    mesh = file.add()
    mesh["primitives"].append(mesh["primitives"][0] | {"material": 1})
    (read,) = parse(file.content())
    assert read.vertices.shape == (16, 3) and len(read.triangles) == 2 * len(TRIANGLES)


def test_buffers_can_be_inside_the_json(tmp_path: Path) -> None:
    import base64

    file = GlbFile()
    file.add()
    uri = "data:application/octet-stream;base64," + base64.b64encode(file.data).decode()
    file.tree["buffers"] = [{"byteLength": len(file.data), "uri": uri}]
    file.data = b""
    assert_units(read_units(saved(tmp_path, file), motion_of()))


def rename(*path: Any, value: Any) -> Callable[[GlbFile], None]:
    """Return a function that sets a value in the JSON."""

    def change(file: GlbFile) -> None:
        entry: Any = file.tree
        for key in path[:-1]:
            entry = entry[key]
        entry[path[-1]] = value

    return change


PRIMITIVE = ("meshes", 0, "primitives", 0)
BAD_GLB: dict[str, tuple[Callable[[GlbFile], Any], str]] = {
    "no targets": (
        rename(*PRIMITIVE, "targets", value=[]),
        "none of its 1 mesh has morph targets; export it with shape keys",
    ),
    "no names": (rename("meshes", 0, "extras", value={}), "have no names; export it with the"),
    "few names": (
        rename("meshes", 0, "extras", "targetNames", value=["a"]),
        "has 3 morph targets, but 1 names",
    ),
    "equal names": (
        rename("meshes", 0, "extras", "targetNames", value=["a", "b", "a"]),
        "mesh 'node 0': unit 'a' is listed twice",
    ),
    "other file": (
        rename("buffers", value=[{"byteLength": 8, "uri": "teil.bin"}]),
        "refers to the file 'teil.bin'; export a .glb that includes its data",
    ),
    "compressed": (
        rename(*PRIMITIVE, "extensions", value={"KHR_draco_mesh_compression": {"bufferView": 0}}),
        "its mesh is compressed; export it without compression",
    ),
    "compressed view": (
        rename("bufferViews", 0, "extensions", value={"EXT_meshopt_compression": {}}),
        "its mesh is compressed; export it without compression",
    ),
    "short view": (
        rename("bufferViews", 3, "byteLength", value=100),
        "its accessor 3 needs 192 bytes, but its buffer view has 100",
    ),
    "far view": (
        rename("bufferViews", 3, "byteOffset", value=10**9),
        "its accessor 3 needs 192 bytes, but its buffer view has 0",
    ),
    "other count": (
        rename("accessors", 3, "count", value=15),
        "morph target 1 of its mesh 'node 0' has 15 vertices, expected 16",
    ),
    "negative count": (rename("accessors", 3, "count", value=-1), "accessor 3 has an invalid size"),
    "huge count": (
        rename("accessors", 0, "count", value=10**9),
        "333333333 triangles",
    ),
    "bad index": (
        rename("accessors", 0, "count", value=8),
        "a triangle refers to vertex 15|has 16 vertices, expected 8",
    ),
    "no such accessor": (
        rename(*PRIMITIVE, "targets", value=[{"POSITION": 99}] * 3),
        "its accessors have no entry 99",
    ),
    "wrong type": (
        rename("accessors", 3, "type", value="VEC4"),
        r"its accessor 3 is 'VEC4' of component type 5126, expected VEC3",
    ),
    "no scene": (rename("scenes", value=[{"nodes": []}]), "its scene contains no mesh"),
    "odd JSON": (rename("nodes", value=7), "its JSON is invalid"),
    "other face": (lambda file: None, "no counterpart within"),
}


@pytest.mark.parametrize("fault", BAD_GLB)
def test_a_bad_glb_is_refused_with_one_line(fault: str, tmp_path: Path) -> None:
    file = GlbFile()
    file.add()
    damage, message = BAD_GLB[fault]
    damage(file)
    motion = motion_of()
    if fault == "other face":
        motion = motion_of(VERTICES[:8] * [1, 3, 1], TRIANGLES[:12])
    with pytest.raises(DataError, match=message) as caught:
        read_units(saved(tmp_path, file), motion)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(str(tmp_path))


def test_every_truncation_of_a_glb_is_refused(tmp_path: Path) -> None:
    file = GlbFile()
    file.add()
    content = file.content()
    for size in (0, 11, 30, len(content) // 2, len(content) - 1):
        path = tmp_path / "cut.glb"
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"cut short|does not begin with a GLB header"):
            read_units(path, motion_of())


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_byte_never_causes_another_error(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = GlbFile()
    file.add()
    content = bytearray(file.content())
    content[place % len(content)] = value
    path = tmp_path_factory.mktemp("damaged") / "d.glb"
    path.write_bytes(content)
    try:
        read_units(path, motion_of())
    except CodeTalkerError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("vertices", "message"),
    [
        (VERTICES[:, [0, 2, 1]] * [1, -1, 1], "is rotated by 90° relative to the template"),
        (VERTICES * 7, "the mean distance of its vertices from the center is"),
    ],
)
def test_a_neutral_face_that_does_not_fit_is_described(
    vertices: np.ndarray, message: str, tmp_path: Path
) -> None:
    """The second motion is also stretched, so that it is not the same shape in another size."""
    file = GlbFile()
    file.add()
    stretched = vertices * ([1, 1.01, 1] if "mean" in message else [1, 1, 1])
    with pytest.raises(DataError, match=message):
        read_units(saved(tmp_path, file), motion_of(stretched))


def test_the_neutral_face_of_another_person_fits_in_the_same_order(tmp_path: Path) -> None:
    file = GlbFile()
    file.add()
    other = VERTICES * [1.1, 0.95, 1] + np.random.default_rng(0).normal(0, 1e-3, (16, 3))
    assert_units(read_units(saved(tmp_path, file), motion_of(other * 1000, unit="mm")))


def test_another_person_in_another_order_is_refused(tmp_path: Path) -> None:
    """Neighbors are exchanged, so that each vertex is still close to where it should be."""
    side = np.linspace(0, 1, 20)
    grid = np.stack([*map(np.ravel, np.meshgrid(side, side)), np.zeros(400)], axis=1)
    corner = (np.arange(19)[:, None] * 20 + np.arange(19)).ravel()
    triangles = np.stack([corner, corner + 1, corner + 20], axis=1)
    other = grid + np.random.default_rng(0).normal(0, 5e-3, grid.shape)
    offsets = 0.1 * np.sin(9 * grid)
    row, column = np.divmod(np.arange(400), 20)
    rows = (row + np.random.default_rng(0).integers(-2, 3, 400)).clip(0, 19)
    exchanged = 20 * rows + column
    for order, message in (
        (np.arange(400), None),
        (exchanged, "does not fit that of the motion: it has another shape"),
    ):
        np.savez(tmp_path / "u.npz", a=offsets[order], neutral=other[order])
        if message is None:
            deltas = read_units(tmp_path / "u.npz", motion_of(grid, triangles)).deltas[0]
            np.testing.assert_allclose(deltas, offsets, atol=1e-6)
        else:
            with pytest.raises(DataError, match=message):
                read_units(tmp_path / "u.npz", motion_of(grid, triangles))


# Folders ------------------------------------------------------------------------------------------


def folder_of(folder: Path, scale: float = 1000.0, neutral: str = "", suffix: str = ".obj") -> Path:
    """Write a mesh for each unit, and one for the neutral face if it has a name."""
    for name, delta in zip(NAMES, OFFSETS, strict=True):
        write_mesh_file(folder / f"{name}{suffix}", (VERTICES + delta) * scale, TRIANGLES)
    if neutral:
        write_mesh_file(folder / f"{neutral}{suffix}", VERTICES * scale, TRIANGLES)
    (folder / "notes.txt").write_text("not a mesh")
    (folder / "._jawOpen.obj").write_text("not a mesh either")
    return folder


def in_order_of_files(units: UnitSet) -> UnitSet:
    order = [units.names.index(name) for name in NAMES]
    return UnitSet(NAMES, units.deltas[order])


@pytest.mark.parametrize("neutral", ["", "neutral", "Base", "TEMPLATE", "rest"])
@pytest.mark.parametrize(("unit", "scale"), [("mm", 1000.0), ("mm", 1.0), ("m", 1.0), ("m", 100.0)])
def test_a_folder_of_meshes_is_read(neutral: str, unit: str, scale: float, tmp_path: Path) -> None:
    suffix = ".ply" if scale == 1.0 else ".obj"
    motion = motion_of(VERTICES * (1000 if unit == "mm" else 1), unit=unit)
    units = read_units(folder_of(tmp_path, scale, neutral, suffix), motion)
    assert_units(in_order_of_files(units), atol=1e-6)


def test_a_folder_with_a_neutral_face_in_another_order_is_matched(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(16)
    motion = motion_of(MM[order], np.argsort(order)[TRIANGLES], "mm")
    units = read_units(folder_of(tmp_path, 1.0, "neutral"), motion)
    assert_units(in_order_of_files(units), OFFSETS[:, order], atol=1e-6)


def test_faults_of_folders_are_described(tmp_path: Path) -> None:
    motion = motion_of()
    cases: list[tuple[str, Callable[[Path], Any], str]] = [
        ("empty", lambda f: None, "the folder contains no .obj or .ply files; add one mesh a unit"),
        (
            "alone",
            lambda f: write_mesh_file(f / "rest.obj", VERTICES, TRIANGLES),
            "the folder contains only rest.obj",
        ),
        (
            "twice",
            lambda f: (
                write_mesh_file(folder_of(f) / "rest.obj", MM, TRIANGLES),
                write_mesh_file(f / "base.ply", MM, TRIANGLES),
            ),
            "base.ply and rest.obj are both the neutral face",
        ),
        (
            "same name",
            lambda f: write_mesh_file(folder_of(f) / "JawOpen.ply", MM, TRIANGLES),
            "'JawOpen' and 'jawOpen' are both jawOpen",
        ),
        (
            "count",
            lambda f: write_mesh_file(folder_of(f) / "jawOpen.obj", MM[:-1], TRIANGLES[:1]),
            "jawOpen.obj: the mesh has 15 vertices, expected 16 as in the motion",
        ),
        (
            "neutral count",
            lambda f: write_mesh_file(folder_of(f, 1, "rest") / "rest.obj", MM[:9], TRIANGLES[:1]),
            "obj: the mesh has 16 vertices, expected 9 as in rest.obj",
        ),
        ("mesh", lambda f: (f / "a.obj").write_text("v 1 x 3"), "not a readable mesh file"),
        (
            "place",
            lambda f: folder_of(f) and write_mesh_file(f / "a.obj", MM + 1e4, TRIANGLES),
            "vertex|largest offset",
        ),
        ("size", lambda f: folder_of(f, 17.0), "the units do not fit the neutral face of the"),
    ]
    for name, make, message in cases:
        folder = tmp_path / name
        folder.mkdir()
        make(folder)
        with pytest.raises(DataError, match=message):
            read_units(folder, motion)


# NPZ ----------------------------------------------------------------------------------------------

ARRAYS = dict(zip(NAMES, OFFSETS, strict=True))


@pytest.mark.parametrize(
    ("unit", "arrays"),
    [
        ("m", {"names": np.array(NAMES), "deltas": OFFSETS}),
        ("m", ARRAYS),
        ("mm", {k: v * 1000 for k, v in ARRAYS.items()}),
        ("mm", ARRAYS | {"unit": np.array("m")}),
        ("mm", {k: v * 100 for k, v in ARRAYS.items()} | {"unit": np.array("cm")}),
        ("mm", ARRAYS | {"neutral": VERTICES}),
        ("mm", ARRAYS | {"neutral": VERTICES + 9, "unit": np.array("m")}),
        ("area1", {k: v * 1000 for k, v in ARRAYS.items()} | {"neutral": MM}),
    ],
)
def test_npz_files_of_offsets_are_read(unit: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "u.npz", **arrays)
    motion = motion_of(VERTICES * (1000 if unit == "mm" else 1), unit=unit)
    assert_units(read_units(tmp_path / "u.npz", motion))


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, r"it contains no units; save 'names' \(U,\) and 'deltas' \(U, V, 3\)"),
    "shape": ({"jawOpen": OFFSETS[0, :, :2]}, r"'jawOpen' is \(16, 2\) of float32, expected numb"),
    "names": (
        {"names": np.array(NAMES[:2]), "deltas": OFFSETS},
        r"'deltas' is \(3, 16, 3\) of float32, expected numbers of shape \(2, V, 3\)",
    ),
    "count": (
        {"names": np.array(NAMES), "deltas": OFFSETS[:, :9]},
        "the units have 9 vertices, expected 16 as in the motion",
    ),
    "one count": ({"jawOpen": OFFSETS[0, :9]}, "unit 'jawOpen' has 9 vertices, expected 16"),
    "nan": ({"smirk": np.full((16, 3), np.nan)}, "unit 'smirk' contains NaN or infinite values"),
    "still": ({"a": 0 * OFFSETS[0], "b": 0 * OFFSETS[0]}, "none of the 2 units moves the face"),
    "positions": (
        {k: v + VERTICES for k, v in ARRAYS.items()},
        "contains positions, expected offsets from the neutral face; subtract",
    ),
    "millimeters": (
        {k: v * 1000 for k, v in ARRAYS.items()},
        r"the largest offset of the units is 20 m, expected 0.0001 to 0.1 for a face of 0.1",
    ),
    "unit": (ARRAYS | {"unit": np.array("inch")}, "'unit' is 'inch', expected m, cm, mm"),
    "contradiction": (
        ARRAYS | {"unit": np.array("mm"), "neutral": VERTICES},
        "'unit' is mm, but the size of 'neutral' contradicts it",
    ),
    "neutral": (ARRAYS | {"neutral": VERTICES[:5]}, "'neutral' has 5 vertices, expected 16"),
    "text": ({"a": np.full((16, 3), "x")}, "expected numbers"),
}


@pytest.mark.parametrize("fault", BAD_ARRAYS)
def test_a_bad_npz_is_refused_with_one_line(fault: str, tmp_path: Path) -> None:
    arrays, message = BAD_ARRAYS[fault]
    np.savez(tmp_path / "u.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        read_units(tmp_path / "u.npz", motion_of())
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


# All formats --------------------------------------------------------------------------------------


def test_units_that_move_nothing_are_dropped_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "u.npz", **ARRAYS, **{"viseme_sil": 0 * OFFSETS[0]})
    with caplog.at_level(logging.INFO):
        assert_units(read_units(tmp_path / "u.npz", motion_of()))
    assert "1 unit does not move the face and is dropped: viseme_sil" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "none.glb": "no such file",
        "none.npz": "no such file or folder of units",
        "none": "no such file or folder of units",
        "face.fbx": r"units are a .glb with morph targets, .* not '.fbx'",
    }.items(),
)
def test_paths_that_are_not_units_are_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "face.fbx").write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        read_units(tmp_path / name, motion_of())


@pytest.mark.parametrize("fps", [23.976, 60.0])
def test_curves_of_custom_units_are_solved(fps: float, tmp_path: Path) -> None:
    file = GlbFile()
    file.add()
    rest = motion_of(MM, unit="mm")
    one_hot = np.eye(3, dtype=np.float32)
    vertices = (MM + np.einsum("tu,uvc->tvc", one_hot, OFFSETS * 1000)).astype(np.float32)
    motion: Motion = replace(rest, vertices=vertices, fps=fps)
    take = Take(motion, given_units=read_units(saved(tmp_path, file), motion))
    np.testing.assert_allclose(take.curves.weights, one_hot, atol=2e-3)
    assert take.arkit_curves.weights[:, ARKIT_UNITS.index("jawOpen")] == pytest.approx(
        [1, 0, 0], abs=0.1
    )
