"""The contact sheet of a data set, which is drawn for valid and for damaged data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import talking
from ball import sphere
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from talking import CLIPS, FIRST, SUBJECTS

from codetalker_cli.datasets.inspect import check, clips, sheet, views
from codetalker_cli.datasets.inspect.findings import Finding, Findings, summary
from codetalker_cli.datasets.inspect.speech import measure_speech
from codetalker_cli.datasets.inspect.statistics import ClipStatistics, Statistics
from codetalker_cli.datasets.inspect.views import Curves, Picture
from codetalker_cli.datasets.prepared import Clip, PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.errors import InputError
from codetalker_cli.topology import Mesh, Topology


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking.write(tmp_path_factory.mktemp("valid") / "data")


@pytest.fixture
def data(valid: Path, tmp_path: Path) -> Path:
    """A copy that tests can damage."""
    return talking.linked(valid, tmp_path / "data")


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def measured_statistics(folder: Path, name: str = FIRST) -> Statistics:
    """Return the statistics of a single clip."""
    data, findings = PreparedDataSet(folder), Findings()
    statistics = Statistics(data.manifest, data.mesh)
    entry = next(entry for entry in data.manifest.clips if entry.name == name)
    clip = Clip(entry, folder)
    header = clip.check_vertices(findings.problem)
    assert header is not None
    base = statistics.templates[entry.subject]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as hashing:
        motion, _ = clips.measure_motion(
            clip.vertices_path, header, base, np.arange(0, 60, 2), hashing
        )
    sound = measure_speech(clip, data.manifest.fps, 60, findings)
    subject = statistics.subject(entry.subject, base)
    statistics.add_sample(entry.subject, motion.sample)
    subject.clips.append(
        ClipStatistics(
            clip, header, motion.energy, motion.steps, motion.leaps, motion.n_bad, sound, True
        )
    )
    return statistics


# The content ----------------------------------------------------------------------------------


def test_a_view_shows_the_widest_mouth_and_both_curves(valid: Path) -> None:
    shown = views.view(measured_statistics(valid), "S01")
    curves, vertices = shown.curves, talking.spoken(FIRST)[0]
    assert isinstance(curves, Curves) and curves.name == FIRST and curves.fps == 25
    lips = talking.mesh().topology.regions["lips"]
    away = np.linalg.norm(vertices - talking.mesh().templates["S01"], axis=-1)[:, lips]
    assert curves.widest == np.square(away).mean(1).argmax()
    assert curves.energy.shape == (60,) and curves.energy.max() == pytest.approx(1, abs=0.1)
    assert curves.loudness is not None and curves.loudness.shape == (60,)
    assert curves.loudness.min() >= 0 and curves.loudness.max() == 1
    assert curves.audio_seconds == pytest.approx(2.4)
    assert curves.lags is not None and all(abs(lag.frames) <= 1 for lag in curves.lags)
    for image in (shown.template, shown.widest):
        assert isinstance(image, Picture) and image.mouth is not None
        assert image.face.shape == (400, 400, 3) and np.ptp(image.face) > 60
        assert min(image.mouth.shape[:2]) > 40
    assert isinstance(shown.template, Picture) and isinstance(shown.widest, Picture)
    assert shown.template.mouth is not None and shown.widest.mouth is not None
    differs = np.abs(shown.template.face.astype(int) - shown.widest.face).max(-1) > 8
    rows, columns = np.nonzero(differs)
    assert rows.mean() > 200 and 150 < columns.mean() < 250  # the lower half: mouth and jaw


def test_frames_with_nan_are_skipped(data: Path) -> None:
    vertices = talking.spoken(FIRST)[0].copy()
    vertices[20, :50] = np.nan
    vertices[21] = np.inf
    talking.put_vertices(data, FIRST, vertices)
    shown = views.view(measured_statistics(data), "S01")
    assert isinstance(shown.curves, Curves) and np.isfinite(shown.curves.energy).all()
    assert shown.curves.widest not in (20, 21)
    assert isinstance(shown.widest, Picture)


def test_text_replaces_missing_pictures(valid: Path) -> None:
    statistics = measured_statistics(valid)
    other = views.view(statistics, "S03")  # has a template, but no clip was read
    assert isinstance(other.template, Picture) and other.curves == "no clip could be read"
    unknown = views.view(statistics, "S99")
    assert (unknown.template, unknown.widest) == ("no template", "no clip")
    statistics.topology = None
    assert views.view(statistics, "S01").template == "no triangles"
    flat = np.zeros_like(talking.mesh().templates["S01"])
    statistics = measured_statistics(valid)
    statistics.subjects["S01"].base = flat
    assert "cannot frame the template" in str(views.view(statistics, "S01").template)


# The picture ------------------------------------------------------------------------------------


def test_a_sheet_has_a_row_per_subject_and_the_findings_below(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    report = check(data, path)
    assert report.sheet == path and report.to_dict()["sheet"] == str(path)
    image = picture(path)
    height, width, _ = image.shape
    assert width == 1500 and height == pytest.approx(100 * (0.75 + 3 * 2.35 + 0.35 + 0.185), abs=2)
    foot = image[-50:].astype(int)
    green = (foot[..., 1] > foot[..., 0] + 30).any()
    assert green and not (foot[..., 0] > foot[..., 1] + 60).any()
    talking.edit_row(data, FIRST, n_frames=61)
    (data / "clips" / "x.npy").write_text("")
    check(data, path)  # the existing sheet is replaced
    image = picture(path)
    assert len(image) == pytest.approx(height + 18.5, abs=2)  # one more line
    foot = image[-60:].astype(int)
    assert (foot[..., 0] > foot[..., 1] + 60).any()  # red: a problem
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


def test_a_sheet_is_drawn_for_a_heavily_damaged_data_set(data: Path, tmp_path: Path) -> None:
    (data / "clips" / f"{CLIPS[0]}.npy").unlink()
    (data / "clips" / f"{CLIPS[1]}.npy").unlink()
    vertices = talking.spoken(CLIPS[2])[0].copy()
    vertices[:] = np.nan
    talking.put_vertices(data, CLIPS[2], vertices)
    talking.put_vertices(data, CLIPS[3], 1000 * talking.spoken(CLIPS[3])[0])
    (data / "audio" / f"{CLIPS[4]}.wav").unlink()
    talking.put_samples(data, CLIPS[5], np.zeros(3))
    templates = {k: v for k, v in talking.mesh().templates.items() if k != "S05"}
    talking.put_mesh(data, replace(talking.mesh(), templates=templates))
    talking.edit_row(data, CLIPS[5], subject="$\\frac{1}$ %s é 音")
    assert check(data, tmp_path / "a.png").problems
    assert len(picture(tmp_path / "a.png")) > 4 * 235
    (data / "mesh.npz").unlink()
    talking.edit(data, fps=0)
    check(data, tmp_path / "b.png")
    talking.edit(data, clips=[])
    check(data, tmp_path / "c.png")
    assert len(picture(tmp_path / "c.png")) < 500


def test_subjects_with_problems_are_preferred_if_there_are_too_many(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "MOST_SUBJECTS", 2)
    drawn: list[str] = []
    monkeypatch.setattr(
        sheet, "view", lambda _, name: drawn.append(name) or views.SheetView(name, "-", "-", "-")
    )
    check(data, tmp_path / "a.png")
    assert drawn == list(SUBJECTS[:2])
    drawn.clear()
    talking.edit_row(data, CLIPS[5], n_frames=61)
    check(data, tmp_path / "b.png")
    assert drawn == [SUBJECTS[0], SUBJECTS[2]]


def test_a_sheet_is_drawn_for_any_topology(tmp_path: Path) -> None:
    vertices, faces = sphere()
    writer = PreparedWriter(tmp_path / "ball", overwrite=False)
    swell = 1 + 0.2 * np.sin(np.arange(60))[:, None, None]
    writer.add(NewClip("A_0", "A", "train", vertices * swell, talking.spoken(FIRST)[1]))
    mesh = Mesh(Topology("ball", faces[:, ::-1].copy(), len(vertices), "mm"), {"A": vertices})
    writer.finish(DataSetFacts("ball", 25.0, ["A"]), mesh, {})
    assert any(f.kind == "unit" for f in check(tmp_path / "ball", tmp_path / "a.png").findings)
    assert picture(tmp_path / "a.png").shape[1] == 1500


def test_an_unwritable_sheet_is_refused_before_the_data_is_read(
    valid: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    seen: list[int] = []
    for path, message in (
        (tmp_path / "sheet.jpg", r"sheet\.jpg: the sheet is written as \.png"),
        (tmp_path / "file" / "sheet.png", "cannot write here"),
    ):
        with pytest.raises(InputError, match=message):
            check(valid, path, progress=lambda done, _: seen.append(done))
    assert not seen


def test_long_lists_of_findings_are_shortened(
    valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = measured_statistics(valid)
    written: list[str] = []
    draw_text = Figure.text

    def text(figure: Figure, x: float, y: float, s: str, **named: Any) -> Any:
        written.append(s)
        return draw_text(figure, x, y, s, **named)

    monkeypatch.setattr(Figure, "text", text)
    heights = {}
    for n in (1, 50, 100):
        written.clear()
        findings = [Finding("problem", f"k{k}", "x", "word " * 60) for k in range(n)]
        sheet.draw_sheet(statistics, findings, tmp_path / "sheet.png")
        heights[n] = len(picture(tmp_path / "sheet.png"))
        found = [line for line in written if "word" in line or "the report lists all" in line]
        assert all(len(line) <= 200 for line in found)
        assert ("the report lists all" in found[-1]) == (n > 1)
    assert len(found) == 40
    assert heights[1] < heights[50] == heights[100]


LONG_NAMES = {
    "S01": "FaceTalk_170725_00137_TA",
    "S03": "a_subject_with_a_name_of_40_characters__",
    "S05": "W" * 100,
}


def overlaps(boxes: list[Any]) -> list[tuple[Any, Any]]:
    return [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]


def test_captions_of_long_names_do_not_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = PreparedWriter(tmp_path / "data", overwrite=False)
    for k, clip in enumerate(CLIPS):
        vertices, samples = talking.spoken(clip)
        subject = LONG_NAMES[clip.split("_")[0]]
        name = f"{subject}_a_sentence_with_a_long_name_{k}"[-110:]
        samples = samples[:20000] if k % 2 == 0 else samples  # adds a remark to the captions
        writer.add(NewClip(name, subject, "train", vertices, samples))
    templates = {LONG_NAMES[name]: face for name, face in talking.mesh().templates.items()}
    facts = DataSetFacts("n" * 110, 25.0, tuple(LONG_NAMES.values()))
    writer.finish(facts, replace(talking.mesh(), templates=templates), {})
    drawn: list[tuple[str, Any]] = []
    save = Figure.savefig

    def savefig(figure: Figure, *given: Any, **named: Any) -> None:
        save(figure, *given, **named)
        children = [child for axes in figure.axes for child in axes.get_children()]
        texts = [one for one in [*figure.texts, *children] if isinstance(one, Text)]
        drawn.extend((t.get_text(), t.get_window_extent()) for t in texts if t.get_text())
        outside = [text for text, box in drawn if box.x0 < 0 or box.x1 > figure.bbox.width]
        assert outside == []

    monkeypatch.setattr(Figure, "savefig", savefig)
    check(tmp_path / "data", tmp_path / "sheet.png")
    assert len(drawn) > 20 and overlaps([box for _, box in drawn]) == []
    texts = [text for text, _ in drawn]
    assert f"{LONG_NAMES['S01']}: template" in texts
    assert f"{LONG_NAMES['S01']}_a_sentence_with_a_long_name_0" in texts
    assert any("…" in text and text.endswith(": template") for text in texts)


def test_summary_counts_further_findings_of_a_kind() -> None:
    same = [Finding("note", "k", f"c{k}", "m") for k in range(9)]
    assert summary(same) == ["note: c0: m", "note: c1: m", "note: c2: m",
                             "note: 6 more of this kind (k)"]  # fmt: skip
