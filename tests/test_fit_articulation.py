"""Test the fit of the articulation rules to a filmed talker (scripts/voice/fit_articulation.py)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from timed_phones import phones_of

import scripts
from codetalker_cli.face_track import FaceTrack, TimedWord
from codetalker_cli.rigs.landmarks import bundled_lip_rows
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.synthetic import clarity
from codetalker_cli.synthetic.articulation import mouth_curves, padded_phones
from codetalker_cli.synthetic.fitted import fitted_articulation
from codetalker_cli.synthetic.speech.phones import SILENCE
from codetalker_cli.synthetic.visemes import PHONES

FOLDER = Path(__file__).parents[1] / "scripts" / "voice"
SENTENCES = (
    "SIL:0.5 B IH N B L UW AE T EH F T UW N AW SIL:0.6",
    "SIL:0.6 P L EY S R EH D AO SH OY W ER M P L IY Z SIL:0.5",
)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return scripts.load(FOLDER / "fit_articulation.py")


def speaker(program: ModuleType, text: str) -> Any:
    """Return a clip in which a talker moves exactly as the bundled rules do."""
    n_frames = 80
    phones = padded_phones(phones_of(text, 0.1), n_frames / program.FPS)
    level = np.linspace(-6.0, 6.0, n_frames)
    weights = mouth_curves(phones, n_frames, program.FPS, bundled_rig(), SpeakingStyle(), level)
    return program.FilmedClip("clip", track_of(weights, program.FPS), weights, phones, level)


def track_of(weights: np.ndarray, fps: float) -> FaceTrack:
    """Return a track whose opening and width are those of the bundled head."""
    lips, n_frames = bundled_lip_rows(), len(weights)
    numbers = np.array([13, 14, 82, 87, 312, 317, 81, 178, 311, 402, 78, 308, 33, 263])
    points = np.zeros((n_frames, len(numbers), 3), np.float32)
    points[:, 0:10:2, 1] = np.maximum(weights @ lips.openings.mean(1), 0.0)[:, None]
    points[:, 11, 0] = 50.0 + weights @ lips.width
    points[:, 13, 0] = 90.0
    words = (TimedWord("sil", 0.0, 0.5), TimedWord("bin", 0.5, 1.2), TimedWord("sp", 1.2, 2.0))
    return FaceTrack(
        numbers, points, np.arange(n_frames) / fps, (360, 288), (), np.zeros((n_frames, 0)),
        np.tile(np.eye(4, dtype=np.float32), (n_frames, 1, 1)), words,
    )  # fmt: skip


def test_model_moves_the_lips_as_the_rules_do(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model has no smallest openings.
    monkeypatch.setattr(clarity, "CLEAR_MM", 0.0)
    monkeypatch.setattr(clarity, "OPEN_MM", 0.0)
    model = program.ArticulationModel(program.Head.load())
    with torch.no_grad():
        model.pose_change.zero_()
        model.scale[model.head.units.index("mouthFunnel")] = 0.5
        model.log_dominance.copy_(torch.randn(model.log_dominance.shape) * 0.2)
    labels = [label for label in PHONES if label != SILENCE]
    numbers = program.load(program.numbers_of(model, labels))
    lips = bundled_lip_rows()
    for text in SENTENCES:
        clip = speaker(program, text)
        n_frames = len(clip.weights)
        expected = mouth_curves(
            clip.phones, n_frames, program.FPS, bundled_rig(), SpeakingStyle(), clip.level_db,
            numbers,
        )  # fmt: skip
        with torch.no_grad():
            found = model(program.speech_of([(clip.phones, clip.level_db)]))[0, :n_frames].numpy()
        opening = expected @ lips.openings.mean(1)
        assert opening.max() > 5.0
        assert np.abs(found @ model.head.opening - opening).max() < 1.0
        assert np.abs(found @ model.head.width - expected @ lips.width).max() < 1.0


def test_fit_comes_closer_to_the_talker(
    program: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [speaker(program, text) for text in SENTENCES]
    model = program.ArticulationModel(program.Head.load())
    batch = program.batch_of(clips, model.head)

    def error_mm() -> float:
        """Return the mean error of the opening and of the width."""
        with torch.no_grad():
            error = ((model(batch.speech) - batch.film) * batch.exists[..., None]).numpy()
        return float(
            np.mean([np.abs(error @ row) for row in (model.head.opening, model.head.width)])
        )

    before = error_mm()
    program.fit(model, clips, 12)
    assert error_mm() < 0.8 * before
    assert "step 0: loss" in capsys.readouterr().out


def test_fit_is_reproducible(program: ModuleType) -> None:
    clips, head = [speaker(program, text) for text in SENTENCES], program.Head.load()
    models = [program.ArticulationModel(head) for _ in range(2)]
    for model in models:
        program.fit(model, clips, 2)
    assert program.numbers_of(models[0], ["AA"]) == program.numbers_of(models[1], ["AA"])


def test_a_talker_who_follows_the_rules_correlates_fully_with_them(program: ModuleType) -> None:
    clips = [speaker(program, text) for text in SENTENCES]
    same = program.compare(clips, fitted_articulation())
    assert same == pytest.approx([1.0] * 4, abs=1e-4)
    start = program.numbers_of(program.ArticulationModel(program.Head.load()), [])
    assert max(program.compare(clips, program.load(start))) < 0.99


def test_only_frequent_phones_get_a_pose_of_their_own(program: ModuleType) -> None:
    clip = speaker(program, SENTENCES[0])
    assert program.MIN_COUNT == 10
    labels = program.fitted_labels([clip] * 10)
    assert labels == [label for label in PHONES if label in SENTENCES[0].split()[1:-1]]
    # These are spoken twice in the sentence.
    assert program.fitted_labels([clip] * 5) == ["UW", "B", "T", "N"]


def test_letters_are_words(program: ModuleType) -> None:
    labels = ("sil", "bin", "z", "two", "sp", "a")
    words = [TimedWord(label, k, k + 1.0) for k, label in enumerate(labels)]
    assert program.transcript(words) == "bin zed two a"


def test_folder_without_tracks_is_one_clear_error(program: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(program.DataError, match=r"no face tracks \(NAME.npz\) were found"):
        program.read_talker(tmp_path)
