"""Files in archives are read in place, and hostile or damaged archives are refused."""

import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from biwi_raw import tar_bytes, write
from hypothesis import example, given
from hypothesis import strategies as st

from codetalker_cli.errors import DataError
from codetalker_cli.formats import archives, streams, tar_members
from codetalker_cli.formats.archives import FoundFile, as_file, contents, list_archive, on_disk

FILES = {f"a/frame_{k}.bin": bytes([k]) * (700 * k) for k in (3, 1, 2)}
LIMIT = 1 << 20


def found_file(path: Path) -> FoundFile:
    return FoundFile(path.parent, (path.name,), path.stat().st_size)


def content(files: list[FoundFile], scratch: Path | None = None) -> dict[str, bytes]:
    """Return the bytes on disk of each file, by its path below the root."""
    read = {}
    with on_disk(files, scratch, LIMIT) as spans:
        for file, span in zip(files, spans, strict=True):
            whole = span.path.read_bytes()
            read["/".join(file.parts)] = whole[span.offset : span.offset + span.size]
    return read


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    return info


def with_member(info: tarfile.TarInfo, *, gz: bool = False) -> bytes:
    """Return a tar archive of a valid file, the given member and another valid file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for k, entry in enumerate((tarfile.TarInfo("good_1.bin"), info, special("z", b"0"))):
            entry.size = 5 if k != 1 or info.isreg() else 0
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return gzip.compress(buffer.getvalue()) if gz else buffer.getvalue()


HOSTILE = {
    "up": tarfile.TarInfo("../evil.bin"),
    "up in the middle": tarfile.TarInfo("a/b/../../../evil.bin"),
    "up and down again": tarfile.TarInfo("a/../evil.bin"),
    "root": tarfile.TarInfo("/tmp/evil.bin"),
    "backslashes": tarfile.TarInfo("..\\evil.bin"),
    "drive": tarfile.TarInfo("C:\\evil.bin"),
    "folder outside": special("../evil", tarfile.DIRTYPE),
    "link to the root": link("evil", "/etc/passwd"),
    "link up": link("a/evil", "../../passwd"),
    "hard link up": link("evil", "../passwd", tarfile.LNKTYPE),
    "hard link to the root": link("evil", "/etc/passwd", tarfile.LNKTYPE),
    "device": special("evil", tarfile.CHRTYPE),
    "disk": special("evil", tarfile.BLKTYPE),
    "pipe": special("evil", tarfile.FIFOTYPE),
    "unknown type": special("evil", b"Q"),
}


@pytest.mark.parametrize("gz", [False, True], ids=["tar", "tgz"])
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_members_are_refused_by_name(tmp_path: Path, what: str, gz: bool) -> None:
    path = write(tmp_path / "raw" / "x.tar", with_member(HOSTILE[what], gz=gz))
    before = everything(tmp_path)
    with pytest.raises(DataError) as caught:
        list_archive(found_file(path))
    message = str(caught.value)
    assert str(path) in message and "evil" in message and "\n" not in message
    assert everything(tmp_path) == before


def test_unprintable_names_are_escaped_in_messages(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", with_member(tarfile.TarInfo("../evil\n\x1b[2J")))
    with pytest.raises(DataError) as caught:
        list_archive(found_file(path))
    assert str(caught.value).isprintable()
    path = write(tmp_path / "y.tar", tar_bytes({"a\nb\x1b.bin": b""}))
    assert list_archive(found_file(path))[0].label == f"{path}: a\\nb\\x1b.bin"


@pytest.mark.parametrize("gz", [False, True], ids=["tar", "tgz"])
def test_plain_members_are_read_in_place_and_compressed_ones_unpacked(
    tmp_path: Path, gz: bool
) -> None:
    path = write(tmp_path / "x.tar", tar_bytes(FILES, gz=gz))
    scratch = tmp_path / "scratch"
    files = list_archive(found_file(path))
    assert ["/".join(f.parts[1:]) for f in files] == list(FILES)
    assert content(files[::-1], scratch) == {f"x.tar/{k}": v for k, v in FILES.items()}
    with on_disk(files, scratch, LIMIT) as spans:
        assert all((span.path == path) != gz for span in spans)
        assert len(everything(scratch)) == (2 if gz else 0)
    assert not everything(scratch)
    with as_file(files[0], scratch, LIMIT) as alone:
        assert alone.suffix == ".bin" and alone.read_bytes() == FILES["a/frame_3.bin"]
    assert not everything(scratch)


@pytest.mark.parametrize("kinds", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
def test_nested_archives_are_read(tmp_path: Path, kinds: tuple[int, int, int]) -> None:
    packed = FILES
    for depth, gz in enumerate(kinds):
        packed = {"note.txt": b"hello", f"in{depth}.tgz": tar_bytes(packed, gz=bool(gz))}
    outer = write(tmp_path / "out.tar", tar_bytes(packed))
    failed: list = []
    files = [
        f for f in contents(found_file(outer), lambda _: True, failed) if f.name.endswith(".bin")
    ]
    inner = "out.tar/in2.tgz/in1.tgz/in0.tgz"
    assert not failed
    assert content(files) == {f"{inner}/{name}": data for name, data in FILES.items()}
    assert files[0].disk == outer
    assert files[0].label == f"{outer}: in2.tgz: in1.tgz: in0.tgz: a/frame_3.bin"
    assert (files[0].place is not None) == (not any(kinds))
    closed = contents(found_file(outer), lambda _: False, failed)
    assert [f.name for f in closed] == ["note.txt", "in2.tgz"]


def test_too_deeply_nested_archives_are_refused(tmp_path: Path) -> None:
    packed = FILES
    for _ in range(5):
        packed = {"x.tar": tar_bytes(packed)}
    failed: list = []
    assert not contents(
        found_file(write(tmp_path / "x.tar", packed["x.tar"])), lambda _: True, failed
    )
    ((where, error),) = failed
    assert "levels deep" in str(error) and str(where.disk) == str(tmp_path / "x.tar")


def test_links_are_listed_as_their_target_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("a/1.bin")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
        tar.addfile(link("b/2.bin", "../a/./1.bin"))
        tar.addfile(link("b/3.bin", "a/1.bin", tarfile.LNKTYPE))
        tar.addfile(link("4.bin", "b/2.bin"))
        tar.addfile(link("folder", "a"))
        tar.addfile(link("nothing", "c"))
        tar.addfile(link("round", "trip"))
        tar.addfile(link("trip", "round"))
        tar.addfile(special("a", tarfile.DIRTYPE))
    files = list_archive(found_file(write(tmp_path / "x.tar", buffer.getvalue())))
    names = ["a/1.bin", "b/2.bin", "b/3.bin", "4.bin"]
    assert content(files) == {f"x.tar/{name}": b"one" for name in names}


def test_hidden_members_are_skipped_and_repeated_ones_kept(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (".", "./1.bin", "._1.bin", "__MACOSX/1.bin", ".git/x", "1.bin"):
            tar.addfile(special(name, tarfile.DIRTYPE if name == "." else tarfile.REGTYPE))
    files = list_archive(found_file(write(tmp_path / "x.tar", buffer.getvalue())))
    assert [f.name for f in files] == ["1.bin", "1.bin"]


def damaged(good: bytes, what: str) -> bytes:
    header = 512 + 512 * -(
        -len(FILES["a/frame_3.bin"]) // 512
    )  # start of the header of the second member
    flipped = bytearray(good)
    flipped[header + 20] ^= 0xFF
    return {
        "cut in a member": good[: header - 700],
        "cut in a header": good[: header + 100],
        "cut after a member": good[:header],
        "flipped header bits": bytes(flipped),
        "empty": b"",
        "not an archive": b"not an archive at all" * 100,
    }[what]


@pytest.mark.parametrize(
    "what",
    [
        "cut in a member",
        "cut in a header",
        "cut after a member",
        "flipped header bits",
        "empty",
        "not an archive",
    ],
)
@pytest.mark.parametrize("gz", [False, True], ids=["tar", "tgz"])
def test_a_damaged_or_truncated_archive_is_an_error(tmp_path: Path, what: str, gz: bool) -> None:
    bad = damaged(tar_bytes(FILES), what)
    path = write(tmp_path / "x.tgz", gzip.compress(bad) if gz else bad)
    with pytest.raises(DataError, match=r"damaged|cut short") as caught:
        list_archive(found_file(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [1, 15, 300, -9, -3])
def test_truncated_gzip_data_is_an_error(tmp_path: Path, keep: int) -> None:
    noise = {"x.bin": np.random.default_rng(0).bytes(5000)}
    path = write(tmp_path / "x.tgz", tar_bytes(noise, gz=True)[:keep])
    with pytest.raises(DataError, match=r"x\.tgz: .*cut short"):
        list_archive(found_file(path))


def test_a_flipped_bit_in_gzip_data_is_an_error(tmp_path: Path) -> None:
    noise = {"x.bin": np.random.default_rng(0).bytes(5000)}
    bad = bytearray(gzip.compress(tar_bytes(noise), compresslevel=0))
    bad[2000] ^= 1  # in the content, so that only the checksum shows it
    with pytest.raises(DataError, match=r"x\.tgz: .*damaged"):
        list_archive(found_file(write(tmp_path / "x.tgz", bytes(bad))))


def test_other_archive_formats_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("x.bin", b"x")
    kinds = {"xz": lzma.compress(tar_bytes(FILES)), "zip": buffer.getvalue()}
    for kind, data in kinds.items():
        with pytest.raises(DataError, match=f"{kind}.*unpack it"):
            list_archive(found_file(write(tmp_path / f"{kind}.tar", data)))


def header(kind: bytes, size: bytes) -> bytes:
    """Return a header block with a given size field and a correct checksum."""
    info = special("x", kind)
    block = bytearray(info.tobuf()[:512])
    block[124:136] = size
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "block",
    [
        header(tarfile.GNUTYPE_LONGNAME, b"%011o\0" % (1 << 32)),
        header(tarfile.GNUTYPE_LONGNAME, b"\xff" * 12),
        header(tarfile.XHDTYPE, b"%011o\0" % (1 << 32)),
        header(tarfile.REGTYPE, b"\xff" * 11 + b"\0"),
        header(tarfile.GNUTYPE_SPARSE, b"%011o\0" % 512),
        header(tarfile.GNUTYPE_LONGNAME, b"%011o\0" % 2) * 3000,
    ],
    ids=["long name", "negative long name", "extended header", "negative", "sparse", "deep"],
)
def test_implausible_headers_are_refused_in_little_memory(tmp_path: Path, block: bytes) -> None:
    path = write(tmp_path / "x.tar", gzip.compress(block + bytes(1 << 24), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        list_archive(found_file(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(caught.value) and peak < 1 << 24


def test_decompression_bombs_are_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BOMB_BYTES", 1 << 20)
    bomb = gzip.compress(tar_bytes({"x.bin": bytes(1 << 24)}))
    with pytest.raises(DataError, match=r"x\.tgz: .* unpack to more than"):
        list_archive(found_file(write(tmp_path / "x.tgz", bomb)))
    files = list_archive(
        found_file(write(tmp_path / "y.tgz", tar_bytes({"y.bin": bytes(2000)}, gz=True)))
    )
    refused = pytest.raises(DataError, match=r"y\.tgz: y\.bin: 2000 bytes, expected at most 1999")
    with refused, on_disk(files, tmp_path / "scratch", 1999):
        pass
    monkeypatch.setattr(tar_members, "MAX_MEMBERS", 2)
    many = write(tmp_path / "z.tar", tar_bytes(FILES))
    with pytest.raises(DataError, match=r"z\.tar"):
        list_archive(found_file(many))


@pytest.fixture(scope="module")
def packed() -> tuple[bytes, bytes]:
    """Return (plain, compressed): several concatenated gzip files, followed by padding."""
    rng = np.random.default_rng(0)
    parts = [rng.bytes(n) + bytes(n) for n in (40_000, 1, 0, 90_000)]
    return b"".join(parts), b"".join(gzip.compress(part, mtime=0) for part in parts) + bytes(100)


@example(reads=[(23_830, 56_171)])  # across two gzip members
@example(reads=[(100_000, 10), (5, 10), (200_000, 10), (30, 10), (150_000, 9), (1, 2), (0, 1)])
@given(reads=st.lists(st.tuples(st.integers(0, 270_000), st.integers(0, 60_000)), max_size=8))
def test_gzip_streams_can_be_read_at_any_position(packed: tuple[bytes, bytes], reads: list) -> None:
    plain, compressed = packed
    for start, n in reads:
        stream = streams.GzipStream(lambda: Bytes(compressed), "x")
        for _ in range(2):
            assert stream.read_at(start, n) == plain[start : start + n]
    for start, n in reads:  # all of them from one stream
        assert stream.read_at(start, n) == plain[start : start + n]


def test_alternating_reads_decompress_the_stream_once_per_part(
    packed: tuple[bytes, bytes],
) -> None:
    plain, compressed = packed
    counted = Bytes(compressed)
    stream = streams.GzipStream(lambda: counted, "x")
    for start in range(0, 100_000, 1000):  # frames and the audio far after them
        for place in (start, start + 150_000):
            assert stream.read_at(place, 10) == plain[place : place + 10]
    assert counted.n_read < 2 * len(compressed)


def test_few_archives_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tar_bytes(FILES, gz=True)
    paths = [write(tmp_path / f"{k}.tgz", packed) for k in range(60)]
    opened: list[str] = []
    closed: list[str] = []

    class Counted(streams.FileStream):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(path.name)

        def close(self) -> None:
            super().close()
            closed.append("")

    monkeypatch.setattr(archives, "FileStream", Counted)
    members = [list_archive(found_file(path)) for path in paths]
    assert len(set(opened)) == 60 and len(opened) - len(closed) < 10
    for files in members:  # streams that were closed are opened again
        with on_disk(files[:1], tmp_path / "scratch", LIMIT) as (span,):
            assert span.path.read_bytes() == FILES["a/frame_3.bin"]


def test_a_full_scratch_folder_is_refused_before_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list_archive(found_file(write(tmp_path / "x.tgz", tar_bytes(FILES, gz=True))))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4))
    with (
        pytest.raises(DataError, match=r"x\.tgz: .*unpacking needs 4200 bytes, .* only 4 free"),
        on_disk(files, tmp_path / "scratch", LIMIT),
    ):
        pass
    assert not everything(tmp_path / "scratch")


class Bytes:
    """A stream of bytes that counts how many are read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.n_read = data, 0

    def read_at(self, position: int, n: int) -> bytes:
        piece = self.data[position : position + n]
        self.n_read += len(piece)
        return piece

    def close(self) -> None:
        pass


