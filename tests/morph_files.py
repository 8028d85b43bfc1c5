"""Small faces with morph targets, and .glb files of them."""

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codetalker_cli.motion import Motion
from codetalker_cli.topology import Topology

Json = dict[str, Any]
_CORNERS = np.array([[x, y, z] for x in (-40, 40) for y in (0, 50) for z in (0, 30)], float)
_SIDES = [
    (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
    (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
]  # fmt: skip
VERTICES = np.concatenate([_CORNERS, _CORNERS - [0, 50, 0]]) / 1000
"""(16, 3) vertices of an upper and a lower box in meters, which touch like shut lips."""
TRIANGLES = np.concatenate([np.array(_SIDES), np.array(_SIDES) + 8])
NAMES = ("jawOpen", "mouthSmileLeft", "Löwe mit Hut")
OFFSETS = np.zeros((3, 16, 3), np.float32)
"""(3, 16, 3) offsets of the units: each moves the boxes in different ways."""
OFFSETS[0, 8:] = 0, -0.02, 0
OFFSETS[1, 4:8] = 0.005, 0.01, 0
OFFSETS[1, 12:] = 0.004, 0.008, 0.001
OFFSETS[2, :8, 2] = np.linspace(0.001, 0.01, 8)


def motion_of(
    vertices: np.ndarray = VERTICES, triangles: np.ndarray = TRIANGLES, unit: str = "m"
) -> Motion:
    """Return a motion of one frame with this neutral face."""
    template = vertices.astype(np.float32)
    topology = Topology("boxes", triangles.astype(np.int32), len(vertices), unit)
    return Motion(template[None], 30.0, topology, "Bär", template)


@dataclass
class GlbFile:
    """A .glb file in the making.

    Attributes:
        tree: The JSON.
        data: The binary content.
    """

    data: bytes = b""
    tree: Json = field(
        default_factory=lambda: {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
            "meshes": [],
            "accessors": [],
            "bufferViews": [],
            "buffers": [],
        }
    )

    def view(self, content: np.ndarray) -> int:
        """Add a buffer view and return its index."""
        self.data += b"\0" * (-len(self.data) % 4)
        size = {"byteOffset": len(self.data), "byteLength": content.nbytes}
        self.tree["bufferViews"].append({"buffer": 0, **size})
        self.data += content.tobytes()
        return len(self.tree["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, dtype: str = "<f4", **more: Any) -> int:
        """Add an accessor and return its index."""
        types = {"<f4": 5126, "<u4": 5125, "<u2": 5123, "<i2": 5122, "i1": 5120, "u1": 5121}
        entry = {
            "bufferView": self.view(np.asarray(values, dtype)),
            "componentType": types[dtype],
            "count": len(values),
            "type": "SCALAR" if np.ndim(values) == 1 else "VEC3",
        }
        self.tree["accessors"].append(entry | more)
        return len(self.tree["accessors"]) - 1

    def sparse(self, values: np.ndarray) -> int:
        """Add a sparse accessor without base values and return its index."""
        rows = np.flatnonzero(values.any(1))
        self.tree["accessors"].append(
            {
                "componentType": 5126,
                "count": len(values),
                "type": "VEC3",
                "sparse": {
                    "count": len(rows),
                    "indices": {"bufferView": self.view(rows.astype("<u2")), "componentType": 5123},
                    "values": {"bufferView": self.view(values[rows].astype("<f4"))},
                },
            }
        )
        return len(self.tree["accessors"]) - 1

    def mesh(self, attributes: Json, indices: int, targets: list[Json], **node: Any) -> Json:
        """Add a mesh of one primitive and a node, and return the mesh."""
        primitive: Json = {"attributes": attributes, "indices": indices}
        if targets:
            primitive["targets"] = targets
        mesh: Json = {"primitives": [primitive]}
        self.tree["meshes"].append(mesh)
        self.tree["scenes"][0]["nodes"].append(len(self.tree["nodes"]))
        self.tree["nodes"].append({"mesh": len(self.tree["meshes"]) - 1, **node})
        return mesh

    def add(
        self,
        vertices: np.ndarray = VERTICES,
        triangles: np.ndarray = TRIANGLES,
        offsets: np.ndarray = OFFSETS,
        names: tuple[str, ...] = NAMES,
        **node: Any,
    ) -> Json:
        """Add a mesh with named morph targets, and return it."""
        mesh = self.mesh(
            {"POSITION": self.accessor(vertices)},
            self.accessor(np.asarray(triangles).ravel(), "<u2"),
            [{"POSITION": self.accessor(delta)} for delta in offsets],
            **node,
        )
        if names:
            mesh["extras"] = {"targetNames": list(names)}
        return mesh

    def content(self) -> bytes:
        """Return the bytes of the file."""
        data = self.data + b"\0" * (-len(self.data) % 4)
        tree = {"buffers": [{"byteLength": len(data)}]}
        text = json.dumps(self.tree if self.tree["buffers"] else self.tree | tree).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(data), b"BIN\0") + data
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
