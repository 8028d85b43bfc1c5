"""``codetalker eval`` and ``codetalker metrics``: values, selection of predictions, errors."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_data
import torch
import voices
from command import refuse, run, succeed

from codetalker_cli import metrics
from codetalker_cli.datasets.prepared import PreparedDataSet, mean_offset
from codetalker_cli.devices import shard
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.evaluate.pairs import Pair, select_pairs, select_styles
from codetalker_cli.evaluate.score import Scores
from codetalker_cli.evaluate.truth import of_data_set
from codetalker_cli.formats.predictions import file_name, read_vertices, split_name, subject_in
from codetalker_cli.models import checkpoint
from codetalker_cli.motion import Motion
from codetalker_cli.settings import EvaluateSettings

OUT = Path("runs/tiny/voice-eval/val")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two validation clips (subjects A and B), two training clips and a checkpoint ``voice``."""
    folder = tmp_path_factory.mktemp("stored")
    voices.save(folder / "voice", "A", "B", "C", family="whisper")
    tiny_data.prepared(folder / "data/tiny", n_val=2)
    return folder


@pytest.fixture
def data(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedDataSet:
    """The stored data set, copied to the current folder together with ``voice``."""
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("codetalker_cli.evaluate.run.write_report", lambda *given: None)
    return PreparedDataSet(Path("data/tiny"))


def evaluate(*more: object, checkpoint: str = "voice") -> dict:
    given = ("eval", checkpoint, "--data", "data/tiny", "--split", "val", "--json", *more)
    return json.loads(succeed(*given))


def predictions(out: Path = OUT) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in sorted((out / "predictions").iterdir())}


def lip_error(made: np.ndarray, clip: str, data: PreparedDataSet) -> np.ndarray:
    true = read_vertices(data.folder / "clips" / f"{clip}.npy")
    n = min(len(made), len(true))
    return metrics.lip_errors(made[:n], true[:n], data.mesh.topology.regions["lips"])


# eval --------------------------------------------------------------------------------------------


def test_values_match_the_written_predictions_and_the_baselines(data: PreparedDataSet) -> None:
    values = evaluate("--set", "evaluate.diversity_clips=1")["values"]
    made = predictions()
    own = {"clip0": "A", "clip1": "B"}
    every = {file_name("clip0", style) for style in "ABC"} | {file_name("clip1", "B")}
    assert made.keys() == every
    errors = [lip_error(made[file_name(c, s)], c, data) for c, s in own.items()]
    assert values["model"]["lve"]["value"] == pytest.approx(metrics.lve(errors))
    assert values["model"]["diversity"]["value"] == pytest.approx(
        metrics.diversity([made[file_name("clip0", style)] for style in "ABC"])
    )
    mean = mean_offset(data.clips("train"), data.mesh.templates)
    for name, offset in (("template", 0.0), ("mean motion", mean)):
        faces = [(data.mesh.templates[s] + offset)[None] for s in own.values()]
        still = [
            lip_error(face.repeat(50, 0), clip, data) for face, clip in zip(faces, own, strict=True)
        ]
        assert values[name]["lve"]["value"] == pytest.approx(metrics.lve(still), rel=1e-6)
    assert values["template"]["fdd"]["value"] > 0  # it moves too little
    assert values["model"]["lip_closure_recall"]["lacking"].startswith("no region inner_lip")


def test_stage_1_is_evaluated_by_its_reconstruction(data: PreparedDataSet) -> None:
    voices.save(Path("vq"), "A", "B", "C", with_speech=False)
    values = evaluate(checkpoint="vq")["values"]
    assert "reconstruction" not in values
    made = predictions(Path("runs/tiny/vq-eval/val"))
    vq = checkpoint.load("vq").model.vq
    for clip in data.clips("val"):
        template = torch.from_numpy(data.mesh.templates[clip.entry.subject])[None]
        with torch.no_grad():
            expected = vq(torch.from_numpy(np.array(clip.vertices))[None], template).vertices[0]
        np.testing.assert_allclose(made[clip.entry.name], expected, atol=1e-5)
    whole = evaluate()["values"]  # stage 2 is compared with the reconstruction of its stage 1
    assert whole["reconstruction"]["lve"]["clips"] == 2


