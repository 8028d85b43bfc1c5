"""Pickles of arrays from any Python or NumPy are read. Other content is refused and never run."""

import _codecs
import json
import os
import pickle
import pickletools
import re
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy._core.multiarray import _reconstruct, scalar
from numpy._core.numeric import _frombuffer

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats.pickles import read_pickle

ROOT = Path(__file__).resolve().parent.parent
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ARRAYS = {
    "FaceTalk_A": np.arange(12, dtype=np.float64).reshape(4, 3),
    "FaceTalk_B": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
}


def write_pickle(folder: Path, content: bytes) -> Path:
    path = folder / "templates.pkl"
    path.write_bytes(content)
    return path


class _Unframed(pickle._Pickler):  # type: ignore[name-defined, misc]
    """A pickler without frames, because renaming modules would change the length of a frame."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.framer.start_framing = lambda: None


class _Python2(_Unframed):
    """A pickler that writes bytes and ASCII text as Python 2 strings."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, content: bytes | str) -> None:
        raw = content if isinstance(content, bytes) else content.encode()
        if self.proto == 0:
            self.write(b"S" + repr(raw)[1:].encode() + b"\n")
        elif len(raw) < 256:
            self.write(b"U" + bytes([len(raw)]) + raw)
        else:
            self.write(b"T" + len(raw).to_bytes(4, "little") + raw)
        self.memoize(content)

    def save_text(self, text: str) -> None:
        self.save_string(text) if text.isascii() else self.save_str(text)

    dispatch[bytes], dispatch[str] = save_string, save_text


def dumped(content: Any, protocol: int, pickler: Callable[..., Any] = _Unframed) -> bytes:
    """Return a pickle with the module names of NumPy 1."""

    class Stream(list):
        write = list.append

    stream = Stream()
    pickler(stream, protocol).dump(content)
    names = b"".join(stream)
    for module in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        old = module.replace(b"_core", b"core")
        names = names.replace(b"c" + module + b"\n", b"c" + old + b"\n")
        short = b"\x8c" + bytes([len(module)]) + module
        names = names.replace(short, b"\x8c" + bytes([len(old)]) + old)
    assert b"numpy._core" not in names
    return names


def python2(content: Any, protocol: int = 2) -> bytes:
    """Return a pickle as write_pickle by Python 2 with NumPy 1."""
    return dumped(content, protocol, _Python2)


WRITERS: dict[str, Callable[[Any, int], bytes]] = {
    "this NumPy": lambda content, protocol: pickle.dumps(content, protocol),
    "NumPy 1": dumped,
    "Python 2": lambda content, protocol: python2(content, min(protocol, 2)),
}
WIDE = ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "U1", "U5"]
DTYPES = [*(order + code for order in "<>" for code in WIDE), "?", "i1", "u1", "S1", "S7"]
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": lambda array: np.array(array, order="C"),
    "F": lambda array: np.array(array, order="F"),
    "transposed": lambda array: array.transpose(np.roll(np.arange(array.ndim), 1)),
    "strided": lambda array: array[..., ::2] if array.ndim else array,
}
CHARACTERS = st.characters(exclude_categories=["Cs"])
KEYS = st.integers(-(2**63), 2**63 - 1) | st.text(CHARACTERS) | st.booleans() | st.none()
CONTAINERS = st.recursive(
    KEYS | st.floats(allow_nan=False) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=20,
)


def assert_same(read: Any, expected: Any) -> None:
    assert type(read) is type(expected) and read.dtype.str == expected.dtype.str
    assert read.shape == expected.shape and read.tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles")


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(list(LAYOUTS)),
    protocol=st.sampled_from(PROTOCOLS),
    writer=st.sampled_from(list(WRITERS)),
)
def test_arrays_and_scalars_are_read_back(
    folder: Path, data: st.DataObject, dtype: str, layout: str, protocol: int, writer: str
) -> None:
    shape = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    array = LAYOUTS[layout](data.draw(arrays_of.arrays(dtype, shape)))
    content = {"array": array, "again": array, "all": [*array.flat], "dtype": array.dtype}
    read = read_pickle(write_pickle(folder, WRITERS[writer](content, protocol)))
    assert list(read) == list(content) and read["dtype"].str == array.dtype.str
    assert read["again"] is read["array"] and read["array"].flags.writeable
    assert_same(read["array"], array)
    for mine, other in zip(read["all"], content["all"], strict=True):
        assert_same(mine, other)
    if writer == "this NumPy":
        flags, expected = read["array"].flags, pickle.loads(pickle.dumps(array, protocol)).flags
        assert flags.c_contiguous == expected.c_contiguous
        assert flags.f_contiguous == expected.f_contiguous


