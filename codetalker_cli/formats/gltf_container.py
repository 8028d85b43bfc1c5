"""glTF files as JSON and a binary chunk, neither of which is decoded.

A file is read as its JSON and the places of its bytes, so that a large one is copied in blocks.
What the JSON refers to outside of the file is only read from the folder of the file.
"""

import base64
import binascii
import json
import re
import shutil
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from codetalker_cli.errors import DataError, InputError, counted, printable, verb
from codetalker_cli.files import is_inside
from codetalker_cli.text_files import check_file, check_regular, parse_json

SUFFIXES = (".glb", ".vrm", ".gltf")
"""The suffixes of the files that are read."""
MAX_JSON_BYTES = 256_000_000
"""The largest JSON of a file."""
_HEADER, _CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
_BLOCK = 1 << 20
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_COMPRESSIONS = ("EXT_meshopt_compression", "KHR_meshopt_compression")
"""The extensions of buffer views that refer to a second buffer."""
_LISTS = (
    "accessors", "animations", "bufferViews", "buffers", "images", "meshes", "nodes", "scenes",
    "skins",
)  # fmt: skip
_IMAGES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
    b"\xabKTX": "image/ktx2",
}

Json = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Some bytes of a file, or of memory.

    Attributes:
        source: The file, or its content.
        start: The position of the first byte.
        size: The number of bytes.
    """

    source: Path | bytes
    start: int
    size: int

    def read(self, start: int, size: int) -> bytes:
        """Return some bytes of the part."""
        if isinstance(self.source, bytes):
            return self.source[self.start + start :][:size]
        with open(self.source, "rb") as file:
            file.seek(self.start + start)
            return file.read(size)

    def copy_to(self, output: IO[bytes]) -> None:
        """Append the bytes to a file, with zeros up to a multiple of 4.

        Raises:
            DataError: The source has become shorter.
        """
        with (
            BytesIO(self.source)
            if isinstance(self.source, bytes)
            else open(self.source, "rb") as file
        ):
            file.seek(self.start)
            left = self.size
            while left and (block := file.read(min(left, _BLOCK))):
                output.write(block)
                left -= len(block)
        if left:
            raise DataError(f"{printable(self.source)}: the file changed while it was copied")
        output.write(bytes(padding(self.size)))


@dataclass(frozen=True)
class Container:
    """A glTF file. Its buffer 0 is the binary chunk of the .glb file to write.

    Attributes:
        path: The file.
        tree: The JSON, in which no buffer or image refers to another file.
        parts: The content of the binary chunk. Each part starts at a multiple of 4 bytes.
        chunks: The further chunks of a .glb file, with their headers.
        changes: What differs from the file, because other files were embedded: one sentence each.
    """

    path: Path
    tree: Json
    parts: tuple[Part, ...]
    chunks: tuple[Part, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The size of the binary chunk in bytes, a multiple of 4."""
        return sum(part.size + padding(part.size) for part in self.parts)

    def read(self, start: int, size: int) -> bytes:
        """Return some bytes of the binary chunk; fewer if it ends before."""
        found, position = b"", 0
        for part in self.parts:
            first, last = max(start - position, 0), min(start + size - position, part.size)
            if first < last:
                found += part.read(first, last - first)
            position += part.size + padding(part.size)
        return found


def padding(size: int) -> int:
    """Return how many bytes are missing up to a multiple of 4."""
    return -size % 4


def read_container(path: Path | str) -> Container:
    """Read a .glb, .vrm or .gltf file without decoding its content.

    Raises:
        InputError: The file is missing, or is not a glTF file.
        DataError: The file is damaged, or refers to a file that is missing or in another folder.
            The message gives the reason.
    """
    path = Path(path)
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{printable(path)}: expected a character as .glb, .vrm or .gltf; convert it to .glb, "
            "e.g. with Blender"
        )
    try:
        with path.open("rb") as file:
            is_binary = file.read(4) == b"glTF"
        tree, binary, chunks = _read_glb(path) if is_binary else (_read_text(path), None, ())
        version = str(tree["asset"]["version"])
        if not version.startswith("2."):
            raise ValueError(f"glTF version {version[:20]} is not supported; version 2 is needed")
        for key in _LISTS:
            entries = tree.get(key, [])
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise ValueError(f"its {key} are not a list of objects")
        embedding = _Embedding(path, tree, binary)
        changes = embedding.run()
        return Container(path, tree, tuple(embedding.parts), chunks, changes)
    except (ArithmeticError, AttributeError, LookupError, TypeError, struct.error) as error:
        raise DataError(f"{printable(path)}: its JSON is invalid: {error!r}") from error
    except (OSError, ValueError, MemoryError, RuntimeError) as error:
        reason = printable(error)  # it may quote a name from the file
        raise DataError(f"{printable(path)}: not a readable glTF file ({reason})") from error


