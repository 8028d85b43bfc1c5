"""GLB files (binary glTF 2.0), which trimesh reads after we have reduced their JSON.

The reduced JSON contains only what the one mesh of the file needs: its node transforms, positions,
colors and triangles. Materials, images, animations and skins are removed. A file that refers to
another file is refused, so that reading a mesh never opens other files.
"""

import json
import struct
from io import BytesIO
from typing import Any

import numpy as np

from codetalker_cli.formats.ply import Polygons, too_many_triangles
from codetalker_cli.settings.limits import active
from codetalker_cli.text_files import parse_json

_HEADER = struct.Struct("<4sII")  # magic, version, length of the file
_CHUNK = struct.Struct("<I4s")  # length of the chunk, type
_FLOAT, _INDEX_TYPES = 5126, (5121, 5123, 5125)
_COLOR_SCALES = {5121: 1.0, 5123: 255 / 65535, _FLOAT: 255.0}  # factor to 0 … 255
_POINTS_AND_LINES, _TRIANGLES = (0, 1, 2, 3), (4, 5)  # 5 is a triangle strip
_PLACEMENT = ("children", "matrix", "translation", "rotation", "scale")
_LAYOUT = ("buffer", "byteOffset", "byteLength", "byteStride")
_COLOR = "_COLOR"  # trimesh returns attributes with an underscore unchanged

_Json = dict[str, Any]


def parse(content: bytes, *, with_faces: bool) -> tuple[np.ndarray, Polygons, np.ndarray | None]:
    """Parse the content of a GLB file that contains one mesh.

    Args:
        content: The whole file.
        with_faces: If false, the triangles are skipped.

    Returns:
        (V, 3) float64 vertices in the order of the POSITION accessor, with the node transforms
        applied, polygons (all of them triangles), and (V, 3) uint8 colors or None.

    Raises:
        ValueError: The content is not a complete GLB file, refers to other files, is compressed, or
            does not contain exactly one mesh. The message gives the reason.
    """
    try:
        tree, chunks = split(content)
        refuse_other_files(tree)
        reduced = _Reduced(tree, with_faces=with_faces)
        return _load(_join(reduced.tree, chunks), reduced.color_scale)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"its JSON is invalid: {error!r}") from error
    except (MemoryError, RecursionError) as error:
        raise ValueError(f"its JSON is nested too deeply or too large: {error!r}") from error


def split(content: bytes) -> tuple[_Json, bytes]:
    """Return the JSON of a GLB file and the bytes of the chunks after it.

    Raises:
        ValueError: The content is not a complete GLB file.
    """
    start = _HEADER.size + _CHUNK.size
    if content[:4] != b"glTF" or len(content) < start:
        raise ValueError("it does not begin with a GLB header")
    _, version, n_bytes = _HEADER.unpack_from(content)
    n_json, kind = _CHUNK.unpack_from(content, _HEADER.size)
    if version != 2:
        raise ValueError(f"glTF version {version} is not supported; version 2 is needed")
    if n_bytes > len(content) or start + n_json > n_bytes:
        raise ValueError(
            f"it is cut short: it declares {max(n_bytes, start + n_json)} bytes but has only "
            f"{len(content)}"
        )
    if kind != b"JSON":
        raise ValueError("its first chunk is not JSON")
    tree = parse_json(content[start : start + n_json].decode("utf-8"))
    if not isinstance(tree, dict):
        raise ValueError("its JSON is not an object")
    return tree, content[start + n_json : n_bytes]


def _join(tree: _Json, chunks: bytes) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    size = _HEADER.size + _CHUNK.size + len(text) + len(chunks)
    return _HEADER.pack(b"glTF", 2, size) + _CHUNK.pack(len(text), b"JSON") + text + chunks


def refuse_other_files(tree: _Json) -> None:
    """Raise ``ValueError`` if the JSON refers to another file."""
    for entry in (*tree.get("buffers", []), *tree.get("images", [])):
        uri = entry.get("uri")
        if uri is not None and not uri.startswith("data:"):
            raise ValueError(
                f"it refers to the file {uri[:80]!r}; export a .glb that includes its data"
            )


