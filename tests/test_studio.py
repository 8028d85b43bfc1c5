"""The studio without a browser: takes, their motions, exports, and what outlives the server."""

import json
import shlex
import shutil
import threading
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
import soundfile
import studio_server
import voices
from studio_server import StudioClient

from codetalker_cli.animate.assembly import MotionPart
from codetalker_cli.animate.voice import Voice, load_voice
from codetalker_cli.motion import Motion
from codetalker_cli.render.viewer.basis import FrameDecoder, tolerance_of
from codetalker_cli.render.viewer.packets import unpack


def wav(seconds: float = 0.6, seed: int = 0, scale: float = 1.0) -> bytes:
    file = BytesIO()
    samples = scale * voices.speech(seconds, seed=seed)
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio") / "voice"
    return voices.save(folder, "A", "B", family="whisper", motion_history=False)


@pytest.fixture(scope="module")
def speaker(stored: Path) -> Voice:
    cut = {"whole_frames": 45, "segment_seconds": 1.2, "batch_size": 2}
    return load_voice(stored, device="cpu", decode=cut)


@pytest.fixture(scope="module")
def client(
    speaker: Voice, stored: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StudioClient]:
    folder = tmp_path_factory.mktemp("takes")
    with studio_server.running(speaker, folder, str(stored), upload_mb=2, exports=3) as client:
        yield client


def packets(content: bytes) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    found = []
    while content:
        sizes = np.frombuffer(content, "<u4", 2)
        end = 8 + int(sizes.sum())
        found.append(unpack(content[:end]))
        content = content[end:]
    return found


