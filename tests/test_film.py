"""Films are decoded upright, with the true times of their frames, and damaged ones are reported."""

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import filmed_heads
import imageio_ffmpeg
import numpy as np
import pytest

from codetalker_cli import audio
from codetalker_cli.capture import film as film_module
from codetalker_cli.capture.film import Film
from codetalker_cli.errors import InputError
from codetalker_cli.settings import limits

N_FRAMES = 30
FPS = 25.0


def drawn(size: tuple[int, int] = (96, 64), n_frames: int = N_FRAMES) -> Iterator[np.ndarray]:
    """Yield gray pictures that get lighter, with a red corner at the upper left."""
    for k in range(n_frames):
        picture = np.full((size[1], size[0], 3), 60 + 4 * k, np.uint8)
        picture[: size[1] // 4, : size[0] // 4] = 220, 20, 20
        yield picture


def encoded(path: Path, size: tuple[int, int] = (96, 64), **options: object) -> Path:
    return filmed_heads.encode(path, drawn(size), FPS, size, **options)  # type: ignore[arg-type]


def ffmpeg(*words: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, words)]
    subprocess.run(command, check=True)


def decoded(path: Path) -> tuple[Film, np.ndarray, np.ndarray]:
    """Return a film, the times and the pictures."""
    film = Film.open(path)
    times, pictures = zip(*film.frames(), strict=True)
    return film, np.array(times), np.stack(pictures)


