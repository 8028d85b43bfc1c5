"""The tracker follows the bundled head, and its curves are those of the head."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import filmed_heads
import numpy as np
import pytest

from codetalker_cli.capture import landmarker, sightings, tracking
from codetalker_cli.capture.chains import Follower
from codetalker_cli.capture.film import Film
from codetalker_cli.capture.landmarker import LANDMARK_IDS, Face
from codetalker_cli.errors import InputError
from codetalker_cli.face_track import FaceTrack
from codetalker_cli.progress import silent
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.posing import motion_of
from codetalker_cli.rigs.units import bundled_rig

SECONDS = 1.8
SPOKEN = filmed_heads.talk(SECONDS, seed=11, style="S12")


def true_mouth(curves: RigCurves, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the opening and the width of the head's mouth in meters at the given times."""
    vertices = motion_of(filmed_heads.sampled(replace(curves, head=None), times)).vertices
    topology = bundled_rig().topology
    upper, lower = topology.region("inner_lip_upper"), topology.region("inner_lip_lower")
    opening = vertices[:, upper, 1].mean(1) - vertices[:, lower, 1].mean(1)
    return opening, np.ptp(vertices[:, np.concatenate([upper, lower]), 0], axis=1)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def check_mouth(track: FaceTrack, fps: float) -> None:
    """Assert that the tracked mouth moves like that of the head, in the same frames."""
    opening, width = true_mouth(SPOKEN, track.times)
    assert track.found.all()
    assert correlation(track.opening(), opening) > 0.95
    assert correlation(track.width(), width) > 0.9
    lags = np.arange(-2, 3)
    shifted = [true_mouth(SPOKEN, track.times + lag / fps)[0] for lag in lags]
    assert lags[np.argmax([correlation(track.opening(), one) for one in shifted])] == 0


FILMS: dict[str, tuple[float, tuple[int, int], dict[str, object]]] = {
    "240 lines": (24.0, (320, 240), {}),
    "480 lines": (30000 / 1001, (640, 480), {}),
    "60 fps": (60.0, (320, 240), {}),
    "1080 lines": (25.0, (1920, 1080), {}),
    "upright phone, variable rate": (25.0, (240, 320), {"rotation": 90, "variable": True}),
}


@pytest.mark.parametrize("name", FILMS)
def test_mouth_is_tracked(tmp_path: Path, name: str) -> None:
    fps, size, options = FILMS[name]
    path = filmed_heads.film_head(tmp_path / "a.mp4", SPOKEN, fps, size, **options)
    track, facts = tracking.track_with_facts(path)
    expected = filmed_heads.frame_times(
        track.n_frames, fps, variable=bool(options.get("variable", False))
    )
    np.testing.assert_allclose(track.times, expected, atol=1e-3)
    assert track.n_frames == int(SECONDS * fps) == facts.n_frames == facts.n_found
    assert max(track.size) <= 1280 and track.path == path
    assert facts.second_face_share == 0
    assert 0.2 < facts.eye_pixels / track.size[1] < 0.35
    check_mouth(track, fps)


def test_tilted_head_is_tracked(tmp_path: Path) -> None:
    turned = np.tile(np.radians([-20.0, -10.0, -20.0]), (SPOKEN.n_frames, 1))
    path = filmed_heads.film_head(tmp_path / "a.mp4", replace(SPOKEN, head=turned))
    track = tracking.track_film(path)
    check_mouth(track, 25.0)
    corners = track.points((33, 263))[:, :, 1]
    slope = np.degrees(
        np.arctan(
            (corners[:, 1] - corners[:, 0]) / np.ptp(track.points((33, 263))[:, :, 0], axis=1)
        )
    )
    assert 12 < abs(np.median(slope)) < 28