@settings(max_examples=150, deadline=None)
@given(content=CONTAINERS, protocol=st.sampled_from(PROTOCOLS))
def test_plain_containers_are_read_back(folder: Path, content: Any, protocol: int) -> None:
    read = read_pickle(write_pickle(folder, pickle.dumps(content, protocol)))
    assert read == content and repr(read) == repr(content)


@pytest.mark.parametrize("protocol", [4, 5])
def test_sets_and_bytearrays_are_read(tmp_path: Path, protocol: int) -> None:
    content = [{1, "a"}, frozenset([2, b"b"]), set()]
    assert read_pickle(write_pickle(tmp_path, pickle.dumps(content, protocol))) == content
    changeable = read_pickle(write_pickle(tmp_path, pickle.dumps(bytearray(b"ab"), 5)))
    assert type(changeable) is bytearray and changeable == b"ab"


def test_shared_objects_stay_shared(tmp_path: Path) -> None:
    inner = [1, 2]
    read = read_pickle(write_pickle(tmp_path, pickle.dumps({"a": inner, "b": (inner, inner)})))
    assert read["a"] is read["b"][0] is read["b"][1]


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_strings_and_arrays_of_python_2_are_read(tmp_path: Path, protocol: int) -> None:
    content = python2({"F1": np.array([1.5, 230.0]), "it's\n": 'a "quote"'}, protocol)
    with pytest.raises(UnicodeDecodeError):  # by default, Python decodes strings as ASCII
        pickle.loads(content)
    read = read_pickle(write_pickle(tmp_path, content))
    assert list(read) == ["F1", "it's\n"] and read["it's\n"] == 'a "quote"'
    np.testing.assert_array_equal(read["F1"], [1.5, 230.0])


def test_a_python_2_pickle_assembled_from_opcodes_is_read(tmp_path: Path) -> None:
    content = (
        b"\x80\x02}U\x02F1cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + np.array([1.5, 230.0]).tobytes()
        + b"tbs."
    )
    assert list(pickletools.genops(content))  # the pickle is complete
    np.testing.assert_array_equal(read_pickle(write_pickle(tmp_path, content))["F1"], [1.5, 230.0])


def test_a_mixed_container_is_read(tmp_path: Path) -> None:
    content = OrderedDict(frames=[1, 2.5, None, True], name="Zoë", n=np.float32(0.5), t=(b"x",))
    assert read_pickle(write_pickle(tmp_path, pickle.dumps(content))) == content


def test_bytes_of_a_bool_array_become_0_or_1(tmp_path: Path) -> None:
    array = np.frombuffer(b"\x00\xff\x41", bool)
    read = read_pickle(write_pickle(tmp_path, pickle.dumps(array)))
    assert read.tobytes() == b"\x00\x01\x01"


class Hostile:
    """An object whose pickle makes a call when it is loaded."""

    def __init__(self, *call: Any, state: Any = None) -> None:
        self.call, self.state = call, state

    def __reduce__(self) -> tuple:
        reduced = self.call[0], self.call[1:]
        return reduced if self.state is None else (*reduced, self.state)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"F1": x}])