def decoded(content: bytes, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices and the head of all frames, as the page decodes them."""
    decoder, vertices, heads = FrameDecoder(template), [], []
    for header, arrays in packets(content):
        if header["kind"] == "basis":
            decoder.add(arrays["vectors"], arrays["scale"], restarts=header["restarts"])
        elif header["kind"] == "frames":
            vertices.append(decoder.decode(arrays["coefficients"].T))
            heads.append(arrays["head"].T)
    return np.concatenate(vertices), np.concatenate(heads)


# Takes --------------------------------------------------------------------------------------------


def test_played_frames_equal_the_animation(client: StudioClient, speaker: Voice) -> None:
    options = {"subject": "B", "style": {"A": 0.25, "C": 0.75}, "seed": 5}
    take = client.add(wav(6.0), **options)
    assert take["state"] in ("waiting", "computing") and take["name"] == "speech.wav"
    # The answer begins before the motion is complete, and ends with it.
    content = client.content("GET", f"/api/takes/{take['id']}/frames")
    whole = speaker.animate(wav(6.0), **options)
    vertices, head = decoded(content, whole.template)
    assert len(packets(content)) > 4
    error = np.linalg.norm(vertices - whole.vertices, axis=-1).max()
    assert error <= tolerance_of(whole.topology, whole.template)
    np.testing.assert_array_equal(head, whole.head)
    take = client.finished(take["id"])
    assert take["n_frames"] == take["n_known"] == whole.n_frames and take["state"] == "done"
    header, arrays = packets(content)[0]
    assert header["kind"] == "sound" and header["n_frames"] == whole.n_frames
    assert abs(len(arrays["peaks"]) / header["peaks_per_second"] - 6.0) < 0.03


@pytest.fixture
def gated(speaker: Voice, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The voice computes the first part of a motion, and the rest after the event is set."""
    gate, original = threading.Event(), speaker.animate_in_parts

    def slow(*arguments: Any) -> Iterator[MotionPart]:
        for part in original(*arguments):
            yield part
            assert gate.wait(30)

    monkeypatch.setattr(speaker, "animate_in_parts", slow)
    yield gate
    gate.set()


def test_first_frames_arrive_while_the_rest_is_computed(
    client: StudioClient, gated: threading.Event
) -> None:
    id = client.add(wav(6.0))["id"]
    with client.opened(f"/api/takes/{id}/frames") as response:
        content = response.read1()
        take = client.take(id)
        while take["n_known"] == 0:
            take = client.take(id)
        assert take["state"] == "computing" and take["n_known"] < take["n_frames"]
        while len(content) < 1000:
            content += response.read1()
        gated.set()
        content += response.read()
    n = sum(a["coefficients"].shape[1] for h, a in packets(content) if h["kind"] == "frames")
    assert n == take["n_frames"] == client.finished(id)["n_known"]


def test_take_can_be_deleted_while_it_is_computed(
    client: StudioClient, gated: threading.Event
) -> None:
    id = client.add(wav(6.0))["id"]
    while client.take(id)["n_known"] == 0:
        pass
    with client.opened(f"/api/takes/{id}/frames") as response:
        assert client.ask("DELETE", f"/api/takes/{id}") == {}
        response.read()  # ends, although the frames are not complete
    gated.set()
    assert client.finished(client.add(wav(0.5))["id"])["state"] == "done"
    assert client.take(id) is None


def test_sound_is_that_of_the_recording(client: StudioClient) -> None:
    take = client.finished(client.add(wav(1.0))["id"])
    url = client.ask("POST", f"/api/takes/{take['id']}/sound")["url"]
    status, headers, content = client.request("GET", url)  # an audio element sends no token
    assert status == 200 and headers["content-type"] == "audio/wav"
    samples, rate = soundfile.read(BytesIO(content))
    assert rate == 16_000
    np.testing.assert_allclose(samples, voices.speech(1.0), atol=1e-5)
    status, headers, part = client.request("GET", url, Range="bytes=100-199")
    assert status == 206 and part == content[100:200]


def test_takes_can_be_renamed_repeated_and_deleted(client: StudioClient) -> None:
    first = client.finished(client.add(wav())["id"])
    renamed = client.ask("PATCH", f"/api/takes/{first['id']}", {"name": "hello"})
    assert renamed["name"] == "hello"
    path = f"/api/takes/{first['id']}/again?options=%7B%22seed%22%3A9%7D"
    second = client.finished(client.ask("POST", path)["id"])
    assert second["name"] == "hello" and second["options"] == {"seed": 9}
    assert client.ask("DELETE", f"/api/takes/{first['id']}") == {}
    assert client.take(first["id"]) is None and client.take(second["id"]) is not None
    assert client.ask("DELETE", f"/api/takes/{first['id']}")["code"] == "not_found"
    assert client.export(second["id"], "npz")["state"] == "done"  # its recording is still there


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is no recording", "speech.wav: "),
        (wav(0.6, scale=0.0), "silent"),
        (wav(0.05), "long"),
    ],
    ids=["text", "silence", "short"],
)
def test_broken_recording_fails_with_a_sentence(
    client: StudioClient, content: bytes, reason: str
) -> None:
    take = client.finished(client.add(content)["id"])
    assert take["state"] == "failed" and reason in take["error"], take["error"]
    assert "`" not in take["error"] and "/" not in take["error"].replace("wav, flac", "")
    assert client.export(take["id"], "npz")["code"] == "not_ready"
    assert client.finished(client.add(wav())["id"])["state"] == "done"  # the next one is computed


def test_long_recording_fails_with_the_limit(speaker: Voice, tmp_path: Path) -> None:
    with studio_server.running(speaker, tmp_path, recording_minutes=0.01) as client:
        assert client.finished(client.add(wav(0.5))["id"])["state"] == "done"
        take = client.finished(client.add(wav(0.7))["id"])
    assert "longer than 0.01 min" in take["error"] and "studio.recording_minutes" in take["error"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"subject": "Z"}, "'Z' is unknown"),
        ({"style": {"A": -1}}, "negative"),
        ({"style": "Q"}, "'Q' is unknown"),
        ({"seed": -1}, "seed: "),
        ({"seed": "3"}, "seed: "),
        ({"fps": 0}, "fps: "),
        ({"avatar": "x.glb"}, "avatar: "),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_the_upload(
    client: StudioClient, options: dict[str, Any], reason: str
) -> None:
    answer = client.add(b"", **options)
    assert answer["code"] == "bad_option" and reason in answer["message"], answer


