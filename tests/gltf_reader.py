"""A plain reader of GLB files, which shares no code with the exporters."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


class Glb:
    """The JSON of a file, and its accessors as arrays."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        magic, version, size = struct.unpack_from("<4sII", content)
        assert (magic, version, size) == (b"glTF", 2, len(content))
        n_json, kind = struct.unpack_from("<I4s", content, 12)
        assert kind == b"JSON" and n_json % 4 == 0
        self.tree = json.loads(content[20 : 20 + n_json])
        n_binary, kind = struct.unpack_from("<I4s", content, 20 + n_json)
        self.binary = content[28 + n_json :]
        assert kind == b"BIN\0" and len(self.binary) == n_binary
        assert self.tree["buffers"] == [{"byteLength": n_binary}]

    def _view(self, number: int, dtype: Any, count: int) -> np.ndarray:
        view = self.tree["bufferViews"][number]
        assert view["byteOffset"] % 4 == 0
        assert view["byteLength"] == count * np.dtype(dtype).itemsize
        return np.frombuffer(self.binary, dtype, count, view["byteOffset"])

    def array(self, number: int) -> np.ndarray:
        """Return an accessor, sparse or not, and check the bounds that it declares."""
        accessor = self.tree["accessors"][number]
        dtype, width = DTYPES[accessor["componentType"]], SIZES[accessor["type"]]
        values = np.zeros((accessor["count"], width), dtype)
        if "bufferView" in accessor:
            values = self._view(accessor["bufferView"], dtype, values.size).reshape(values.shape)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            n, indices, moved = sparse["count"], sparse["indices"], sparse["values"]
            at = self._view(indices["bufferView"], DTYPES[indices["componentType"]], n)
            assert (np.diff(at.astype(int)) > 0).all()
            values[at] = self._view(moved["bufferView"], dtype, n * width).reshape(n, width)
        if "min" in accessor:
            assert (values.min(0) == np.float32(accessor["min"])).all()
            assert (values.max(0) == np.float32(accessor["max"])).all()
        return values[:, 0] if width == 1 else values

    def tracks(self) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]:
        """Return the times and values of each animated node and path."""
        (animation,) = self.tree["animations"]
        found = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            target = channel["target"]
            times = self.array(sampler["input"])
            assert (np.diff(times) > 0).all()
            found[target["node"], target["path"]] = times, self.array(sampler["output"])
        return found

    @property
    def mesh(self) -> dict[str, Any]:
        """The only mesh."""
        (mesh,) = self.tree["meshes"]
        return mesh

    def attribute(self, name: str) -> np.ndarray:
        """Return an attribute of the vertices, which all primitives share."""
        (number,) = {primitive["attributes"][name] for primitive in self.mesh["primitives"]}
        return self.array(number)

    def offsets(self, name: str = "POSITION") -> np.ndarray:
        """Return the (R, V, 3) offsets of the morph targets."""
        first, *others = self.mesh["primitives"]
        assert all(primitive["targets"] == first["targets"] for primitive in others)
        return np.stack([self.array(target[name]) for target in first["targets"]])

    def weights(self) -> np.ndarray:
        """Return the (T, R) weights of the animation."""
        times, values = self.tracks()[0, "weights"]
        return values.reshape(len(times), -1)

    def vertices(self) -> np.ndarray:
        """Return the (T, V, 3) vertices of the animation."""
        moved = np.einsum("tr,rvc->tvc", self.weights(), self.offsets(), optimize=True)
        return self.attribute("POSITION") + moved

    def triangles(self) -> np.ndarray:
        """Return the (F, 3) triangles of all primitives."""
        parts = [self.array(primitive["indices"]) for primitive in self.mesh["primitives"]]
        return np.concatenate(parts).reshape(-1, 3)
