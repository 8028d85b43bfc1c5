"""Filmed videos next to motions: in sync, scaled to a panel, from known containers only."""

import itertools
import subprocess
from pathlib import Path

import command
import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from ball import SOFTWARE, make_motion
from moviepy import VideoFileClip

from codetalker_cli import audio
from codetalker_cli.errors import InputError
from codetalker_cli.media import container_of
from codetalker_cli.motion import Motion
from codetalker_cli.render.captions import label_strip
from codetalker_cli.render.comparison import compare
from codetalker_cli.render.encoder import Encoder, VideoStream, frame_rate
from codetalker_cli.render.footage import Footage, beside

SIZE = 64
SETTINGS = SOFTWARE.model_copy(update={"size": SIZE})


def film(
    path: Path,
    n_frames: int = 40,
    fps: float = 20.0,
    shape: tuple[int, int] = (64, 96),
    sound: Path | None = None,
) -> Path:
    """Write a video in which frame k has the gray level 5 k + 20."""
    stream = VideoStream((*shape, 3), frame_rate(fps), n_frames, sound)
    with Encoder(path, stream, SETTINGS.model_copy(update={"crf": 5})) as encoder:
        for k in range(n_frames):
            encoder.write(np.full((*shape, 3), 5 * k + 20, np.uint8))
    return path


def tone(path: Path, hertz: float, seconds: float = 2.0) -> Path:
    soundfile.write(
        path, 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000), 16000
    )
    return path


def levels(footage: Footage, times: list[float], fps: float = 30.0) -> list[int]:
    """Return the indices of the video frames that are shown at the given times."""
    pictures = footage.frames(times, fps, SETTINGS)
    middle = [picture[SIZE // 2, SIZE // 2].astype(float).mean() for picture in pictures]
    return [round((level - 20) / 5) for level in middle]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_each_time_shows_the_frame_of_that_time(tmp_path: Path, name: str) -> None:
    footage = Footage.open(film(tmp_path / name))
    assert not footage.has_sound
    times = [k / 30 for k in range(58)]  # the video has 20 frames per second
    assert levels(footage, times) == [int(20 * t + 1e-6) for t in times]


def test_a_video_that_is_too_short_repeats_its_last_frame_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    footage = Footage.open(film(tmp_path / "a.mp4", n_frames=10))
    assert levels(footage, [0.0, 0.4, 0.8, 1.2]) == [0, 8, 9, 9]
    assert "the video ends after 0.5 s, the motions after 1.2 s; the last frame" in caplog.text


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (64, 64), (32, 128)])
def test_the_whole_frame_is_scaled_to_the_panel(tmp_path: Path, shape: tuple[int, int]) -> None:
    footage = Footage.open(film(tmp_path / "a.mp4", n_frames=3, shape=shape))
    settings = SETTINGS.model_copy(update={"background": "#204060"})
    (picture,) = footage.frames([0.0], 30.0, settings)
    inside = np.abs(picture.astype(int) - 20).max(2) < 6
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    height, width = shape
    assert max(rows, columns) == SIZE
    assert rows / columns == pytest.approx(height / width, rel=0.07)
    assert (picture[~inside] == [0x20, 0x40, 0x60]).all()
    assert abs(inside.any(1)[::-1].argmax() - inside.any(1).argmax()) <= 1  # centered