def test_empty_recording_is_listed_as_failed(client: StudioClient) -> None:
    added = client.add(b"", "nothing.wav")
    listed = client.take(added["id"])
    assert (listed["name"], listed["state"]) == ("nothing.wav", "failed")
    assert listed["error"] == "the recording is empty (0 bytes)"
    client.ask("DELETE", f"/api/takes/{added['id']}")


def test_large_and_empty_uploads_are_refused(client: StudioClient) -> None:
    before = len(client.ask("GET", "/api/takes")["takes"])
    assert client.add(b"x" * 2_100_000)["code"] == "recording_too_large"
    assert client.ask("POST", "/api/characters?name=a.glb", b"")["code"] == "bad_character"
    assert len(client.ask("GET", "/api/takes")["takes"]) == before


def test_two_pages_see_the_same_takes(client: StudioClient) -> None:
    number = client.ask("GET", "/api/takes")["number"]
    seen: list[Any] = []
    waiting = threading.Thread(
        target=lambda: seen.append(client.ask("GET", f"/api/takes?after={number}"))
    )
    waiting.start()
    takes = [client.add(wav(seed=k), f"{k}.wav") for k in range(3)]
    waiting.join(30)
    assert seen[0]["number"] > number  # the other page did not have to ask again
    assert [client.finished(one["id"])["state"] for one in takes] == ["done"] * 3
    names = [one["name"] for one in client.ask("GET", "/api/takes")["takes"]]
    assert names[-3:] == ["0.wav", "1.wav", "2.wav"]


def test_page_learns_the_voice_and_the_formats(client: StudioClient) -> None:
    described = client.ask("GET", "/api/studio")
    assert described["subjects"] == ["A", "B"] and described["styles"] == ["A", "B", "C"]
    names = [one["name"] for one in described["formats"]]
    assert {"mp4", "html", "glb", "csv", "npz", "usdz", "obj"} <= set(names)
    face = client.content("GET", "/api/faces/B")
    assert unpack(face)[0]["label"] == "B"
    assert client.ask("GET", "/api/faces/Z")["code"] == "not_found"


# Exports ------------------------------------------------------------------------------------------


def test_exports_equal_the_animation(client: StudioClient, speaker: Voice, tmp_path: Path) -> None:
    id = client.finished(client.add(wav(1.0), "my talk.wav", seed=2, fps=20.0)["id"])["id"]
    made = client.export(id, "npz")
    name, content = client.file(id, made["id"])
    assert name == "my talk.npz"
    (tmp_path / name).write_bytes(content)
    expected = speaker.animate(wav(1.0), seed=2, fps=20.0)
    motion = Motion.load(tmp_path / name)
    np.testing.assert_array_equal(motion.vertices, expected.vertices)
    np.testing.assert_array_equal(motion.head, expected.head)


def test_several_files_are_downloaded_as_an_archive(client: StudioClient) -> None:
    id = client.finished(client.add(wav(0.4), "talk.wav")["id"])["id"]
    name, content = client.file(id, client.export(id, "obj")["id"])
    assert name == "talk.zip"
    names = zipfile.ZipFile(BytesIO(content)).namelist()
    assert "talk/00001.obj" in names and "talk/sound.wav" in names
    name, content = client.file(id, client.export(id, "pc2")["id"])
    assert sorted(zipfile.ZipFile(BytesIO(content)).namelist()) == [
        "talk.obj", "talk.pc2", "talk.wav",
    ]  # fmt: skip


def test_oldest_exports_are_removed(client: StudioClient) -> None:
    id = client.finished(client.add(wav(0.4))["id"])["id"]
    made = [client.export(id, "npy") for _ in range(4)]
    kept = [one["id"] for one in client.take(id)["exports"]]
    assert kept == [one["id"] for one in made[1:]]
    missing = client.ask("POST", f"/api/takes/{id}/exports/{made[0]['id']}/file")
    assert missing["code"] == "not_found"


