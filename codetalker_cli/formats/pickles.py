"""Read the pickles of the public data sets without running code from them.

Python's own unpickler reads the file, but never imports a name from it. Each name that NumPy's
pickles contain is replaced with a function of this module, which checks its arguments and builds
arrays from checked bytes. NumPy's own functions are not safe here. A file can make them create
arrays of pointers, arrays over freed memory and arrays of any size.

Before that, the opcodes are checked without running them. Otherwise a few bytes could make the
unpickler allocate gigabytes, or hash tuples nested so deeply that the process crashes.
"""

import io
import math
import pickle
import pickletools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats.pickle_opcodes import (
    Budget,
    ForeignError,
    RefusedError,
    check_hashable,
    check_opcodes,
    quote,
    refused_name,
)
from codetalker_cli.text_files import check_file

_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
_TEXT = re.compile(r"[SU](0|[1-9][0-9]{0,8})")
_LATIN1 = "latin1"
_ZIP = b"PK\x03\x04"
_MAX_DIMENSIONS, _MAX_DEPTH = 32, 32


# The objects that the unpickler builds in place of NumPy's.


class _Name:
    """A function of this module that replaces an imported name."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, _state: Any) -> None:
        # Without this method, the file could set any attribute.
        raise RefusedError("it changes the state of a function")


class _Standin:
    """A stand-in for an array, scalar or dtype, which is complete or waits for its state.

    The unpickler never handles a real array, because NumPy's ``__setstate__`` would let the file
    replace the memory of an array in use.
    """

    __slots__ = ("_build", "value")

    def __init__(self, value: Any = None, build: Callable[[Any], Any] | None = None) -> None:
        self.value, self._build = value, build

    def __setstate__(self, state: Any) -> None:
        if self._build is None:
            raise RefusedError(
                f"it changes the state of a value of type {type(self.value).__name__}"
            )
        self.value, self._build = self._build(state), None

    @property
    def is_complete(self) -> bool:
        return self._build is None


class _OrderedDict(OrderedDict):
    """An ordered dictionary that does not let the file set attributes."""

    def __setstate__(self, _state: Any) -> None:
        raise RefusedError("it changes the state of an OrderedDict")


def _ndarray(*_arguments: Any) -> None:
    raise RefusedError("it calls numpy.ndarray directly")


def _dtype(code: Any, _align: Any, _copy: Any) -> _Standin:
    if isinstance(code, str) and re.fullmatch("O[48]?", code):
        raise RefusedError("it contains an object array; only numbers and text are allowed")
    if not isinstance(code, str) or not (code in _NUMBERS or _TEXT.fullmatch(code)):
        raise RefusedError(
            f"it contains an array of {quote(code)}; only numbers and text are allowed"
        )
    return _Standin(build=partial(_build_dtype, code))


def _build_dtype(code: str, state: Any) -> np.dtype:
    orders = ("<", ">", "|")
    if type(state) is not tuple or len(state) != 8 or state[0] != 3 or state[1] not in orders:
        raise RefusedError(f"the state of dtype {code} has an unknown form or byte order")
    dtype = np.dtype(state[1] + code)
    if state[2:5] != (None, None, None) or state[5] not in (-1, dtype.itemsize):
        raise RefusedError(f"the state of dtype {code} has fields or an unexpected size")
    return dtype


def _reconstruct(kind: Any, shape: Any, _code: Any) -> _Standin:
    if kind is not _NAMES["numpy", "ndarray"] or shape != (0,):
        raise RefusedError("it creates an array of another class or with a shape other than (0,)")
    return _Standin(build=_build_array)


def _build_array(state: Any) -> np.ndarray:
    if type(state) is not tuple or len(state) != 5 or state[0] != 1 or not _is_dtype(state[2]):
        raise RefusedError("the state of an array has an unknown form")
    _version, shape, dtype, is_fortran, content = state
    return _array(content, dtype, shape, "F" if is_fortran else "C")


def _is_dtype(value: Any) -> bool:
    return type(value) is _Standin and isinstance(value.value, np.dtype)


def _array(content: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    """Copy content into a new array. Python 2 wrote bytes as strings, which are accepted too."""
    if not _is_dtype(dtype) or not isinstance(content, (str, bytes, bytearray)):
        raise RefusedError("an array has no bytes or no dtype")
    dtype = dtype.value
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise RefusedError("an array has an invalid shape")
    _budget.spend(len(content))
    n_items = math.prod(shape[:_MAX_DIMENSIONS])  # NumPy refuses more
    if not dtype.itemsize or n_items * dtype.itemsize != len(content):
        raise RefusedError(f"{len(content)} bytes do not fit shape {shape[:4]} of {dtype.str}")
    flat = np.empty(n_items, dtype)
    raw = flat.view(np.uint8)
    content = content.encode(_LATIN1) if isinstance(content, str) else content
    raw[:] = np.frombuffer(content, np.uint8)
    if dtype.kind == "b":  # a bool must be stored as 0 or 1
        np.not_equal(raw, 0, out=flat)
    elif dtype.kind == "U":
        points = flat.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if ((points > 0x10FFFF) | (points >> 11 == 0x1B)).any():
            raise RefusedError("text contains invalid characters")
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Standin:
    if order not in ("C", "F", "K") or (order == "K") != (type(axes) is tuple):
        raise RefusedError(f"an array has the unsupported order {quote(order)}")
    array = _array(content, dtype, shape, order)
    return _Standin(array.transpose(axes) if order == "K" else array)


def _scalar(dtype: Any, content: Any) -> _Standin:
    if _is_dtype(dtype) and not dtype.value.itemsize and content in ("", b""):
        return _Standin(dtype.value.type())
    return _Standin(_array(content, dtype, ())[()])


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != _LATIN1:
        raise RefusedError(
            f"it encodes bytes with {quote(encoding)}; only text as latin1 is allowed"
        )
    _budget.spend(len(text))
    return text.encode(_LATIN1)


def _ordered_dict(pairs: Any = ()) -> _OrderedDict:
    _budget.spend(len(pairs))
    return _OrderedDict((check_hashable(key), value) for key, value in pairs)


_NAMES = {
    ("numpy", "ndarray"): _Name(_ndarray),
    ("numpy", "dtype"): _Name(_dtype),
    ("_codecs", "encode"): _Name(_encode),
    ("collections", "OrderedDict"): _Name(_ordered_dict),
    ("__builtin__", "bytes"): _Name(lambda: b""),
    ("builtins", "bytes"): _Name(
        lambda: b""
    ),  # a length argument could allocate any amount of memory
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Name(_reconstruct)
    _NAMES[f"{_core}.multiarray", "scalar"] = _Name(_scalar)
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Name(_frombuffer)


class _LoadBudget(threading.local):
    """The budget of the pickle that this thread is loading."""

    def __init__(self) -> None:
        self._budget = Budget(0)

    def set(self, limit: int) -> None:
        self._budget = Budget(limit)

    def spend(self, n: int) -> None:
        self._budget.spend(n)


_budget = _LoadBudget()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise refused_name(module, name)
        return _NAMES[module, name]


# Replacing the stand-ins in the result.


def _check_unfolded(content: Any, limit: int) -> None:
    """Refuse content that contains itself or expands to more than ``limit`` values and bytes."""
    n_met, path = 0, [iter([content])]
    while path:
        for value in path[-1]:
            array = getattr(value, "value", None)
            n_met += array.nbytes if isinstance(array, np.ndarray) else 1
            if n_met > limit:
                raise RefusedError(
                    "it refers to the same content so often that it would expand to a huge size"
                )
            if isinstance(value, (list, tuple, dict, set, frozenset)):
                path.append(iter(value.values() if isinstance(value, dict) else value))
                break
        else:
            path.pop()
        if len(path) > _MAX_DEPTH:
            raise RefusedError(f"containers are nested more than {_MAX_DEPTH} levels deep")


def _resolve(value: Any, resolved: dict[int, Any]) -> Any:
    """Return a value with all stand-ins replaced. Shared objects stay shared."""
    if id(value) not in resolved:
        resolved[id(value)] = _replace(value, partial(_resolve, resolved=resolved))
    return resolved[id(value)]


def _replace(value: Any, resolve: Callable[[Any], Any]) -> Any:
    if type(value) is _Name or (type(value) is _Standin and not value.is_complete):
        raise RefusedError("it contains an imported name or an incomplete array in place of data")
    if type(value) is _Standin:
        return value.value
    if isinstance(value, dict):
        items = {_check_key(resolve(key)): resolve(part) for key, part in value.items()}
        return OrderedDict(items) if isinstance(value, OrderedDict) else items
    if isinstance(value, (set, frozenset)):
        return type(value)(_check_key(resolve(part)) for part in value)
    return type(value)(map(resolve, value)) if isinstance(value, (list, tuple)) else value


def _check_key(value: Any) -> Any:
    kinds = (str, bytes, int, float, type(None), np.generic)
    if not all(isinstance(v, kinds) for v in (value if type(value) is tuple else (value,))):
        raise RefusedError(f"a key has the unsupported type {type(value).__name__}")
    return value


def read_pickle(path: Path | str) -> Any:
    """Return the content of a pickle of arrays and plain containers, written by Python 2 or 3.

    Arrays contain numbers or text and do not share memory. Arrays of objects or records and
    integers of more than 64 bits are refused. Strings from Python 2 are decoded as latin1.

    Raises:
        InputError: The file is missing or unreadable.
        DataError: The file is not a pickle, or it contains or imports anything else. No code from
            the file was run.
    """
    path = Path(path)
    check_file(path)
    n_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(4) == _ZIP:
                raise ForeignError(
                    "this is a zip file, as torch.save writes; save NumPy arrays with pickle "
                    "instead, such as tensor.numpy()"
                )
            file.seek(0)
            content = _load(file, n_bytes)
        _check_unfolded(content, 16 * n_bytes + (1 << 20))
        return _resolve(content, {})
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a damaged pickle can raise almost any exception
        if isinstance(error, ForeignError):
            raise DataError(f"{path}: {error}; no code in it was run") from error
        reason = error if isinstance(error, RefusedError) else f"damaged: {type(error).__name__}"
        raise DataError(
            f"{path}: not a pickle of plain arrays ({reason}); no code in it was run; download the "
            "file from its original source"
        ) from error


def _load(file: BinaryIO, n_bytes: int) -> Any:
    largest_index = check_opcodes(file, n_bytes)
    # A legitimate file converts each text to bytes once, and the bytes to an array once.
    _budget.set(4 * n_bytes + (1 << 20))
    file.seek(0)
    if largest_index > n_bytes:
        # The unpickler would allocate a table of that length, so renumber the memo from 0.
        content = pickletools.optimize(file.read())
        return _unpickle(io.BytesIO(content))
    return _unpickle(file)


def _unpickle(file: BinaryIO) -> Any:
    try:
        return _Unpickler(file, encoding=_LATIN1).load()
    except AttributeError as error:
        if error.name != "__dict__":
            raise
        kind = type(error.obj).__name__
        raise RefusedError(f"it changes the state of a value of type {kind}") from error