def test_a_hostile_pickle_is_refused_without_running_code(
    tmp_path: Path, protocol: int, wrap: Any
) -> None:
    proof = tmp_path / "proof"
    hostile = Hostile(os.system, f"touch {proof}")
    path = write_pickle(tmp_path, pickle.dumps(wrap(hostile), protocol=protocol))
    with pytest.raises(DataError, match=r"(posix|nt)\.system") as caught:
        read_pickle(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not proof.exists()
    pickle.loads(path.read_bytes())  # Python's own unpickler runs the call
    assert proof.exists()


@pytest.mark.parametrize(
    "call",
    [
        (eval, "1"),
        (getattr, "", "join"),
        (np.load, "x.npy"),
        (np.fromfile, "x"),
        (__import__, "os"),
        (os.path.join, "a"),
        (bytearray, 10**9),
    ],
    ids=lambda call: call[0].__name__,
)
def test_other_imports_are_refused(tmp_path: Path, call: tuple) -> None:
    with pytest.raises(DataError, match="it imports"):
        read_pickle(write_pickle(tmp_path, pickle.dumps(Hostile(*call))))


@pytest.mark.parametrize("name", ["numpy\nndarray.tofile", "numpy\nf2py", "numpy.core\nmultiarray"])
def test_names_similar_to_allowed_ones_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="it imports"):
        read_pickle(write_pickle(tmp_path, b"\x80\x04c" + name.encode() + b"\n."))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_object_array_is_refused_without_running_code(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    array = np.empty(1, object)
    for inner in (Hostile(os.system, f"touch {proof}"), "text"):
        array[0] = inner
        with pytest.raises(DataError, match="object array"):
            read_pickle(write_pickle(tmp_path, pickle.dumps({"F1": array}, protocol)))
    assert not proof.exists()


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros(2, "M8[s]"), "M8"),
        (np.zeros(2, "f4,i4"), "V8"),
        (np.zeros(2, "V3"), "V3"),
        (np.zeros(2, np.longdouble), "f16|f8"),
        (np.ma.zeros(2), r"it imports numpy\.ma\."),
    ],
)
def test_arrays_of_unsupported_types_are_refused(
    tmp_path: Path, array: np.ndarray, what: str
) -> None:
    if array.dtype == np.float64 and type(array) is np.ndarray:
        pytest.skip("long double equals double on this platform")
    with pytest.raises(DataError, match=what):
        read_pickle(write_pickle(tmp_path, pickle.dumps(array, 2)))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04", pickle.dumps(ARRAYS)[:-20]])
def test_incomplete_pickles_and_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"templates\.pkl: not a pickle"):
        read_pickle(write_pickle(tmp_path, content))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_truncated_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps(ARRAYS, protocol)
    for n_bytes in range(len(whole)):
        with pytest.raises(DataError, match="not a pickle"):
            read_pickle(write_pickle(tmp_path, whole[:n_bytes]))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), protocol=st.sampled_from(PROTOCOLS))
def test_a_damaged_pickle_is_read_or_refused_in_one_line(
    folder: Path, data: st.DataObject, protocol: int
) -> None:
    content = bytearray(WRITERS[data.draw(st.sampled_from(list(WRITERS)))](ARRAYS, protocol))
    places = st.integers(0, len(content) - 1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = byte
    try:
        read_pickle(write_pickle(folder, bytes(content)))
    except DataError as error:
        assert "\n" not in str(error) and str(error).isprintable()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_pickle(tmp_path / "none.pkl")


# Attacks: files that crash the process, exhaust its memory or choose its pointers.

N_DEEP = 200_000
F8 = np.dtype("f8")
RECORD = (3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 0)
UNBUILT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
PUT, GET = b"r\x0f\x27\x00\x00", b"j\x0f\x27\x00\x00"


def array_of(dtype: Any, shape: Any = (1,), data: Any = b"A" * 8) -> Hostile:
    return Hostile(_reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, data))


def dtype_of(code: str, *state: Any) -> Hostile:
    return Hostile(np.dtype, code, False, True, state=state)


