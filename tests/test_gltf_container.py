"""glTF files are read and written without decoding or loading their content."""

import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from characters import PNG, CharacterFile, arkit, large, meshopt, parts_of

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats.gltf_container import (
    Container,
    encode,
    read_container,
    write_container,
)


def written(container: Container) -> bytes:
    output = BytesIO()
    write_container(output, encode(container.tree), container, BytesIO(b"four"), 4)
    return output.getvalue()


def test_a_glb_file_is_copied_and_extended(tmp_path: Path) -> None:
    path = arkit().save(tmp_path / "a.glb")
    container = read_container(path)
    copy = tmp_path / "copy.glb"
    copy.write_bytes(written(container))
    tree, binary = parts_of(path)
    assert parts_of(copy) == (tree, binary + b"four")
    assert struct.unpack_from("<4sII", copy.read_bytes())[2] == copy.stat().st_size
    assert container.changes == ()


def test_unknown_chunks_pass_through(tmp_path: Path) -> None:
    content = arkit().content()
    chunks = struct.pack("<I4s", 4, b"XYZ\0") + b"abcd" + struct.pack("<I4s", 0, b"EMTY")
    path = tmp_path / "a.glb"
    path.write_bytes(
        struct.pack("<4sII", b"glTF", 2, len(content + chunks)) + content[12:] + chunks
    )
    result = written(read_container(path))
    assert result.endswith(b"four" + chunks)
    assert struct.unpack_from("<4sII", result)[2] == len(result)


def test_buffers_of_other_files_become_the_binary_chunk(tmp_path: Path) -> None:
    expected = parts_of(arkit().save(tmp_path / "a.glb"))
    container = read_container(arkit().save_gltf(tmp_path / "files"))
    path = tmp_path / "b.glb"
    path.write_bytes(written(container))
    tree, binary = parts_of(path)
    n_views = len(expected[0]["bufferViews"])
    assert n_views > 3
    for view, old in zip(tree["bufferViews"], expected[0]["bufferViews"], strict=False):
        assert view["buffer"] == 0
        start, end = old["byteOffset"], old["byteOffset"] + old["byteLength"]
        content = binary[view["byteOffset"] :][: view["byteLength"]]
        assert content == expected[1][start:end]
    (picture,) = tree["bufferViews"][n_views:]
    assert binary[picture["byteOffset"] :][: picture["byteLength"]] == PNG
    (image,) = tree["images"]
    assert image == {"name": "skin", "bufferView": n_views, "mimeType": "image/png"}
    assert tree["buffers"] == [{"byteLength": len(binary) - 4}]
    assert len(container.changes) == 2
    others = ("accessors", "meshes", "nodes", "skins", "scenes")
    assert {k: tree[k] for k in others} == {k: expected[0][k] for k in others}


def test_pictures_next_to_a_glb_are_embedded(tmp_path: Path) -> None:
    file = arkit()
    web = {"uri": "https://example.com/skin.png"}
    inside = {"uri": "data:image/png;base64,AAAA"}
    file.tree["images"] = [web, {"uri": "a%20b.PNG", "mimeType": "image/png"}, inside]
    (tmp_path / "a b.PNG").write_bytes(PNG)
    path = file.save(tmp_path / "a.glb")
    before, binary = parts_of(path)
    container = read_container(path)
    assert container.changes == ("1 image is embedded from other files",)
    (tmp_path / "b.glb").write_bytes(written(container))
    after, longer = parts_of(tmp_path / "b.glb")
    assert longer.startswith(binary + PNG)
    view = {"buffer": 0, "byteOffset": len(binary), "byteLength": len(PNG)}
    assert after["bufferViews"] == [*before["bufferViews"], view]
    n_views = len(before["bufferViews"])
    assert after["images"] == [web, {"mimeType": "image/png", "bufferView": n_views}, inside]


def test_data_uris_become_the_binary_chunk(tmp_path: Path) -> None:
    file = CharacterFile()
    file.face(("jawOpen",))
    file.tree["buffers"] = [{"byteLength": 3, "uri": "data:;base64,AAEC", "name": "numbers"}]
    file.tree["bufferViews"] = [{"buffer": 0, "byteLength": 2, "byteOffset": 1}]
    path = tmp_path / "a.gltf"
    path.write_text(json.dumps(file.tree), "utf-8")
    container = read_container(path)
    assert container.tree["buffers"] == [{"byteLength": 4, "name": "numbers"}]
    assert container.tree["bufferViews"] == file.tree["bufferViews"]
    result = tmp_path / "a.glb"
    result.write_bytes(written(container))
    assert parts_of(result)[1] == b"\0\1\2\0four"