def test_a_resumed_evaluation_gives_the_same_values(data: PreparedDataSet) -> None:
    first = evaluate()
    folder = OUT / "predictions"
    lost, *kept = sorted(folder.iterdir())
    times = {path: path.stat().st_mtime_ns for path in kept}
    lost.unlink()
    (folder / ".clip0.01234567.npy").write_bytes(b"half")  # left by a killed process
    second = evaluate()
    for model, values in first["values"].items():  # another batch size rounds differently
        for name, one in values.items():
            again = second["values"][model][name]["value"]
            assert again == one["value"] or again == pytest.approx(one["value"], rel=1e-5)
    assert lost.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert len(list(folder.iterdir())) == 1 + len(kept)


def test_different_evaluations_are_not_mixed_in_one_folder(data: PreparedDataSet) -> None:
    evaluate()
    again = ("eval", "voice", "--data", "data/tiny", "--split", "val")
    said = refuse(*again, "--set", "decode.method=window")
    assert "contains a different evaluation (decode: " in said and "--overwrite" in said
    evaluate("--overwrite", "--set", "decode.method=window")
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    assert "is not empty and contains no evaluation" in refuse(*again, "-o", "full")


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_clip_that_fails_is_listed_and_the_others_are_scored(
    data: PreparedDataSet, is_silent: bool
) -> None:
    speech = data.folder / "audio" / "clip0.wav"
    if is_silent:
        soundfile.write(speech, np.zeros(16000), 16000)
    else:
        speech.write_bytes(b"no sound")
    ended = run("eval", "voice", "--data", "data/tiny", "--split", "val", "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert {one["clip"].split("_")[0] for one in found["failed"]} == {"clip0"}
    assert all(("silent" in one["reason"]) == is_silent for one in found["failed"])
    assert found["values"]["model"]["lve"]["clips"] == 1


def nan_in(path: Path) -> None:
    vertices = np.load(path)
    vertices[3, 2] = np.nan
    np.save(path, vertices)


def absurd_in(path: Path) -> None:
    vertices = np.load(path)
    vertices[3, 2] = 1e30
    np.save(path, vertices)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (nan_in, "frame 3 of the prediction has NaN"),
        (absurd_in, "frame 3 of the prediction has coordinates up to 1e+30"),
        (a_folder, "cannot be read (it is a folder)"),
    ],
)
def test_a_damaged_prediction_costs_only_its_clip(
    data: PreparedDataSet, damage: Callable[[Path], None], words: str
) -> None:
    evaluate("--set", "evaluate.diversity_clips=0")
    damage(OUT / "predictions" / "clip0_condition_A.npy")
    again = ("eval", "voice", "--data", "data/tiny", "--split", "val", "--json")
    ended = run(*again, "--set", "evaluate.diversity_clips=0")
    found = json.loads(ended.out)
    assert ended.code == 1 and found["values"]["model"]["lve"]["clips"] == 1
    (failure,) = found["failed"]
    assert failure["clip"] == "clip0" and words in failure["reason"]


def test_a_damaged_training_clip_costs_only_the_mean_motion(
    data: PreparedDataSet, caplog: pytest.LogCaptureFixture
) -> None:
    path = data.clips("train")[0].vertices_path
    nan_in(path)
    assert "mean motion" not in evaluate()["values"]
    a_folder(path)
    assert "mean motion" not in evaluate()["values"]
    assert "a training clip contains NaN or infinite values; the mean motion is" in caplog.text
    assert f"{path}: the vertices are not a complete .npy file" in caplog.text


def scale_truth(data: PreparedDataSet, factor: float) -> None:
    for clip in data.clips("val"):
        path = data.folder / "clips" / f"{clip.entry.name}.npy"
        template = data.mesh.templates[clip.entry.subject]
        np.save(path, (template + factor * (np.load(path) - template)).astype(np.float32))


