"""Somebody's own recordings, in every layout, are the same data set; what is wrong is told."""

import os
import pickle
import re
import shutil
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
    made,
    motion,
    recorded,
    settings,
    template,
    write_all,
    write_motion,
    write_obj,
    write_pc2,
    write_ply,
    write_sound,
)
from pydantic import ValidationError
from test_frames import npy_of

from codetalker_cli.datasets.raw_clips import RawClip, RawDataSet
from codetalker_cli.datasets.readers.custom import data_of, read_custom
from codetalker_cli.datasets.readers.custom_motion import safe_name
from codetalker_cli.datasets.readers.custom_templates import outward
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.meshes import write_mesh_file

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


def told(raw: RawDataSet) -> dict[str, str]:
    """Clip → kind and reason of its problem."""
    assert all("\n" not in problem.reason for problem in raw.problems)
    return {problem.clip: f"{problem.kind}: {problem.reason}" for problem in raw.problems}


def check_whole(raw: RawDataSet, *, frames_too: bool = True) -> None:
    """All clips are there, in meters and our axes, with their sound and templates."""
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
def test_every_layout_unit_and_axes(tmp_path: Path, layout: str, unit: str, axes: str) -> None:
    root = write_all(tmp_path / "mine", layout, unit, axes)
    if axes == "-y z x":  # this one mirrors: its triangles would look inward
        write_obj(root / "head.obj", recorded(HEAD, unit, axes), FACES[:, ::-1])
    raw = read(root, unit=unit, axes=axes, motion=f"vertices_npy/{MOTION[layout]}")
    check_whole(raw)
    assert raw.fps == FPS and raw.first_number == 0
    assert raw.notes["unit"] == unit and raw.notes["axes"] == axes
    assert raw.mesh.topology.name == "mine"


def test_the_settings_name_places(tmp_path: Path) -> None:
    root = tmp_path / "elsewhere" / "data"
    for clip in CLIPS:
        subject, sentence = clip.rsplit("_", 1)
        path = write_motion(tmp_path / "t", "npy3", clip)
        path.rename(made(root / "takes" / subject / "day1" / f"{sentence}.npy"))
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


def test_a_root_of_ones_own_and_absolute_paths(root: Path, tmp_path: Path) -> None:
    check_whole(read_custom(settings(root=str(root)), tmp_path), frames_too=False)
    absolute = settings(
        motion=str(root / "vertices_npy/*.npy"),
        audio=str(root / "wav"),
        templates=str(root / "templates"),
        triangles=str(root / "head.obj"),
    )
    check_whole(read_custom(absolute, tmp_path), frames_too=False)


def test_one_subject_whose_names_do_not_tell(tmp_path: Path) -> None:
    for name in ("Hello there (1)", "second"):
        path = write_motion(tmp_path / "motion", "npy3", CLIPS[0])
        path.rename(tmp_path / "motion" / f"{name}.npy")
        write_sound(tmp_path / "wav" / f"{name}.wav")
    write_obj(tmp_path / "me.obj", HEAD)
    raw = read(tmp_path, motion="motion/*.npy", subject="me", templates="me.obj")
    assert [clip.name for clip in raw.clips] == ["me_Hello_there_1_", "me_second"]
    assert [clip.sentence for clip in raw.clips] == ["Hello there (1)", "second"]
    assert {clip.subject for clip in raw.clips} == {"me"} and raw.problems == ()


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    assert safe_name("a b/ü:*?.") == "a_b_ü_"
    assert safe_name("..") == "_" and safe_name(".x") == "x" and safe_name("v1.2") == "v1.2"


def test_the_subject_takes_as_much_of_a_name_as_it_can(tmp_path: Path) -> None:
    path = write_motion(tmp_path / "vertices_npy", "npy3", CLIPS[0])
    path.rename(path.with_name("FaceTalk_1_TA_sentence01.npy"))
    write_sound(tmp_path / "wav" / "FaceTalk_1_TA_sentence01.wav")
    write_ply(tmp_path / "templates" / "FaceTalk_1_TA.ply", HEAD)
    (clip,) = read(tmp_path).clips
    assert (clip.subject, clip.sentence) == ("FaceTalk_1_TA", "sentence01")
    with pytest.raises(InputError, match="no subject has a template"):  # the other way round
        read(tmp_path, pattern="{sentence}_{subject}")


