"""Packets: named arrays with a small header, which the page reads without a library.

A packet is two little-endian uint32 numbers (the bytes of the header and of the body), the header
as JSON, and the body: the arrays one after the other. ``header["arrays"]`` lists for each array its
name, dtype, shape and whether its last axis contains differences. Integers are stored as zigzag
numbers (0, −1, 1, −2, … become 0, 1, 2, 3, …), and all values as byte planes (first the lowest byte
of every value, then the next), because both make gzip smaller. ``web/packets.js`` reads packets.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_TYPES = {"u1": np.uint8, "i1": np.int8, "i2": np.int16, "i4": np.int32, "f4": np.float32}


def pack(
    kind: str,
    header: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    deltas: tuple[str, ...] = (),
) -> bytes:
    """Return a packet.

    Args:
        kind: What the packet contains, stored as ``header["kind"]``.
        header: Further entries of the header, which JSON can store.
        arrays: Arrays of integers or floating-point numbers. Integers get the smallest type that
            contains their values, and floating-point numbers become float32.
        deltas: Names of the integer arrays that are stored as differences along their last axis.
    """
    entries, bodies = [], []
    for name, array in arrays.items():
        delta = name in deltas
        values = np.asarray(array)
        if delta:
            values = np.diff(values.astype(np.int64), axis=-1, prepend=0)
        dtype = _dtype(values)
        entries.append({"name": name, "dtype": dtype, "shape": list(values.shape), "delta": delta})
        bodies.append(_planes(values, dtype))
    # ASCII only, so that a reader needs no decoder and a lone surrogate of a name is no problem.
    text = json.dumps({"kind": kind, **header, "arrays": entries}).encode("ascii")
    body = b"".join(bodies)
    return np.array([len(text), len(body)], "<u4").tobytes() + text + body


def _dtype(values: np.ndarray) -> str:
    if values.dtype.kind == "f":
        return "f4"
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low >= 0 and high < 1 << 8:
        return "u1"
    for name, bits in (("i1", 8), ("i2", 16), ("i4", 32)):
        if -(1 << bits - 1) <= low and high < 1 << bits - 1:
            return name
    raise ValueError(f"the values {low} to {high} do not fit into 32 bits")


def _planes(values: np.ndarray, dtype: str) -> bytes:
    size = np.dtype(_TYPES[dtype]).itemsize
    if dtype.startswith("i"):
        wide = values.astype(np.int64)
        values = ((wide << 1) ^ (wide >> 63)).astype(f"<u{size}")
    else:
        values = values.astype(f"<{dtype}")
    return np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8).T.tobytes()


def unpack(packet: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the header and the arrays of a packet, as the page reads them."""
    n_header = int(np.frombuffer(packet, "<u4", 1)[0])
    header = json.loads(packet[8 : 8 + n_header])
    at, arrays = 8 + n_header, {}
    for entry in header["arrays"]:
        dtype, shape = entry["dtype"], entry["shape"]
        size, count = np.dtype(_TYPES[dtype]).itemsize, int(np.prod(shape))
        planes = np.frombuffer(packet, np.uint8, size * count, at).reshape(size, count)
        stored = f"<u{size}" if dtype.startswith("i") else f"<{dtype}"
        values = np.ascontiguousarray(planes.T).view(stored).reshape(shape)
        if dtype.startswith("i"):
            wide = values.astype(np.int64)
            values = ((wide >> 1) ^ -(wide & 1)).astype(_TYPES[dtype])
        if entry["delta"]:
            values = np.cumsum(values, axis=-1, dtype=np.int32)
        arrays[entry["name"]] = values
        at += size * count
    return header, arrays
