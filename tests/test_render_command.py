"""``codetalker render``: its inputs, the source of neutral faces, and one-line errors."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import tiny_data
import voices
from ball import SOFTWARE, make_motion
from command import refuse, succeed
from PIL import Image

from codetalker_cli.models import checkpoint
from codetalker_cli.motion import Motion
from codetalker_cli.render import Panel, contact_sheet
from codetalker_cli.topology import Topology

QUICK = ("--renderer", "software", "--size", 32, "--set", "render.workers=1")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set with subjects A, B and C, and a checkpoint with subject Q."""
    folder = tmp_path_factory.mktemp("render")
    tiny_data.prepared(folder / "tiny", lengths=(6, 5))
    voices.save(folder / "voice", "Q", family="whisper")
    return folder


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the motion a.npz; there are no bundled checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "bundled", dict)
    make_motion().save("a.npz")
    return tmp_path


def save(path: str, **changes: object) -> Motion:
    motion = replace(make_motion(), **changes)
    motion.save(path)
    return motion


def picture(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def write_ply(path: str, vertices: np.ndarray, faces: np.ndarray) -> None:
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    lines += [" ".join(f"{x:.9g}" for x in vertex) for vertex in vertices]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces]
    Path(path).write_text("\n".join(lines) + "\n")


# Inputs and outputs -----------------------------------------------------------------------------


def test_motions_are_shown_side_by_side_with_a_heat_map() -> None:
    first, second = make_motion(), save("b.npz", vertices=make_motion().vertices * np.float32(1.1))
    out = succeed("render", "a.npz", "b.npz", "--heat", "-o", "s.png", *QUICK)
    assert out == "s.png: 3 side by side, 6 frames, 0.2 s\n"
    panels = [Panel(first, "a"), Panel(second, "b"), Panel(second, "distance to a", against=first)]
    settings = SOFTWARE.model_copy(update={"size": 32})
    np.testing.assert_array_equal(picture("s.png"), contact_sheet(panels, settings, range(6)))


def test_a_video_is_written_next_to_the_first_motion_with_sound() -> None:
    Path("new").mkdir()
    tone = 0.4 * np.sin(np.arange(4000) * 0.2).astype(np.float32)
    save("new/c.npz", audio=tone)
    made = json.loads(succeed("render", "new/c.npz", "a.npz", "--json", *QUICK))
    assert Path(made.pop("out")) == Path("new/c.mp4") and Path("new/c.mp4").is_file()
    assert made == {
        "motions": ["new/c.npz", "a.npz"],
        "panels": 2,
        "frames": 6,
        "fps": 25.0,
        "seconds": 0.24,
        "renderer": "software",
        "size": [64, 32],
        "sound": True,
    }
    assert "new/c.mp4 already exists" in refuse("render", "new/c.npz", *QUICK)
    soundfile.write("other.wav", tone, 16000)
    given = ("a.npz", "--audio", "other.wav", "-o", "a.webm", "--json")
    made = json.loads(succeed("render", *given, *QUICK))
    assert made["sound"] and Path("a.webm").is_file()
    clear = succeed("render", "a.npz", "--background", "transparent", *QUICK)
    assert clear.startswith("a.mov: ")


