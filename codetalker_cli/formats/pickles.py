"""Pickles of the public data sets, read without ever running code from them.

Owns a small pickle machine. Python's own calls what the file names, and that is too much even
where NumPy alone may be named: NumPy rebuilds arrays of pointers, arrays over memory that is
already free and arrays of any size as the file wishes, and deeply nested keys end the process.
Here no name is ever looked up, arrays are made of checked bytes, and memory is bounded by the
file's size.
"""

import codecs
import math
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any, BinaryIO

import numpy as np

from codetalker_cli.errors import DataError, InputError

_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
_TEXT = re.compile(r"[SU](0|[1-9][0-9]{0,8})")
_LATIN1 = "latin1"
_SMALL_BYTES = 1 << 20
_MAX_DIMENSIONS, _MAX_DEPTH = 32, 32
_MAX_DIGITS = 64  # of a number that is written out


class _RefusedError(Exception):
    """Says what the file asks for and does not get."""


@dataclass(slots=True, eq=False)
class _Unbuilt:
    """An array or dtype that was asked for, until the file gives its state, once."""

    build: Callable[[Any], Any]
    built: Any = None


class _Arguments(tuple):
    """A tuple that holds a name, or what is not built yet: nothing that may come out."""

    __slots__ = ()


_INTERNAL_TYPES = frozenset({FunctionType, _Unbuilt, _Arguments})
"""Types on the stack that are no data. A name is there as the function that stands for it."""


def _quote(text: Any) -> str:
    """What the file calls something, fit for one line of a message."""
    return ascii(text[:80])[1:-1] if isinstance(text, str) else f"a {type(text).__name__}"


def _ndarray(*_arguments: Any) -> np.ndarray:
    raise _RefusedError("it calls numpy.ndarray itself")


def _dtype(code: Any, _align: Any, _copy: Any) -> _Unbuilt:
    if isinstance(code, str) and re.fullmatch("O[48]?", code):
        raise _RefusedError("it holds an object array; only numbers and text are read")
    if not isinstance(code, str) or not (code in _NUMBERS or _TEXT.fullmatch(code)):
        raise _RefusedError(f"it holds an array of {_quote(code)}; only numbers and text are read")
    return _Unbuilt(partial(_build_dtype, code))


def _build_dtype(code: str, state: Any) -> np.dtype:
    orders = ("<", ">", "|")
    if type(state) is not tuple or len(state) != 8 or state[0] != 3 or state[1] not in orders:
        raise _RefusedError(f"a dtype {code} of an unknown form or byte order")
    dtype = np.dtype(state[1] + code)
    if state[2:5] != (None, None, None) or state[5] not in (-1, dtype.itemsize):
        raise _RefusedError(f"a dtype {code} with fields or of another size")
    return dtype


def _reconstruct(kind: Any, shape: Any, _code: Any) -> _Unbuilt:
    if kind is not _ndarray or shape != (0,):
        raise _RefusedError("it makes an array of another kind, or of a shape before its content")
    return _Unbuilt(_build_array)