class _Reduced:
    """The JSON that trimesh reads: the one mesh of a file and its node transforms.

    Attributes:
        tree: The reduced JSON.
        color_scale: The factor from stored colors to 0 … 255.
    """

    def __init__(self, source: _Json, *, with_faces: bool) -> None:
        self._source = source
        self._accessors: list[_Json] = []
        self._views: list[_Json] = []
        self.color_scale = 1.0
        node = self._find_node()
        mesh = item(source, "meshes", item(source, "nodes", node)["mesh"])
        primitives = self._primitives(mesh, with_faces=with_faces)
        nodes = [{k: n[k] for k in _PLACEMENT if k in n} for n in source["nodes"]]
        nodes[node]["mesh"] = 0
        roots = self._roots()
        if "skin" in source["nodes"][node]:  # glTF ignores the transform of a skinned node
            nodes, roots = [{"mesh": 0}], [0]
        self.tree: _Json = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": roots}],
            "nodes": nodes,
            "meshes": [{"primitives": primitives}],
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": source.get("buffers", []),
        }

    def _roots(self) -> list[int]:
        if self._source.get("scenes"):
            scene = item(self._source, "scenes", self._source.get("scene", 0))
            return list(scene.get("nodes", []))
        nodes = self._source.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        return [k for k in range(len(nodes)) if k not in children]

    def _find_node(self) -> int:
        """Return the index of the only node in the scene with a mesh."""
        found, waiting, seen = [], self._roots(), set()
        while waiting:
            number = waiting.pop()
            node = item(self._source, "nodes", number)
            if number in seen:
                raise ValueError(f"its node {number} occurs twice in the scene")
            seen.add(number)
            waiting += node.get("children", [])
            if "mesh" in node:
                found.append(number)
        if not found:
            raise ValueError("its scene contains no mesh")
        if len(found) > 1:
            names = ", ".join(map(self._name, sorted(found)[:8]))
            raise ValueError(f"it contains {len(found)} meshes: {names}; export one of them")
        return found[0]

    def _name(self, number: int) -> str:
        node = self._source["nodes"][number]
        mesh = item(self._source, "meshes", node["mesh"])
        return str(node.get("name") or mesh.get("name") or f"node {number}")[:80]

    def _primitives(self, mesh: _Json, *, with_faces: bool) -> list[_Json]:
        """Reduce the primitives of the mesh, which must share their vertices."""
        sources = mesh["primitives"]
        positions = {part["attributes"]["POSITION"] for part in sources}
        if len(positions) != 1:
            raise ValueError(
                f"its mesh {mesh.get('name', '')!r} consists of {len(sources)} parts with "
                f"{len(positions)} vertex lists, usually one per material; export it with a single "
                "material"
            )
        attributes = {"POSITION": self._keep(positions.pop(), ("VEC3",), (_FLOAT,))}
        colors = {part["attributes"].get("COLOR_0") for part in sources}
        if len(colors) == 1 and None not in colors:
            number = colors.pop()
            attributes[_COLOR] = self._keep(number, ("VEC4", "VEC3"), tuple(_COLOR_SCALES))
            self.color_scale = _COLOR_SCALES[self._source["accessors"][number]["componentType"]]
        parts = []
        for part in sources if with_faces else sources[:1]:
            mode = part.get("mode", 4)
            reduced = {"attributes": attributes, "mode": 4}
            if mode in _POINTS_AND_LINES or not with_faces:
                reduced["indices"] = self._no_indices()
            elif mode not in _TRIANGLES:
                raise ValueError(f"its primitive mode {mode} is not supported; export triangles")
            else:
                reduced["mode"] = mode
                if "indices" in part:
                    reduced["indices"] = self._keep(part["indices"], ("SCALAR",), _INDEX_TYPES)
            parts.append(reduced)
        return parts

    def _no_indices(self) -> int:
        self._accessors.append({"componentType": 5125, "count": 0, "type": "SCALAR"})
        return len(self._accessors) - 1

    def _keep(self, number: int, kinds: tuple[str, ...], component_types: tuple[int, ...]) -> int:
        """Keep an accessor and its buffer view, and return the new index of the accessor."""
        accessor = item(self._source, "accessors", number)
        view = {}
        if "bufferView" in accessor:
            view = item(self._source, "bufferViews", accessor["bufferView"])
        if not view or "sparse" in accessor or view.get("extensions"):
            raise ValueError("its mesh is compressed or sparse; export it without compression")
        kind, component_type = accessor["type"], accessor["componentType"]
        if kind not in kinds or component_type not in component_types:
            raise ValueError(
                f"its accessor {number} is {kind!r} of component type {component_type!r}, expected "
                f"{kinds[0]} of {component_types}; export it without quantization"
            )
        if isinstance(accessor["count"], int) and accessor["count"] > 3 * active().mesh_triangles:
            raise ValueError(too_many_triangles(accessor["count"] // 3))
        layout = {key: view[key] for key in _LAYOUT if key in view}
        sizes = (accessor["count"], accessor.get("byteOffset", 0), *layout.values())
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise ValueError(f"its accessor {number} has an invalid size or offset")
        self._views.append(layout)
        kept = {key: accessor[key] for key in ("componentType", "count", "type")}
        kept |= {"byteOffset": accessor.get("byteOffset", 0), "bufferView": len(self._views) - 1}
        self._accessors.append(kept)
        return len(self._accessors) - 1


def item(tree: _Json, key: str, number: Any) -> _Json:
    """Return an entry of a list in the JSON. Unlike in a Python list, -1 is invalid."""
    items = tree.get(key, [])
    if not isinstance(number, int) or not 0 <= number < len(items):
        raise ValueError(f"its {key} have no entry {str(number)[:20]}")
    return items[number]


def _load(content: bytes, color_scale: float) -> tuple[np.ndarray, Polygons, np.ndarray | None]:
    import trimesh

    scene = trimesh.load_scene(
        BytesIO(content), file_type="glb", process=False, skip_materials=True
    )
    parts = list(scene.geometry.values())
    matrix, _ = scene.graph[scene.graph.nodes_geometry[0]]
    vertices = np.array(parts[0].vertices, dtype=np.float64)
    triangles = np.concatenate([np.asarray(part.faces).reshape(-1, 3) for part in parts])
    if not np.array_equal(matrix, np.eye(4)):
        vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        if np.linalg.det(matrix[:3, :3]) < 0:  # a mirror turns the triangles inside out
            triangles = triangles[:, ::-1]
    colors = parts[0].vertex_attributes.get(_COLOR)
    if colors is not None:
        if len(colors) != len(vertices):
            raise ValueError(f"it has {len(vertices)} vertices and {len(colors)} vertex colors")
        colors = np.round(np.clip(np.asarray(colors)[:, :3] * color_scale, 0, 255)).astype(np.uint8)
    corners = triangles.reshape(-1).astype(np.int64)
    return vertices, (np.full(len(triangles), 3, dtype=np.int64), corners), colors
