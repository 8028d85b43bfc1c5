"""What receivers get: OSC messages, Live Link packets, lines of JSON and files."""

import dataclasses
import errno
import io
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import voices
from live_fakes import FPS, UNITS, Recorder, stream
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
from scipy.spatial.transform import Rotation

from codetalker_cli.errors import DataError, InputError, OutputError
from codetalker_cli.export.formats import find
from codetalker_cli.formats import live_link
from codetalker_cli.formats.live_link_packets import PACKET_UNITS, LiveLinkPackets
from codetalker_cli.live import take as take_module
from codetalker_cli.live.choices import SinkChoice
from codetalker_cli.live.frames import LiveFrame
from codetalker_cli.live.network import (
    MAX_BUNDLE_BYTES,
    LiveLinkSink,
    OscSink,
    UdpSender,
    parse_address,
    unity_rotation,
)
from codetalker_cli.live.sinks import JsonLines, Sinks
from codetalker_cli.live.take import TakeFace, TakeFile, TakeSink
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.posing import rotation_matrices
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import ExportSettings, LiveSettings
from codetalker_cli.topology import Mesh

SETTINGS = LiveSettings.model_validate({})
EXPORT = ExportSettings.model_validate({})


class Frame:
    """A frame of a stream with given weights."""

    def __init__(self, index: int, weights: np.ndarray, fps: float = 30.0) -> None:
        self.index, self.seconds, self.weights = index, index / fps, weights
        start, stop = (round(k / fps * 16_000) for k in (index, index + 1))
        self.sound = np.full(stop - start, (index + 1) / 100, np.float32)
        self.head = np.array([0.1, 0.05, -0.02], np.float32) * (index + 1)

    @property
    def vertices(self) -> np.ndarray:
        raise AssertionError("vertices are not needed")


def arkit_frame(index: int = 7, delay: float | None = 0.25) -> LiveFrame:
    weights = np.linspace(0, 1, 52, dtype=np.float32)
    frame = Frame(index, np.roll(weights, index))
    return LiveFrame(frame, ARKIT_UNITS, delay)  # type: ignore[arg-type]


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


def address(receiver: socket.socket) -> str:
    return f"127.0.0.1:{receiver.getsockname()[1]}"


# OSC ----------------------------------------------------------------------------------------------


def test_osc_server_receives_all_weights() -> None:
    got: list[tuple] = []
    done = threading.Event()
    dispatcher = Dispatcher()
    dispatcher.set_default_handler(lambda name, *values: got.append((name, *values)))
    dispatcher.map("/VMC/Ext/T", lambda name, *values: (got.append((name, *values)), done.set()))
    server = BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        sink = OscSink(f"127.0.0.1:{server.server_address[1]}", SETTINGS)
        frame = arkit_frame()
        sink.send(frame)
        assert done.wait(5)
        sink.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert [name for name, *_ in got[-3:]] == ["/VMC/Ext/Blend/Apply", "/VMC/Ext/OK", "/VMC/Ext/T"]
    assert got[-3][1:] == () and got[-2][1:] == (1,)
    assert got[-1][1] == pytest.approx(frame.seconds)
    (bone, *_), values = got[0], got[1:-3]
    assert bone == "/VMC/Ext/Bone/Pos" and got[0][1] == "Head" and len(got[0]) == 9
    assert got[0][2:5] == (0, 0, 0)
    np.testing.assert_allclose(got[0][5:], unity_rotation(frame.frame.head), atol=1e-6)
    assert {name for name, *_ in values} == {"/VMC/Ext/Blend/Val"} and len(values) == 52
    assert values[0][1] == "BrowDownLeft" and "JawOpen" in [value[1] for value in values]
    np.testing.assert_allclose([value[2] for value in values], frame.weights)


