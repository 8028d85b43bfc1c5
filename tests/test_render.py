"""Rendering of pictures and videos: processes, renderers, files and their errors."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ball import SOFTWARE, make_motion
from pydantic import ValidationError

from codetalker_cli.errors import InputError, RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render import (
    RenderSettings,
    backends,
    contact_sheet,
    gl,
    processes,
    render_frames,
    render_video,
)


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- frames ---------------------------------------------------------------------------------------


def test_pictures_do_not_depend_on_the_number_of_processes():
    motion = make_motion(20)
    one = list(render_frames(motion, SOFTWARE, range(20)))
    two = list(render_frames(motion, SOFTWARE.model_copy(update={"workers": 2}), range(20)))
    assert len(one) == len(two) == 20
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one[0] != one[2]).any()
    reverse = list(render_frames(motion, SOFTWARE, [-1, 0]))
    np.testing.assert_array_equal(reverse[0], one[19])


def test_contact_sheet_has_one_tile_per_frame():
    sheet = contact_sheet(make_motion(), SOFTWARE, [0, 1, 2], labels=["p", "a", "m"], n_columns=2)
    assert sheet.shape == (2 * (64 + 16), 128, 3)
    (first,) = render_frames(make_motion(), SOFTWARE, [0])
    np.testing.assert_array_equal(sheet[:64, :64], first)
    with pytest.raises(RenderError, match=r"one label per frame \(2\), found 1"):
        contact_sheet(make_motion(), SOFTWARE, [0, 1], labels=["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": np.zeros((0, 266, 3), np.float32)}, "no frames"),
        ({"vertices": np.zeros((2, 5, 3), np.float32)}, r"\(2, 5, 3\).*\(frames, 266, 3\)"),
        ({"fps": 0.0}, "0.0 is not a valid frame rate"),
        ({"template": np.zeros((266, 3), np.float32)}, "cannot frame the template"),
        ({"template": np.zeros((4, 3), np.float32)}, r"\(4, 3\)"),
    ],
)
def test_a_motion_that_cannot_be_drawn_is_refused(tmp_path, change, message):
    fields = dict(vars(make_motion())) | change
    with pytest.raises(RenderError, match=message):
        render_video(Motion(**fields), tmp_path / "v.mp4", SOFTWARE)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_nan_is_reported_with_its_frame_and_leaves_no_file(tmp_path, workers):
    motion = make_motion(24)
    motion.vertices[13, 7] = np.nan
    settings = SOFTWARE.model_copy(update={"workers": workers})
    with pytest.raises(RenderError, match="frame 13"):
        render_video(motion, tmp_path / "v.mp4", settings)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": -64}, {"size": 65}, {"background": "red"}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValidationError):
        RenderSettings(**bad)


# --- processes and OpenGL -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), 9)", "killed.*signal 9"),
        ("raise MemoryError('no room')", "exit code 1.*MemoryError: no room"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_drawing_process_that_dies_is_reported(tmp_path, monkeypatch, code, message):
    monkeypatch.setattr(processes, "WORKER_CODE", code)
    start = time.monotonic()
    with pytest.raises(RenderError, match=message):
        render_video(
            make_motion(20), tmp_path / "v.mp4", SOFTWARE.model_copy(update={"workers": 2})
        )
    assert time.monotonic() - start < 20
    assert left_behind(tmp_path) == []


def test_ctrl_c_ends_the_processes_and_leaves_no_file(tmp_path, monkeypatch):
    started = []
    popen = subprocess.Popen

    def remember(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", remember)
    settings = SOFTWARE.model_copy(update={"workers": 2})
    with pytest.raises(KeyboardInterrupt):
        render_video(make_motion(40), tmp_path / "v.mp4", settings, interrupt)
    assert len(started) == 3  # two drawing processes and one encoder
    assert all(process.poll() is not None for process in started)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "exit code"),
        ("raise ImportError('Library GL not found')", "Library GL not found"),
        ("print('nothing drawn')", "exit code 0"),
        ("import time; time.sleep(60)", "no response within 0.5 s"),
    ],
)
def test_a_failing_probe_reports_the_reason(code, reason):
    found = gl.run_probe([sys.executable, "-c", code], seconds=0.5 if "sleep" in code else 30)
    assert found.platform is None
    assert found.reason.count(reason) == len(gl.PLATFORMS)


def test_the_drawing_process_imports_the_real_pyrender():
    found = gl.probe()
    if found.platform is None:
        pytest.skip(f"no OpenGL: {found.reason}")
    code = (
        "from codetalker_cli.render.gl import draw_one_triangle; draw_one_triangle(); import sys; "
        "assert sys.modules['pyrender'].__file__ and sys.modules['pyrender'].OffscreenRenderer"
    )
    assert gl.run_probe([sys.executable, "-c", code]).platform == found.platform


def test_the_probe_reports_that_pyrender_cannot_be_imported():
    code = (
        "import sys; sys.modules['pyrender'] = None; "
        "from codetalker_cli.render.gl import draw_one_triangle; draw_one_triangle()"
    )
    found = gl.run_probe([sys.executable, "-c", code])
    assert found.platform is None and "pyrender" in found.reason


def test_without_opengl_auto_uses_software_and_pyrender_is_refused(monkeypatch, caplog):
    monkeypatch.setattr(gl, "probe", lambda: gl.Probe(None, "egl: Library GL not found"))
    with caplog.at_level(logging.INFO, "codetalker_cli"):
        backend = backends.choose_backend(RenderSettings(workers=1), 10)
    assert backend == backends.Backend("software", 0)
    (record,) = caplog.records
    assert "OpenGL does not work (egl: Library GL not found)" in record.getMessage()
    with pytest.raises(RenderError, match=r"Library GL not found.*use the software renderer"):
        backends.choose_backend(RenderSettings(renderer="pyrender"), 10)


def test_both_renderers_draw_the_same_picture():
    found = gl.probe()
    if found.platform is None:
        pytest.skip(f"no OpenGL: {found.reason}")
    motion = make_motion(2)
    (ours,) = render_frames(motion, SOFTWARE, [1])
    (theirs,) = render_frames(motion, SOFTWARE.model_copy(update={"renderer": "pyrender"}), [1])
    difference = np.abs(ours.astype(int) - theirs).max(2)
    assert difference.mean() < 1.5
    assert (difference > 12).mean() < 0.06  # sample points differ at edges


# --- video ----------------------------------------------------------------------------------------


def probe_video(path: Path) -> tuple[dict, int, np.ndarray]:
    """Return the properties, the number of frames and the sound (48 kHz samples) of a video."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(path)
    meta = next(reader)
    n_frames = sum(1 for _ in reader)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vn"]
    command += ["-f", "s16le", "-ar", "48000", "-ac", "1", "-"]
    sound = subprocess.run(command, capture_output=True, check=False).stdout
    return meta, n_frames, np.frombuffer(sound, "<i2")


