"""Pickles of arrays are read, whoever wrote them; anything else in them is refused, not run."""

import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetalker_cli.data.files.pickles import read_pickle
from codetalker_cli.errors import DataError, InputError

ARRAYS = {
    "FaceTalk_A": np.arange(12, dtype=np.float64).reshape(4, 3),
    "FaceTalk_B": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "templates.pkl"
    path.write_bytes(content)
    return path


def numpy1(content: bytes) -> bytes:
    """The same pickle as NumPy 1 wrote it (protocols 0 to 2: names are plain text)."""
    assert b"numpy._core." in content
    return content.replace(b"numpy._core.", b"numpy.core.")


def python2() -> bytes:
    """{"F1": float64 array [1.5, 230.0]} as Python 2 with NumPy 1 wrote it, opcode by opcode."""
    data = np.array([1.5, 230.0]).tobytes()

    def text(value: bytes) -> bytes:  # SHORT_BINSTRING: Python 2's own str
        return b"U" + bytes([len(value)]) + value

    dtype = (
        b"cnumpy\ndtype\n" + text(b"f8") + b"K\x00K\x01\x87R"
        b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01K\x02\x85" + dtype + b"\x89" + text(data) + b"tb"
    )
    return b"\x80\x02}" + text(b"F1") + array + b"s."


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_this_numpy(tmp_path: Path, protocol: int) -> None:
    read = read_pickle(written(tmp_path, pickle.dumps(ARRAYS, protocol=protocol)))
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_arrays_of_numpy_1(tmp_path: Path, protocol: int) -> None:
    content = numpy1(pickle.dumps(ARRAYS, protocol=protocol))
    read = read_pickle(written(tmp_path, content))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)


def test_strings_and_arrays_of_python_2(tmp_path: Path) -> None:
    content = python2()
    assert list(pickletools.genops(content))  # a whole pickle
    with pytest.raises(UnicodeDecodeError):  # as Python reads it by default
        pickle.loads(content.replace(b"numpy.core.", b"numpy._core."))
    read = read_pickle(written(tmp_path, content))
    assert list(read) == ["F1"] and type(next(iter(read))) is str
    np.testing.assert_array_equal(read["F1"], [1.5, 230.0])


def test_scalars_and_plain_containers(tmp_path: Path) -> None:
    content = OrderedDict(frames=[1, 2.5, None, True], name="Zoë", n=np.float32(0.5), t=(b"x",))
    assert read_pickle(written(tmp_path, pickle.dumps(content))) == content


class Hostile:
    """Would leave a file behind if its pickle was ever run."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"F1": x}])
def test_a_hostile_pickle_runs_nothing_and_is_told(
    tmp_path: Path, protocol: int, wrap: Any
) -> None:
    proof = tmp_path / "proof"
    hostile = Hostile(os.system, f"touch {proof}")
    path = written(tmp_path, pickle.dumps(wrap(hostile), protocol=protocol))
    with pytest.raises(DataError, match=r"(posix|nt)\.system") as caught:
        read_pickle(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not proof.exists()
    pickle.loads(path.read_bytes())  # the file does what it is feared for
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
    ],
    ids=lambda call: call[0].__name__,
)
def test_no_other_name_is_ever_looked_up(tmp_path: Path, call: tuple) -> None:
    with pytest.raises(DataError, match="it asks for"):
        read_pickle(written(tmp_path, pickle.dumps(Hostile(*call))))


@pytest.mark.parametrize("name", ["numpy\nndarray.tofile", "numpy\nf2py", "numpy.core\nmultiarray"])
def test_names_beside_the_allowed_ones_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="it asks for"):
        read_pickle(written(tmp_path, b"\x80\x04c" + name.encode() + b"\n."))


def test_an_object_array_holds_nothing_that_was_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    array = np.empty(1, object)
    array[0] = Hostile(os.system, f"touch {proof}")
    with pytest.raises(DataError, match="system"):
        read_pickle(written(tmp_path, pickle.dumps({"F1": array})))
    assert not proof.exists()
    array[0] = "text"
    assert read_pickle(written(tmp_path, pickle.dumps({"F1": array})))["F1"][0] == "text"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04", pickle.dumps(ARRAYS)[:-20]])
def test_what_is_no_whole_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"templates\.pkl: not a pickle"):
        read_pickle(written(tmp_path, content))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_pickle(tmp_path / "none.pkl")
