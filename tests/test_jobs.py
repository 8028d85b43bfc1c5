"""Which recordings are animated, and where their outputs are written."""

from pathlib import Path
from typing import Any

import pytest
import soundfile
import voices

from codetalker_cli.animate.jobs import AnimationPlan, Request, from_arguments, from_manifest, plan
from codetalker_cli.errors import InputError
from codetalker_cli.outputs import Formats

DEFAULT = Request(Path(), subject="A", seed=4)


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.wav",
        "b.wav",
        "in/c.WAV",
        "in/deep/d.flac",
        "in/notes.txt",
        "in/.hidden/e.wav",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("empty").mkdir()
    Path("videos").mkdir()
    Path("videos/a.mp4").touch()


def made(*speech: str, out: str | None = None, suffix: str = ".mp4") -> dict[str, str]:
    return {str(j.speech): str(j.out) for j in from_arguments(speech, out, suffix, DEFAULT)}


def test_output_is_next_to_the_recording_or_in_the_folder() -> None:
    assert made("a.wav", "b.wav") == {"a.wav": "a.mp4", "b.wav": "b.mp4"}
    assert made("a.wav", "b.wav", out="x", suffix=".npz") == {
        "a.wav": "x/a.npz",
        "b.wav": "x/b.npz",
    }


def test_folder_is_searched_recursively() -> None:
    below = {"in/c.WAV": "in/c.mp4", "in/deep/d.flac": "in/deep/d.mp4"}
    assert made("in") == below
    assert made("in", "a.wav", out="x") == {
        "in/c.WAV": "x/c.mp4",
        "in/deep/d.flac": "x/deep/d.mp4",
        "a.wav": "x/a.mp4",
    }


@pytest.mark.parametrize("last", ["new/", "empty", "empty/", "videos"])
def test_last_folder_without_recordings_is_the_output_folder(last: str) -> None:
    assert made("a.wav", "b.wav", last) == {
        "a.wav": f"{Path(last)}/a.mp4",
        "b.wav": f"{Path(last)}/b.mp4",
    }


def planned(speech: list[str], out: str | None = None, **more: Any) -> AnimationPlan:
    return plan(speech, DEFAULT, formats=Formats({"mp4": ".mp4", "npz": ".npz"}), out=out, **more)


def test_plan_with_one_recording_and_one_file_is_single() -> None:
    soundfile.write("a.wav", voices.speech(0.5), 16000)
    single = planned(["a.wav"], "b.mp4")
    assert single.is_single and planned(["a.wav"]).is_single
    (job,) = single.jobs
    assert (job.speech, job.out) == (Path("a.wav"), Path("b.mp4"))
    assert job.request.samples is not None and len(job.request.samples) == 8000
    for speech, out in ((["a.wav", "b.wav"], None), (["in"], None), (["a.wav"], "videos")):
        several = planned(speech, out)
        assert not several.is_single
        assert all(job.request.samples is None for job in several.jobs)
    assert not planned(["a.wav"], "new/").is_single


def test_existing_output_is_an_error_only_for_a_single_recording() -> None:
    soundfile.write("a.wav", voices.speech(0.5), 16000)
    with pytest.raises(InputError, match=r"videos/a\.mp4 already exists"):
        planned(["a.wav"], "videos/a.mp4")
    assert planned(["a.wav"], "videos/a.mp4", overwrite=True).is_single
    assert [job.out.exists() for job in planned(["a.wav", "b.wav"], "videos").jobs] == [True, False]