def test_npy_files_in_the_official_layout_give_the_same_picture(
    places: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(places / "tiny", "data/tiny")
    mesh, vertices = voices.mesh(*tiny_data.SUBJECTS), np.load("data/tiny/clips/clip1.npy")
    motion = Motion(vertices, 25.0, mesh.topology, "B", mesh.templates["B"])
    motion.save("ours.npz")
    motion.save("B_x.npy")
    np.save("B_x_condition_C.npy", vertices.reshape(len(vertices), -1))
    np.save("B_double.npy", vertices.astype(np.float64))
    sheets = []
    for name in ("ours.npz", "B_x.npy", "B_x_condition_C.npy", "B_double.npy"):
        succeed("render", name, "-o", "s.png", "--overwrite", *QUICK)
        sheets.append(picture("s.png"))
        np.testing.assert_array_equal(sheets[-1], sheets[0])
    assert f"B_x.npy: using the faces from {Path('data/tiny')}" in caplog.text


def test_a_clip_of_a_data_set_is_shown_with_its_speech(places: Path) -> None:
    clip = places / "tiny" / "clips" / "clip0.npy"
    shown = json.loads(succeed("render", clip, "-o", "v.mp4", "--subject", "A", "--json", *QUICK))
    assert shown["sound"] and shown["fps"] == 25
    shutil.copytree(places / "tiny", "data/tiny")
    shutil.copy(clip, "clip0_condition_B.npy")
    given = ("clip0_condition_B.npy", "--subject", "A", "--fps", 50, "--json")
    shown = json.loads(succeed("render", *given, *QUICK))
    assert shown["sound"] and shown["fps"] == 50 and shown["frames"] == 12


def test_neutral_faces_come_from_a_checkpoint_or_a_mesh_file(places: Path) -> None:
    template = voices.mesh("Q").templates["Q"]
    np.save("Q1.npy", np.stack([template] * 3))
    shutil.copytree(places / "voice", "runs/mine")
    shown = []
    for flags in ((), ("--mesh", "mine"), ("--mesh", places / "voice")):
        given = ("--subject", "Q", "-o", "s.png", "--overwrite", *flags)
        succeed("render", "Q1.npy", *given, *QUICK)
        shown.append(picture("s.png"))
        np.testing.assert_array_equal(shown[-1], shown[0])
    shutil.rmtree("runs")
    write_ply("face.ply", template, tiny.topology().triangles)
    assert "no frame rate is stored; give --fps" in refuse("render", "Q1.npy", "--mesh", "face.ply")
    given = ("Q1.npy", "--mesh", "face.ply", "--fps", 25, "-o", "t.png")
    succeed("render", *given, *QUICK)
    assert picture("t.png").shape == shown[0].shape


def test_templates_can_be_combined_with_a_mesh_file() -> None:
    from codetalker_cli.datasets.face_lookup import FaceSource, of_mesh_file, with_templates

    ball = make_motion()
    write_ply("face.ply", 0.1 * ball.template, ball.topology.triangles)
    found = of_mesh_file(Path("face.ply"))
    assert found.mesh.topology.unit == "m" and list(found.mesh.templates) == ["face"]
    write_ply("area.ply", ball.template, ball.topology.triangles)
    assert of_mesh_file(Path("area.ply")).mesh.topology.meters_per_unit is None
    import pickle

    content = {"FaceTalk_1": ball.template.astype(np.float64), "FaceTalk_2": 2 * ball.template}
    Path("templates.pkl").write_bytes(pickle.dumps(content, protocol=2))
    told = with_templates(found, Path("templates.pkl"))
    assert isinstance(told, FaceSource) and list(told.mesh.templates) == [
        "FaceTalk_1",
        "FaceTalk_2",
    ]
    np.save("FaceTalk_2_sentence01_condition_X.npy", ball.vertices.reshape(6, -1))
    given = ("--mesh", "face.ply", "--templates", "templates.pkl", "--fps", 60, "-o", "s.png")
    succeed("render", "FaceTalk_2_sentence01_condition_X.npy", *given, *QUICK)
    other = ("--subject", "FaceTalk_9", "--mesh", "face.ply", "--templates", "templates.pkl")
    line = refuse("render", "FaceTalk_2_sentence01_condition_X.npy", *other)
    assert "--subject 'FaceTalk_9' is not in" in line and "FaceTalk_1, FaceTalk_2" in line


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["none.npz"], "none.npz: no such file"),
        (["none.npy"], "none.npy: no such file"),
        (["notes.txt"], "notes.txt: expected a motion (.npy, .npz, .csv, .json), found '.txt'"),
        (["text.npy"], "text.npy: not a readable .npy file"),
        (["text.npz"], "text.npz: not a motion file"),
        (["flat.npy"], "flat.npy: the array has shape (4, 7), expected (frames, vertices, 3)"),
        (["empty.npy"], "empty.npy: contains no frames"),
        (
            ["small.npy"],
            "small.npy: the motion has 4 vertices, but no known face has that number "
            "(searched: none)",
        ),
        (["small.npy", "--data", "."], "no prepared data set"),
        (["small.npy", "--mesh", "none.ply"], "none.ply: no such mesh file"),
        (["small.npy", "--mesh", "nothing"], "checkpoint 'nothing' is not known"),
        (["small.npy", "--mesh", "a", "--data", "b"], "--data and --mesh both specify the faces"),
        (["small.npy", "--templates", "t.pkl"], "the triangles are missing; also give --mesh"),
        (["small.npy", "--mesh", "ball.ply", "--fps", "9"], "has 4 vertices, but ball.ply has 266"),
        (["a.npz", "--subject", "S01"], "--subject applies only to .npy files"),
        (["a.npz", "--heat"], "--heat compares motions with the first one"),
        (
            ["a.npz", "--label", "x", "--label", "y"],
            "--label: expected one label per file (1), found 2",
        ),
        (["a.npz", "fast.npz"], "a.npz has 25 frames per second, but fast.npz has 30; give --fps"),
        (["a.npz", "long.npz"], "a.npz has 6 frames, but long.npz has 12"),
        (["a.npz", "tiny.npz", "--heat"], "tiny.npz has 4 vertices, a.npz has 266; a heat map"),
        (["nan.npz"], "nan.npz: frame 2 of the motion contains NaN"),
        (["a.npz", "--fps", "0"], "--fps 0: expected 1 to 240"),
        (["a.npz", "--size", "63"], "render.size: size 63 must be even"),
        (["a.npz", "--view", "above"], "render.view: Input should be 'front', 'three-quarter'"),
        (["a.npz", "--view", "mouth"], "view mouth: topology ball has no region lips or mouth"),
        (["a.npz", "--background", "red"], "render.background: "),
        (["a.npz", "--background", "transparent", "-o", "v.mp4"], "a .mp4 video cannot be transp"),
        (["a.npz", "--background", "transparent", "-o", "v.jpg"], "a .jpg picture cannot be tran"),
        (["a.npz", "-o", "v.gif"], "v.gif: the file name of a video must end in one of .mp4"),
        (["a.npz", "--audio", "none.wav"], "--audio none.wav: no such file"),
        (["a.npz", "--renderer", "magic"], "render.renderer: Input should be 'auto', 'software'"),
    ],
)
def test_invalid_input_is_reported_in_one_line(given: list[str], message: str) -> None:
    Path("notes.txt").write_text("text")
    Path("text.npy").write_text("text")
    Path("text.npz").write_text("text")
    np.save("flat.npy", np.zeros((4, 7), np.float32))
    np.save("empty.npy", np.zeros((0, 4, 3), np.float32))
    np.save("small.npy", np.zeros((6, 4, 3), np.float32))
    ball = make_motion()
    write_ply("ball.ply", ball.template, ball.topology.triangles)
    save("fast.npz", fps=30.0)
    save("long.npz", vertices=make_motion(12).vertices)
    save("nan.npz", vertices=np.where(np.arange(6)[:, None, None] == 2, np.nan, ball.vertices))
    corner = Topology("tiny", np.array([[0, 1, 2]], np.int32), 4)
    save("tiny.npz", vertices=ball.vertices[:, :4], template=ball.template[:4], topology=corner)
    assert message in refuse(
        "render", *given, *(() if "--size" in given else QUICK[2:4]), *QUICK[4:]
    )
