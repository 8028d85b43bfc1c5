"""Vertex lists are read exactly, and each kind of damage is reported."""

import io
from pathlib import Path

import numpy as np
import pytest
from biwi_raw import vl_bytes, write

from codetalker_cli.errors import DataError
from codetalker_cli.formats import vl
from codetalker_cli.formats.archives import FoundFile, Span

VERTICES = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
GOOD = vl_bytes(VERTICES)


def with_row(k: int, value: float) -> np.ndarray:
    changed = VERTICES.copy()
    changed[k, 1] = value
    return changed


def read(content: bytes, n_vertices: int = 7) -> np.ndarray:
    return vl.read_vl(io.BytesIO(content), len(content), n_vertices, "x.vl")


def test_a_vertex_list_is_a_count_and_coordinates() -> None:
    by_hand = b"\x02\x00\x00\x00" + np.array([1, 2, 3, -4, 5.5, 6], dtype="<f4").tobytes()
    np.testing.assert_array_equal(read(by_hand, 2), [[1, 2, 3], [-4, 5.5, 6]])
    np.testing.assert_array_equal(read(GOOD), VERTICES)
    assert read(GOOD).dtype == np.float32
    assert vl.n_bytes(7) == len(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a vertex list: 0 bytes, expected 88"),
        (GOOD[:3], "not a vertex list: 3 bytes, expected 88"),
        (GOOD[:4], "cut short, 4 bytes, expected 88 for 7 vertices"),
        (GOOD[:-1], "cut short, 87 bytes, expected 88"),
        (GOOD + b"\0", "too long, 89 bytes, expected 88"),
        (vl_bytes(VERTICES[:6]), "6 vertices, expected 7"),
        (vl_bytes(VERTICES, count=8), "8 vertices, expected 7"),
        (vl_bytes(VERTICES, count=2**32 - 1), "4294967295 vertices, expected 7"),
        (vl_bytes(np.vstack([VERTICES, VERTICES])), "14 vertices, expected 7"),
        (vl_bytes(with_row(3, np.nan)), "vertex 3 is NaN"),
        (vl_bytes(with_row(0, -np.inf)), "vertex 0 is NaN or inf"),
    ],
)
def test_an_invalid_vertex_list_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^x\.vl: {message}"):
        read(content)


def test_a_file_that_is_too_long_is_not_read_to_its_end() -> None:
    class Counted(io.BytesIO):
        n = 0

        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None and size >= 0
            Counted.n += size
            return super().read(size)

    with pytest.raises(DataError, match="too long"):
        vl.read_vl(Counted(GOOD), 1 << 40, 7, "x.vl")
    assert len(GOOD) >= Counted.n


def files(*names: str) -> list[FoundFile]:
    return [FoundFile(Path("raw"), ("e01", name), 1) for name in names]


def test_frames_are_sorted_by_number() -> None:
    numbers, ordered = vl.sort_by_number(files("f_010.vl", "f_9.vl", "f_100.vl", "F1_e01_002.VL"))
    np.testing.assert_array_equal(numbers, [2, 9, 10, 100])
    assert [f.name for f in ordered] == ["F1_e01_002.VL", "f_9.vl", "f_010.vl", "f_100.vl"]
    assert numbers.dtype == np.int64


def test_missing_and_repeated_frame_numbers_are_errors() -> None:
    with pytest.raises(DataError, match=r"f_1\.vl and .*f_001\.vl are both frame 1"):
        vl.sort_by_number(files("f_1.vl", "f_2.vl", "f_001.vl"))
    with pytest.raises(DataError, match=r"mean\.vl: the name contains no frame number"):
        vl.sort_by_number(files("f_1.vl", "mean.vl"))


def test_lists_are_read_from_files_and_from_parts_of_files(tmp_path: Path) -> None:
    others = [VERTICES + k for k in range(3)]
    shared = write(tmp_path / "all", b"junk" + b"".join(map(vl_bytes, others[:2])))
    alone = write(tmp_path / "alone.vl", vl_bytes(others[2]))
    spans = [Span(shared, 4 + 88 * k, 88, f"all: {k}") for k in range(2)]
    spans.append(Span(alone, 0, 88, "alone.vl"))
    with vl.vertex_lists(np.array([1, 5, 6]), spans, 7) as lists:
        for position in (2, 0, 1, 0):
            np.testing.assert_array_equal(lists.read_one(position), others[position])
        alone.unlink()
        with pytest.raises(DataError, match=r"alone\.vl \(frame 6\): cannot be read"):
            lists.read_one(2)
    with (
        vl.vertex_lists(np.array([5]), [Span(shared, 10, 88, "all: 1")], 7) as lists,
        pytest.raises(DataError, match=r"all: 1 \(frame 5\): \d+ vertices, expected 7"),
    ):
        lists.read_one(0)