def test_too_much_motion_is_reported_on_the_console_and_in_json(data: PreparedDataSet) -> None:
    scale_truth(data, 2.0)
    calm = evaluate("-o", "calm")
    assert "restless" not in calm["diagnostics"]
    assert 0.3 < calm["motion_energy"]["lips"]["value"] < 4
    scale_truth(data, 1e-3)
    ended = run("eval", "voice", "--data", "data/tiny", "--split", "val")
    assert ended.code == 0 and "warning: The lip region moves too much: its motion" in ended.err
    assert " 54 frames at 25 fps" in ended.out
    written = json.loads((OUT / "metrics.json").read_text())
    assert written["motion_energy"]["lips"]["value"] > 4
    assert written["diagnostics"].keys() >= {"restless", "baseline"}
    for message in (text for texts in written["diagnostics"].values() for text in texts):
        assert f"warning: {message}" in " ".join(ended.err.split())


def test_all_models_are_measured_on_the_same_clips(data: PreparedDataSet) -> None:
    (data.folder / "audio" / "clip0.wav").write_bytes(b"no sound")
    found = json.loads(run("eval", "voice", "--data", "data/tiny", "--split", "val", "--json").out)
    assert {model: one["lve"]["clips"] for model, one in found["values"].items()} == {
        "model": 1, "reconstruction": 1, "mean motion": 1, "template": 1
    }  # fmt: skip


def test_eval_without_arguments_uses_the_newest_training_run(
    data: PreparedDataSet, caplog: pytest.LogCaptureFixture
) -> None:
    assert "no training run under runs/" in refuse("eval")
    voices.save(Path("runs/tiny/speech"), "A", "B", "C", family="whisper")
    begun = dict.fromkeys(("data_id", "stage1", "stage1_weights", "settings"), "")
    folder = Path("runs/tiny/speech-run")
    folder.mkdir()
    begun |= {"stage": "speech", "data": "data/tiny"}
    (folder / "run.json").write_text(json.dumps(begun))
    ended = run("eval", "--split", "val")
    assert ended.code == 0, ended.err
    assert "checkpoint: runs/tiny/speech" in caplog.text and "data set: data/tiny" in caplog.text
    assert Path("runs/tiny/speech-eval/val/metrics.json").exists()


def test_a_checkpoint_that_does_not_fit_the_data_is_refused(data: PreparedDataSet) -> None:
    tiny_data.prepared(Path("data/fast"), fps=50.0)
    said = refuse("eval", "voice", "--data", "data/fast", "--split", "val")
    assert "the frame rate of the model is 25, but that of data/fast is 50" in said
    said = refuse("eval", "voice", "--data", "data/tiny")
    assert "the split 'test' has no clips; available splits: val (2 clips), train" in said
    said = refuse("eval", "voice", "--data", "data/tiny", "--split", "val", "--style", "Z")
    assert "--style 'Z' is unknown; this model has: A, B, C" in said


