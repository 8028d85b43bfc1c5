"""The report of an evaluation: valid HTML, self-contained, with all values."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_data
import voices

from codetalker_cli import render
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.errors import RenderError
from codetalker_cli.evaluate import charts, report, words
from codetalker_cli.evaluate.diagnostics import diagnose, motion_energy
from codetalker_cli.evaluate.folder import Evaluation, EvaluationFolder
from codetalker_cli.evaluate.score import Scores, describe
from codetalker_cli.evaluate.truth import Truth, of_data_set
from codetalker_cli.formats.predictions import file_name
from codetalker_cli.metrics import METRICS
from codetalker_cli.settings import EvaluateSettings, RenderSettings

HOSTILE = '<script>alert("1")&'
SETTINGS = EvaluateSettings(shown_clips=1, resamples=50)
NOISE = {"model": 0.1, "reconstruction": 0.05, "mean motion": 0.2, "template": 0.3}
VOID = {"meta", "img", "br", "wbr"}


class Page(HTMLParser):
    """A parsed HTML page; parsing fails if its elements are not nested correctly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """The visible text, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element with this tag."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(autouse=True)
def videos(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace drawing by a fast stand-in; return the panels and settings of each video."""
    asked: list[Any] = []

    def draw_video(panels: Any, path: Path, settings: RenderSettings, **_: Any) -> None:
        asked.append((panels, settings))
        path.write_bytes(b"film")

    def draw_picture(*arguments: Any, **_: Any) -> np.ndarray:
        (settings,) = (one for one in arguments if isinstance(one, RenderSettings))
        return np.zeros((settings.size, settings.size, 3), np.uint8)

    monkeypatch.setattr(render, "render_video", draw_video)
    monkeypatch.setattr(render, "heat_picture", draw_picture, raising=False)
    return asked


def data_set(folder: Path, names: Sequence[str] = ("one", "two", "three")) -> PreparedDataSet:
    writer = PreparedWriter(folder, overwrite=False)
    mesh = voices.mesh(*tiny_data.SUBJECTS)
    for k, name in enumerate(names):
        subject = tiny_data.SUBJECTS[k % 3]
        vertices = mesh.templates[subject] + tiny_data.moving(20 + 5 * k, k)
        speech = voices.speech(len(vertices) / 25, seed=k)
        writer.add(NewClip(name, subject, "val", vertices, speech, f"<b>words</b> of {k}"))
    writer.finish(DataSetFacts("tiny", 25.0, tiny_data.SUBJECTS), mesh, {})
    return PreparedDataSet(folder)


def without_lips(truth: Truth) -> Truth:
    mesh = truth.mesh
    regions = {"upper_face": mesh.topology.regions["upper_face"]}
    topology = replace(mesh.topology, regions=regions)
    return replace(truth, mesh=replace(mesh, topology=topology))


def of_unknown_size(truth: Truth) -> Truth:
    topology = replace(truth.mesh.topology, unit="area1")
    return replace(truth, mesh=replace(truth.mesh, topology=topology))


def with_a_hostile_clip(truth: Truth) -> Truth:
    """Rename a clip to HTML code, as another program could; this package refuses such names."""
    assert truth.data is not None
    folder = truth.data.folder
    for path in (folder / "clips/one.npy", folder / "audio/one.wav"):
        path.rename(path.with_stem(HOSTILE))
    first, *others = truth.data.manifest.clips
    entries = (replace(first, name=HOSTILE), *others)
    truth.data.manifest = replace(truth.data.manifest, clips=entries)
    return of_data_set(truth.data, "val")


def scores_of(
    truth: Truth, folder: EvaluationFolder, noise: Mapping[str, float], style: str | None
) -> dict[str, Scores]:
    """Return the scores of noisy predictions; those of the model are written to disk."""
    folder.predictions.mkdir(parents=True)
    scores = {}
    for model, size in noise.items():
        scores[model] = Scores()
        for k, clip in enumerate(truth.clips):
            true = np.asarray(truth.vertices(clip))
            rng = np.random.default_rng([len(model), k])
            made = true + (size * (1 + k) * rng.standard_normal(true.shape)).astype(np.float32)
            own = style if model == "model" else None
            scores[model].add(made, clip, own, truth, SETTINGS)
            if model == "model":
                np.save(folder.predictions / f"{file_name(clip, own)}.npy", made)
    return scores


