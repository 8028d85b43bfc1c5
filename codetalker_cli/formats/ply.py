"""PLY files (ASCII, little-endian or big-endian): vertices, polygons and vertex colors.

We parse these files ourselves, because trimesh changes many of them:

- It drops unreferenced vertices if vertices have texture coordinates (such as s and t).
- It splits and reorders vertices if faces have texture coordinates.
- It refuses binary files with faces of different corner counts.
- It accepts ASCII files that are cut short.
- It reorders faces: triangles first, then quads, then other polygons.

If the texture columns were renamed, trimesh could read binary files with a single corner count.
That would save only 15 lines here. The header and the vertices are parsed here in any case, because
mesh sequences skip the faces. ``tests/test_trimesh_limits.py`` shows each of these points. plyfile
is not used because of its license (GPL).
"""

import re
from dataclasses import dataclass

import numpy as np

from codetalker_cli.errors import counted, printable
from codetalker_cli.settings.limits import active

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_INDEX_NAMES = ("vertex_indices", "vertex_index")
_AXES = ("x", "y", "z")
_COLORS = ("red", "green", "blue")

Polygons = tuple[np.ndarray, np.ndarray]
"""The (n,) corner counts of the polygons, and the vertex indices of all corners in a flat array."""


def too_many_triangles(n: int) -> str:
    """Return the reason for refusing a mesh of at least ``n`` triangles."""
    return (
        f"it has {printable(n, 20)} triangles or more, but at most {active().mesh_triangles} are "
        "read; if you trust the file, raise the setting limits.mesh_triangles"
    )


@dataclass(frozen=True)
class _Property:
    name: str
    dtype: str
    count_dtype: str | None  # for lists only


@dataclass(frozen=True)
class _Element:
    name: str
    n: int
    properties: list[_Property]

    @property
    def has_lists(self) -> bool:
        return any(p.count_dtype for p in self.properties)


def parse(content: bytes, *, with_faces: bool) -> tuple[np.ndarray, Polygons, np.ndarray | None]:
    """Parse the content of a PLY file.

    Args:
        content: The whole file.
        with_faces: If false, everything after the vertices is skipped.

    Returns:
        (V, 3) float64 vertices, polygons, and (V, 3) uint8 colors or None.

    Raises:
        ValueError: The content is not a complete PLY file. The message gives the reason.
    """
    order, elements, start = _header(content)
    body = _Ascii(content[start:]) if order == "" else _Binary(content, start, order)
    vertices, colors = None, None
    polygons: Polygons = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    for element in elements:
        if element.name == "vertex" and not element.has_lists:
            columns = body.table(element)
            missing = [axis for axis in _AXES if axis not in columns]
            if missing:
                raise ValueError(f"its vertices have no property {missing[0]}")
            vertices = np.stack([columns[axis] for axis in _AXES], axis=1).astype(np.float64)
            colors = _colors(columns)
            if not with_faces:
                break
        elif element.has_lists:
            lists = body.lists(element)
            names = [name for name in _INDEX_NAMES if name in lists]
            if element.name == "face" and names:
                polygons = lists[names[0]]
        else:
            body.table(element)
    if vertices is None:
        raise ValueError("its vertices contain lists")
    return vertices, polygons, colors


def _header(content: bytes) -> tuple[str, list[_Element], int]:
    end = re.search(rb"^end_header[ \t]*\r?\n", content, re.MULTILINE)
    if not content.startswith(b"ply") or end is None:
        raise ValueError("it does not begin with a PLY header")
    order: str | None = None
    elements: list[_Element] = []
    for line in content[: end.start()].decode("latin1").splitlines()[1:]:
        try:
            match line.split():
                case ["format", name, _]:
                    order = _FORMATS[name]
                case ["element", name, count]:
                    elements.append(_Element(name, int(count), []))
                case ["property", "list", count_type, item_type, name]:
                    new = _Property(name, _TYPES[item_type], _TYPES[count_type])
                    elements[-1].properties.append(new)
                case ["property", item_type, name]:
                    elements[-1].properties.append(_Property(name, _TYPES[item_type], None))
                case ["element" | "property" | "format", *_]:
                    raise ValueError
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"unknown header line {line[:80]!r}") from error
    if order is None:
        raise ValueError("its header does not specify a format")
    for element in elements:
        names = [p.name for p in element.properties]
        if element.name == "face" and element.n > active().mesh_triangles:
            raise ValueError(too_many_triangles(element.n))
        if element.n < 0 or len(set(names)) != len(names):
            raise ValueError(f"the element {element.name} in its header is invalid")
    scalar_names = {
        e.name: {p.name for p in e.properties if p.count_dtype is None} for e in elements
    }
    if "vertex" not in scalar_names:
        raise ValueError("it contains no vertices")
    if missing := set(_AXES) - scalar_names["vertex"]:
        raise ValueError(f"its vertices have no {', '.join(sorted(missing))}")
    return order, elements, end.end()


def _colors(columns: dict[str, np.ndarray]) -> np.ndarray | None:
    if not set(_COLORS) <= set(columns):
        return None
    values = np.stack([columns[name] for name in _COLORS], axis=1)
    if values.dtype.kind == "f":
        values = np.round(np.clip(values, 0.0, 1.0) * 255.0)
    return np.clip(values, 0, 255).astype(np.uint8)