def test_the_report_contains_heat_maps_and_videos(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path.cwd()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    quick = ("render.renderer=software", "render.workers=1", "evaluate.shown_seconds=0.2")
    small = ("evaluate.shown_clips=1", "evaluate.diversity_clips=0")
    found = evaluate(*(word for one in (*quick, *small) for word in ("--set", one)))
    page = Path(found["report"]).read_text("utf-8")
    assert page.count("data:video/mp4;base64,") == 2 and "data:image/" in page
    assert "Missing pictures and videos" not in page


# metrics -----------------------------------------------------------------------------------------


def test_metrics_without_arguments_measures_the_newest_evaluation(
    data: PreparedDataSet, caplog: pytest.LogCaptureFixture
) -> None:
    assert "contains no evaluation" in refuse("metrics")
    values = evaluate()["values"]["model"]
    ended = run("metrics", "lve", "fdd", "--json")
    assert f"evaluation: {OUT} (voice on val)" in caplog.text
    found = json.loads(ended.out)["values"]
    assert found == {name: values[name] for name in ("lve", "fdd")}


def write_reference_layout(data: PreparedDataSet) -> None:
    """Write files in the layout of the official code: (T, 3V), text files, templates.pkl."""
    for folder, files in (("pred", OUT / "predictions"), ("gt", data.folder / "clips")):
        Path(folder).mkdir()
        for path in files.iterdir():
            vertices = np.load(path)
            name = path.stem.replace("clip0", "A_clip0").replace("clip1", "B_clip1")
            if name[0] in "AB":
                np.save(f"{folder}/{name}.npy", vertices.reshape(len(vertices), -1))
    Path("regions").mkdir()
    for name, region in (("lve", "lips"), ("fdd", "upper_face")):
        indices = data.mesh.topology.regions[region]
        Path(f"regions/{name}.txt").write_text(", ".join(map(str, indices)))
    Path("templates.pkl").write_bytes(pickle.dumps(data.mesh.templates))


FILES = ("--pred", "pred", "--gt", "gt", "--regions", "regions", "--templates", "templates.pkl")


def test_files_in_the_published_layout_give_the_same_values(data: PreparedDataSet) -> None:
    values = evaluate()["values"]["model"]
    write_reference_layout(data)
    given = ("metrics", *FILES, "--unit", "m", "--csv", "out/clips.csv", "--json")
    found = json.loads(succeed(*given))["values"]
    for name in ("lve", "lve_mm", "fdd", "fdd_abs", "mve"):
        assert found[name]["value"] == pytest.approx(values[name]["value"], rel=1e-6)
    header, *lines = Path("out/clips.csv").read_text().splitlines()
    assert header.startswith("model,clip,subject,style,frames,lve,") and len(lines) == 2
    assert "out/clips.csv already exists; give --overwrite" in refuse(*given)
    before = Path("pred").joinpath(sorted(os.listdir("pred"))[0])
    assert f"{before} already exists" in refuse("metrics", *FILES, "--csv", before)
    prediction = next(Path(FILES[FILES.index("--pred") + 1]).iterdir())
    over = ("--csv", prediction, "--overwrite")
    assert "is one of the input files" in refuse("metrics", *FILES, *over)
    assert "no prediction has this style" in refuse("metrics", *FILES, "--style", "S99")
    succeed(*given, "--overwrite")
    unknown = json.loads(succeed("metrics", "lve_mm", "lve", *FILES, "--json"))["values"]
    assert unknown["lve_mm"]["lacking"] == "the length unit is unknown"
    assert unknown["lve"]["unit"] == "unit²"


def test_files_that_do_not_match_are_refused(data: PreparedDataSet) -> None:
    evaluate()
    write_reference_layout(data)
    assert "--regions must be given" in refuse("metrics", *FILES[:4], *FILES[6:])
    assert "--data already contains" in refuse("metrics", *FILES, "--data", "data/tiny")
    Path("empty").mkdir()
    assert "the folder contains no motion" in refuse("metrics", "--pred", "empty", *FILES[2:])
    assert "no such folder" in refuse("metrics", "--pred", "nowhere", *FILES[2:])
    Path("regions/lve.txt").write_text("1, 12")
    assert "lve: indices are 1..12, expected 0..11; give vertex indices" in refuse(
        "metrics", *FILES
    )
    Path("regions/lve.txt").write_text("1, 2")
    name = "pred/A_clip0_condition_A.npy"
    whole = np.load(name)
    for other in Path("pred").iterdir():  # a fault in the only prediction is an error
        if other != Path(name):
            other.unlink()
    np.save(name, whole[:-3])
    assert "has 27 frames, but the ground truth of A_clip0 has 30" in refuse("metrics", *FILES)
    broken = whole.copy()
    broken[7, 2] = np.nan
    np.save(name, broken)
    assert f"{name}: frame 7 of the prediction has NaN" in refuse("metrics", *FILES)
    np.save(name, whole[:, :33])
    assert "its frames have 11 vertices, expected 12" in refuse("metrics", *FILES)
    np.save(name, np.array([{}], dtype=object))
    assert "contains Python objects" in refuse("metrics", *FILES)
    np.save(name, whole)
    np.save("pred/A_other_condition_A.npy", whole)
    assert "there is no ground-truth clip 'A_other'" in refuse("metrics", *FILES)


@pytest.fixture
def files(data: PreparedDataSet) -> Path:
    """Predictions of both clips: copies of the truth, as .npz files."""
    Path("pred").mkdir()
    for clip in data.clips("val"):
        subject = clip.entry.subject
        mesh = data.mesh
        motion = Motion(
            np.array(clip.vertices), 25.0, mesh.topology, subject, mesh.templates[subject]
        )
        motion.save(Path("pred") / f"{clip.entry.name}_condition_{subject}.npz")
    return Path("pred/clip0_condition_A.npz")


MEASURE = ("metrics", "lve", "--pred", "pred", "--data", "data/tiny", "--split", "val")


def in_mm(motion: Motion) -> Motion:
    topology = replace(motion.topology, unit="mm")
    return replace(motion, vertices=np.asarray(motion.vertices) * 1000, topology=topology)


def at_60_fps(motion: Motion) -> Motion:
    return motion.at_fps(60.0)


def moved(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Motion], Motion]:
    return lambda motion: replace(motion, vertices=change(np.array(motion.vertices)))