def test_two_faces_are_reported_and_one_is_followed(tmp_path: Path) -> None:
    short = filmed_heads.talk(0.8)
    path = filmed_heads.film_head(tmp_path / "a.mp4", [short, short], size=(640, 360))
    track, facts = tracking.track_with_facts(path)
    assert facts.second_face_share == 1
    middle = track.landmarks[..., 0].mean(1)
    assert np.ptp(middle) < 10  # all in one half
    assert track.found.all()


def test_film_without_a_face_is_refused(tmp_path: Path) -> None:
    plain = (np.full((120, 160, 3), 90 + k, np.uint8) for k in range(10))
    path = filmed_heads.encode(tmp_path / "wall.mp4", plain, 25.0, (160, 120))
    with pytest.raises(InputError, match=r"wall\.mp4: no face was found in 10 frames; film the"):
        tracking.track_film(path)
    for _ in range(2):  # the second time, from what was stored
        with pytest.raises(InputError, match=r"wall\.mp4: no face was found in 10 frames"):
            tracking.cached_track(path, tmp_path / "tracks")


# Stored tracks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    return filmed_heads.film_head(folder / "take 1.mp4", filmed_heads.talk(1.2, seed=3))


def same(first: FaceTrack, second: FaceTrack) -> bool:
    names = ("landmarks", "weights", "head", "times")
    return all(
        np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True)
        for name in names
    )


def forbid_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    def borrow(model: Path) -> landmarker.Landmarker:
        raise AssertionError("the film is tracked again")

    monkeypatch.setattr(sightings, "borrow", borrow)