def evaluated(
    folder: Path,
    *,
    names: Sequence[str] = ("one", "two", "three"),
    changed: Callable[[Truth], Truth] = lambda truth: truth,
    noise: Mapping[str, float] = NOISE,
    style: str | None = "A",
    failed: Sequence[dict[str, str]] = (),
    n_cut: int = 0,
) -> tuple[Evaluation, dict[str, Scores], Truth]:
    data = data_set(folder / "data", names)
    truth = changed(of_data_set(data, "val"))
    out = EvaluationFolder(folder / "out")
    scores = scores_of(truth, out, noise, style)
    topology = truth.mesh.topology
    values = {
        model: {name: describe(one.value(name, SETTINGS), name, topology) for name in METRICS}
        for model, one in scores.items()
    }
    subject = {"clips": 1, "trained_on": True, "styles": ["A"]}
    protocol = {
        "checkpoint": "runs/tiny/speech",
        "weights": "0123abcd",
        "stage": "speech to motion (stage 2)" if style else "reconstruction (stage 1)",
        "step": None,
        "data_set": "tiny",
        "split": "val",
        "fps": 25.0,
        "subjects": dict.fromkeys(truth.subjects.values(), subject),
        "regions": {name: len(one) for name, one in topology.regions.items()},
        "decode": {"beam": 4, "sample": False} if style else None,
        "evaluate": SETTINGS.model_dump(mode="json"),
        "failed": list(failed),
        "frames_compared": scores["model"].n_frames,
        "frames_cut": n_cut,
    }
    energy = motion_energy(scores["model"], SETTINGS)
    found = diagnose(values, energy, protocol)
    return Evaluation(out, protocol, values, list(failed), energy, found), scores, truth