def is_red(color: np.ndarray) -> bool:
    return bool(color[0] > 150 and color[1] < 90)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_upright_and_times_are_exact(tmp_path: Path, rotation: int) -> None:
    film, times, pictures = decoded(encoded(tmp_path / "a.mp4", rotation=rotation))
    assert film.size == (96, 64)
    assert pictures.shape == (N_FRAMES, 64, 96, 3)
    np.testing.assert_allclose(times, np.arange(N_FRAMES) / FPS, atol=1e-4)
    assert is_red(pictures[0, 5, 5])
    assert not any(is_red(pictures[0, y, x]) for y, x in ((5, 90), (58, 5), (58, 90)))
    lightness = pictures[:, 40, 50, 0].astype(int)
    np.testing.assert_allclose(lightness, 60 + 4 * np.arange(N_FRAMES), atol=4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_variable_frame_rate_keeps_the_time_of_each_frame(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    filmed_heads.encode(path, drawn(n_frames=40), FPS, (96, 64), variable=True)
    _, times, _ = decoded(path)
    expected = filmed_heads.frame_times(40, FPS, variable=True)
    assert np.ptp(np.diff(expected)) > 0.03
    np.testing.assert_allclose(times, expected, atol=1e-3)
    assert not caplog.messages


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".wmv"])
def test_time_0_is_the_start_of_the_sound(tmp_path: Path, suffix: str) -> None:
    # A click in the sound and a white picture at the same moment stay together.
    sound = np.zeros(round(1.6 * 16000), np.float32)
    sound[16000 : 16000 + 160] = 0.8
    pictures = list(drawn())
    start = 15  # in frames: 0.4 s + 15 / 25 s = 1 s
    for k in range(start, N_FRAMES):
        pictures[k][:] = 255
    codec = "libx264" if suffix != ".wmv" else "wmv2"
    path = filmed_heads.encode(
        tmp_path / "first.mkv", iter(pictures), FPS, (96, 64), sound=sound, late_seconds=0.4
    )
    moved = tmp_path / f"film{suffix}"
    ffmpeg("-i", path, "-c:v", codec, "-c:a", "aac" if codec == "libx264" else "wmav2", moved)
    _, times, shown = decoded(moved)
    white = times[np.argmax(shown[:, 40, 50, 0] > 240)]
    samples = audio.load(moved)
    click = np.argmax(np.abs(samples) > 0.2) / audio.SAMPLE_RATE
    assert white == pytest.approx(click, abs=0.025)
    assert click > 0.9


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1280, 960), (960, 720)), ((720, 1280), (720, 1280)), ((900, 1600), (720, 1280))],
)
def test_large_films_are_reduced(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = filmed_heads.encode(tmp_path / "a.mp4", drawn(size, 2), FPS, size)
    film, _, pictures = decoded(path)
    assert film.size == expected
    assert pictures.shape[1:3] == expected[::-1]
    assert is_red(pictures[0, 20, 20])


def test_pictures_have_square_pixels(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mp4")
    ffmpeg("-i", path, "-vf", "setsar=2/1", tmp_path / "wide.mp4")
    film, _, pictures = decoded(tmp_path / "wide.mp4")
    assert film.size == (192, 64)
    assert is_red(pictures[0, 5, 40])


def test_pictures_that_change_their_size_are_fitted(tmp_path: Path) -> None:
    first = encoded(tmp_path / "a.mp4")
    second = encoded(tmp_path / "b.mp4", (48, 64), late_seconds=N_FRAMES / FPS)
    for path in (first, second):
        ffmpeg("-copyts", "-i", path, "-f", "mpegts", path.with_suffix(".ts"))
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    film, times, pictures = decoded(joined)
    assert film.size == (96, 64)
    assert len(times) > 50 and (np.diff(times) > 0).all()
    assert is_red(pictures[0, 5, 5])
    assert is_red(pictures[-1, 5, 30]) and pictures[-1, 5, 5].max() < 20  # between black bars


def write_text(path: Path) -> None:
    path.write_text("A note, not a film.\n" * 40, "utf-8")


def write_playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n/etc/hostname\n", "utf-8")


def write_sound(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-f", "mp4", path)


def write_cut(path: Path) -> None:
    content = encoded(path.with_name("whole.mp4")).read_bytes()
    path.write_bytes(content[: len(content) // 2])


FAULTS = {
    "text": (write_text, "it is text, not a recording"),
    "playlist": (write_playlist, "is a playlist"),
    "sound": (write_sound, "contains no pictures, only sound"),
    "cut": (write_cut, "it was cut short: the index at its end is missing"),
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "folder": (lambda path: path.mkdir(), "folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_are_no_films_are_refused(tmp_path: Path, fault: str) -> None:
    write, message = FAULTS[fault]
    path = tmp_path / "take.mp4"
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        Film.open(path)
    assert "take.mp4" in str(caught.value) and "\n" not in str(caught.value)


def test_cut_film_is_used_as_far_as_it_goes_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(60))
    content = filmed_heads.encode(tmp_path / "a.mkv", noise, FPS, (96, 64)).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        _, times, _ = decoded(path)
    assert 20 <= len(times) <= 40
    assert "cut.mkv: the pictures end after" in caplog.text


def test_damaged_film_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ffmpeg("-i", encoded(tmp_path / "a.mp4"), "-f", "mpegts", tmp_path / "a.ts")
    content = bytearray((tmp_path / "a.ts").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    (tmp_path / "a.ts").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        _, times, _ = decoded(tmp_path / "a.ts")
    assert len(times) > 10
    assert "a.ts: parts of the film are damaged" in caplog.text


def test_longest_film_is_limited(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mkv")
    limits.activate(limits.LimitSettings(audio_hours=1.0 / 3600))
    with pytest.raises(InputError, match=r"lasts longer than 0\.000\d+ h; cut it, or raise"):
        Film.open(path)
    ffmpeg("-i", path, "-f", "mpegts", tmp_path / "a.ts")
    film = Film(tmp_path / "a.ts", (96, 64), 0.0, None)  # a file that does not state its length
    with pytest.raises(InputError, match="lasts longer than"):
        list(film.frames())


def test_decoder_that_stalls_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    film = Film.open(encoded(tmp_path / "a.mp4"))
    sleeper = tmp_path / "ffmpeg"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n", "utf-8")
    sleeper.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(sleeper))
    monkeypatch.setattr(film_module, "STALL_SECONDS", 0.2)
    with pytest.raises(InputError, match="no picture can be decoded"):
        list(film.frames())


def test_closing_early_ends_the_decoder(tmp_path: Path) -> None:
    frames = Film.open(encoded(tmp_path / "a.mp4")).frames()
    assert next(frames)[0] == 0
    frames.close()
    assert list(frames) == []
