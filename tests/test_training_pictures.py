"""Test the plot of a training run and its sample video."""

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ball import SOFTWARE, make_motion
from PIL import Image

from codetalker_cli.errors import RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render import render_frames
from codetalker_cli.render.captions import label_height
from codetalker_cli.train.curves import draw_curves, panels
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.validation import write_sample

# Curves -----------------------------------------------------------------------------------------


def row(epoch: int, **values: float) -> dict[str, float]:
    return {"epoch": epoch, "step": 10 * epoch, "seconds": 3.5 * epoch, **values}


def speech_rows() -> list[dict[str, float]]:
    rows = [row(e, loss=1 / e, motion_loss=0.5 / e, learning_rate=1e-4) for e in range(1, 9)]
    for e, error in ((2, 4e-5), (4, 1e-5), (6, 3e-5), (8, 2e-5)):
        rows[e - 1] |= {"val_loss": 2 / e, "val_lve": error, "val_lve_forced": error / 2}
        rows[e - 1] |= {"val_lve_template": 9e-5, "val_motion_energy": 0.4, "score": error}
    return rows


def test_only_panels_with_values_are_drawn() -> None:
    found = {panel.title: panel for panel in panels(speech_rows())}
    assert list(found) == [
        "losses",
        "lip vertex error",
        "motion energy",
        "learning rate",
    ]
    losses, errors = list(found.values())[:2]
    assert list(losses.lines) == ["loss", "motion_loss", "val_loss"] and losses.log
    assert losses.lines["val_loss"] == ([2, 4, 6, 8], [1, 0.5, 2 / 6, 0.25])
    assert errors.levels == {"the template": 9e-5}
    assert errors.best == (4, 1e-5, "★ best: epoch 4, 1e-05")
    assert found["motion energy"].levels == {"true": 1.0}
    names = [panel.title for panel in panels([row(1, loss=1, perplexity=8, gradient_norm=2)])]
    assert names == ["losses", "codebook", "gradient"]
    assert panels([]) == panels([row(1), row(2, unknown=3.0)]) == []


def test_best_epoch_is_the_first_with_the_lowest_score() -> None:
    """Its label contains the error in millimeters, if known."""
    rows = [row(e, val_lve=v, score=s) for e, v, s in ((1, 1.0, 7.0), (2, 3.0, 5), (3, 2.0, 5))]
    rows[1]["val_lve_mm"] = 1.234
    (panel,) = panels(rows)
    assert panel.best == (2, 3.0, "★ best: epoch 2, 3 (1.23 mm)")


def test_non_finite_values_are_not_drawn(tmp_path: Path) -> None:
    bad = {"loss": math.nan, "val_lve": math.inf, "gradient_norm": 0.0, "learning_rate": 0.0}
    rows = [row(1, loss=2.0, val_lve=1e-5), row(2, **bad), row(3, loss=1.0, perplexity=math.nan)]
    found = {panel.title: panel for panel in panels(rows)}
    assert found["losses"].lines["loss"] == ([1, 3], [2.0, 1.0])
    assert found["lip vertex error"].lines["val_lve"] == ([1], [1e-5])
    assert found["learning rate"].lines["learning_rate"] == ([2], [0.0])
    assert "gradient" not in found and "codebook" not in found  # a log axis cannot show 0
    draw_curves(rows, tmp_path / "curves.png", "run")
    assert (tmp_path / "curves.png").is_file()


def test_wide_range_of_lip_errors_has_a_logarithmic_axis() -> None:
    assert not panels([row(1, val_lve=1.0), row(2, val_lve=0.1)])[0].log
    assert panels([row(1, val_lve=1.0), row(2, val_lve=0.01)])[0].log
    assert not panels([row(1, val_lve=1.0), row(2, val_lve=0.0)])[0].log


@pytest.mark.parametrize(
    ("rows", "n_rows"),
    [
        (speech_rows(), 2),
        ([row(1, loss=0.5)], 1),
        ([row(1, loss=0.0, learning_rate=0.0)], 1),
        ([row(e, val_lve=0.0, perplexity=300.0) for e in range(1, 500)], 1),
    ],
)
def test_curves_are_written_as_png(
    tmp_path: Path, rows: list[dict[str, float]], n_rows: int
) -> None:
    out = tmp_path / "curves.png"
    out.write_bytes(b"older")
    draw_curves(rows, out, "a $run_{1")
    with Image.open(out) as image:
        assert image.format == "PNG" and image.size == (1600, 70 + 350 * n_rows)
        assert np.ptp(np.asarray(image.convert("L"))) > 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png"]