def _read_text(path: Path) -> Json:
    if path.suffix.lower() != ".gltf":
        raise ValueError("it does not begin with a GLB header")
    with path.open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    return _parse(content)


def _parse(content: bytes) -> Json:
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"its JSON is larger than {MAX_JSON_BYTES / 1e6:.0f} MB")
    tree = parse_json(content.decode("utf-8-sig"))
    if not isinstance(tree, dict):
        raise ValueError("its JSON is not an object")
    return tree


def _read_glb(path: Path) -> tuple[Json, Part | None, tuple[Part, ...]]:
    """Return the JSON, the binary chunk, and the other chunks with their headers."""
    available = path.stat().st_size
    with path.open("rb") as file:
        _, version, n_bytes = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size, b"\0"))
        if version != 2:
            raise ValueError(f"glTF version {version} is not supported; version 2 is needed")
        tree, binary, chunks, position = None, None, [], _HEADER.size
        while position + _CHUNK.size <= min(n_bytes, available):
            file.seek(position)
            size, kind = _CHUNK.unpack(file.read(_CHUNK.size))
            start = position + _CHUNK.size
            if start + size > available:
                raise _cut_short(start + size, available)
            if tree is None:
                if kind != b"JSON":
                    raise ValueError("its first chunk is not JSON")
                tree = _parse(file.read(min(size, MAX_JSON_BYTES + 1)))
            elif kind == b"BIN\0" and binary is None:
                binary = Part(path, start, size)
            else:
                chunks.append(Part(path, position, _CHUNK.size + size))
            position = start + size
    if tree is None or n_bytes > available:
        raise _cut_short(max(n_bytes, _HEADER.size + _CHUNK.size), available)
    return tree, binary, tuple(chunks)


def _cut_short(expected: int, found: int) -> ValueError:
    return ValueError(
        f"it is cut short: it declares {expected} bytes but has only {found}; copy or export it "
        "again"
    )


