"""Headers and memory maps of .npy files."""

import io
from pathlib import Path

import numpy as np
import pytest

from codetalker_cli.arrays import map_array, read_arrays, read_npy_header
from codetalker_cli.errors import DataError


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memory_map_equals_the_array(
    tmp_path: Path, version: tuple[int, int], order: str
) -> None:
    array = np.arange(60.0).reshape((5, 4, 3), order=order)  # type: ignore[call-overload]
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)
    header = read_npy_header(tmp_path / "a.npy")
    assert header[:3] == (array.shape, array.dtype, order == "F")
    mapped = map_array(tmp_path / "a.npy")
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, array)


def test_whole_rows_of_a_truncated_file_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((5, 2), np.float32))
    whole, header = path.read_bytes(), read_npy_header(path)
    for n_bytes, n_rows in ((40, 5), (39, 4), (7, 0), (0, 0)):
        path.write_bytes(whole[: header.offset + n_bytes])
        assert header.count_whole_rows(path) == n_rows
        if n_rows < 5:
            with pytest.raises(DataError, match=r"a\.npy: cut short: it has"):
                map_array(path)
    path.write_bytes(whole + b"more")
    assert header.count_whole_rows(path) == 5


def test_a_header_is_read_from_the_current_position() -> None:
    file = io.BytesIO(b"before")
    file.name = "part"  # type: ignore[attr-defined]
    file.seek(6)
    np.save(file, np.zeros(3, np.int16))
    file.seek(6)
    header = read_npy_header(file)
    assert (header.shape, header.dtype, header.offset) == ((3,), np.int16, 6 + 128)
    file.seek(0)
    with pytest.raises(DataError, match=r"^part: not a readable \.npy file"):
        read_npy_header(file)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK\3\4", b"\x93NUMPY\x03\x00\x04\x00\x00\x00{}\n\n"]
)
def test_files_other_than_arrays_of_numbers_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy: not a readable \.npy file"):
        map_array(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: contains Python objects"):
        map_array(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"b\.npy: no such file"):
        map_array(tmp_path / "b.npy")


@pytest.mark.parametrize("shape", [f"({2**39}, {2**39})", f"({2**40 - 1}, 1)", "(-1, 3)"])
def test_impossible_shapes_are_refused(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(head + header + bytes(40))
    with pytest.raises(DataError, match=r"a\.npy: (cut short|its header is damaged)"):
        map_array(tmp_path / "a.npy")


@pytest.mark.parametrize("order", ["<", ">"])
def test_text_with_numbers_that_are_not_characters_is_refused(tmp_path: Path, order: str) -> None:
    valid = np.array(["A", "Zoë 😀", "\udcff"]).astype(f"{order}U5")
    np.savez(tmp_path / "a.npz", names=valid)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz")["names"], valid)
    damaged = np.frombuffer(bytes([0xFF] * valid.nbytes), valid.dtype)
    np.savez(tmp_path / "a.npz", names=damaged)
    with pytest.raises(DataError, match="damaged text"):
        read_arrays(tmp_path / "a.npz")