@pytest.mark.parametrize(
    ("head", "tip", "expected"),
    [
        # In Unity, +x is to the subject's right.
        ((0.5, 0, 0), (0, 0, 1), (-np.sin(0.5), 0, np.cos(0.5))),  # the nose goes to the left
        ((0, 0.5, 0), (0, 0, 1), (0, -np.sin(0.5), np.cos(0.5))),  # the nose goes down
        ((0, 0, 0.5), (0, 1, 0), (-np.sin(0.5), np.cos(0.5), 0)),  # the top goes to the left
    ],
)
def test_rotations_of_unity_turn_the_head_alike(head: tuple, tip: tuple, expected: tuple) -> None:
    # The formula is the same for both kinds of coordinates.
    turn = Rotation.from_quat(unity_rotation(np.array(head)))
    np.testing.assert_allclose(turn.apply(tip), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_rotations_of_unity_mirror_those_of_the_library(seed: int) -> None:
    head = np.random.default_rng(seed).uniform(-0.5, 0.5, 3)
    mirror = np.diag([-1.0, 1.0, 1.0])
    turn = Rotation.from_quat(unity_rotation(head)).as_matrix()
    np.testing.assert_allclose(turn, mirror @ rotation_matrices(head[None])[0] @ mirror, atol=1e-6)


def test_head_that_does_not_move_is_left_to_other_programs(receiver: socket.socket) -> None:
    sink = OscSink(address(receiver), SETTINGS)
    sink.send(dataclasses.replace(arkit_frame(), moves_head=False))
    packets = [receiver.recv(65_536)]
    while b"/VMC/Ext/T\0" not in packets[-1]:
        packets.append(receiver.recv(65_536))
    assert b"Bone" not in b"".join(packets)


def test_osc_bundles_fit_into_packets(receiver: socket.socket) -> None:
    sink = OscSink(address(receiver), SETTINGS.model_copy(update={"osc_names": "arkit"}))
    sink.send(arkit_frame())
    packets = [receiver.recv(65_536)]
    while b"/VMC/Ext/T\0" not in packets[-1]:
        packets.append(receiver.recv(65_536))
    assert all(p.startswith(b"#bundle\0") and len(p) <= MAX_BUNDLE_BYTES for p in packets)
    assert 1 < len(packets) < 5 and b"jawOpen\0" in b"".join(packets)


# Live Link ----------------------------------------------------------------------------------------


def test_live_link_packet_has_the_layout_of_the_app(receiver: socket.socket) -> None:
    sink = LiveLinkSink(address(receiver), SETTINGS, 29.97)
    frame = arkit_frame(index=258)
    sink.send(frame)
    packet = receiver.recv(65_536)
    assert packet[:5] == b"\x06\x00\x00\x00\x24"
    assert len(packet[5:41].decode("ascii").split("-")) == 5
    assert packet[41:55] == b"\x00\x00\x00\x0acodetalker"
    assert packet[55:63] == b"\x00\x00\x01\x02" + bytes(4)  # frame 258, no part of a frame
    assert struct.unpack(">ii", packet[63:71]) == (2997, 100)
    assert packet[71] == 61 and len(packet) == 72 + 61 * 4
    values = struct.unpack(">61f", packet[72:])
    weights = dict(zip(frame.names, frame.weights, strict=True))
    assert values[15] == weights["jawLeft"] and values[16] == weights["jawRight"]
    assert values[21] == weights["mouthLeft"] and values[22] == weights["mouthRight"]
    assert values[17] == weights["jawOpen"] and values[0] == weights["eyeBlinkLeft"]
    assert values[51] == weights["tongueOut"]
    np.testing.assert_allclose(values[52:55], frame.frame.head * [-1, 1, 1], rtol=1e-6)
    sink.send(dataclasses.replace(frame, moves_head=False))
    assert struct.unpack(">61f", receiver.recv(65_536)[72:])[52:55] == (0, 0, 0)


def test_head_and_eyes_of_packets_turn_as_in_recordings(tmp_path: Path) -> None:
    frame = arkit_frame()
    from codetalker_cli.rig_curves import RigCurves

    head = frame.frame.head
    curves = RigCurves(frame.names, 30, frame.weights[None], head=head[None])
    live_link.write(tmp_path / "a.csv", curves)
    row = (tmp_path / "a.csv").read_text().splitlines()[1].split(",")
    packet = LiveLinkPackets("x", 30).packet(0, frame.names, frame.weights, head)
    turns = np.frombuffer(packet[-36:], ">f4")
    np.testing.assert_allclose(turns, np.array(row[-9:], float), atol=1e-6)
    assert np.abs(turns[:3]).min() > 0.01 and np.abs(turns[3:]).max() > 0.01


def test_units_of_packets_are_those_of_recordings() -> None:
    assert len(PACKET_UNITS) == 52 and set(PACKET_UNITS) == set(ARKIT_UNITS)


# Addresses and faults -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.2:9000", ("10.0.0.2", 9000)),
        ("localhost", ("localhost", 39539)),
        ("[::1]:9000", ("::1", 9000)),
        ("::1", ("::1", 39539)),
        ("[::1]", ("::1", 39539)),
        (":9000", ("127.0.0.1", 9000)),
    ],
)
def test_addresses_are_parsed(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text, 39539, "osc") == expected