def test_finished_tracks_are_kept(
    short_film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = Path(shutil.copy2(short_film, tmp_path / "a.mp4"))
    first = tracking.cached_with_facts(film, tmp_path / "tracks")
    direct = tracking.track_film(film)
    np.testing.assert_allclose(first.track.landmarks, direct.landmarks, atol=0.011)
    with monkeypatch.context() as patch:
        forbid_tracking(patch)
        second = tracking.cached_with_facts(film, tmp_path / "tracks")
        assert same(first.track, second.track) and first.facts == second.facts
        assert second.track.path == film
        assert same(first.track, tracking.cached_track(film, tmp_path / "tracks"))
        film.touch()  # another recording of the same name
        with pytest.raises(AssertionError, match="tracked again"):
            tracking.cached_track(film, tmp_path / "tracks")


def test_damaged_stored_track_is_made_again(
    short_film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = tracking.cached_track(short_film, tmp_path)
    (stored,) = tmp_path.rglob("track.npz")
    stored.write_bytes(stored.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        assert same(first, tracking.cached_track(short_film, tmp_path))
    assert "take 1.mp4: tracking it again" in caplog.text


def test_interrupted_tracking_is_resumed(
    short_film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sightings, "BLOCK_FRAMES", 10)
    monkeypatch.setattr(sightings, "WARM_UP_FRAMES", 3)
    whole = tracking.cached_track(short_film, tmp_path / "whole")

    def interrupt(done: float, total: float) -> None:
        assert total == pytest.approx(1.2, abs=0.1)
        if done > 0.9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tracking.cached_track(short_film, tmp_path / "tracks", progress=interrupt)
    blocks = sorted((tmp_path / "tracks").rglob("*.npz"))
    assert [path.name for path in blocks] == ["00000.npz", "00001.npz"]
    blocks[1].write_bytes(b"damaged")
    seen: list[int] = []
    borrow = sightings.borrow
    monkeypatch.setattr(sightings, "borrow", lambda model: seen.append(1) or borrow(model))
    resumed = tracking.cached_track(short_film, tmp_path / "tracks")
    assert same(whole, resumed)
    assert len(seen) == 2  # the damaged block and the last one
    assert [path.name for path in sorted((tmp_path / "tracks").rglob("*.npz"))] == ["track.npz"]


class CountingLandmarker:
    """Finds a face from the fourth frame on; its first weight is the number of frames before it."""

    def faces(
        self, size: tuple[int, int], frames: Iterable[tuple[int, np.ndarray]]
    ) -> Iterator[list[Face]]:
        for k, _ in enumerate(frames):
            found = face(50.0)
            found.weights[0] = k
            yield [found] if k >= 3 else []

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("n_stored", [0, 1, 2])
def test_blocks_start_with_a_warm_up(
    short_film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_stored: int
) -> None:
    monkeypatch.setattr(sightings, "BLOCK_FRAMES", 10)
    monkeypatch.setattr(sightings, "WARM_UP_FRAMES", 4)
    monkeypatch.setattr(sightings, "borrow", lambda model: CountingLandmarker())
    monkeypatch.setattr(sightings, "give_back", lambda landmarker, model: None)
    film, kept = Film.open(short_film), sightings.BlockFolder(tmp_path)

    def search() -> list[sightings.Block]:
        return list(sightings.find_faces(film, Path("model"), kept, silent))

    blocks = search()
    assert [len(block.times) for block in blocks] == [10, 10, 10]
    assert np.concatenate([block.counts for block in blocks]).tolist() == [0] * 3 + [1] * 27
    assert blocks[1].values[0, len(LANDMARK_IDS) * 3] == 4  # four frames came before it
    for number in range(n_stored, 3):
        (tmp_path / f"{number:05d}.npz").unlink()
    for first, second in zip(blocks, search(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# Following one person -----------------------------------------------------------------------------


def face(x: float, size: float = 100.0) -> Face:
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(-0.5, 0.5, (len(LANDMARK_IDS), 3)) * size + [x, 200, 0]
    return Face(landmarks.astype(np.float32), np.zeros(52, np.float32), np.eye(4, dtype=np.float32))


def followed(frames: list[list[Face]], fps: float = 25.0) -> list[float]:
    """Return the horizontal center of the followed face in each frame; NaN where it is lost."""
    follower, times = Follower(), np.arange(len(frames)) / fps
    for k, faces in enumerate(frames):
        follower.add(k, float(times[k]), faces)
    centers = np.full(len(frames), np.nan)
    for chain in follower.person(times):
        for frame, column in zip(chain.frames, chain.columns, strict=True):
            centers[frame] = frames[frame][column].landmarks[:, 0].mean()
    middle = face(0).landmarks[:, 0].mean()
    return [round(float(x - middle)) if np.isfinite(x) else np.nan for x in centers]


def test_moving_person_is_followed_past_another_one() -> None:
    path = [100 + 10 * k for k in range(40)]
    frames = [[face(600), face(x)] if k % 2 else [face(x)] for k, x in enumerate(path)]
    assert followed(frames)[:30] == path[:30]


def test_short_jump_to_another_face_does_not_enter_the_track() -> None:
    frames = [[face(100)]] * 30 + [[face(500)]] * 8 + [[face(100)]] * 30
    centers = followed(frames)
    assert centers[:30] == centers[38:] == [100] * 30
    assert np.isnan(centers[30:38]).all()


def test_other_face_in_a_long_gap_does_not_enter_the_track() -> None:
    gap = [[]] * 5 + [[face(500)]] * 8 + [[]] * 5
    frames: list[list[Face]] = [[face(100)]] * 30 + gap + [[face(100)]] * 30
    centers = followed(frames)
    assert centers[:30] == centers[48:] == [100] * 30
    assert np.isnan(centers[30:48]).all()


def test_person_who_returns_elsewhere_is_found_again() -> None:
    frames = [[face(100)]] * 40 + [[]] * 40 + [[face(300)]] * 40
    centers = followed(frames)
    assert centers[:40] == [100] * 40 and centers[80:] == [300] * 40


def test_larger_face_is_the_person() -> None:
    frames = [[face(100, 40), face(400)]] * 20
    assert followed(frames) == [400] * 20


def test_face_of_another_size_is_another_person() -> None:
    frames = [[face(100)]] * 40 + [[]] * 40 + [[face(300, 40)]] * 40
    assert np.isnan(followed(frames)[80:]).all()