def calls() -> dict[str, tuple[Hostile, str]]:
    """Return attacks that call NumPy's functions, each with the expected reason."""
    pointer = id(ARRAYS).to_bytes(8, sys.byteorder)
    record, objects = dtype_of("V8", *RECORD), np.dtype("O")
    outside = dtype_of("V8", 3, "|", None, ("f",), {"f": (F8, 4096)}, 8, 1, 0)
    fields = dtype_of("f8", 3, "<", None, ("f",), {"f": (F8, 0)}, 8, 8, 0)
    inner = dtype_of("f8", 3, "<", (F8, (2**20,)), None, None, -1, -1, 0)
    negative = dtype_of("S8", 3, "|", None, None, None, -8, 1, 0)
    return {
        "objects over bytes": (Hostile(np.ndarray, (3,), "O", pointer * 3), "calls numpy.ndarray"),
        "numbers over bytes": (Hostile(np.ndarray, (4,), "f8", b"A" * 64), "calls numpy.ndarray"),
        "array without content": (Hostile(np.ndarray, (2**33,)), "calls numpy.ndarray"),
        "objects in a record": (array_of(record), "array of V8"),
        "objects in a number": (array_of(fields), "f8 has fields"),
        "field outside": (array_of(outside, (12,), b"A" * 96), "array of V8"),
        "dtype within a dtype": (array_of(inner), "has fields"),
        "negative size": (array_of(negative, (12,), b"A" * 96), "unexpected size"),
        "dtype by tuple": (array_of(Hostile(np.dtype, ("f8", (9,)), 0, 1)), "array of a tuple"),
        "dtype without state": (array_of(Hostile(np.dtype, "f8", 0, 1)), "unknown form"),
        "list of objects": (array_of(objects, (1,), ["A"]), "object array"),
        "record scalar": (Hostile(scalar, record, pointer), "array of V8"),
        "object scalar": (Hostile(scalar, objects, pointer), "object array"),
        "short scalar": (Hostile(scalar, F8, b"A"), "1 bytes do not fit shape"),
        "object buffer": (Hostile(_frombuffer, pointer, objects, (1,), "C"), "object array"),
        "short buffer": (Hostile(_frombuffer, b"A" * 8, F8, (2,), "C"), "8 bytes do not fit shape"),
        "order without axes": (Hostile(_frombuffer, b"A" * 8, F8, (1,), "K"), "order K"),
        "invalid axes": (Hostile(_frombuffer, b"A" * 8, F8, (1,), "K", (1,)), "damaged"),
        "negative shape": (array_of(F8, (-1,)), "invalid shape"),
        "shape that wraps": (array_of(F8, (2**32, 2**32), b"A" * 8), "bytes do not fit shape"),
        "large and empty": (array_of(F8, (2**62, 2**62, 0), b""), "damaged"),
        "short content": (array_of(F8, (2**40,)), "8 bytes do not fit shape"),
        "many dimensions": (array_of(F8, (1,) * 1000), "damaged"),
        "wide text": (array_of(np.dtype("U2")), "invalid characters"),
        "large shape": (
            Hostile(_reconstruct, np.ndarray, (2**36,), b"b"),
            "shape other than",
        ),
        "bytes from a length": (Hostile(bytes, 2**36), "damaged"),
        "another codec": (
            Hostile(_codecs.encode, "x" * 99, "utf_32"),
            "it encodes bytes with utf_32",
        ),
    }