def test_scratch_is_empty_after_any_error(tmp_path: Path) -> None:
    files = list_archive(found_file(write(tmp_path / "x.tgz", tar_bytes(FILES, gz=True))))
    scratch = tmp_path / "scratch"
    with pytest.raises(OSError, match="mine"), on_disk(files, scratch, LIMIT):
        raise OSError("mine")
    assert not everything(scratch)
    (tmp_path / "x.tgz").write_bytes(tar_bytes(FILES, gz=True)[:100])  # damaged after it was listed
    with pytest.raises(DataError, match=r"x\.tgz"), on_disk(files, scratch, LIMIT):
        pass
    assert not everything(scratch)
    file = write(tmp_path / "file", b"")
    with pytest.raises(DataError, match="cannot be unpacked"), on_disk(files, file, LIMIT):
        pass
    (tmp_path / "x.tgz").unlink()
    with pytest.raises(DataError, match=r"x\.tgz"), on_disk(files, scratch, LIMIT):
        pass


def test_walk_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for name in ("b/2", "a/1", "a/.hidden", ".git/x", "__MACOSX/x", "x.tar"):
        write(root / name, b"12")
    write(tmp_path / "elsewhere" / "3", b"123")
    try:
        os.symlink(tmp_path / "elsewhere", root / "c")
        os.symlink(root, root / "b" / "up")
        os.symlink(root / "nothing", root / "dangling")
    except OSError:
        pytest.skip("symbolic links are not available")
    files = list(archives.walk(root))
    assert sorted(("/".join(f.parts), f.size) for f in files) == [
        ("a/1", 2),
        ("b/2", 2),
        ("c/3", 3),
        ("x.tar", 2),
    ]
    assert [f.name for f in files if f.is_archive] == ["x.tar"]


@pytest.mark.parametrize("name", ["x.tar", "x.TGZ", "x.tar.gz", "x.Tar"])
def test_archives_are_recognized_by_suffix(name: str) -> None:
    assert FoundFile(Path(), (name,), 0).is_archive
    assert not FoundFile(Path(), (f"{name}.txt",), 0).is_archive


def test_unpacked_sizes_are_estimated_without_unpacking(tmp_path: Path) -> None:
    plain = tar_bytes(FILES)
    size: Callable[[Path], int | None] = lambda path: archives.unpacked_size(found_file(path))  # noqa: E731
    assert size(write(tmp_path / "x.tar", plain)) == len(plain)
    assert size(write(tmp_path / "x.tgz", gzip.compress(plain))) == len(plain)
    outer = write(tmp_path / "y.tgz", tar_bytes({"x.tgz": gzip.compress(plain)}, gz=True))
    assert archives.unpacked_size(list_archive(found_file(outer))[0]) is None
    first, second, third = list_archive(found_file(tmp_path / "x.tar"))
    assert tar_members.size_of(first.size) == second.offset - first.offset
    assert tar_members.size_of(second.size) == third.offset - second.offset