class _Binary:
    """The elements of a binary body, read in sequence."""

    def __init__(self, content: bytes, start: int, order: str) -> None:
        self.content, self.position, self.order = content, start, order

    def table(self, element: _Element) -> dict[str, np.ndarray]:
        """Read the columns of an element without lists."""
        dtype = np.dtype([(p.name, self.order + p.dtype) for p in element.properties])
        rows = self._read_rows(dtype, element)
        return {name: rows[name] for name in dtype.names or ()}

    def lists(self, element: _Element) -> dict[str, Polygons]:
        """Read the list properties of an element."""
        if element.n == 0:
            return {}
        # Usually all lists are as long as the first one, so that they form a table.
        start = self.position
        fields: list[tuple] = []
        for p in element.properties:
            if p.count_dtype is None:
                fields.append((p.name, self.order + p.dtype))
                self._read_one(p.dtype, element)
                continue
            count = int(self._read_one(p.count_dtype, element))
            self._skip(p.dtype, count, element)
            fields += [(f"n {p.name}", self.order + p.count_dtype)]
            fields += [(p.name, self.order + p.dtype, (count,))]
        self.position = start
        dtype = np.dtype(fields)
        list_names = [p.name for p in element.properties if p.count_dtype]
        if element.n * dtype.itemsize <= len(self.content) - start:
            rows = self._read_rows(dtype, element)
            lengths = {name: rows[f"n {name}"].astype(np.int64) for name in list_names}
            if all((lengths[name] == dtype[name].shape[0]).all() for name in list_names):
                return {k: (lengths[k], rows[k].reshape(-1).astype(np.int64)) for k in list_names}
        self.position = start
        return self._read_item_by_item(element)

    def _read_item_by_item(self, element: _Element) -> dict[str, Polygons]:
        items_by_name: dict[str, list[np.ndarray]] = {p.name: [] for p in element.properties}
        for _ in range(element.n):
            for p in element.properties:
                if p.count_dtype is None:
                    self._read_one(p.dtype, element)
                    continue
                count = int(self._read_one(p.count_dtype, element))
                start = self.position
                self._skip(p.dtype, count, element)
                items = np.frombuffer(self.content, self.order + p.dtype, count, start)
                items_by_name[p.name].append(items)
        return {
            p.name: _concatenate(items_by_name[p.name]) for p in element.properties if p.count_dtype
        }

    def _read_one(self, dtype: str, element: _Element) -> np.ndarray:
        at = self.position
        self._skip(dtype, 1, element)
        return np.frombuffer(self.content, self.order + dtype, 1, at)[0]

    def _skip(self, dtype: str, count: int, element: _Element) -> None:
        self.position += max(count, 0) * int(dtype[1])
        if self.position > len(self.content) or count < 0:
            raise ValueError(_cut_message(element))

    def _read_rows(self, dtype: np.dtype, element: _Element) -> np.ndarray:
        size = element.n * dtype.itemsize
        if size > len(self.content) - self.position:
            raise ValueError(_cut_message(element))
        rows = np.frombuffer(self.content, dtype, element.n, self.position)
        self.position += size
        return rows


class _Ascii:
    """The elements of an ASCII body, read in sequence."""

    def __init__(self, body: bytes) -> None:
        self.rest = body

    def table(self, element: _Element) -> dict[str, np.ndarray]:
        """Read the columns of an element without lists."""
        width = len(element.properties)
        n = element.n * width
        tokens = self.rest.split(None, min(n, len(self.rest)))
        if len(tokens) < n:
            raise ValueError(_cut_message(element))
        self.rest = tokens.pop() if len(tokens) > n else b""
        values = np.array(list(map(float, tokens))).reshape(element.n, width)
        # The dtype must show which colors are integers, because those range from 0 to 255.
        return {
            p.name: values[:, i] if p.dtype[0] == "f" else values[:, i].astype(np.int64)
            for i, p in enumerate(element.properties)
        }

    def lists(self, element: _Element) -> dict[str, Polygons]:
        """Read the list properties of an element."""
        tokens, position = self.rest.split(), 0
        items_by_name: dict[str, list[np.ndarray]] = {p.name: [] for p in element.properties}
        values = np.array(list(map(float, tokens)))
        for _ in range(element.n):
            for p in element.properties:
                if position >= len(values):
                    raise ValueError(_cut_message(element))
                stop = position + 1 + (int(values[position]) if p.count_dtype else 0)
                if not position < stop <= len(values):
                    raise ValueError(_cut_message(element))
                items_by_name[p.name].append(values[position + 1 : stop])
                position = stop
        self.rest = b" ".join(tokens[position:])
        return {
            p.name: _concatenate(items_by_name[p.name]) for p in element.properties if p.count_dtype
        }


def _concatenate(lists: list[np.ndarray]) -> Polygons:
    lengths = np.array([len(items) for items in lists], dtype=np.int64)
    return lengths, np.concatenate([*lists, np.zeros(0)]).astype(np.int64)


def _cut_message(element: _Element) -> str:
    return f"it ends within its {counted(element.n, f'{element.name} entry')}"