def one_lost(vertices: np.ndarray) -> np.ndarray:
    vertices[7] = 0
    return vertices


def one_absurd(vertices: np.ndarray) -> np.ndarray:
    vertices[7, 2] = 1e30
    return vertices


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_mm, "the unit of the prediction is mm, but that of the ground truth is m;"),
        (at_60_fps, "has 60 frames per second, but the ground truth has 25; predict at 25"),
        (moved(lambda v: v * 1000), "the prediction is 1000 times as large as the ground truth"),
        (moved(lambda v: v / 10), "the prediction is 0.1 times as large as the ground truth"),
        (moved(lambda v: v + 99), "face sizes away from the ground truth"),
        (moved(lambda v: v * np.array([-1, 1, 1])), "is mirrored relative to the ground truth"),
        (moved(lambda v: v[..., [1, 2, 0]]), "is rotated by 120° relative to the ground truth"),
        (moved(lambda v: v[:, ::-1]), "has another vertex order than the ground truth"),
        (moved(one_lost), "frame 7 of the prediction has all vertices at one point"),
        (moved(one_absurd), "frame 7 of the prediction has coordinates up to 1e+30"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_prediction_that_cannot_be_compared_costs_only_its_clip(
    files: Path,
    change: Callable[[Motion], Motion],
    words: str,
    suffix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    motion = change(Motion.load(files))
    if suffix == ".npy" and change in (in_mm, at_60_fps):
        pytest.skip("a .npy stores no unit and no frame rate")
    files.unlink()
    motion.save(files.with_suffix(suffix))
    ended = run(*MEASURE, "--json")
    found = json.loads(ended.out)
    assert ended.code == 1 and found["values"]["lve"] == {**found["values"]["lve"], "value": 0.0}
    (failure,) = found["failed"]
    assert failure["clip"] == str(files.with_suffix(suffix)) and "clips" in found
    if "1e+30" not in words or "times" not in failure["reason"]:
        assert words in failure["reason"]
    assert failure["reason"] in caplog.text


def test_predictions_of_another_unit_are_refused_if_no_other_is_left(files: Path) -> None:
    for path in files.parent.iterdir():
        in_mm(Motion.load(path)).save(path)
    said = refuse(*MEASURE)
    assert "no prediction could be measured; pred/clip0_condition_A.npz: the unit of the" in said


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, Path.touch])
def test_something_in_place_of_a_prediction_costs_only_its_clip(
    files: Path, make: Callable[[Path], None]
) -> None:
    files.unlink()
    make(files)
    ended = run(*MEASURE, "--json")
    found = json.loads(ended.out)
    assert ended.code == 1 and [one["clip"] for one in found["failed"]] == [str(files)]
    assert found["values"]["lve"]["clips"] == 1


def test_another_style_does_not_replace_a_prediction_that_cannot_be_compared(files: Path) -> None:
    motion = Motion.load(files)
    motion.save(files.with_name("clip0_condition_B.npz"))
    in_mm(motion).save(files)
    found = json.loads(run(*MEASURE, "--json").out)
    assert [one["clip"] for one in found["failed"]] == [str(files)] and found["clips"] == 1


def test_ground_truth_files_of_another_unit_are_refused(files: Path) -> None:
    files.parent.rename("gt")
    Path("pred").mkdir()
    for path in Path("gt").iterdir():
        clip = path.stem.split("_")[0]
        motion = Motion.load(path)
        motion.save(Path("pred") / f"{clip}.npz")
        in_mm(motion).save(Path("gt") / f"{clip}.npz")
        path.unlink()
    said = refuse(*MEASURE, "--gt", "gt")
    assert "gt/clip0.npz: the unit of the ground truth is mm, expected m" in said