def test_videos_are_inserted_at_their_columns(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", n_frames=3)
    panels = [np.full((SIZE, SIZE, 3), level, np.uint8) for level in (200, 220)]
    pictures = [np.concatenate(panels, 1)] * 2
    footage = [Footage.open(path, column=2), Footage.open(path, column=0)]
    for index, picture in enumerate(beside(pictures, footage, [0.0, 0.05], 20.0, SETTINGS)):
        middle = picture[SIZE // 2, SIZE // 2 :: SIZE, 0].astype(int)
        expected = [20 + 5 * index, 200, 20 + 5 * index, 220]
        assert np.abs(middle - expected).max() <= 2


def encoded(source: Path, target: Path, *options: str) -> Path:
    """Encode a video again with the given ffmpeg options."""
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    inputs = [word for word in options if word.startswith("-display")]
    before = list(options[: 2 * len(inputs)])
    command = [*ffmpeg, *before, "-i", str(source), *options[2 * len(inputs) :], str(target)]
    subprocess.run(command, check=True)
    return target


def test_a_video_with_a_variable_frame_rate_stays_in_sync(tmp_path: Path) -> None:
    """Phones drop frames in the dark; here two of three are dropped in the second half."""
    source = film(tmp_path / "a.mp4", n_frames=40)
    select = "select='if(lt(t,1),1,not(mod(n,3)))'"
    varying = encoded(source, tmp_path / "b.mp4", "-vf", select, "-fps_mode", "vfr", "-crf", "5")
    shown = levels(Footage.open(varying), [k / 30 for k in range(54)])
    for k, level in enumerate(shown):
        now = 20 * k / 30
        assert now - 3.1 < level <= now + 0.1, k


def test_a_rotated_video_is_shown_upright(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", n_frames=3, shape=(32, 64))
    rotated = encoded(source, tmp_path / "b.mp4", "-display_rotation", "90", "-c", "copy")
    (picture,) = Footage.open(rotated).frames([0.0], 30.0, SETTINGS)
    inside = np.abs(picture.astype(int) - 20).max(2) < 6
    assert (inside.any(1).sum(), inside.any(0).sum()) == (64, 32)


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", n_frames=3, shape=(64, 64))
    wide = encoded(source, tmp_path / "b.mp4", "-vf", "setsar=2")
    (picture,) = Footage.open(wide).frames([0.0], 30.0, SETTINGS)
    inside = np.abs(picture.astype(int) - 20).max(2) < 6
    assert (inside.any(1).sum(), inside.any(0).sum()) == (32, 64)


def test_sound_may_be_longer_than_the_picture(tmp_path: Path) -> None:
    sound = tone(tmp_path / "tone.wav", 440.0, seconds=3.0)
    source = film(tmp_path / "a.mp4", n_frames=10)
    longer = encoded(source, tmp_path / "b.mkv", "-i", str(sound), "-map", "0:v", "-map", "1:a")
    assert levels(Footage.open(longer), [0.0, 0.4, 2.5]) == [0, 8, 9]


def test_a_stream_without_a_duration_is_read(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", n_frames=10)
    with (tmp_path / "live.mkv").open("wb") as out:  # a pipe: the length is never filled in
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source)]
        subprocess.run([*ffmpeg, "-c", "copy", "-f", "matroska", "-"], stdout=out, check=True)
    assert levels(Footage.open(tmp_path / "live.mkv"), [0.0, 0.2]) == [0, 4]


def test_a_transparent_panel_is_empty_around_the_video(tmp_path: Path) -> None:
    footage = Footage.open(film(tmp_path / "a.mp4", n_frames=2))
    settings = SETTINGS.model_copy(update={"background": "transparent"})
    (picture,) = footage.frames([0.0], 30.0, settings, channels=4)
    assert picture[0, 0, 3] == 0 and picture[SIZE // 2, SIZE // 2, 3] == 255


# The command -----------------------------------------------------------------------------------


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_motion(30).save(tmp_path / "a.npz")
    return tmp_path


def render(*arguments: str) -> tuple[str, ...]:
    quick = ("--renderer", "software", "--size", "64", "--set", "render.workers=1")
    return ("render", *arguments, *quick)


def test_a_filmed_reference_is_shown_next_to_the_motion_with_its_sound(workplace: Path) -> None:
    film(workplace / "filmed.mp4", sound=tone(workplace / "tone.wav", 440.0))
    command.succeed(*render("a.npz", "filmed.mp4", "-o", "compare.mp4"))
    assert Footage.open(workplace / "compare.mp4").has_sound
    motion = Motion.load(workplace / "a.npz")
    with VideoFileClip("compare.mp4", audio=False) as clip:
        assert tuple(clip.size) == (128, 64)
        assert clip.duration == pytest.approx(motion.n_frames / motion.fps, abs=0.05)
    samples = audio.load(workplace / "compare.mp4")
    peak = np.abs(np.fft.rfft(samples)).argmax() / len(samples) * audio.SAMPLE_RATE
    assert peak == pytest.approx(440, abs=3)


def test_the_sound_can_come_from_any_video(workplace: Path) -> None:
    film(workplace / "a.mkv", sound=tone(workplace / "tone.wav", 880.0))
    command.succeed(*render("a.npz", "--audio", "a.mkv", "-o", "b.mp4"))
    samples = audio.load(workplace / "b.mp4")
    peak = np.abs(np.fft.rfft(samples)).argmax() / len(samples) * audio.SAMPLE_RATE
    assert peak == pytest.approx(880, abs=3)


def test_a_video_without_sound_is_refused_as_audio(workplace: Path) -> None:
    film(workplace / "mute.mp4", n_frames=3)
    said = command.refuse(*render("a.npz", "--audio", "mute.mp4", "-o", "b.mp4"))
    assert said == "--audio mute.mp4: the video has no sound"


def test_videos_are_rows_of_a_contact_sheet(workplace: Path) -> None:
    film(workplace / "filmed.mov")
    made = command.succeed(*render("filmed.mov", "a.npz", "a.npz", "-o", "sheet.png", "--json"))
    assert '"panels": 3' in made


def test_labels_are_assigned_to_files_in_order(workplace: Path) -> None:
    film(workplace / "filmed.mp4", n_frames=30)
    labels = [word for name in ("x", "y", "z") for word in ("--label", name)]
    command.succeed(*render("a.npz", "filmed.mp4", "a.npz", *labels, "-o", "c.mp4"))
    said = command.refuse(*render("a.npz", "filmed.mp4", "--label", "x", "-o", "d.mp4"))
    assert said.startswith("--label: expected one label per file (2), found 1")


def test_default_labels_tell_files_apart(workplace: Path) -> None:
    film(workplace / "a.mp4")
    (workplace / "b").mkdir()
    motion = make_motion(30)
    for second, labels in (
        ("b.npz", ["a", "b"]),
        ("a.mp4", ["a.npz", "a.mp4"]),
        ("b/a.npz", [f"{workplace.name}/a.npz", "b/a.npz"]),
    ):
        paths = [workplace / "a.npz", workplace / second]
        shown = compare([motion] * sum(path.suffix == ".npz" for path in paths), paths)
        columns = [*shown.panels, *shown.footage]
        assert [column.label for column in columns] == labels


def test_labels_beyond_ascii_are_drawn() -> None:
    pictures = [label_strip(text, 64, 0, "black").pixels for text in "üßЖ"]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(pictures, 2))


def test_a_file_that_is_not_a_video_is_refused_in_one_line(workplace: Path) -> None:
    (workplace / "list.mp4").write_text("#EXTM3U\n#EXTINF:1\na.npz\n")
    (workplace / "concat.mov").write_text("ffconcat version 1.0\nfile a.npz\n")
    good = film(workplace / "good.mp4", sound=tone(workplace / "tone.wav", 440.0)).read_bytes()
    (workplace / "cut.mp4").write_bytes(good[: len(good) // 2])
    (workplace / "headless.mp4").write_bytes(good[:200])
    tone(workplace / "sound.wav", 440.0).rename(workplace / "sound.avi")
    for name, said in (
        ("list.mp4", "list.mp4: is a playlist"),
        ("concat.mov", "concat.mov: is a playlist"),
        ("cut.mp4", "cut.mp4: the video is cut short; copy it again"),
        ("headless.mp4", "headless.mp4: the file does not contain a readable video"),
        ("none.mp4", "none.mp4: no such file"),
        ("sound.avi", "sound.avi: the file does not contain a readable video"),
    ):
        assert command.refuse(*render("a.npz", name, "-o", "x.mp4")).startswith(said), name
    assert command.refuse(*render("good.mp4", "-o", "x.mp4")).startswith(
        "good.mp4 is a filmed video; also give"
    )
    said = command.refuse(*render("a.npz", "good.mp4", "-o", "good.mp4", "--overwrite"))
    assert said == "--out good.mp4 is one of the input files; give another name"
    sound = ("--audio", "good.mp4", "-o", "good.mp4", "--overwrite")
    assert command.refuse(*render("a.npz", *sound)) == said
    assert (workplace / "good.mp4").read_bytes() == good


# Containers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "container"),
    [
        (b"\0\0\0\x20ftypisom", "mov"),
        (b"\0\0\0\x08wide", "mov"),
        (b"\x1a\x45\xdf\xa3\x01", "matroska"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\x47" + bytes(187) + b"\x47", "mpegts"),
        (bytes(4) + b"\x47" + bytes(191) + b"\x47", "mpegts"),
        (b"OggS\0\x02", "ogg"),
    ],
)
def test_containers_are_detected_by_their_first_bytes(
    tmp_path: Path, start: bytes, container: str
) -> None:
    (tmp_path / "x").write_bytes(start + bytes(300))
    assert container_of(tmp_path / "x") == container


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"v=0\nc=IN IP4 127.0.0.1\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"RIFF\0\0\0\0RMID",
        b"",
        b"hello",
    ],
)
def test_playlists_and_unknown_files_never_reach_a_decoder(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("a decoder was started"))
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a decoder was started"))
    for name in ("x.mp4", "x.wav"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            audio.read(path)
        with pytest.raises(InputError, match=name):
            Footage.open(path)