class _Embedding:
    """Moves the content of other files into the binary chunk.

    Attributes:
        parts: The content of the binary chunk.
    """

    def __init__(self, path: Path, tree: Json, binary: Part | None) -> None:
        self._path = path
        self._tree = tree
        self._binary = binary
        self.parts = [] if binary is None else [binary]
        self._size = 0 if binary is None else binary.size + padding(binary.size)
        self._changes: list[str] = []

    def run(self) -> tuple[str, ...]:
        """Change the JSON, and return what has changed."""
        buffers = self._tree.get("buffers", [])
        contents = [self._content(k, buffer) for k, buffer in enumerate(buffers)]
        whole = not buffers or (self._binary is not None and contents[0] is self._binary)
        external = any(
            part is not None and part is not self._binary and isinstance(part.source, Path)
            for part in contents
        )
        if external or not whole:
            self._merge(buffers, contents)
        images = self._tree.get("images", [])
        n_images = sum(self._embed_image(k, image) for k, image in enumerate(images))
        if n_images:
            self._tree["buffers"][0]["byteLength"] = self._size
            what = f"{counted(n_images, 'image')} {verb(n_images, 'is', 'are')}"
            self._changes.append(f"{what} embedded from other files")
        return tuple(self._changes)

    def _content(self, number: int, buffer: Json) -> Part | None:
        """Return the content of a buffer; None for a buffer that only compressed views have."""
        size, uri = buffer["byteLength"], buffer.get("uri")
        if not isinstance(size, int) or size < 0:
            raise ValueError(f"its buffer {number} has an invalid size")
        what = f"its buffer {number}"
        if uri is None:
            part = self._binary if number == 0 else None
            if part is None:
                if not buffer.get("extensions"):
                    raise ValueError(f"{what} has no data: the binary chunk is missing")
                return None
        elif uri.startswith("data:"):
            content = _decode(uri, what)
            part = Part(content, 0, len(content))
        else:
            part = self._file(uri, what)
        if part.size < size:
            raise ValueError(f"{what} has {part.size} bytes, expected {size}; export it again")
        return part if part is self._binary else Part(part.source, 0, size)

    def _file(self, uri: str, what: str) -> Part:
        """Return the content of a file in the folder of the character."""
        folder = self._path.parent
        name = next((n for n in (unquote(uri), uri) if (folder / n).exists()), unquote(uri))
        if _SCHEME.match(uri) or not is_inside(folder / name, folder):
            raise ValueError(
                f"{what} refers to {printable(uri, 80)!r}, but only files in the folder of the "
                "character are read; copy it there, or export a .glb"
            )
        try:
            check_regular(folder / name)
        except OSError as error:
            raise ValueError(
                f"{what} refers to the file {printable(name, 80)!r}, which cannot be read "
                f"({error.strerror}); put it next to the character, or export a .glb"
            ) from error
        return Part(folder / name, 0, (folder / name).stat().st_size)

    def _append(self, part: Part) -> int:
        """Append a part to the binary chunk, and return its offset."""
        offset = self._size
        self.parts.append(part)
        self._size += part.size + padding(part.size)
        return offset

    def _merge(self, buffers: list[Json], contents: list[Part | None]) -> None:
        """Make one buffer of all buffers with content, and keep the other ones behind it."""
        merged = [k for k, part in enumerate(contents) if part is not None]
        kept = [k for k, part in enumerate(contents) if part is None]
        places = {k: (1 + position, 0) for position, k in enumerate(kept)}
        for k in merged:
            part = contents[k]
            assert part is not None
            places[k] = 0, 0 if part is self._binary else self._append(part)
        first = buffers[merged[0]] if merged else {}
        whole = {key: value for key, value in first.items() if key != "uri"}
        self._tree["buffers"] = [whole | {"byteLength": self._size}, *(buffers[k] for k in kept)]
        for view in self._tree.get("bufferViews", []):
            extensions = view.get("extensions", {})
            for holder in (view, *(extensions[n] for n in _COMPRESSIONS if n in extensions)):
                number, offset = places[holder["buffer"]]
                holder["buffer"] = number
                if offset:
                    holder["byteOffset"] = holder.get("byteOffset", 0) + offset
        self._changes.append(
            f"{counted(len(merged), 'buffer')} became the binary chunk, and the offsets of buffer "
            "views are adapted"
        )

    def _embed_image(self, number: int, image: Json) -> bool:
        uri = image.get("uri")
        if uri is None or uri.startswith(("data:", "http:", "https:")):
            return False
        what = f"its image {number}"
        part = self._file(uri, what)
        assert isinstance(part.source, Path)
        with part.source.open("rb") as file:
            start = file.read(4)
        kind = next((kind for magic, kind in _IMAGES.items() if start.startswith(magic)), None)
        if kind is None:
            raise ValueError(
                f"{what}, {printable(uri, 80)!r}, is not a PNG, JPEG, WebP or KTX2 image"
            )
        if not self._tree.get("buffers"):
            self._tree["buffers"] = [{"byteLength": 0}]
        view = {"buffer": 0, "byteOffset": self._append(part), "byteLength": part.size}
        self._tree.setdefault("bufferViews", []).append(view)
        del image["uri"]
        image["bufferView"] = len(self._tree["bufferViews"]) - 1
        image.setdefault("mimeType", kind)
        return True


def _decode(uri: str, what: str) -> bytes:
    head, _, text = uri.partition(",")
    try:
        if head.endswith(";base64"):
            return base64.b64decode(unquote(text))
    except binascii.Error as error:
        raise ValueError(f"the data of {what} is damaged ({error})") from error
    raise ValueError(f"the data of {what} is not stored as base64")


def write_container(
    output: IO[bytes], text: bytes, container: Container | None, added: IO[bytes], n_added: int
) -> None:
    """Write a .glb file.

    Args:
        output: The file to write.
        text: The result of ``encode``.
        container: The file whose binary chunk and further chunks come first; None: there is none.
        added: The content to append to the binary chunk, of a size that is a multiple of 4.
        n_added: Its size in bytes.
    """
    parts = () if container is None else container.parts
    chunks = () if container is None else container.chunks
    n_binary = (0 if container is None else container.size) + n_added
    size = file_size(text, n_binary, container)
    output.write(_HEADER.pack(b"glTF", 2, size))
    output.write(_CHUNK.pack(len(text), b"JSON") + text)
    output.write(_CHUNK.pack(n_binary, b"BIN\0"))
    for part in parts:
        part.copy_to(output)
    added.seek(0)
    shutil.copyfileobj(added, output, _BLOCK)
    for chunk in chunks:
        chunk.copy_to(output)


def encode(tree: Json) -> bytes:
    """Return JSON as the content of a chunk; escapes keep it valid for any name."""
    text = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode("ascii")
    return text + b" " * padding(len(text))


def file_size(text: bytes, n_binary: int, container: Container | None = None) -> int:
    """Return the size of a .glb file with this JSON and a binary chunk of this size."""
    chunks = () if container is None else container.chunks
    others = sum(chunk.size + padding(chunk.size) for chunk in chunks)
    return _HEADER.size + 2 * _CHUNK.size + len(text) + n_binary + others
