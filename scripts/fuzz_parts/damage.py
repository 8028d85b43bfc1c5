"""Damage files: flip their bytes, or change values inside a file that stays well-formed."""

import io
import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

EXTREMES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00")
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**12, -(10**12), 10**400, 1e308, -0.0, 0.5, float("nan"),
    float("inf"), "", "x", "..", "../up", "/etc/passwd", "a/b", "nan", "\x1b[31m", "\n", "é\u202e",
    "x" * 5000, [], [1], ["x"], [[]], {}, {"x": 1}, [{}], {"": None},
)  # fmt: skip
"""Values that replace others in JSON, YAML and CSV files."""
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_BLOCK = 512
"""The size of the blocks of a tar archive."""


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy; the start of a file, which holds the header, is hit most often."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        if not data:
            break
        end = min(len(data), 200) if rng.random() < 0.6 else len(data)
        at = int(rng.integers(0, end))
        size = int(rng.integers(1, 64))
        match int(rng.integers(0, 6)):
            case 0:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                data[at : at + 4] = EXTREMES[int(rng.integers(0, len(EXTREMES)))]
            case 2:
                del data[int(rng.integers(at, len(data))) :]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * int(rng.integers(1, 20))
            case _:
                data[at : at + size] = rng.bytes(size)
    return bytes(data)


def damage_file(path: Path, rng: np.random.Generator) -> None:
    """Damage a file in place: its bytes, its values, or the file as a whole."""
    content = path.read_bytes()
    way = rng.random()
    if way < 0.04:
        path.unlink()
    elif way < 0.06:
        path.unlink()
        path.mkdir()
    elif way < 0.08:
        path.write_bytes(b"")
    elif way < 0.65 and (change := STRUCTURED.get(path.suffix)) is not None:
        try:
            changed = change(content, rng)
        except Exception:  # the file is already damaged
            changed = damage(content, rng)
        path.write_bytes(changed)
    else:
        path.write_bytes(damage(content, rng))


def pick(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(0, len(items)))]


# Values ------------------------------------------------------------------------------------------


def change_value(content: Any, rng: np.random.Generator) -> Any:
    """Return nested lists and tables in which one item is replaced, removed or repeated."""
    if not isinstance(content, dict | list) or not content or rng.random() < 0.1:
        return pick(JUNK, rng)
    if isinstance(content, list):
        at = int(rng.integers(0, len(content)))
        way = rng.random()
        if way < 0.15:
            return [*content[:at], *content[at + 1 :]]
        if way < 0.3:
            return [*content[:at], content[at], *content[at:]]
        return [*content[:at], change_value(content[at], rng), *content[at + 1 :]]
    key = pick(list(content), rng)
    way = rng.random()
    if way < 0.15:
        return {name: value for name, value in content.items() if name != key}
    if way < 0.25:
        return content | {str(pick(JUNK, rng)): content[key]}
    return content | {key: change_value(content[key], rng)}


def _json(content: bytes, rng: np.random.Generator) -> bytes:
    changed = json.loads(content)
    for _ in range(int(rng.integers(1, 4))):
        changed = change_value(changed, rng)
    return json.dumps(changed).encode("utf-8", "surrogatepass")


def _yaml(content: bytes, rng: np.random.Generator) -> bytes:
    import yaml

    if rng.random() < 0.3:
        return _text(content, rng)
    changed = yaml.safe_load(content)
    for _ in range(int(rng.integers(1, 4))):
        changed = change_value(changed, rng)
    return yaml.safe_dump(changed, allow_unicode=True).encode("utf-8", "surrogatepass")