def written(
    made: tuple[Evaluation, dict[str, Scores], Truth], settings: EvaluateSettings = SETTINGS
) -> tuple[str, Page]:
    """Write the report; return its source and the parsed page."""
    evaluation, scores, truth = made
    seen: list[tuple[int, int]] = []
    report.write_report(
        evaluation, scores, truth, settings, RenderSettings(), lambda *done: seen.append(done)
    )
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1]
    assert not list(evaluation.folder.path.glob(".*"))
    text = evaluation.folder.report.read_text("utf-8")
    return text, Page(text)


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    text, page = written(evaluated(tmp_path))
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"https?:|file:|@import|url\(", text)
    assert len(page.all("video")) == 2 and len(page.all("img")) == 4
    assert all("autoplay" not in one and one["preload"] == "metadata" for one in page.all("video"))
    scripts = page.all("script")
    assert [one.get("data-part") for one in scripts] == [
        "packets", "sound", "packets", "sound", "modules", None,
    ]  # fmt: skip
    assert all(one.get("type") == "text/plain" for one in scripts[:-1])
    assert len([one for one in page.all("button") if one.get("class") == "open"]) == 2
    (policy,) = (one["content"] for one in page.all("meta") if one.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert len(text) < 8_000_000


def test_the_table_contains_every_value_with_its_interval(tmp_path: Path) -> None:
    made = evaluated(tmp_path)
    _, page = written(made)
    rows = [(name, value) for one in made[0].values.values() for name, value in one.items()]
    assert all(name in page.text for name, _ in rows)
    measured = [value for _, value in rows if value["value"] is not None]
    assert len(measured) > 10
    for value in measured:
        low, high = value["interval"]
        cell = f"{words.number(value['value'])} {words.number(low)} – {words.number(high)}"
        assert cell in page.text
    assert "lip_closure_recall: no region inner_lip_upper or inner_lip_lower" in page.text
    assert "diversity: no clip was predicted in several styles" in page.text


def test_failures_and_missing_frames_are_reported(tmp_path: Path) -> None:
    failed = [{"clip": "four_condition_A", "reason": "frame 3 holds <NaN>"}]
    _, page = written(evaluated(tmp_path, failed=failed, n_cut=2))
    assert "1 prediction or clip could not be evaluated and is not included" in page.text
    assert "four_condition_A : frame 3 holds <NaN>" in page.text
    assert "2 of 77 true frames are not compared" in page.text


def test_html_in_names_and_texts_is_escaped(tmp_path: Path) -> None:
    text, page = written(evaluated(tmp_path, changed=with_a_hostile_clip))
    assert page.text.count(HOSTILE) == 2 and len(page.all("video")) == 2
    assert "<b>words</b> of 0" in page.text
    assert len(page.all("script")) == 6  # those of the viewers
    assert "<script>alert" not in text and "<b>" not in text


def test_a_path_that_is_not_utf_8_is_shown_escaped(tmp_path: Path) -> None:
    made = evaluated(tmp_path)
    made[0].protocol.update(checkpoint=os.fsdecode(b"runs/caf\xe9"), data="data/tiny")
    _, page = written(made)
    assert r"runs/caf\udce9" in page.text
    folder = made[0].folder
    folder.write_json(folder.protocol, made[0].protocol)
    assert folder.read()["checkpoint"] == os.fsdecode(b"runs/caf\xe9")


def test_without_a_lip_region_the_summary_uses_the_vertex_error(tmp_path: Path) -> None:
    made = evaluated(tmp_path, changed=without_lips)
    _, page = written(made)
    assert not page.all("svg")
    assert "this data set has no lip region" in page.text
    value = made[0].values["model"]["mve"]["value"]
    assert "The mean vertex error of the model over 3 clips from 3 subjects" in page.text
    assert f"is {words.number(value)} m (95% interval" in page.text
    assert len(page.all("video")) == 2


def test_a_unit_without_a_known_size_gives_values_in_units(tmp_path: Path) -> None:
    _, page = written(evaluated(tmp_path, changed=of_unknown_size))
    assert "The mean squared lip error of the model" in page.text
    assert " squared units of the data set (95% interval" in page.text
    assert "lip error, units of the data set" in page.text
    assert "unit²" not in page.text
    assert "lve_mm: the length unit is unknown" in page.text


def test_stage_1_has_no_upper_bound(tmp_path: Path) -> None:
    noise = {model: size for model, size in NOISE.items() if model != "reconstruction"}
    _, page = written(evaluated(tmp_path, noise=noise, style=None))
    assert "The mean lip error of the stage 1 reconstruction over 3 clips" in page.text
    assert "reconstruction of the truth" not in page.text and "style A" not in page.text


def test_a_report_can_have_one_clip_and_no_baseline(tmp_path: Path) -> None:
    _, page = written(evaluated(tmp_path, names=("one",), noise={"model": 0.1}))
    assert len(page.all("video")) == 1 and "Worst" not in page.text
    assert "over 1 clip from 1 subject" in page.text


def test_no_videos_are_drawn_if_no_clips_are_shown(tmp_path: Path, videos: list[Any]) -> None:
    settings = SETTINGS.model_copy(update={"shown_clips": 0})
    _, page = written(evaluated(tmp_path), settings)
    assert not page.all("video") and not page.all("script") and videos == []


def test_videos_show_truth_model_and_difference(tmp_path: Path, videos: list[Any]) -> None:
    settings = SETTINGS.model_copy(update={"shown_seconds": 0.4})
    made = evaluated(tmp_path)
    _, page = written(made, settings)
    panels, looks = videos[0]
    assert [panel.label for panel in panels] == ["truth", "model", "difference"]
    assert looks.size == 256 and panels[2].against is panels[0].motion
    assert {panel.motion.n_frames for panel in panels} == {10}
    assert len(panels[0].motion.audio) == 6400
    true = made[2].vertices("one")[:10]  # the least noise
    np.testing.assert_array_equal(panels[0].motion.vertices, true)
    assert not np.array_equal(panels[1].motion.vertices, true)
    assert page.text.index("Best one") < page.text.index("Worst three")


def test_pictures_that_cannot_be_drawn_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RenderError("no encoder")

    monkeypatch.setattr(render, "render_video", fail)
    monkeypatch.setattr(render, "heat_picture", fail)
    _, page = written(evaluated(tmp_path))
    assert "heat maps: no encoder" in page.text and "video of one: no encoder" in page.text


def test_the_best_value_of_a_row_is_marked() -> None:
    def column(value: float | None) -> dict[str, Any]:
        return {"fdd": {"value": value, "interval": None, "unit": "m²"}}

    values = {"model": column(-0.2), "reconstruction": column(0.0), "template": column(0.3)}
    marks = [cell["best"] for cell in report.metric_row("fdd", values)["cells"]]
    assert marks == [True, False, False]
    lone = report.metric_row("fdd", {"model": column(0.1), "template": column(None)})
    assert [cell["best"] for cell in lone["cells"]] == [False, False]


def test_no_clip_is_shown_twice(tmp_path: Path) -> None:
    _, scores, _ = evaluated(tmp_path)
    best, worst = charts.rank_results(scores["model"], 5)
    assert [row.clip for row in best] == ["one", "two"]
    assert [row.clip for row in worst] == ["three"]


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.0, 1.0), (0.93, 1.0), (1.2, 1.5), (0.0123, 0.015), (7.0, 8.0)]
)
def test_the_color_bar_ends_at_a_round_number(value: float, rounded: float) -> None:
    assert charts.round_up(value) == pytest.approx(rounded)


def test_the_mean_curve_ends_where_few_results_are_left() -> None:
    curves = [np.ones(length) for length in (4, 5, 6, 40)]
    table = charts.pad_curves([*curves, np.full(8, 3.0)])
    assert table.shape == (5, 8)
    np.testing.assert_allclose(np.nanmean(table, 0), [1.4] * 4 + [1.5, 5 / 3, 2, 2])