# Sequences and caches ---------------------------------------------------------------------------


def test_a_hole_in_a_sequence_stays_one_and_it_may_count_from_1(tmp_path: Path) -> None:
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


def test_faces_are_those_of_the_first_mesh_of_a_sequence(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "obj")
    (root / "head.obj").unlink()
    check_whole(read(root, motion="vertices_npy/*"), frames_too=False)


@pytest.mark.parametrize(("step", "fps"), [(2.0, 15.0), (0.5, 60.0), (0.1, 300.0)])
def test_the_sampling_of_point_caches(tmp_path: Path, step: float, fps: float) -> None:
    root = write_all(tmp_path / "mine", "pc2")
    for clip in CLIPS:
        write_pc2(root / "vertices_npy" / f"{clip}.pc2", motion(clip), step)
    assert read(root, motion="vertices_npy/*.pc2").fps == pytest.approx(fps, abs=1e-9)
    write_pc2(root / "vertices_npy" / f"{CLIPS[1]}.pc2", motion(CLIPS[1]), 1.0)
    with pytest.raises(InputError, match=r"a sample every .* frames, .*\.pc2 every .*same sampl"):
        read(root, motion="vertices_npy/*.pc2")


def test_all_kinds_of_motion_together(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine")
    for clip, layout in zip(CLIPS, ("npy3", "pc2", "obj", "ply-ascii"), strict=True):
        (root / "vertices_npy" / f"{clip}.npy").unlink()
        write_motion(root / "vertices_npy", layout, clip)
    (root / "vertices_npy" / "readme.txt").write_text("x")
    (root / "vertices_npy" / ".hidden_x.npy").write_text("x")
    check_whole(read(root, motion="vertices_npy/*"))


# Sound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg", "mp4", "mkv", "m4a", "WAV"])
def test_sound_of_any_kind_is_found_by_the_clips_name(root: Path, suffix: str) -> None:
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
def test_sound_is_told_in_many_ways(root: Path, audio: str) -> None:
    if audio == ".":
        for path in [*(root / "wav").iterdir()]:
            path.rename(root / path.name)
    check_whole(read(root, audio=audio), frames_too=False)


def test_folders_of_sound_and_which_of_two_files(root: Path) -> None:
    for clip in CLIPS:
        subject, sentence = clip.rsplit("_", 1)
        wave = root / "wav" / f"{clip}.wav"
        shutil.copy(wave, made(root / "s" / subject / f"{sentence}.wav"))
        write_sound(root / "s" / subject / f"{sentence}.mp3", 0.3)
    check_whole(read(root, audio="s"))  # wav before mp3


@pytest.mark.parametrize("audio", ["s/{name}.wav", "s/{name}", "./s/{name}", "s/a_{name}_b.wav"])
def test_the_name_of_a_clip_is_as_deep_as_its_path(root: Path, audio: str) -> None:
    head, tail = ("a_", "_b") if "a_" in audio else ("", "")
    shutil.copytree(root / "wav", root / "elsewhere")
    for clip in CLIPS[1:]:  # one of them stays above the others
        subject, sentence = clip.rsplit("_", 1)
        take = root / "vertices_npy" / f"{clip}.npy"
        take.rename(made(root / "vertices_npy" / subject / f"{sentence}.npy"))
        wave = made(root / "s" / f"{head}{subject}" / f"{sentence}{tail}.wav")
        shutil.copy(root / "wav" / f"{clip}.wav", wave)
    (root / "s" / f"{head}{SUBJECTS[1]}").rename(root / "linked")  # links are followed
    (root / "s" / f"{head}{SUBJECTS[1]}").symlink_to(root / "linked")
    write_sound(root / "s" / f"{head}F1" / f"unheard{tail}.wav")
    options = {"motion": "vertices_npy/**/*.npy", "audio": audio}
    raw = read(root, **options, pattern="{subject}/{sentence}")
    assert {clip.name for clip in raw.clips} == set(CLIPS[1:])
    assert raw.clips[0].read_audio().rate == 16000
    problems = told(raw)
    assert len(problems) == 2 and "does not fit custom.pattern" in problems.pop(CLIPS[0])
    assert "no motion for the sound" in next(iter(problems.values()))
    shutil.copy(root / "wav" / f"{CLIPS[0]}.wav", root / "s" / f"{head}{CLIPS[0]}{tail}.wav")
    raw = read(root, **options, subject="F1", templates="head.obj")
    assert len(raw.clips) == 4 and len(raw.problems) == 1


def test_one_sound_for_all_subjects(root: Path) -> None:
    for sentence in SENTENCES:
        write_sound(root / "played" / f"{sentence}.flac", 1.0)
    write_sound(root / "played" / "unheard.flac", 1.0)
    raw = read(root, audio="played/{sentence}")
    assert len(raw.clips) == 4 and raw.clips[0].read_audio().seconds == pytest.approx(1.0)
    assert list(told(raw)) == ["unheard"]


def test_what_is_missing_is_told_and_the_rest_is_there(root: Path) -> None:
    (root / "wav" / "F1_hello.wav").unlink()
    (root / "vertices_npy" / "M_2_hello.npy").unlink()
    raw = read(root)
    assert [clip.name for clip in raw.clips] == ["F1_good-bye", "M_2_good-bye"]
    problems = told(raw)
    assert set(problems) == {"F1_hello", "M_2_hello"}
    assert problems["F1_hello"].startswith("missing: no sound for ")
    assert problems["F1_hello"].endswith("F1_hello.npy")
    assert problems["M_2_hello"].endswith("M_2_hello.wav")
    assert problems["M_2_hello"].startswith("missing: no motion for the sound ")
    also = told(read(root, audio="wav/{subject}_{sentence}"))
    assert also == problems


def test_damaged_sound_is_told_when_it_is_heard(root: Path) -> None:
    (root / "wav" / "F1_hello.wav").write_bytes(b"RIFF no sound at all")
    raw = read(root)
    with pytest.raises(InputError, match=r"F1_hello\.wav: not an audio file"):
        raw.clips[1].read_audio()
    assert raw.clips[0].read_audio().rate == 16000


def test_sound_that_cannot_be_told(root: Path) -> None:
    with pytest.raises(
        InputError, match=r"custom\.audio 'flac' leads to no audio.* holds head\.obj, t"
    ):
        read(root, audio="flac")
    with pytest.raises(InputError, match=r"custom\.audio 'x/\{name\}' leads to no audio file"):
        read(root, audio="x/{name}")
    with pytest.raises(InputError, match=r"custom\.audio is one file, but there are 4 clips"):
        read(root, audio="wav/F1_hello.wav")
    made(root / "wav" / "F1" / "hello.wav").write_bytes(b"x")
    with pytest.raises(
        InputError, match=r"hello\.wav and .*hello\.wav are both the sound of F1_he"
    ):
        read(root)


# Templates and faces ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["pkl", "obj", "ply", "glb", "off", "npy", "pattern", "whole pattern"]
)
def test_templates_of_every_form(root: Path, form: str) -> None:
    shutil.rmtree(root / "templates")
    told_as: str | None = None
    if form == "pkl":
        content = {s: template(s).ravel() for s in (*SUBJECTS,)} | {"other": HEAD}
        (root / "templates.pkl").write_bytes(pickle.dumps(content, protocol=2))
    for subject in SUBJECTS if form != "pkl" else ():
        if form == "npy":
            np.save(made(root / "templates" / f"{subject}.npy"), template(subject).ravel())
        elif form == "ply":
            write_ply(root / "templates" / f"{subject}.ply", template(subject))
        elif form in ("glb", "off"):
            write_mesh_file(root / "templates" / f"{subject}.{form}", template(subject), FACES)
        elif form == "obj":
            write_obj(root / "templates" / f"{subject}.obj", template(subject), None)
        else:
            told_as = "rest/{subject}_rest" + (".obj" if form == "whole pattern" else "")
            write_obj(root / "rest" / f"{subject}_rest.obj", template(subject))
    raw = read(root, templates=told_as)
    check_whole(raw, frames_too=False)
    assert set(raw.mesh.templates) == set(SUBJECTS)