def _text(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a number or a cell of a text, or repeat or swap lines."""
    lines = content.split(b"\n")
    at = int(rng.integers(0, len(lines)))
    way = rng.random()
    junk = str(pick(JUNK, rng)).encode("utf-8", "surrogatepass")
    if way < 0.3:
        found = list(_NUMBER.finditer(content))
        if found:
            one = pick(found, rng)
            return content[: one.start()] + junk + content[one.end() :]
    if way < 0.7:
        cells = lines[at].split(b",")
        cells[int(rng.integers(0, len(cells)))] = pick((junk, b'"' + junk + b'"', b'"', b","), rng)
        lines[at] = b",".join(cells)
    elif way < 0.8:
        lines.insert(at, lines[at])
    elif way < 0.9:
        lines[at] = junk
    else:
        del lines[at]
    return b"\n".join(lines)


# Arrays ------------------------------------------------------------------------------------------


def change_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an array of another size, shape or type, or with other values."""
    match int(rng.integers(0, 8)):
        case 0:
            return array[: len(array) // 2] if array.ndim else array.reshape(1)
        case 1:
            return array.reshape(-1)
        case 2:
            return array.astype(pick(("f8", "f2", "i8", "u1", "U4", "c8", "?"), rng), copy=True)
        case 3:
            return np.zeros(pick(((), (0,), (0, 3), (1, 1, 1), (7, 3)), rng), array.dtype)
        case 4:
            return array[..., None]
        case 5 if array.ndim:
            return np.concatenate([array, array])
        case _ if array.size and array.dtype.kind in "fiu":
            changed = array.copy().reshape(-1)
            value = pick((0, -1, 1, 1e9, 1e30, np.nan, np.inf), rng)
            with np.errstate(all="ignore"):
                new = np.asarray(value, "f8").astype(array.dtype)
            changed[int(rng.integers(0, changed.size)) if rng.random() < 0.7 else slice(None)] = new
            return changed.reshape(array.shape)
    return np.asarray(pick(("x", 3, 2.5), rng))


def _npz(content: bytes, rng: np.random.Generator) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    name = pick(list(arrays), rng)
    way = rng.random()
    if way < 0.15:
        del arrays[name]
    elif way < 0.25:
        arrays[f"{name}{pick(('x', '/../x', '_1'), rng)}"] = arrays[name]
    else:
        arrays[name] = change_array(arrays[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", pick((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), rng)) as out:
        for key, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, np.asarray(array))
            member = damage(part.getvalue(), rng) if rng.random() < 0.05 else part.getvalue()
            out.writestr(f"{key}.npy", member)
    return buffer.getvalue()


def _npy(content: bytes, rng: np.random.Generator) -> bytes:
    part = io.BytesIO()
    np.lib.format.write_array(part, np.asarray(change_array(np.load(io.BytesIO(content)), rng)))
    return part.getvalue()


def _safetensors(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the JSON header: names, types, shapes and positions of tensors."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    for _ in range(int(rng.integers(1, 3))):
        header = change_value(header, rng)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        return struct.pack("<Q", int(pick((0, size * 2, 2**63, 2**40), rng))) + text
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def _glb(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the JSON of a GLB file, with a valid header."""
    (size,) = struct.unpack_from("<I", content, 12)
    text = _json(content[20 : 20 + size], rng)
    text += b" " * (-len(text) % 4)
    rest = content[20 + size :]
    header = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    return header + text + rest


def _tar(content: bytes, rng: np.random.Generator) -> bytes:
    """Change fields of a header, with a valid checksum, as a hostile program would write them."""
    data = bytearray(content)
    headers = [at for at in range(0, len(data), _BLOCK) if data[at + 257 : at + 262] == b"ustar"]
    if not headers:
        raise ValueError("no header")
    for _ in range(int(rng.integers(1, 4))):
        at = pick(headers, rng)
        start, size, values = pick(
            (
                (
                    0,
                    100,
                    (b"../x", b"/etc/x", b"", b"a/../../b", b"C:\\x", b"\xff\xfe", b"x" * 100),
                ),
                (124, 12, (b"00000000000", b"77777777777", b"-1", b"\x80" + b"\xff" * 11, b"x")),
                (156, 1, (b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"g", b"x", b"L", b"S", b"\0")),
                (157, 100, (b"../x", b"/etc/passwd", b"F1", b"")),
                (345, 155, (b"..", b"/", b"x" * 155)),
            ),
            rng,
        )
        data[at + start : at + start + size] = pick(values, rng)[:size].ljust(size, b"\0")
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + _BLOCK])
    return bytes(data)


STRUCTURED = {
    ".json": _json,
    ".yaml": _yaml,
    ".csv": _text,
    ".txt": _text,
    ".npz": _npz,
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".tar": _tar,
    ".glb": _glb,
    ".vrm": _glb,
    ".gltf": _json,
}
"""Suffix → a change of a file that stays well-formed."""
