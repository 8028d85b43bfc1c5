"""The custom reader: file layouts, units and axes, and reported problems."""

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from custom_raw import (
    CLIPS,
    FACES,
    FPS,
    HEAD,
    N_VERTICES,
    SENTENCES,
    SUBJECTS,
    motion,
    recorded,
    settings,
    template,
    with_parents,
    write_all,
    write_motion,
    write_obj,
    write_pc2,
    write_ply,
    write_sound,
)
from pydantic import ValidationError
from test_frames import npy_of

from codetalker_cli.datasets.prepare import prepare
from codetalker_cli.datasets.raw_clips import RawClip, RawDataSet
from codetalker_cli.datasets.readers.custom import data_of, read_custom
from codetalker_cli.datasets.readers.custom_motion import safe_name
from codetalker_cli.datasets.readers.custom_templates import outward
from codetalker_cli.datasets.regions import Regions
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.meshes import write_mesh_file
from codetalker_cli.settings import PrepareSettings

MOTION = {"npy3": "*.npy", "npy2": "*.npy", "pc2": "*.pc2", "obj": "*", "ply": "*"}
MOTION |= {"glb": "*", "off": "*"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_all(tmp_path / "mine")


def read(root: Path, **changes: object) -> RawDataSet:
    return read_custom(settings(**changes), root)


def frames_of(clip: RawClip) -> np.ndarray:
    with clip.open() as frames:
        return frames.read(np.arange(len(frames.numbers)))


def problems_by_clip(raw: RawDataSet) -> dict[str, str]:
    """Return the kind and reason of each problem by clip name."""
    assert all("\n" not in problem.reason for problem in raw.problems)
    return {problem.clip: f"{problem.kind}: {problem.reason}" for problem in raw.problems}


def check_whole(raw: RawDataSet, *, frames_too: bool = True) -> None:
    """Check all clips: motion and templates in meters and the default axes, and audio."""
    assert raw.problems == ()
    assert tuple(clip.name for clip in raw.clips) == tuple(sorted(CLIPS))
    assert {clip.subject for clip in raw.clips} == set(SUBJECTS)
    assert {clip.sentence for clip in raw.clips} == set(SENTENCES)
    raw.mesh.check(N_VERTICES, "own")
    assert raw.mesh.topology.unit == "m"
    np.testing.assert_array_equal(raw.mesh.topology.triangles, FACES)
    for subject in SUBJECTS:
        np.testing.assert_allclose(
            raw.mesh.templates[subject], template(subject), rtol=1e-5, atol=1e-8
        )
    for clip in raw.clips if frames_too else ():
        truth = motion(clip.name)
        assert clip.n_frames == len(truth)
        np.testing.assert_allclose(frames_of(clip), truth, rtol=1e-5, atol=1e-8)
        sound = clip.read_audio()
        assert sound.rate == 16000 and sound.seconds == pytest.approx(len(truth) / FPS, abs=0.01)


# Layouts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", MOTION)
@pytest.mark.parametrize(("unit", "axes"), [("m", "x y z"), ("mm", "x z -y"), ("cm", "-y z x")])
def test_every_layout_unit_and_axes_gives_the_same_data(
    tmp_path: Path, layout: str, unit: str, axes: str
) -> None:
    root = write_all(tmp_path / "mine", layout, unit, axes)
    if axes == "-y z x":  # left-handed: the conversion mirrors the mesh
        write_obj(root / "head.obj", recorded(HEAD, unit, axes), FACES[:, ::-1])
    raw = read(root, unit=unit, axes=axes, motion=f"vertices_npy/{MOTION[layout]}")
    check_whole(raw)
    assert raw.fps == FPS and raw.first_number == 0
    assert raw.notes["unit"] == unit and raw.notes["axes"] == axes
    assert raw.mesh.topology.name == "mine"


def test_settings_change_every_path(tmp_path: Path) -> None:
    root = tmp_path / "elsewhere" / "data"
    for clip in CLIPS:
        subject, sentence = clip.rsplit("_", 1)
        path = write_motion(tmp_path / "t", "npy3", clip)
        path.rename(with_parents(root / "takes" / subject / "day1" / f"{sentence}.npy"))
        seconds = len(motion(clip)) / FPS
        write_sound(root / "sound" / subject / f"{sentence}.wav", seconds)
        write_obj(root / "faces" / subject / "neutral.obj", template(subject))
    raw = read_custom(
        settings(
            root="elsewhere/data",
            name="voices",
            motion="takes/*/*/*.npy",
            pattern="{subject}/day1/{sentence}",
            audio="sound/{subject}/{sentence}.wav",
            templates="faces/{subject}/neutral.obj",
        ),
        tmp_path,
    )
    check_whole(raw)
    assert raw.mesh.topology.name == "voices"
    assert raw.notes["faces"] == "neutral.obj"
    whole = read(
        root,
        motion="takes/**/*.npy",
        pattern="{subject}/day1/{sentence}",
        audio="sound",
        templates="faces/{subject}/neutral.obj",
    )
    check_whole(whole, frames_too=False)


def test_root_setting_and_absolute_paths(root: Path, tmp_path: Path) -> None:
    check_whole(read_custom(settings(root=str(root)), tmp_path), frames_too=False)
    absolute = settings(
        motion=str(root / "vertices_npy/*.npy"),
        audio=str(root / "wav"),
        templates=str(root / "templates"),
        triangles=str(root / "head.obj"),
    )
    check_whole(read_custom(absolute, tmp_path), frames_too=False)


def test_subject_setting_replaces_the_subject_in_the_file_names(tmp_path: Path) -> None:
    for name in ("Hello there (1)", "second"):
        path = write_motion(tmp_path / "motion", "npy3", CLIPS[0])
        path.rename(tmp_path / "motion" / f"{name}.npy")
        write_sound(tmp_path / "wav" / f"{name}.wav")
    write_obj(tmp_path / "me.obj", HEAD)
    raw = read(tmp_path, motion="motion/*.npy", subject="me", templates="me.obj")
    assert [clip.name for clip in raw.clips] == ["me_Hello_there_1_", "me_second"]
    assert [clip.sentence for clip in raw.clips] == ["Hello there (1)", "second"]
    assert {clip.subject for clip in raw.clips} == {"me"} and raw.problems == ()


def test_safe_name_replaces_invalid_characters() -> None:
    assert safe_name("a b/ü:*?.") == "a_b_ü_"
    assert safe_name("..") == "_" and safe_name(".x") == "x" and safe_name("v1.2") == "v1.2"


def test_subject_matches_as_much_of_a_name_as_possible(tmp_path: Path) -> None:
    path = write_motion(tmp_path / "vertices_npy", "npy3", CLIPS[0])
    path.rename(path.with_name("FaceTalk_1_TA_sentence01.npy"))
    write_sound(tmp_path / "wav" / "FaceTalk_1_TA_sentence01.wav")
    write_ply(tmp_path / "templates" / "FaceTalk_1_TA.ply", HEAD)
    (clip,) = read(tmp_path).clips
    assert (clip.subject, clip.sentence) == ("FaceTalk_1_TA", "sentence01")
    with pytest.raises(InputError, match="no subject has a template"):
        read(tmp_path, pattern="{sentence}_{subject}")


# Sequences and caches ---------------------------------------------------------------------------


def test_mesh_sequence_keeps_holes_and_may_start_at_1(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "obj")
    for clip in CLIPS:
        (root / "vertices_npy" / clip / f"{clip}.0000.obj").unlink()
    (root / "vertices_npy" / CLIPS[0] / f"{CLIPS[0]}.0007.obj").unlink()
    raw = read(root, motion="vertices_npy/*")
    assert raw.first_number == 1
    clip = next(clip for clip in raw.clips if clip.name == CLIPS[0])
    with clip.open() as frames:
        assert frames.numbers.tolist() == [n for n in range(1, 20) if n != 7]
        np.testing.assert_allclose(frames.read(np.array([6]))[0], motion(CLIPS[0])[8], rtol=1e-5)


def test_triangles_default_to_the_first_mesh_of_a_sequence(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "obj")
    (root / "head.obj").unlink()
    check_whole(read(root, motion="vertices_npy/*"), frames_too=False)


@pytest.mark.parametrize(("step", "fps"), [(2.0, 15.0), (0.5, 60.0), (0.1, 300.0)])
def test_point_cache_sampling_sets_the_frame_rate(tmp_path: Path, step: float, fps: float) -> None:
    root = write_all(tmp_path / "mine", "pc2")
    for clip in CLIPS:
        write_pc2(root / "vertices_npy" / f"{clip}.pc2", motion(clip), step)
    assert read(root, motion="vertices_npy/*.pc2").fps == pytest.approx(fps, abs=1e-9)
    write_pc2(root / "vertices_npy" / f"{CLIPS[1]}.pc2", motion(CLIPS[1]), 1.0)
    with pytest.raises(InputError, match=r"one sample per .* frames, but .*\.pc2 .*same sampl"):
        read(root, motion="vertices_npy/*.pc2")


def test_motion_formats_can_be_mixed(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine")
    for clip, layout in zip(CLIPS, ("npy3", "pc2", "obj", "ply-ascii"), strict=True):
        (root / "vertices_npy" / f"{clip}.npy").unlink()
        write_motion(root / "vertices_npy", layout, clip)
    (root / "vertices_npy" / "readme.txt").write_text("x")
    (root / "vertices_npy" / ".hidden_x.npy").write_text("x")
    check_whole(read(root, motion="vertices_npy/*"))


# Recordings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg", "mp4", "mkv", "m4a", "WAV"])
def test_recording_of_any_format_is_found_by_clip_name(root: Path, suffix: str) -> None:
    for clip in CLIPS:
        (root / "wav" / f"{clip}.wav").unlink()
        if suffix == "WAV":
            write_sound(root / "wav" / f"{clip}.wav").rename(root / "wav" / f"{clip}.WAV")
        else:
            write_sound(root / "wav" / f"{clip}.{suffix}")
    raw = read(root)
    assert len(raw.clips) == len(CLIPS) and raw.problems == ()
    assert raw.clips[0].read_audio().seconds == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize(
    "audio", ["wav", "wav/*", "w*/*.wav", "wav/{name}", "wav/{subject}_{sentence}.wav", "."]
)
def test_audio_setting_accepts_folders_patterns_and_fields(root: Path, audio: str) -> None:
    if audio == ".":
        for path in [*(root / "wav").iterdir()]:
            path.rename(root / path.name)
    check_whole(read(root, audio=audio), frames_too=False)


def test_wav_is_preferred_in_nested_audio_folders(root: Path) -> None:
    for clip in CLIPS:
        subject, sentence = clip.rsplit("_", 1)
        wave = root / "wav" / f"{clip}.wav"
        shutil.copy(wave, with_parents(root / "s" / subject / f"{sentence}.wav"))
        write_sound(root / "s" / subject / f"{sentence}.mp3", 0.3)
    check_whole(read(root, audio="s"))


@pytest.mark.parametrize("audio", ["s/{name}.wav", "s/{name}", "./s/{name}", "s/a_{name}_b.wav"])
def test_name_field_contains_the_folders_of_the_clip(root: Path, audio: str) -> None:
    head, tail = ("a_", "_b") if "a_" in audio else ("", "")
    shutil.copytree(root / "wav", root / "elsewhere")
    for clip in CLIPS[1:]:  # the first clip stays in the parent folder
        subject, sentence = clip.rsplit("_", 1)
        take = root / "vertices_npy" / f"{clip}.npy"
        take.rename(with_parents(root / "vertices_npy" / subject / f"{sentence}.npy"))
        wave = with_parents(root / "s" / f"{head}{subject}" / f"{sentence}{tail}.wav")
        shutil.copy(root / "wav" / f"{clip}.wav", wave)
    (root / "s" / f"{head}{SUBJECTS[1]}").rename(root / "linked")  # links are followed
    (root / "s" / f"{head}{SUBJECTS[1]}").symlink_to(root / "linked")
    write_sound(root / "s" / f"{head}F1" / f"unheard{tail}.wav")
    options = {"motion": "vertices_npy/**/*.npy", "audio": audio}
    raw = read(root, **options, pattern="{subject}/{sentence}")
    assert {clip.name for clip in raw.clips} == set(CLIPS[1:])
    assert raw.clips[0].read_audio().rate == 16000
    problems = problems_by_clip(raw)
    assert len(problems) == 2 and "does not match custom.pattern" in problems.pop(CLIPS[0])
    assert "no motion belongs to this recording" in next(iter(problems.values()))
    shutil.copy(root / "wav" / f"{CLIPS[0]}.wav", root / "s" / f"{head}{CLIPS[0]}{tail}.wav")
    raw = read(root, **options, subject="F1", templates="head.obj")
    assert len(raw.clips) == 4 and len(raw.problems) == 1


def test_subjects_can_share_a_recording(root: Path) -> None:
    for sentence in SENTENCES:
        write_sound(root / "played" / f"{sentence}.flac", 1.0)
    write_sound(root / "played" / "unheard.flac", 1.0)
    raw = read(root, audio="played/{sentence}")
    assert len(raw.clips) == 4 and raw.clips[0].read_audio().seconds == pytest.approx(1.0)
    assert list(problems_by_clip(raw)) == ["unheard"]


def test_missing_files_are_reported_and_other_clips_are_read(root: Path) -> None:
    (root / "wav" / "F1_hello.wav").unlink()
    (root / "vertices_npy" / "M_2_hello.npy").unlink()
    raw = read(root)
    assert [clip.name for clip in raw.clips] == ["F1_good-bye", "M_2_good-bye"]
    problems = problems_by_clip(raw)
    assert set(problems) == {"F1_hello", "M_2_hello"}
    assert problems["F1_hello"].startswith("missing: ")
    assert problems["F1_hello"].endswith("F1_hello.npy: no audio file belongs to this clip")
    assert problems["M_2_hello"].endswith("M_2_hello.wav: no motion belongs to this recording")
    assert problems["M_2_hello"].startswith("missing: ")
    assert problems_by_clip(read(root, audio="wav/{subject}_{sentence}")) == problems


def test_damaged_recording_is_reported_when_it_is_read(root: Path) -> None:
    (root / "wav" / "F1_hello.wav").write_bytes(b"RIFF no sound at all")
    raw = read(root)
    with pytest.raises(InputError, match=r"F1_hello\.wav: not an audio file"):
        raw.clips[1].read_audio()
    assert raw.clips[0].read_audio().rate == 16000


def test_missing_and_ambiguous_recordings_are_refused(root: Path) -> None:
    with pytest.raises(
        InputError, match=r"custom\.audio 'flac' matches no audio.* contains head\.obj, t"
    ):
        read(root, audio="flac")
    with pytest.raises(InputError, match=r"custom\.audio 'x/\{name\}' matches no audio or video"):
        read(root, audio="x/{name}")
    with pytest.raises(InputError, match=r"custom\.audio is a single file, .* there are 4 clips"):
        read(root, audio="wav/F1_hello.wav")
    with_parents(root / "wav" / "F1" / "hello.wav").write_bytes(b"x")
    with pytest.raises(
        InputError, match=r"hello\.wav and .*hello\.wav are both recordings of the clip F1_he"
    ):
        read(root)


# Templates and triangles ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["pkl", "obj", "ply", "glb", "off", "npy", "pattern", "whole pattern"]
)
def test_templates_are_read_from_every_form(root: Path, form: str) -> None:
    shutil.rmtree(root / "templates")
    setting: str | None = None
    if form == "pkl":
        content = {s: template(s).ravel() for s in (*SUBJECTS,)} | {"other": HEAD}
        (root / "templates.pkl").write_bytes(pickle.dumps(content, protocol=2))
    for subject in SUBJECTS if form != "pkl" else ():
        if form == "npy":
            np.save(with_parents(root / "templates" / f"{subject}.npy"), template(subject).ravel())
        elif form == "ply":
            write_ply(root / "templates" / f"{subject}.ply", template(subject))
        elif form in ("glb", "off"):
            write_mesh_file(root / "templates" / f"{subject}.{form}", template(subject), FACES)
        elif form == "obj":
            write_obj(root / "templates" / f"{subject}.obj", template(subject), None)
        else:
            setting = "rest/{subject}_rest" + (".obj" if form == "whole pattern" else "")
            write_obj(root / "rest" / f"{subject}_rest.obj", template(subject))
    raw = read(root, templates=setting)
    check_whole(raw, frames_too=False)
    assert set(raw.mesh.templates) == set(SUBJECTS)


def test_templates_can_be_frames_of_clips(root: Path) -> None:
    shutil.rmtree(root / "templates")
    raw = read(root, templates="first-frame", unit="m")
    for subject in SUBJECTS:  # good-bye is the first clip by name
        np.testing.assert_allclose(
            raw.mesh.templates[subject], motion(f"{subject}_good-bye")[0], rtol=1e-6
        )
    raw = read(root, templates="neutral:{subject}_hello:3")
    for subject in SUBJECTS:
        np.testing.assert_allclose(
            raw.mesh.templates[subject], motion(f"{subject}_hello")[3], rtol=1e-6
        )
    raw = read(root, templates="neutral:F1_hello:3")
    assert [clip.subject for clip in raw.clips] == ["F1", "F1"]
    assert "the clip shows F1, not M_2" in problems_by_clip(raw)["M_2_hello"]


def test_neutral_clip_needs_no_recording(root: Path) -> None:
    write_motion(root / "rest", "npy3", CLIPS[0]).rename(root / "vertices_npy" / "F1_rest.npy")
    np.save(root / "vertices_npy" / "M_2_rest.npy", motion(CLIPS[2]))
    raw = read(root, templates="neutral:{subject}_rest:0")
    assert len(raw.clips) == 4 and set(raw.mesh.templates) == set(SUBJECTS)
    assert all("no audio file" in reason for reason in problems_by_clip(raw).values())


def test_first_frame_comes_from_the_first_readable_clip(root: Path) -> None:
    (root / "vertices_npy" / "F1_good-bye.npy").write_bytes(b"")
    raw = read(root, templates="first-frame")
    np.testing.assert_allclose(raw.mesh.templates["F1"], motion("F1_hello")[0], rtol=1e-6)
    assert problems_by_clip(raw)["F1_good-bye"].startswith("broken: ")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("neutral:F1_hello:99", r"F1_hello\.npy: no frame 99; the clip has frames 0 to 19"),
        ("neutral:F1_hello", r"expected neutral:CLIP:FRAME"),
        ("neutral:F1_hello:-1", r"expected neutral:CLIP:FRAME"),
        ("neutral:F9:0", r"there is no clip F9; clips have names such as F1_good-bye"),
        ("none.pkl", r"none\.pkl: no such file or folder .* contains head\.obj, templ"),
        ("none/{subject}.obj", r"none.F1\.obj: no template file"),
        ("wav", r"wav: no template file named F1 \(\.obj, \.ply, \.glb, \.off, \.npy\)"),
        ("head.obj", r"head\.obj: custom\.templates is a single file, but there are 2 subjects"),
    ],
)
def test_missing_templates_are_refused(root: Path, form: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(root, templates=form)


def test_error_without_templates_lists_the_choices(root: Path) -> None:
    shutil.rmtree(root / "templates")
    with pytest.raises(InputError, match=r"add templates\.pkl or .*first-frame, or neutral:CL"):
        read(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), r"no template file named M_2 \("),
        (lambda path: np.save(path, HEAD[1:]), r"template of M_2 has 25 vertices, but .* has 26"),
        (lambda path: np.save(path, HEAD * np.nan), r"the template of M_2 contains NaN"),
        (lambda path: path.write_bytes(b"x"), r"M_2\.npy: expected an array of \(V, 3\) vertices"),
        (lambda path: np.save(path, np.array([{}])), r"M_2\.npy: expected an array of \(V, 3\)"),
        (lambda path: np.save(path, HEAD.ravel()[1:]), r"M_2\.npy: expected an array of \(V, 3\)"),
        (
            lambda path: path.write_bytes(npy_of("(-1, 3)")),
            r"M_2\.npy: expected an array of \(V, 3\)",
        ),
        (
            lambda path: path.write_bytes(npy_of("(9" * 500)),
            r"M_2\.npy: expected an array of \(V, 3\)",
        ),
        (
            lambda path: path.write_bytes(npy_of(f"({10**25}, 3)")),
            r"M_2\.npy: expected an array of \(V, 3\)",
        ),
        (
            lambda path: path.write_bytes(npy_of("x" * 20_000)),
            r"M_2\.npy: expected an array of \(V, 3\)",
        ),
    ],
)
def test_subject_without_a_template_is_skipped(root: Path, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    change(root / "templates" / "M_2.npy")
    raw = read(root)
    assert {clip.subject for clip in raw.clips} == {"F1"} and set(raw.mesh.templates) == {"F1"}
    problems = problems_by_clip(raw)
    assert set(problems) == {"M_2_hello", "M_2_good-bye"}
    for problem in problems.values():
        assert problem.startswith("broken: ")
        assert re.search(reason, problem)


def test_template_colors_are_read(root: Path) -> None:
    (root / "templates" / "F1.npy").unlink()
    colors = np.arange(N_VERTICES * 3, dtype=np.uint8).reshape(-1, 3)
    write_ply(root / "templates" / "F1.ply", template("F1"), colors=colors)
    raw = read(root)
    assert list(raw.mesh.colors) == ["F1"]
    np.testing.assert_array_equal(raw.mesh.colors["F1"], colors)


class Hostile:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.proof}",)