def _build_array(state: Any) -> np.ndarray:
    if type(state) is not tuple or len(state) != 5 or state[0] != 1:
        raise _RefusedError("an array of an unknown form")
    _version, shape, dtype, is_fortran, content = state
    return _array(content, dtype, shape, "F" if is_fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    """An array in memory of its own. Content that is a string is bytes as Python 2 wrote them."""
    if not isinstance(dtype, np.dtype) or not isinstance(content, (str, bytes, bytearray)):
        raise _RefusedError("an array without bytes or without a dtype")
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise _RefusedError("an array without a shape")
    n_items = math.prod(shape[:_MAX_DIMENSIONS])  # NumPy refuses longer ones
    if not dtype.itemsize or n_items * dtype.itemsize != len(content):
        raise _RefusedError(f"{len(content)} bytes for shape {shape[:4]} of {dtype.str}")
    flat = np.empty(n_items, dtype)
    raw = flat.view(np.uint8)
    content = content.encode(_LATIN1) if isinstance(content, str) else content
    raw[:] = np.frombuffer(content, np.uint8)
    if dtype.kind == "b":  # other bytes than 0 and 1 are no truth values
        np.not_equal(raw, 0, out=flat)
    elif dtype.kind == "U":
        points = flat.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if ((points > 0x10FFFF) | (points >> 11 == 0x1B)).any():
            raise _RefusedError("text of no valid characters")
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    if order not in ("C", "F", "K") or (order == "K") != (type(axes) is tuple):
        raise _RefusedError(f"an array in the order {_quote(order)}")
    array = _array(content, dtype, shape, order)
    return array.transpose(axes) if order == "K" else array


def _scalar(dtype: Any, content: Any) -> Any:
    if isinstance(dtype, np.dtype) and not dtype.itemsize and content in ("", b""):
        return dtype.type()
    return _array(content, dtype, ())[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != _LATIN1:
        raise _RefusedError(f"bytes in the encoding {_quote(encoding)}")
    return text.encode(_LATIN1)


def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    return _put([part for key, value in pairs for part in (key, value)], OrderedDict())


_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered_dict,
    ("__builtin__", "bytes"): lambda: b"",
    ("builtins", "bytes"): lambda: b"",  # of a length it would take any memory
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _NAMES[f"{_core}.multiarray", "scalar"] = _scalar
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _frombuffer


def _look_up_name(module: Any, name: Any) -> Callable[..., Any]:
    # Whatever else may stand on the stack is not hashed.
    if not (type(module) is type(name) is str and (module, name) in _NAMES):
        raise _RefusedError(f"it asks for {_quote(module)}.{_quote(name)}")
    return _NAMES[module, name]


def _call(name: Any, arguments: Any) -> Any:
    if type(name) is not FunctionType or not isinstance(arguments, tuple):
        raise _RefusedError("it calls what is no name")
    return name(*arguments)


def _resolve(value: Any) -> Any:
    """What was built, in place of what was asked for."""
    return value.built if type(value) is _Unbuilt and value.built is not None else value


def _check_data(value: Any) -> Any:
    """A value that may be in a container, or the whole content."""
    value = _resolve(value)
    if type(value) in _INTERNAL_TYPES:
        raise _RefusedError("a name, or an array without content, stands where data should")
    return value


def _check_key(value: Any) -> Any:
    kinds = (str, bytes, int, float, type(None), np.generic)
    # Not tuples within tuples: a deep nest of them overflows the C stack as it is hashed.
    if not all(isinstance(v, kinds) for v in (value if type(value) is tuple else (value,))):
        raise _RefusedError(f"a key is of type {type(value).__name__}")
    return value


def _put(items: list[Any], target: Any) -> Any:
    """Items, added to a list, a set or, by turns key and value, a dictionary."""
    items = list(map(_check_data, items))
    if type(target) is list:
        target.extend(items)
    elif type(target) is set:
        target.update(map(_check_key, items))
    elif type(target) in (dict, OrderedDict):
        target.update(zip(map(_check_key, items[::2]), items[1::2], strict=True))
    else:
        raise _RefusedError(f"it adds to a {type(target).__name__}")
    return target


def _group(items: Iterable[Any]) -> tuple:
    resolved = tuple(map(_resolve, items))
    return resolved if _INTERNAL_TYPES.isdisjoint(map(type, resolved)) else _Arguments(resolved)


def _check_integer(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise _RefusedError("a number of more than 64 bits")
    return number


class _Machine:
    """Reads opcodes; its stack, marks and memo hold data and what is in ``_INTERNAL_TYPES``."""

    def __init__(self, file: BinaryIO, n_bytes: int) -> None:
        self._file, self._n_bytes = file, n_bytes
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The content, up to the opcode STOP."""
        while (opcode := self.read(1)) != b".":
            if opcode in _VALUES:
                value = _VALUES[opcode](self)  # may put another stack in place
                self.stack.append(value)
            elif opcode in _STEPS:
                _STEPS[opcode](self)
            else:
                raise _RefusedError(f"the opcode {opcode!r} has no place in it")
        return _check_data(self.stack.pop())

    def read(self, n_bytes: int) -> bytes:
        """So many bytes of the file, which are there before memory is taken for them."""
        if n_bytes > _SMALL_BYTES and n_bytes > self._n_bytes - self._file.tell():
            raise _RefusedError(f"it ends before the {n_bytes} bytes that it announces")
        content = self._file.read(n_bytes)
        if len(content) != n_bytes:
            raise _RefusedError("it ends too early")
        return content

    def count(self, n_bytes: int) -> int:
        return int.from_bytes(self.read(n_bytes), "little")

    def signed(self, n_bytes: int) -> int:
        return _check_integer(int.from_bytes(self.read(n_bytes), "little", signed=True))

    def line(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        if not line.endswith(b"\n"):
            raise _RefusedError("a line of it does not end")
        return line[:-1]

    def integer(self) -> int | bool:
        digits = self.line(_MAX_DIGITS).strip().removesuffix(b"L")
        return digits == b"01" if digits in (b"00", b"01") else _check_integer(int(digits, 0))

    def string(self) -> str:
        """Python 2's own string in a text pickle: quoted, with escapes."""
        line = self.line().strip()
        if len(line) < 2 or line[:1] not in b"\"'" or line[-1:] != line[:1]:
            raise _RefusedError("a string without quotes")
        return codecs.escape_decode(line[1:-1])[0].decode(_LATIN1)

    def text(self) -> str:
        text = codecs.raw_unicode_escape_decode(self.line())[0]
        text.encode("utf-8")  # fails for halves of characters
        return text

    def name(self) -> Callable[..., Any]:
        return _look_up_name(self.line().decode("utf-8"), self.line().decode("utf-8"))

    def pop_marked(self) -> list[Any]:
        """All since the last mark; the stack is again what was below it."""
        above, self.stack = self.stack, self.marks.pop()
        return above

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def last(self, n_items: int) -> tuple:
        return _group([self.stack.pop() for _ in range(n_items)][::-1])

    def build(self) -> None:
        """Give an array or dtype its state. Nothing else has one, and none has a second."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is not _Unbuilt or target.built is not None:
            raise _RefusedError(f"it changes the state of a {type(_resolve(target)).__name__}")
        self.stack[-1] = target.built = target.build(state)


_VALUES: dict[bytes, Callable[[_Machine], Any]] = {
    b"N": lambda m: None,
    b"\x88": lambda m: True,
    b"\x89": lambda m: False,
    b"I": _Machine.integer,
    b"L": _Machine.integer,
    b"K": lambda m: m.count(1),
    b"M": lambda m: m.count(2),
    b"J": lambda m: m.signed(4),
    b"\x8a": lambda m: m.signed(m.count(1)),
    b"\x8b": lambda m: m.signed(m.count(4)),
    b"F": lambda m: float(m.line(_MAX_DIGITS)),
    b"G": lambda m: struct.unpack(">d", m.read(8))[0],
    b"S": _Machine.string,
    b"U": lambda m: m.read(m.count(1)).decode(_LATIN1),
    b"T": lambda m: m.read(m.count(4)).decode(_LATIN1),
    b"V": _Machine.text,
    b"\x8c": lambda m: m.read(m.count(1)).decode("utf-8"),
    b"X": lambda m: m.read(m.count(4)).decode("utf-8"),
    b"\x8d": lambda m: m.read(m.count(8)).decode("utf-8"),
    b"C": lambda m: m.read(m.count(1)),
    b"B": lambda m: m.read(m.count(4)),
    b"\x8e": lambda m: m.read(m.count(8)),
    b"\x96": lambda m: bytearray(m.read(m.count(8))),
    b")": lambda m: (),
    b"t": lambda m: _group(m.pop_marked()),
    **{bytes([0x84 + n]): partial(_Machine.last, n_items=n) for n in (1, 2, 3)},
    b"]": lambda m: [],
    b"l": lambda m: _put(m.pop_marked(), []),
    b"}": lambda m: {},
    b"d": lambda m: _put(m.pop_marked(), {}),
    b"\x8f": lambda m: set(),
    b"\x91": lambda m: frozenset(_put(m.pop_marked(), set())),
    b"2": lambda m: m.stack[-1],
    b"g": lambda m: _resolve(m.memo[m.integer()]),
    b"h": lambda m: _resolve(m.memo[m.count(1)]),
    b"j": lambda m: _resolve(m.memo[m.count(4)]),
    b"c": _Machine.name,
    b"\x93": lambda m: _look_up_name(*m.last(2)),
    b"i": lambda m: _call(m.name(), _group(m.pop_marked())),
    b"R": lambda m: _call(m.stack.pop(-2), m.stack.pop()),
}
"""Opcode → the value that it lays on the stack."""

_STEPS: dict[bytes, Callable[[_Machine], object]] = {
    b"(": _Machine.mark,
    b"0": lambda m: m.stack.pop() if m.stack else m.pop_marked(),
    b"1": _Machine.pop_marked,
    b"p": lambda m: m.memo.update({m.integer(): m.stack[-1]}),
    b"q": lambda m: m.memo.update({m.count(1): m.stack[-1]}),
    b"r": lambda m: m.memo.update({m.count(4): m.stack[-1]}),
    b"\x94": lambda m: m.memo.update({len(m.memo): m.stack[-1]}),
    b"a": lambda m: _put([m.stack.pop()], m.stack[-1]),
    **dict.fromkeys((b"e", b"u", b"\x90"), lambda m: _put(m.pop_marked(), m.stack[-1])),
    b"s": lambda m: _put([m.stack.pop(-2), m.stack.pop()], m.stack[-1]),
    b"b": _Machine.build,
    b"\x80": lambda m: m.read(1),  # opcodes of later protocols are refused
    b"\x95": lambda m: m.read(8),
}
"""Opcode → what it does to the stack."""


def _check_unfolded(content: Any, limit: int) -> None:
    """Refuse what is within itself, or so often shared that a walk meets more than ``limit``."""
    n_met, path = 0, [iter([content])]
    while path:
        for value in path[-1]:
            n_met += value.nbytes if isinstance(value, np.ndarray) else 1
            if n_met > limit:
                raise _RefusedError("it repeats its content beyond measure")
            if isinstance(value, (list, tuple, dict, set, frozenset)):
                path.append(iter(value.values() if isinstance(value, dict) else value))
                break
        else:
            path.pop()
        if len(path) > _MAX_DEPTH:
            raise _RefusedError(f"more than {_MAX_DEPTH} containers within each other")


def read_pickle(path: Path | str) -> Any:
    """The content of a pickle of arrays and plain containers; Python 2's too (latin1).

    Arrays are of numbers or text, each in memory of its own. Arrays of objects or records are
    refused, and so are whole numbers beyond 64 bits.

    Raises:
        InputError: Missing file.
        DataError: Not a pickle, or it holds or names anything else; nothing of it was run.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    n_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            content = _Machine(file, n_bytes).run()
        _check_unfolded(content, 16 * n_bytes + (1 << 20))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = error if isinstance(error, _RefusedError) else f"damaged: {type(error).__name__}"
        raise DataError(
            f"{path}: not a pickle of arrays alone, nothing in it was run ({reason}); "
            "take the file from its original source"
        ) from error
    return content