@pytest.mark.parametrize("sound_seconds", [0.3, 2.0])
def test_video_has_every_frame_and_sound_of_the_same_length(tmp_path, sound_seconds):
    tone = 0.5 * np.sin(np.arange(int(sound_seconds * 16000)) * 0.2).astype(np.float32)
    motion = make_motion(23, fps=25.0, audio=tone)
    calls = []
    report = render_video(
        motion, tmp_path / "v.mp4", SOFTWARE, lambda done, total: calls.append((done, total))
    )
    assert calls == [(i, 23) for i in range(1, 24)]
    meta, n_frames, sound = probe_video(report.path)
    assert n_frames == report.n_frames == 23
    assert meta["fps"] == report.fps == 25
    assert meta["size"] == report.size == (64, 64)
    assert meta["codec"] == "h264" and "yuv420p" in meta["pix_fmt"]
    assert meta["duration"] == pytest.approx(0.92, abs=0.03)
    assert report.has_sound
    assert len(sound) / 48000 == pytest.approx(0.92, abs=1024 / 48000)
    heard = np.abs(sound[: int(0.25 * 48000)]).mean()
    assert heard > 5000
    if sound_seconds < 0.9:
        assert np.abs(sound[int(0.4 * 48000) :]).max() < 500  # silence after the speech
    assert left_behind(tmp_path) == ["v.mp4"]
    block = report.path.read_bytes()
    assert block.index(b"moov") < block.index(b"mdat")  # can be played while it is downloaded


def test_video_keeps_the_colors_of_the_pictures(tmp_path):
    import imageio_ffmpeg

    motion = make_motion(3)
    (picture,) = render_frames(motion, SOFTWARE, [0])
    report = render_video(motion, tmp_path / "v.mov", SOFTWARE)
    reader = imageio_ffmpeg.read_frames(report.path)
    next(reader)
    seen = np.frombuffer(next(reader), np.uint8).reshape(64, 64, 3)
    assert not report.has_sound
    assert np.abs(seen.astype(int) - picture).mean() < 4


def test_the_sound_track_is_the_recording_if_it_exists(tmp_path):
    import soundfile

    recording = tmp_path / "speech.flac"
    soundfile.write(recording, 0.4 * np.ones((44100, 8)), 44100)
    report = render_video(make_motion(10, audio_path=recording), tmp_path / "v.mp4", SOFTWARE)
    assert len(probe_video(report.path)[2]) / 48000 == pytest.approx(0.4, abs=1024 / 48000)
    gone = make_motion(3, audio_path=tmp_path / "gone.wav")
    with pytest.raises(InputError, match=r"gone\.wav: no such audio file"):
        render_video(gone, tmp_path / "w.mp4", SOFTWARE)


def test_an_encoder_error_is_quoted_and_an_existing_video_is_kept(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"older")
    settings = SOFTWARE.model_copy(update={"codec": "nonsense"})
    with pytest.raises(RenderError, match=r"nonsense encoder failed: .*ncoder not found"):
        render_video(make_motion(4), path, settings)
    noise = tmp_path / "noise.wav"
    noise.write_text("no sound")
    with pytest.raises(InputError, match=r"noise\.wav: .*it is text, not a recording"):
        render_video(make_motion(4, audio_path=noise), path, SOFTWARE)
    noise.write_bytes(b"RIFF\0\0\0\0WAVE" + b"no sound" * 99)
    with pytest.raises(InputError, match=r"noise\.wav: not an audio file that can be read"):
        render_video(make_motion(4, audio_path=noise), path, SOFTWARE)
    assert path.read_bytes() == b"older"
    assert left_behind(tmp_path) == ["noise.wav", "v.mp4"]


@pytest.mark.parametrize("name", ["v.txt", "v", "v.mp3"])
def test_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(RenderError, match=r"must end in one of \.mp4"):
        render_video(make_motion(), tmp_path / name, SOFTWARE)


def test_an_existing_video_needs_overwrite(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"older")
    with pytest.raises(InputError, match="`overwrite`"):
        render_video(make_motion(), tmp_path / "v.mp4", SOFTWARE, overwrite=False)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(RenderError, match="is a folder"):
        render_video(make_motion(), tmp_path / "folder.mp4", SOFTWARE)