def test_a_data_set_of_another_scale_than_the_checkpoint_is_refused(data: PreparedDataSet) -> None:
    for name, unit, scale in (("mm", "mm", 1000.0), ("large", "m", 1000.0)):
        mesh = data.mesh
        templates = {k: v * scale for k, v in mesh.templates.items()}
        mesh = replace(mesh, templates=templates, topology=replace(mesh.topology, unit=unit))
        mesh.save(data.folder / "mesh.npz")
        said = refuse("eval", "voice", "--data", "data/tiny", "--split", "val")
        expected = {
            "mm": "the unit of the model is m, but that of data/tiny is mm",
            "large": "the templates of data/tiny are 1000 times as large as those of the model",
        }
        assert expected[name] in said


def test_longer_predictions_are_cut_and_up_to_two_frames_may_be_missing(
    data: PreparedDataSet,
) -> None:
    truth = of_data_set(data, "val")
    true = np.array(truth.vertices("clip0"))
    settings = EvaluateSettings()
    scores = Scores()
    scores.add(np.concatenate([true, true + 9]), "clip0", "A", truth, settings)
    scores.add(true[:-2], "clip0", "B", truth, settings)
    assert [row.n_frames for row in scores.results()] == [30, 28] and scores.n_cut == 2
    assert scores.value("lve", settings).value == 0.0
    with pytest.raises(CodeTalkerError, match="has 27 frames"):
        scores.add(true[:-3], "clip0", "C", truth, settings)


# style rules -------------------------------------------------------------------------------------


def test_the_style_rule_selects_the_styles_to_predict() -> None:
    styles = ["A", "B", "C"]
    assert select_styles("auto", "B", styles) == ["B"]  # training subject: its own style
    assert select_styles("auto", "new", styles) == styles  # other subject: every style
    assert select_styles("all", "B", styles) == styles
    assert select_styles("C, A", "B", styles) == ["C", "A"]
    with pytest.raises(InputError, match="`style` 'D' is unknown; this model has: A, B, C"):
        select_styles("A,D", "B", styles)


def test_the_style_rule_selects_the_predictions_to_score() -> None:
    pairs = [Pair("clip", style, Path()) for style in ("A", "B", "C")]
    assert [p.style for p in select_pairs(pairs, "auto", "B")] == ["B"]
    assert select_pairs(pairs, "auto", "new") == pairs
    assert select_pairs(pairs, "all", "B") == pairs
    assert [p.style for p in select_pairs(pairs, "C,A", "B")] == ["A", "C"]
    alone = [Pair("clip", None, Path())]
    assert select_pairs(alone, "A", "B") == alone  # a reconstruction has no style


def test_file_names_contain_clip_style_and_subject() -> None:
    for clip, style in (
        ("F2_e37", "F2"),
        ("FaceTalk_1_TA_sentence01", None),
        ("a_condition_b", "c"),
    ):
        assert split_name(file_name(clip, style)) == (clip, style)
    subjects = ["F1", "F10", "FaceTalk_1_TA"]
    assert subject_in("F10_e01", subjects) == "F10"
    assert subject_in("FaceTalk_1_TA_sentence01", subjects) == "FaceTalk_1_TA"
    assert subject_in("F2_e01", subjects) is None


def test_the_shards_of_several_processes_combine_to_the_whole(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = data.clips("val") + data.clips("train")
    parts = []
    for k in range(3):
        with monkeypatch.context() as patch:
            patch.setenv("WORLD_SIZE", "3")
            patch.setenv("RANK", str(k))
            parts.append(shard(clips, lambda clip: -clip.entry.n_frames))
    names = sorted(clip.entry.name for part in parts for clip in part)
    assert names == sorted(clip.entry.name for clip in clips)
    truth, settings = of_data_set(data), EvaluateSettings()

    def measured(some: list) -> Scores:
        scores = Scores()
        for clip in some:
            template = data.mesh.templates[clip.entry.subject]
            still = np.repeat(template[None], clip.entry.n_frames, 0)
            scores.add(still, clip.entry.name, None, truth, settings)
        return scores

    joined, whole = Scores().join(map(measured, parts)), Scores().join([measured(clips)])
    assert joined.clip_scores == whole.clip_scores and joined.n_frames == whole.n_frames
    np.testing.assert_allclose(joined.vertex_errors, whole.vertex_errors)
    assert joined.value("lve", settings) == whole.value("lve", settings)