def test_a_buffer_of_compressed_views_stays_behind_the_binary_chunk(tmp_path: Path) -> None:
    file = meshopt()
    expected = json.loads(json.dumps(file.tree))
    (tmp_path / "packed.bin").write_bytes(file.data)
    file.tree["buffers"].reverse()
    for view in file.tree["bufferViews"]:
        view["buffer"] = 0
        view["extensions"]["EXT_meshopt_compression"]["buffer"] = 1
    file.tree["buffers"][1]["uri"] = "packed.bin"
    path = tmp_path / "a.gltf"
    path.write_text(json.dumps(file.tree), "utf-8")
    container = read_container(path)
    assert container.tree == expected
    assert container.size == 200


def test_a_file_of_500_mb_is_not_loaded(tmp_path: Path) -> None:
    path = large(tmp_path / "a.glb")
    tracemalloc.start()
    try:
        container = read_container(path)
        with (tmp_path / "b.glb").open("wb") as output:
            write_container(output, encode(container.tree), container, BytesIO(b"four"), 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "b.glb").stat().st_size > 500_000_000
    os.unlink(tmp_path / "b.glb")
    assert peak < 20_000_000


Damage = Callable[[CharacterFile, Path], Path]


def damaged_glb(change: Callable[[bytes], bytes]) -> Damage:
    def make(file: CharacterFile, folder: Path) -> Path:
        path = file.save(folder / "a.glb")
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def with_buffer(uri: str) -> Damage:
    def make(file: CharacterFile, folder: Path) -> Path:
        path = file.save_gltf(folder / "files")
        tree = json.loads(path.read_text("utf-8"))
        tree["buffers"][1]["uri"] = uri
        path.write_text(json.dumps(tree), "utf-8")
        shutil.copy(folder / "files/face 2.bin", folder / "outside.bin")
        (folder / "files/link.bin").symlink_to(folder / "outside.bin")
        (folder / "files/inside.bin").symlink_to("face 2.bin")
        (folder / "files/short.bin").write_bytes(b"short")
        (folder / "files/folder.bin").mkdir()
        return path

    return make


def with_image(file: CharacterFile, folder: Path) -> Path:
    path = file.save_gltf(folder / "files")
    (folder / "files/skin.png").write_bytes(b"not a picture")
    return path


OUTSIDE = "only files in the folder of the character are read"
FAULTS: dict[str, tuple[Damage, str]] = {
    "truncated": (damaged_glb(lambda content: content[:-50]), "it is cut short: it declares"),
    "truncated in the JSON": (damaged_glb(lambda content: content[:300]), "it is cut short"),
    "truncated in the header": (damaged_glb(lambda content: content[:14]), "it is cut short"),
    "no GLB": (damaged_glb(lambda content: b"FBX" + content), "does not begin with a GLB header"),
    "version 1": (
        damaged_glb(lambda content: content[:4] + b"\1" + content[5:]),
        "glTF version 1 is not supported",
    ),
    "no binary chunk": (
        damaged_glb(lambda c: c[:8] + _without_binary(c)),
        "its buffer 0 has no data: the binary chunk is missing",
    ),
    "missing file": (with_buffer("gone.bin"), "refers to the file 'gone.bin', which cannot be"),
    "folder": (with_buffer("folder.bin"), "'folder.bin', which cannot be read (it is a folder)"),
    "short file": (with_buffer("short.bin"), "its buffer 1 has 5 bytes, expected"),
    "folder above": (with_buffer("../outside.bin"), OUTSIDE),
    "encoded folder above": (with_buffer("%2e%2e/outside.bin"), OUTSIDE),
    "absolute path": (with_buffer("/etc/hostname"), OUTSIDE),
    "link": (with_buffer("link.bin"), OUTSIDE),
    "web address": (with_buffer("https://example.com/face.bin"), OUTSIDE),
    "file address": (with_buffer("file:///etc/hostname"), OUTSIDE),
    "damaged data": (with_buffer("data:;base64,A"), "the data of its buffer 1 is damaged"),
    "other data": (with_buffer("data:text/plain,A"), "is not stored as base64"),
    "other image": (with_image, "its image 0, 'skin.png', is not a PNG, JPEG, WebP or KTX2"),
}


def _without_binary(content: bytes) -> bytes:
    n_json = struct.unpack_from("<I", content, 12)[0]
    return struct.pack("<I", 20 + n_json) + content[12 : 20 + n_json]


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_refused_with_the_reason(fault: str, tmp_path: Path) -> None:
    make, message = FAULTS[fault]
    path = make(arkit(("jawOpen",)), tmp_path)
    with pytest.raises(DataError) as error:
        read_container(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    read_container(with_buffer("inside.bin")(arkit(), tmp_path))


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    path = arkit().save(tmp_path / "a.fbx")
    with pytest.raises(InputError, match=r"expected a character as \.glb, \.vrm or \.gltf"):
        read_container(path)
    with pytest.raises(InputError, match="no such file"):
        read_container(tmp_path / "b.glb")