def test_without_values_no_curves_are_written(tmp_path: Path) -> None:
    for rows in ([], [row(1)]):
        draw_curves(rows, tmp_path / "curves.png", "run")
    assert not (tmp_path / "curves.png").exists()


def test_metrics_skip_half_lines_and_keep_the_latest_row_of_an_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "vq")
    assert folder.rows() == []
    folder.folder.mkdir()
    for made in (row(1, loss=3.0), row(2, loss=2.0), row(2, loss=1.5)):
        folder.add_metrics(made)
    with folder.metrics.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "lo')
    assert [r["loss"] for r in folder.rows()] == [3.0, 1.5]
    assert "line 4" in caplog.text


# Sample -----------------------------------------------------------------------------------------


def read_video(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Return (T, H, W, 3) uint8 frames, samples at 48 kHz (empty without sound) and the fps."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(path)
    meta = next(reader)
    width, height = meta["size"]
    frames = [np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vn"]
    command += ["-f", "s16le", "-ar", "48000", "-ac", "1", "-"]
    sound = subprocess.run(command, capture_output=True, check=False).stdout
    return np.stack(frames), np.frombuffer(sound, "<i2"), meta["fps"]


def made_of(true: Motion, n_frames: int) -> Motion:
    """Return a motion of the same face, scaled to be narrower."""
    longer = make_motion(n_frames, fps=true.fps)
    return replace(longer, vertices=longer.vertices * np.float32([0.6, 1, 1]))


def test_halves_match_separate_renders_with_labels_above(tmp_path: Path) -> None:
    true = make_motion(6)
    made = made_of(true, 9)
    write_sample(tmp_path / "s.mp4", true, made, SOFTWARE)
    frames, sound, fps = read_video(tmp_path / "s.mp4")
    assert frames.shape == (6, 64, 128, 3) and fps == 25 and not len(sound)
    top = label_height(64)
    assert top < 64 / 3
    for half, motion in ((frames[:, :, :64], true), (frames[:, :, 64:], made)):
        expected = np.stack(list(render_frames(motion, SOFTWARE, range(6)))).astype(int)
        away = np.abs(half - expected).mean((2, 3))
        assert away[:, top:].mean() < 4
        assert half[:, :top].max() > expected[:, :top].max() + 20  # the white letters
    below = frames[:, top:].astype(int)
    assert np.abs(below[:, :, :64] - below[:, :, 64:]).mean() > 10
    assert [p.name for p in tmp_path.iterdir()] == ["s.mp4"]


def test_sound_is_in_sync_and_ends_with_the_video(tmp_path: Path) -> None:
    samples = np.zeros(2 * 16000, np.float32)
    samples[8000:] = 0.5 * np.sin(np.arange(24000) * 0.2)  # starts at 0.5 s
    true = make_motion(25, fps=30000 / 1001, audio=samples)
    write_sample(tmp_path / "s.mov", true, made_of(true, 20), SOFTWARE)  # cut to the shorter motion
    frames, sound, fps = read_video(tmp_path / "s.mov")
    assert len(frames) == 20 and fps == pytest.approx(29.97)
    assert len(sound) / 48000 == pytest.approx(20 / 29.97, abs=1024 / 48000)
    assert np.flatnonzero(np.abs(sound) > 3000)[0] / 48000 == pytest.approx(0.5, abs=0.01)


def test_failed_sample_keeps_an_older_video(tmp_path: Path) -> None:
    true, out = make_motion(4), tmp_path / "s.mp4"
    out.write_bytes(b"older")
    broken = make_motion(4)
    broken.vertices[2, 5] = np.nan
    with pytest.raises(RenderError, match="frame 2"):
        write_sample(out, true, broken, SOFTWARE)
    with pytest.raises(RenderError, match=r"truth has 25 frames per second, but model has 30"):
        write_sample(out, true, make_motion(4, fps=30.0), SOFTWARE)
    with pytest.raises(RenderError, match="nonsense encoder failed"):
        write_sample(out, true, true, SOFTWARE.model_copy(update={"codec": "nonsense"}))
    with pytest.raises(RenderError, match=r"must end in one of"):
        write_sample(tmp_path / "s.gif", true, true, SOFTWARE)
    assert out.read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1