def test_failed_export_is_a_sentence(client: StudioClient) -> None:
    id = client.finished(client.add(wav(0.4))["id"])["id"]
    failed = client.export(id, "csv")  # the face of the tiny voice has no units
    assert failed["state"] == "failed" and "units" in failed["error"]
    assert client.export(id, "exe")["code"] == "bad_option"
    assert client.export(id, "glb", "nobody")["code"] == "not_found"


# The same -----------------------------------------------------------------------------------------

SAME = {
    "defaults": {},
    "all": {
        "subject": "B", "style": {"A": 0.3, "C": 0.7}, "seed": 3, "idle": False, "head": True,
        "fps": 12.5,
    },
    "still": {"head": False},
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("name", ["speech.wav", "it's $HOME (1).wav", "-o.wav"])
def test_command_and_code_give_the_same_motion(
    client: StudioClient, case: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    take = client.finished(client.add(wav(1.0), name, **SAME[case])["id"])
    assert take["name"] == name
    _, content = client.file(take["id"], client.export(take["id"], "npz")["id"])
    Path("studio.npz").write_bytes(content)
    expected = Motion.load("studio.npz")
    (tmp_path / name).write_bytes(wav(1.0))
    words = shlex.split(take["command"])
    assert words[0] == "codetalker" and words[-1].endswith(".mp4")
    words[-1] = "command.npz"
    command.succeed(*words[1:])
    variables: dict[str, Any] = {}
    exec(take["python"], variables)
    for motion in (Motion.load("command.npz"), variables["motion"]):
        assert motion.fps == expected.fps and motion.subject == expected.subject
        np.testing.assert_array_equal(motion.vertices, expected.vertices)
        if expected.head is None:
            assert motion.head is None
        else:
            np.testing.assert_array_equal(motion.head, expected.head)
    assert list(tmp_path.glob("*.npz"))


# What outlives the server -------------------------------------------------------------------------


def test_takes_outlive_the_server(speaker: Voice, tmp_path: Path) -> None:
    with studio_server.running(speaker, tmp_path) as client:
        take = client.finished(client.add(wav(1.0), "kept.wav", seed=3)["id"])
        frames = client.content("GET", f"/api/takes/{take['id']}/frames")
    with studio_server.running(speaker, tmp_path) as client:
        (again,) = client.ask("GET", "/api/takes")["takes"]
        assert again == take
        assert client.content("GET", f"/api/takes/{take['id']}/frames") == frames
        assert client.export(take["id"], "npy")["state"] == "done"
    with studio_server.running(speaker, tmp_path, "another voice") as client:
        assert client.finished(take["id"])["state"] == "done"  # it is computed again


def test_damaged_and_foreign_folders_are_skipped(speaker: Voice, tmp_path: Path) -> None:
    with studio_server.running(speaker, tmp_path) as client:
        take = client.finished(client.add(wav())["id"])
    stored = tmp_path / take["id"] / "take.json"
    for k, change in enumerate(
        ({"recording": "../../secret"}, {"state": "odd"}, {"options": {"seed": "x"}}, {"more": 1})
    ):
        folder = tmp_path / f"{k:016x}"
        shutil.copytree(tmp_path / take["id"], folder)
        (folder / "take.json").write_text(json.dumps(json.loads(stored.read_text()) | change))
    (tmp_path / "holiday").mkdir()
    shutil.copy(stored, tmp_path / "holiday")
    with studio_server.running(speaker, tmp_path) as client:
        assert [one["id"] for one in client.ask("GET", "/api/takes")["takes"]] == [take["id"]]
    assert (tmp_path / "holiday" / "take.json").exists()


def test_number_of_takes_is_limited(speaker: Voice, tmp_path: Path) -> None:
    with studio_server.running(speaker, tmp_path, takes=2) as client:
        for _ in range(2):
            client.finished(client.add(wav(0.3))["id"])
        answer = client.add(wav(0.3))
        assert answer["code"] == "too_many_files" and "delete" in answer["message"]
        client.ask("DELETE", f"/api/takes/{client.ask('GET', '/api/takes')['takes'][0]['id']}")
        assert "id" in client.add(wav(0.3))