def test_unsafe_templates_run_no_code(root: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (root / "templates.pkl").write_bytes(pickle.dumps({"F1": Hostile(proof)}))
    with pytest.raises(DataError, match=r"templates\.pkl: .*imports (posix|nt)\.system"):
        read(root)
    assert not proof.exists()


def test_unsafe_clips_run_no_code(root: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    hostile = np.array([Hostile(proof)], dtype=object)
    np.save(root / "vertices_npy" / "F1_hello.npy", hostile, allow_pickle=True)
    np.save(root / "templates" / "M_2.npy", hostile, allow_pickle=True)
    raw = read(root)
    assert [clip.name for clip in raw.clips] == ["F1_good-bye"]
    assert "contains Python objects" in problems_by_clip(raw)["F1_hello"] and not proof.exists()


def test_triangles_come_from_the_only_mesh_or_the_setting(root: Path) -> None:
    write_obj(root / "other.obj", HEAD, FACES[:5])
    with pytest.raises(InputError, match=r"contains 2 mesh files, such as head\.obj, other\.obj"):
        read(root)
    assert read(root, triangles="other.obj").mesh.topology.triangles.tolist() == FACES[:5].tolist()
    with pytest.raises(InputError, match=r"none\.ply: no such mesh file"):
        read(root, triangles="none.ply")
    write_obj(root / "points.obj", HEAD, None)
    with pytest.raises(DataError, match=r"points\.obj: the mesh has no triangles"):
        read(root, triangles="points.obj")
    for name in ("head.obj", "other.obj", "points.obj"):
        (root / name).unlink()
    with pytest.raises(InputError, match=r"contains no mesh file; set custom\.triangles"):
        read(root)
    write_ply(root / "templates" / "topology.ply", HEAD)
    check_whole(read(root), frames_too=False)


def test_inward_triangles_are_reversed(root: Path) -> None:
    inward = FACES[:, ::-1]
    triangles, is_reversed = outward(inward, HEAD.astype(np.float32))
    assert is_reversed and triangles.flags.c_contiguous
    np.testing.assert_array_equal(triangles, FACES)
    # The second mesh is open at the neck.
    for faces in (FACES, FACES[HEAD[FACES].mean(axis=1)[:, 1] > -0.05]):
        assert not outward(faces, HEAD)[1] and outward(faces[:, ::-1], HEAD)[1]
    flat = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    assert not outward(np.array([[0, 2, 1]]), flat)[1]  # a flat mesh has no inside
    write_obj(root / "head.obj", HEAD, inward)
    raw = read(root)
    check_whole(raw, frames_too=False)
    assert raw.notes["faces"] == "head.obj, triangles reversed to face outward"


def test_split_rule_that_matches_no_clip_is_refused(root: Path) -> None:
    raw = read(root)
    for rule, message in (
        ({"subjects": ["F11"]}, r"test: there are no clips of F11; the subjects are F1, M_2"),
        ({"sentences": ["helo"]}, r"test: no clip matches this rule; clips .* F1_good-bye"),
        ({"clips": ["x*"]}, r"test: no clip matches this rule"),
    ):
        with pytest.raises(InputError, match=rf"custom\.splits\.{message}"):
            data_of(raw, settings(splits={"test": rule, "train": {}}))
    with pytest.raises(InputError, match="that are not listed \(M_2\)"):
        data_of(raw, settings(train_subjects=["F1"]))


def test_name_with_a_path_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"custom\.name: '\.\./evil' is not a valid folder name"):
        read(root, name="../evil")


# Clips ------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def remove_a_vertex(path: Path) -> None:
    np.save(path, motion(CLIPS[0])[:, 1:])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (truncate, r"F1_hello.npy: cut short: it contains only 19 of 20 frames"),
        (remove_a_vertex, r"F1_hello.npy: its frames have 25 vertices, expected 26"),
        (lambda path: path.write_bytes(b""), r"F1_hello.npy: not a readable .npy file"),
    ],
)
def test_broken_clip_is_reported_and_other_clips_are_read(root: Path, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    change(root / "vertices_npy" / "F1_hello.npy")
    raw = read(root)
    assert len(raw.clips) == 3 and list(problems_by_clip(raw)) == ["F1_hello"]
    assert reason in problems_by_clip(raw)["F1_hello"]


def test_damaged_frame_is_named_when_it_is_read(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "ply")
    name = f"{CLIPS[0]}.0003.ply"
    frame = root / "vertices_npy" / CLIPS[0] / name
    frame.write_bytes(frame.read_bytes()[:600])
    raw = read(root, motion="vertices_npy/*")
    clip = next(clip for clip in raw.clips if clip.name == CLIPS[0])
    with clip.open() as frames:
        frames.read(np.array([0, 1, 2]))
        with pytest.raises(DataError, match=rf"{name}: .*ends within its 26 vertex entries"):
            frames.read(np.array([2, 3]))


def test_stamps_change_with_motion_audio_and_axes(root: Path) -> None:
    before = {clip.name: clip.stamp for clip in read(root).clips}
    assert before == {clip.name: clip.stamp for clip in read(root).clips}
    os.utime(root / "vertices_npy" / "F1_hello.npy", (1, 1))
    write_sound(root / "wav" / "M_2_hello.wav", 3.0)
    after = {clip.name: clip.stamp for clip in read(root).clips}
    assert {name for name in before if before[name] != after[name]} == {"F1_hello", "M_2_hello"}
    rotated = {clip.name: clip.stamp for clip in read(root, axes="x -y -z").clips}
    assert all(rotated[name] != after[name] for name in after)


def test_error_without_motion_lists_the_contents_of_the_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; custom\.root must be"):
        read_custom(settings(root="nowhere"), root)
    with pytest.raises(
        InputError, match=r"'takes/\*\.npy' matches no .*mine contains head\.obj, templates/, v"
    ):
        read(root, motion="takes/*.npy")
    with pytest.raises(InputError, match=r"vertices_npy contains F1_good-bye\.npy, F1_hello\.npy"):
        read(root, motion="vertices_npy/*.pc2")
    with pytest.raises(InputError, match=r"'wav/\*' matches no"):
        read(root, motion="wav/*")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty contains nothing"):
        read(tmp_path / "empty")


def test_motion_pattern_that_matches_single_meshes_is_refused(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "obj")
    with pytest.raises(InputError, match=r"matches individual meshes; it must match folders"):
        read(root, motion="vertices_npy/*/*.obj")


def test_empty_folder_of_meshes_is_reported(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "obj")
    (root / "vertices_npy" / "F1_none").mkdir()
    raw = read(root, motion="vertices_npy/*")
    assert len(raw.clips) == 4
    assert problems_by_clip(raw)["F1_none"].startswith("missing: ")
    assert problems_by_clip(raw)["F1_none"].endswith(
        "the folder contains no .obj, .ply, .glb or .off files"
    )


def test_names_that_do_not_match_the_pattern_are_reported(root: Path) -> None:
    shutil.copy(root / "vertices_npy" / "F1_hello.npy", root / "vertices_npy" / "mean.npy")
    raw = read(root)
    assert len(raw.clips) == 4
    assert (
        "'mean' does not match custom.pattern '{subject}_{sentence}'"
        in problems_by_clip(raw)["mean"]
    )
    with pytest.raises(
        InputError, match=r"does not match custom\.pattern '\{subject\}/\{sentence\}'; change"
    ):
        read(root, pattern="{subject}/{sentence}")


@pytest.mark.parametrize("other", ["F1_hello.pc2", "f1_HELLO.npy"])
def test_two_files_of_one_clip_are_refused(root: Path, other: str) -> None:
    if other.endswith("pc2"):
        write_pc2(root / "vertices_npy" / other, motion(CLIPS[0]))
    else:
        shutil.copy(root / "vertices_npy" / "F1_hello.npy", root / "vertices_npy" / other)
    with pytest.raises(
        InputError, match=r"F1_hello\.\w+ and .*(pc2|npy) both belong to the clip .*rename"
    ):
        read(root, motion="vertices_npy/*")


def test_names_that_collide_as_safe_names_are_refused(root: Path) -> None:
    for name in ("F1_a b.npy", "F1_a?b.npy"):
        shutil.copy(root / "vertices_npy" / "F1_hello.npy", root / "vertices_npy" / name)
    with pytest.raises(
        InputError, match=r"F1_a b\.npy and .*F1_a\?b\.npy both belong to the clip F1_a_b"
    ):
        read(root)


def test_error_without_usable_clips_gives_the_first_reason(root: Path) -> None:
    write_obj(root / "head.obj", HEAD[1:], FACES[FACES.min(axis=1) > 0] - 1)
    with pytest.raises(InputError, match=r"no subject has a template; .* F1 has 26 .* has 25"):
        read(root)
    with pytest.raises(InputError, match=r"frames have 26 vertices, expected 25"):
        read(root, templates="first-frame")
    write_obj(root / "head.obj", HEAD)
    for path in (root / "wav").iterdir():
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(
        InputError, match=r"none of 4 clips is usable; .*: no audio file .*; .*: no motion bel"
    ):
        read(root)


@pytest.mark.parametrize(
    "change",
    [
        {"fps": 0},
        {"unit": "inch"},
        {"axes": "x y"},
        {"pattern": "{subject}"},
        {"pattern": "{sentence}"},
        {"pattern": "{subject}_{subject}_{sentence}"},
        {"subject": ""},
        {"color": "red"},
    ],
)
def test_invalid_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        settings(**change)


def test_any_damaged_file_is_reported_in_one_line(root: Path) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    refused = set()
    for path in files:
        content = path.read_bytes()
        for damaged in (b"", content[:50], b"\xff" * 300):
            path.write_bytes(damaged)
            try:
                raw = read(root)
                for clip in raw.clips:
                    frames_of(clip)
                    clip.read_audio()
            except CodeTalkerError as error:
                assert "\n" not in str(error)
                refused.add(path)
            else:
                refused |= {path} if problems_by_clip(raw) else set()
        path.write_bytes(content)
    assert refused == set(files)
    check_whole(read(root))


# Files that are something else ----------------------------------------------------------------


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html>404</html>")


@pytest.mark.parametrize(
    ("change", "reason"),
    [(make_folder, "folder"), (make_pipe, "pipe"), (make_page, "web page")],
)
@pytest.mark.parametrize("name", ["vertices_npy/F1_hello.npy", "wav/F1_hello.wav"])
def test_something_in_place_of_a_file_costs_only_its_clip(
    root: Path, name: str, change: Callable[[Path], None], reason: str
) -> None:
    change(root / name)
    raw = read(root)
    data = data_of(raw, settings())
    done = prepare(raw, root / "out", data, PrepareSettings(), Regions())
    assert [entry.name for entry in done.manifest.clips] == sorted(set(CLIPS) - {"F1_hello"})
    (problem,) = done.problems("broken")
    assert problem["clip"] == "F1_hello" and reason in problem["reason"]
    assert name in problem["reason"]


def test_a_folder_in_place_of_a_template_is_named(root: Path) -> None:
    make_folder(root / "templates" / "F1.npy")
    reason = problems_by_clip(read(root))["F1_hello"]
    assert "F1.npy: " in reason and "cannot be read (it is a folder)" in reason