@pytest.mark.parametrize(
    "text", ["", "host:", "host:0", "host:65536", "host:x", "80", "a b:1", "x/y:1"]
)
def test_invalid_addresses_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"`osc` .*expected HOST:PORT, such as 127.0.0.1:39539"):
        parse_address(text, 39539, "osc")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def test_refused_packets_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    sender = UdpSender("127.0.0.1", port, "OSC")
    for _ in range(20):
        sender.send(b"x")
    assert caplog.text.count(f"OSC to 127.0.0.1:{port}: no program receives there yet") == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(("127.0.0.1", port))
        late.settimeout(5)
        sender.send(b"y")
        sender.send(b"y")
        assert late.recv(10) == b"y"  # a program that starts later gets the frames


def test_unknown_host_is_reported_and_the_others_get_frames(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> list:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    osc, other = OscSink("no.such.host.invalid:1", SETTINGS), Recorder()
    sinks = Sinks([osc, other])
    for index in range(3):
        sinks.send(arkit_frame(index))
    assert len(other.frames) == 3
    reported = [record.getMessage() for record in caplog.records]
    assert reported == [
        "OSC to no.such.host.invalid:1: the host cannot be reached (Name or service not known)"
    ]
    with pytest.raises(InputError, match="nowhere"):
        Sinks([osc])


def test_some_sink_is_needed_and_all_are_listed() -> None:
    with pytest.raises(InputError, match="`osc`, `livelink`, `json_lines` and `out`"):
        SinkChoice().check()


def test_weights_need_units() -> None:
    with pytest.raises(InputError, match=r"no known units.*give `units`"):
        SinkChoice(lines=io.StringIO()).open(stream(units=None), face(), SETTINGS)


# JSON ---------------------------------------------------------------------------------------------


def test_lines_of_json_contain_the_frame() -> None:
    file = io.StringIO()
    sink = JsonLines(file)
    sink.send(arkit_frame(3))
    sink.send(arkit_frame(4, delay=None))
    first, second = (json.loads(line) for line in file.getvalue().splitlines())
    assert first["index"] == 3 and first["seconds"] == 0.1 and first["delay"] == 0.25
    assert list(first["weights"]) == list(ARKIT_UNITS)
    np.testing.assert_allclose([*first["weights"].values()], arkit_frame(3).weights, atol=1e-5)
    np.testing.assert_allclose(first["head"], arkit_frame(3).head, atol=1e-5)
    assert second["delay"] is None
    sink.send(dataclasses.replace(arkit_frame(5), moves_head=False))
    assert json.loads(file.getvalue().splitlines()[-1])["head"] is None


def test_reader_that_ends_stops_the_lines_only(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as file:
        sink, other = JsonLines(file), Recorder()
        sinks = Sinks([sink, other])
        for index in range(3):
            sinks.send(arkit_frame(index))
        assert len(other.frames) == 3 and not sink.is_usable and sinks.is_usable
    assert caplog.text.count("the program that reads them has ended") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_full_disk_under_the_lines_is_an_error() -> None:
    with open("/dev/full", "w") as file, pytest.raises(OSError, match="No space"):
        try:
            JsonLines(file).send(arkit_frame())
        finally:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


# Files --------------------------------------------------------------------------------------------


def face(units: bool = False) -> TakeFace:
    return TakeFace(voices.mesh("A"), "A", FPS, UNITS if units else None)


def head() -> TakeFace:
    rig = bundled_rig()
    return TakeFace(Mesh(rig.topology, {"S01": rig.template("S01")}), "S01", 30.0, None)


def take_file(path: Path, **more: object) -> TakeFile:
    return TakeFile(path, find(path), EXPORT, overwrite=False, **more)  # type: ignore[arg-type]


def test_take_of_weights_is_a_recording_with_its_sound(tmp_path: Path) -> None:
    sink = TakeSink(take_file(tmp_path / "take.csv"), head())
    for index in (0, 1, 2, 5, 6):  # two frames were dropped
        sink.send(arkit_frame(index))
    sink.send(arkit_frame(7, delay=None))  # the face comes to rest
    sink.close()
    curves = live_link.read(tmp_path / "take.csv").select(ARKIT_UNITS)
    assert curves.n_frames == 7 and curves.fps == 30
    for index in (0, 2, 5, 6):
        np.testing.assert_allclose(curves.weights[index], arkit_frame(index).weights, atol=1e-5)
    between = (2 * arkit_frame(2).weights + arkit_frame(5).weights) / 3
    np.testing.assert_allclose(curves.weights[3], between, atol=1e-5)
    expected = [arkit_frame(index).head for index in range(7)]  # they grow evenly
    np.testing.assert_allclose(curves.head, expected, atol=1e-6)
    from codetalker_cli import audio

    sound, rate = audio.read(tmp_path / "take.wav")
    assert rate == 16_000 and len(sound) == round(7 / 30 * 16_000)
    np.testing.assert_allclose(sound[[100, 2000, 3000]], [0.01, 0, 0.06], atol=1e-3)
    assert sink.exported is not None and sink.exported.path == tmp_path / "take.csv"


def test_take_of_vertices_is_a_motion(tmp_path: Path) -> None:
    live = stream(head_seed=3)
    frames = live.feed(voices.speech(0.8)) + live.finish()
    sink = TakeSink(take_file(tmp_path / "take.npz"), face())
    for frame in frames:
        sink.send(LiveFrame(frame, live.units, 0.2))
    sink.close()
    motion = Motion.load(tmp_path / "take.npz")
    assert motion.n_frames == len(frames) == 20 and motion.subject == "A"
    np.testing.assert_array_equal(motion.vertices[7], frames[7].vertices)
    np.testing.assert_array_equal(motion.head, [frame.head for frame in frames])
    assert motion.head is not None and motion.head.any()
    assert motion.audio is not None and len(motion.audio) == pytest.approx(0.8 * 16_000, abs=2)


def test_take_of_a_face_with_own_units(tmp_path: Path) -> None:
    live = stream()
    sink = TakeSink(take_file(tmp_path / "take.csv"), face(units=True))
    frames = live.feed(voices.speech(0.8)) + live.finish()
    for frame in frames:
        sink.send(LiveFrame(frame, live.units, 0.2))
    sink.close()
    curves = live_link.read(tmp_path / "take.csv")
    expected = [frame.weights[0] for frame in frames]
    np.testing.assert_allclose(curves.select(("jawOpen",)).weights[:, 0], expected, atol=1e-3)


def test_take_without_sound_is_not_written(tmp_path: Path) -> None:
    sink = TakeSink(take_file(tmp_path / "take.csv"), head())
    with pytest.raises(DataError, match=r"no sound arrived, so take.csv was not written"):
        sink.close()
    assert list(tmp_path.iterdir()) == []


def test_take_refuses_existing_files_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "take.csv").touch()
    with pytest.raises(OutputError, match="already exists"):
        take_file(tmp_path / "take.csv").check()
    (tmp_path / "b.wav").touch()
    with pytest.raises(OutputError, match="contains another sound"):
        take_file(tmp_path / "b.csv").check()


def test_full_disk_leaves_no_file_and_the_others_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "take.csv"))

    sink, other = TakeSink(take_file(tmp_path / "take.csv"), head()), Recorder()
    sink.send(arkit_frame(0))
    monkeypatch.setattr(take_module, "write", fail)
    with pytest.raises(OSError, match="No space"):
        Sinks([sink, other]).close()
    assert other.is_closed and list(tmp_path.iterdir()) == []


def test_take_ends_at_the_longest_recording(tmp_path: Path) -> None:
    sink = TakeSink(take_file(tmp_path / "take.csv"), head())
    with pytest.raises(InputError, match=r"4 h long.*limits.audio_hours"):
        sink.send(arkit_frame(4 * 3600 * 30 + 1))