def opcodes() -> dict[str, tuple[bytes, str]]:
    """Return attacks assembled from opcodes, each with the expected reason."""

    def part(content: Any) -> bytes:
        return pickle.dumps(content, protocol=2)[2:-1]

    large = part(array_of(F8, (10**5,), b"\0" * 8 * 10**5))
    small = part((1, (1,), F8, False, b"A" * 8)) + b"b"
    view = b"cnumpy\nndarray\n(" + part(((10**5,), "f8"))[:-3] + GET + b"tR"
    deep = b")" + b"\x85" * N_DEEP
    defaults = b"cnumpy._core.numeric\n_frombuffer\n(N}" + part("__defaults__") + b"K\x07\x85stb"
    encode = b"c_codecs\nencode\n"
    laughs = b"](" + b"K\x01" * 10 + b"eq\x00" + (b"](" + b"h\x00" * 10 + b"eq\x00") * 12
    found = {
        "use after free": (b"]" + large + PUT + b"a" + view + b"a" + GET + small, "numpy.ndarray"),
        "two states": (large + small, "changes the state of a value of type ndarray"),
        "two states of a dtype": (
            part(F8) + part((3, ">", None, None, None, -1, -1, 0)) + b"b",
            "changes the state of a value of type Float64DType",
        ),
        "state of a name": (defaults, "changes the state of a function"),
        "state of a dictionary": (b"ccollections\nOrderedDict\n)R}b", "state of an OrderedDict"),
        "state of text": (part("text") + b"}b", "state of a value of type str"),
        "state within itself": (UNBUILT + PUT + b"(K\x01)" + GET + b"\x89)tb", "unknown form"),
        "name as content": (b"cnumpy\ndtype\n", "in place of data"),
        "name in a list": (b"]cnumpy\ndtype\n\x85a", "in place of data"),
        "name in a dictionary": (b"}K\x01cnumpy\ndtype\ns", "in place of data"),
        "array before its state": (b"]" + UNBUILT + b"a", "in place of data"),
        "text that is called": (part("eval") + b")R", "calls something that it did not import"),
        "new object": (b"cnumpy\ndtype\n)\x81", "is not allowed"),
        "instance": (b"(ios\nsystem\n", "imports os.system"),
        "persistent": (b"Pname\n", "is not allowed"),
        "extension": (b"\x82\x01", "is not allowed"),
        "outer buffer": (b"\x97", "is not allowed"),
        "unprintable name": ("c\x1b[31m\u202e\nx\n".encode(), r"imports \\x1b\[31m\\u202e\.x"),
        "long name": (b"c" + b"y" * 10**6 + b"\nx\n", "imports yyy"),
        "many digits": (b"I" + b"9" * 10**6 + b"\n", "is not terminated"),
        "large number": (b"\x8b" + (10**6).to_bytes(4, "little") + b"A" * 10**6, "64 bits"),
        "unpaired surrogate": (b"V\\ud800\n", "damaged"),
        "deep key": (b"}" + deep + b"Ns", "key is a tuple of tuples"),
        "deep member": (b"\x8f(" + deep + b"\x90", "key is a tuple of tuples"),
        "deep module": (deep + part("x") + b"\x93", "imports a tuple.x"),
        "deep encoding": (encode + part("x") + deep + b"\x86R", "encodes bytes with a tuple"),
        "deep names": (b"cnumpy\ndtype\n" + b"\x85" * N_DEEP, "in place of data"),
        "deep lists": (b"]" * N_DEEP + b"a" * (N_DEEP - 1), "levels deep"),
        "list within itself": (b"]2a", "levels deep"),
        "list twice within itself": (b"]q\x00(h\x00h\x00e", "levels deep"),
        "lists of lists": (laughs, "would expand to a huge size"),
        "one array often": (
            b"]" + large + PUT + b"a(" + GET * 1000 + b"e",
            "would expand to a huge size",
        ),
    }
    named = b"cnumpy\nndarray\n" + b"\x85" * N_DEEP
    found["deep key of names"] = (b"}" + named + b"Ns", "key is a tuple of tuples")
    found["deep member of names"] = (b"\x8f(" + named + b"\x90", "key is a tuple of tuples")
    text = part("x" * 10**5)[:-2] + PUT
    again = b"c_codecs\nencode\n" + b"(" + GET + part("latin1") + b"tR"
    found["repeated bytes"] = (
        text + b"](" + again * 2000 + b"e",
        "would expand to a huge size",
    )
    pairs = b"](" + b"K\x01K\x02\x86" * 10**4 + b"e" + PUT
    again = b"ccollections\nOrderedDict\n(" + GET + b"tR"
    found["repeated pairs"] = (pairs + b"](" + again * 2000 + b"e", "would expand to a huge size")
    wide = b"(" + b"K\x01" * 10**4 + b"t" + PUT
    found["repeated wide key"] = (
        b"}" + wide + (GET + b"Ns") * 10**4,
        "would expand to a huge size",
    )
    found["length declared by a frame"] = (
        b"\x95" + (2**40).to_bytes(8, "little") + b"N",
        "declares",
    )
    found["deep key of pairs"] = (
        b"ccollections\nOrderedDict\n]" + deep + b"N\x86a\x85R",
        "key is a tuple of tuples",
    )
    for opcode, size in ((b"T", 4), (b"X", 4), (b"B", 4), (b"\x8d", 8), (b"\x8e", 8), (b"\x96", 8)):
        announced = (2 ** (8 * size - 1) - 1).to_bytes(size, "little")
        found[f"length declared by {opcode!r}"] = (opcode + announced + b"AAA", "declares")
    return {
        name: (b"\x80\x05" + content + b".", message) for name, (content, message) in found.items()
    }