def test_templates_from_frames(root: Path) -> None:
    shutil.rmtree(root / "templates")
    raw = read(root, templates="first-frame", unit="m")
    for subject in SUBJECTS:  # the first by name is the second that is written
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
    assert "a frame of F1, none of M_2" in told(raw)["M_2_hello"]


def test_a_neutral_clip_needs_no_sound(root: Path) -> None:
    write_motion(root / "rest", "npy3", CLIPS[0]).rename(root / "vertices_npy" / "F1_rest.npy")
    np.save(root / "vertices_npy" / "M_2_rest.npy", motion(CLIPS[2]))
    raw = read(root, templates="neutral:{subject}_rest:0")
    assert len(raw.clips) == 4 and set(raw.mesh.templates) == set(SUBJECTS)
    assert {name for name, reason in told(raw).items() if "no sound" in reason} == set(told(raw))


def test_a_first_frame_is_of_the_first_clip_that_can_be_read(root: Path) -> None:
    (root / "vertices_npy" / "F1_good-bye.npy").write_bytes(b"")
    raw = read(root, templates="first-frame")
    np.testing.assert_allclose(raw.mesh.templates["F1"], motion("F1_hello")[0], rtol=1e-6)
    assert told(raw)["F1_good-bye"].startswith("broken: ")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("neutral:F1_hello:99", r"F1_hello\.npy: no frame 99; it has frames 0 to 19"),
        ("neutral:F1_hello", r"expected neutral:CLIP:FRAME"),
        ("neutral:F1_hello:-1", r"expected neutral:CLIP:FRAME"),
        ("neutral:F9:0", r"there is no clip F9"),
        ("none.pkl", r"none\.pkl: custom\.templates leads to nothing; .* holds head\.obj, templ"),
        ("none/{subject}.obj", r"none.F1\.obj: no template"),
        ("wav", r"wav: no template \(\.obj, \.ply, \.glb, \.off, \.npy\) named F1"),
        ("head.obj", r"head\.obj: custom\.templates is one face, but there are 2 subjects"),
    ],
)
def test_templates_that_are_not_there(root: Path, form: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(root, templates=form)


def test_no_templates_at_all_lists_the_choices(root: Path) -> None:
    shutil.rmtree(root / "templates")
    with pytest.raises(
        InputError, match=r"neither templates\.pkl nor .*first-frame, or neutral:CL"
    ):
        read(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), r"no template \(.*\) named M_2"),
        (lambda path: np.save(path, HEAD[1:]), r"the template of M_2 has 25 vertices, expected 26"),
        (lambda path: np.save(path, HEAD * np.nan), r"the template of M_2 has NaN"),
        (lambda path: path.write_bytes(b"x"), r"M_2\.npy: not an array of \(V, 3\) vertices"),
        (lambda path: np.save(path, np.array([{}])), r"M_2\.npy: not an array of \(V, 3\)"),
        (lambda path: np.save(path, HEAD.ravel()[1:]), r"M_2\.npy: not an array of \(V, 3\)"),
        (lambda path: path.write_bytes(npy_of("(-1, 3)")), r"M_2\.npy: not an array of \(V, 3\)"),
        (lambda path: path.write_bytes(npy_of("(9" * 500)), r"M_2\.npy: not an array of \(V, 3\)"),
        (
            lambda path: path.write_bytes(npy_of(f"({10**25}, 3)")),
            r"M_2\.npy: not an array of \(V, 3\)",
        ),
        (
            lambda path: path.write_bytes(npy_of("x" * 20_000)),
            r"M_2\.npy: not an array of \(V, 3\)",
        ),
    ],
)
def test_a_subject_without_a_template_is_left_out(root: Path, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    change(root / "templates" / "M_2.npy")
    raw = read(root)
    assert {clip.subject for clip in raw.clips} == {"F1"} and set(raw.mesh.templates) == {"F1"}
    problems = told(raw)
    assert set(problems) == {"M_2_hello", "M_2_good-bye"}
    for problem in problems.values():
        assert problem.startswith("broken: ")
        assert re.search(reason, problem)


def test_colors_of_templates_come_along(root: Path) -> None:
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


def test_hostile_templates_run_nothing(root: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (root / "templates.pkl").write_bytes(pickle.dumps({"F1": Hostile(proof)}))
    with pytest.raises(DataError, match=r"templates\.pkl: .*imports (posix|nt)\.system"):
        read(root)
    assert not proof.exists()


def test_hostile_clips_run_nothing(root: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    hostile = np.array([Hostile(proof)], dtype=object)
    np.save(root / "vertices_npy" / "F1_hello.npy", hostile, allow_pickle=True)
    np.save(root / "templates" / "M_2.npy", hostile, allow_pickle=True)
    raw = read(root)
    assert [clip.name for clip in raw.clips] == ["F1_good-bye"]
    assert "contains Python objects" in told(raw)["F1_hello"] and not proof.exists()


def test_which_mesh_holds_the_triangles(root: Path) -> None:
    write_obj(root / "other.obj", HEAD, FACES[:5])
    with pytest.raises(InputError, match=r"2 of them are there: head\.obj, other\.obj"):
        read(root)
    assert read(root, triangles="other.obj").mesh.topology.triangles.tolist() == FACES[:5].tolist()
    with pytest.raises(InputError, match=r"none\.ply: no such mesh file"):
        read(root, triangles="none.ply")
    write_obj(root / "points.obj", HEAD, None)
    with pytest.raises(DataError, match=r"points\.obj: holds no triangles"):
        read(root, triangles="points.obj")
    for name in ("head.obj", "other.obj", "points.obj"):
        (root / name).unlink()
    with pytest.raises(InputError, match=r"none is there\); give custom\.triangles"):
        read(root)
    write_ply(root / "templates" / "topology.ply", HEAD)
    check_whole(read(root), frames_too=False)


def test_triangles_look_outward(root: Path) -> None:
    inward = FACES[:, ::-1]
    turned, was_turned = outward(inward, HEAD.astype(np.float32))
    assert was_turned and turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, FACES)
    for open_below in (FACES, FACES[HEAD[FACES].mean(axis=1)[:, 1] > -0.05]):
        assert not outward(open_below, HEAD)[1] and outward(open_below[:, ::-1], HEAD)[1]
    flat = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    assert not outward(np.array([[0, 2, 1]]), flat)[1]  # nobody knows; left as it is
    write_obj(root / "head.obj", HEAD, inward)
    raw = read(root)
    check_whole(raw, frames_too=False)
    assert raw.notes["faces"] == "head.obj, triangles turned to face outward"


def test_a_rule_of_the_splits_that_means_nothing_is_told(root: Path) -> None:
    """Else its clips would slip into another split."""
    raw = read(root)
    for rule, told in (
        ({"subjects": ["F11"]}, r"custom\.splits\.test: no clip of F11; the subjects are F1, M_2"),
        ({"sentences": ["helo"]}, r"custom\.splits\.test: no clip is meant by it; .*for example"),
        ({"clips": ["x*"]}, r"custom\.splits\.test: no clip is meant by it"),
    ):
        with pytest.raises(InputError, match=told):
            data_of(raw, settings(splits={"test": rule, "train": {}}))
    with pytest.raises(InputError, match="clips of M_2 belong to the split train"):
        data_of(raw, settings(train_subjects=["F1"]))


def test_a_name_never_leads_elsewhere(root: Path) -> None:
    with pytest.raises(
        InputError, match=r"custom\.name: '\.\./evil' cannot be the name of a folder"
    ):
        read(root, name="../evil")


# Clips ------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def one_vertex_less(path: Path) -> None:
    np.save(path, motion(CLIPS[0])[:, 1:])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut, r"F1_hello.npy: cut short: it contains only 19 of 20 frames"),
        (one_vertex_less, r"F1_hello.npy: its frames have 25 vertices, expected 26"),
        (lambda path: path.write_bytes(b""), r"F1_hello.npy: not a readable .npy file"),
    ],
)
def test_a_broken_clip_is_told_and_the_rest_is_there(root: Path, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    change(root / "vertices_npy" / "F1_hello.npy")
    raw = read(root)
    assert len(raw.clips) == 3 and list(told(raw)) == ["F1_hello"]
    assert reason in told(raw)["F1_hello"]


def test_a_frame_that_breaks_later_is_named_when_it_is_read(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "ply")
    name = f"{CLIPS[0]}.0003.ply"
    cut_frame = root / "vertices_npy" / CLIPS[0] / name
    cut_frame.write_bytes(cut_frame.read_bytes()[:600])
    raw = read(root, motion="vertices_npy/*")
    clip = next(clip for clip in raw.clips if clip.name == CLIPS[0])
    with clip.open() as frames:
        frames.read(np.array([0, 1, 2]))
        with pytest.raises(DataError, match=rf"{name}: .*ends within its 26 vertex entries"):
            frames.read(np.array([2, 3]))


def test_stamps_change_with_files_unit_and_sound(root: Path) -> None:
    before = {clip.name: clip.stamp for clip in read(root).clips}
    assert before == {clip.name: clip.stamp for clip in read(root).clips}
    os.utime(root / "vertices_npy" / "F1_hello.npy", (1, 1))
    write_sound(root / "wav" / "M_2_hello.wav", 3.0)
    after = {clip.name: clip.stamp for clip in read(root).clips}
    assert {name for name in before if before[name] != after[name]} == {"F1_hello", "M_2_hello"}
    turned = {clip.name: clip.stamp for clip in read(root, axes="x -y -z").clips}
    assert all(turned[name] != after[name] for name in after)


def test_nothing_is_found(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; custom\.root shall be"):
        read_custom(settings(root="nowhere"), root)
    with pytest.raises(
        InputError, match=r"'takes/\*\.npy' matches no \.npy.*mine holds head\.obj, templates/, v"
    ):
        read(root, motion="takes/*.npy")
    with pytest.raises(InputError, match=r"vertices_npy holds F1_good-bye\.npy, F1_hello\.npy"):
        read(root, motion="vertices_npy/*.pc2")
    with pytest.raises(InputError, match=r"'wav/\*' matches no"):
        read(root, motion="wav/*")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds nothing"):
        read(tmp_path / "empty")


def test_a_pattern_that_matches_the_frames_themselves(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "obj")
    with pytest.raises(InputError, match=r"matches single meshes; it shall match the folders"):
        read(root, motion="vertices_npy/*/*.obj")


def test_empty_folders_of_frames(tmp_path: Path) -> None:
    root = write_all(tmp_path / "mine", "obj")
    (root / "vertices_npy" / "F1_none").mkdir()
    raw = read(root, motion="vertices_npy/*")
    assert len(raw.clips) == 4
    assert told(raw)["F1_none"].startswith("missing: ")
    assert told(raw)["F1_none"].endswith("F1_none: holds no .obj, .ply, .glb or .off files")


def test_names_that_do_not_fit_the_pattern(root: Path) -> None:
    shutil.copy(root / "vertices_npy" / "F1_hello.npy", root / "vertices_npy" / "mean.npy")
    raw = read(root)
    assert len(raw.clips) == 4
    assert "'mean' does not fit custom.pattern '{subject}_{sentence}'" in told(raw)["mean"]
    with pytest.raises(
        InputError, match=r"does not fit custom\.pattern '\{subject\}/\{sentence\}'; say"
    ):
        read(root, pattern="{subject}/{sentence}")


@pytest.mark.parametrize("other", ["F1_hello.pc2", "f1_HELLO.npy"])
def test_two_files_of_one_clip(root: Path, other: str) -> None:
    if other.endswith("pc2"):
        write_pc2(root / "vertices_npy" / other, motion(CLIPS[0]))
    else:
        shutil.copy(root / "vertices_npy" / "F1_hello.npy", root / "vertices_npy" / other)
    with pytest.raises(
        InputError, match=r"F1_hello\.\w+ and .*(pc2|npy) are both the clip .*rename"
    ):
        read(root, motion="vertices_npy/*")


def test_names_that_are_the_same_once_they_are_safe(root: Path) -> None:
    for name in ("F1_a b.npy", "F1_a?b.npy"):
        shutil.copy(root / "vertices_npy" / "F1_hello.npy", root / "vertices_npy" / name)
    with pytest.raises(
        InputError, match=r"F1_a b\.npy and .*F1_a\?b\.npy are both the clip F1_a_b"
    ):
        read(root)


def test_no_clip_can_be_used(root: Path) -> None:
    write_obj(root / "head.obj", HEAD[1:], FACES[FACES.min(axis=1) > 0] - 1)
    with pytest.raises(InputError, match=r"no subject has a template: .* F1 has 26 .*expected 25"):
        read(root)
    with pytest.raises(InputError, match=r"frames have 26 vertices, expected 25"):
        read(root, templates="first-frame")
    write_obj(root / "head.obj", HEAD)
    for path in (root / "wav").iterdir():
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(
        InputError, match=r"none of the 4 clips can be used; .*no sound for .*; no motion for the s"
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
def test_settings_that_are_none(change: dict) -> None:
    with pytest.raises(ValidationError):
        settings(**change)


def test_everything_that_is_raised_is_ours(root: Path) -> None:
    """Any one file is damaged: a line is said, or the rest of the data is read."""
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
                refused |= {path} if told(raw) else set()
        path.write_bytes(content)
    assert refused == set(files)
    check_whole(read(root))