@pytest.mark.parametrize(
    ("speech", "more", "message"),
    [
        ([], {}, "no recordings: give files or folders"),
        (
            ["a.wav"],
            {"manifest": Path("list.csv")},
            "`manifest` list.csv: recordings were also given",
        ),
        (["b.wav"], {}, r"b\.wav: the file is empty"),
        (["a.wav", "b.wav"], {"format": "gif"}, r"expected one of mp4, npz"),
    ],
)
def test_invalid_plan_is_an_error(speech: list[str], more: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        planned(speech, **more)


@pytest.mark.parametrize(
    ("speech", "out", "message"),
    [
        (["a.wav", "none.wav"], None, "none.wav: no such audio file"),
        (["a.wav", "new"], None, "new: no such audio file"),
        (["empty"], None, "empty: the folder contains no recordings"),
        (["a.wav", "a.wav"], None, "a.wav: the recording is listed twice"),
        (["in", "in/c.WAV"], "x", "in/c.WAV: the recording is listed twice"),
    ],
)
def test_invalid_arguments_are_errors(speech: list[str], out: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(*speech, out=out)


def test_two_recordings_with_the_same_output_are_an_error() -> None:
    Path("in/a.wav").touch()
    with pytest.raises(InputError, match=r"a.wav and in/a.wav would both be written to x/a.mp4"):
        made("a.wav", "in", out="x")


def manifest(text: str, out: str | None = None) -> list:
    Path("list.csv").write_text(text, encoding="utf-8")
    return from_manifest(Path("list.csv"), out, ".mp4", DEFAULT)


def test_manifest_columns_set_the_options() -> None:
    rows = manifest(
        'audio,style,out,seed,fps\na.wav,"S01:0.3,S02:0.7",x/one.npz,9,60\nb.wav,,two,,\nin/c.WAV\n'
    )
    first, second, third = rows
    assert (first.speech, first.out) == (Path("a.wav"), Path("x/one.npz"))
    options = first.request
    assert (options.subject, options.style) == ("A", "S01:0.3,S02:0.7")
    assert (options.seed, options.fps) == (9, 60.0)
    assert (second.out, second.request.seed, second.request.style) == (Path("two.mp4"), 4, None)
    assert (third.speech, third.out) == (Path("in/c.WAV"), Path("in/c.mp4"))


def test_manifest_paths_are_relative_to_its_folder() -> None:
    Path("in/list.csv").write_text("\ufeffaudio,out\nc.WAV,\ndeep/d.flac,y/d.mov\n", "utf-8")
    rows = from_manifest(Path("in/list.csv"), "x", ".mp4", DEFAULT)
    assert [(str(r.speech), str(r.out)) for r in rows] == [
        ("in/c.WAV", "x/c.mp4"),
        ("in/deep/d.flac", "x/y/d.mov"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'audio'"),
        ("wav,out\na.wav,b\n", "unknown column 'wav'"),
        ("audio\n", "lists no recordings, only the header"),
        ("audio,style\na.wav,S01:0.3,S02:0.7\n", r"list.csv:2: more values than columns"),
        ("audio,seed\n,3\n", r"list.csv:2: the column 'audio' is empty"),
        ("audio\na.wav\nb.wav\na.wav\n", "a.wav: the recording is listed twice"),
        ("audio,out\na.wav,x.mp4\nb.wav,x.mp4\n", "a.wav and b.wav would both be written to x.mp4"),
        ('audio\n"a.wav\n', "not a CSV file"),
        ("audio\na\0.wav\n", r"list.csv:2: audio 'a.*wav': a path has no null characters"),
        ("audio,out\na.wav,b\0.mp4\n", r"list.csv:2: out .* has no null characters"),
        (f"audio\n{'x' * 256}\n", r"list.csv:2: audio xx.*: a name has at most 255 bytes"),
        (f"audio,out\na.wav,{'é' * 128}/b\n", r"list.csv:2: out .* a name has at most 255 bytes"),
    ],
)
def test_invalid_manifest_names_the_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        manifest(text)


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("seed", "x", "list.csv:3: seed is 'x', expected an integer from 0 on"),
        ("seed", "-1", "list.csv:3: seed is '-1', expected an integer from 0 on"),
        ("seed", "1.5", "list.csv:3: seed is '1.5', expected an integer from 0 on"),
        ("fps", "fast", "list.csv:3: fps is 'fast', expected a number above 0"),
        ("fps", "nan", "list.csv:3: fps is 'nan', expected a number above 0"),
        ("fps", "0", "list.csv:3: fps is '0', expected a number above 0"),
    ],
)
def test_invalid_value_is_a_fault_of_its_line(column: str, value: str, fault: str) -> None:
    rows = manifest(f"audio,{column}\na.wav,\nb.wav,{value}\n")
    assert [row.fault for row in rows] == [None, fault]


def test_an_output_with_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(InputError, match=r"`out` x.*: a name has at most 255 bytes; shorten it"):
        plan(["a.wav", "b.wav"], DEFAULT, formats=Formats({"mp4": ".mp4"}), out=f"{'x' * 300}/")


def test_unreadable_manifest_is_an_error() -> None:
    with pytest.raises(InputError, match=r"none.csv: the file cannot be read"):
        from_manifest(Path("none.csv"), None, ".mp4", DEFAULT)
    Path("binary.csv").write_bytes(b"audio\n\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary.csv: the file is not a CSV file"):
        from_manifest(Path("binary.csv"), None, ".mp4", DEFAULT)