ATTACKS = {name: (pickle.dumps(call, 2), message) for name, (call, message) in calls().items()}
ATTACKS |= opcodes()
READER = """
import faulthandler, gc, json, sys, tracemalloc
from codetalker_cli.formats.pickles import read_pickle
from codetalker_cli.errors import DataError
faulthandler.enable()
for line in sys.stdin:
    name, path = json.loads(line)
    gc.collect()
    if not name.startswith("deep"):  # tracing many values is too slow
        tracemalloc.start()
    try:
        message = f"read {read_pickle(path)!r:.200}"
    except DataError as error:
        message = str(error)
    print(json.dumps([name, message, tracemalloc.get_traced_memory()[1]]), flush=True)
    tracemalloc.stop()
"""


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the message and the peak memory in bytes for each attack, by name.

    Another process reads the attacks, because a successful one could crash it.
    """
    asked = []
    for n, (name, (content, _)) in enumerate(ATTACKS.items()):
        path = folder / f"attack{n}.pkl"
        path.write_bytes(content)
        asked.append(json.dumps([name, str(path)]))
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input="\n".join(asked),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    lines = map(json.loads, done.stdout.splitlines())
    found = {name: (message, n_bytes) for name, message, n_bytes in lines}
    for name in ATTACKS:
        found.setdefault(name, (f"the process crashed: {done.stderr[-2000:]}", 0))
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_one_line_and_little_memory(
    answers: dict[str, tuple[str, int]], name: str
) -> None:
    message, n_bytes = answers[name]
    content, expected = ATTACKS[name]
    assert re.search(
        rf"not a pickle of plain arrays \(.*{expected}.*\); no code in it was run", message
    )
    assert len(message) < 600 and message.isprintable()
    assert n_bytes < 20 * len(content) + 2**20


def test_large_memo_indices_take_no_memory(tmp_path: Path) -> None:
    content = b"\x80\x02N" + b"r" + (2**32 - 1).to_bytes(4, "little") + b"."
    tracemalloc.start()
    try:
        assert read_pickle(write_pickle(tmp_path, content)) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_value_is_read_back_from_a_large_memo_index(tmp_path: Path) -> None:
    place = (2**32 - 1).to_bytes(4, "little")
    path = write_pickle(tmp_path, b"\x80\x02](X\x01\0\0\0a" + b"r" + place + b"j" + place + b"e.")
    tracemalloc.start()
    try:
        assert read_pickle(path) == ["a", "a"]
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_memory_is_proportional_to_the_arrays(tmp_path: Path) -> None:
    # The unpickler keeps each string in memory, because a pickle can refer to it again.
    speech = {n: np.full(80_000 + n, n, np.int16) for n in range(40)}
    path = write_pickle(tmp_path, python2(speech))
    tracemalloc.start()
    try:
        read = read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 2.3 * path.stat().st_size
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read[39], speech[39])


def test_torch_tensors_are_named_with_what_to_save_instead(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "templates.pkl"
    path.write_bytes(pickle.dumps({"A": torch.zeros(10, 3)}))
    with pytest.raises(DataError, match=r"contains torch tensors; save NumPy arrays"):
        read_pickle(path)
    torch.save({"A": torch.zeros(10, 3)}, path)
    with pytest.raises(DataError, match=r"zip file, as torch\.save writes; save NumPy arrays"):
        read_pickle(path)
