"""Test ``decode.initial_silence_seconds``: silence that is decoded before a recording."""

from pathlib import Path

import numpy as np
import pytest
import voices

from codetalker_cli.animate import Voice, load_voice


def voice(folder: Path, **decode: float | str) -> Voice:
    if not folder.exists():
        voices.save(folder, "A", family="whisper", motion_history=False)
    return load_voice(folder, device="cpu", decode=decode)


@pytest.mark.parametrize("context", ["whole", "segments"])
@pytest.mark.parametrize("seconds", [0.25, 1.0, 2.7])
def test_result_is_that_of_a_recording_after_silence(
    tmp_path: Path, context: str, seconds: float
) -> None:
    options = {"encoder_context": context, "whole_frames": 30, "segment_seconds": 1.5}
    speech = voices.speech(seconds)
    padded = voice(tmp_path / "voice", initial_silence_seconds=0.52, **options)
    plain = voice(tmp_path / "voice", **options)
    motion = padded.animate(speech, idle=False)
    n_silent = round(0.52 * 25)
    before = np.zeros(n_silent * 640, np.float32)
    expected = plain.animate(np.concatenate([before, speech]), idle=False)
    assert motion.n_frames == max(1, int(seconds * 25))
    np.testing.assert_array_equal(motion.codes, expected.codes[n_silent:][: motion.n_frames])
    vertices = np.asarray(expected.vertices)[n_silent:][: motion.n_frames]
    np.testing.assert_allclose(np.asarray(motion.vertices), vertices, atol=1e-5)
    np.testing.assert_array_equal(motion.audio, speech)


def test_idle_and_head_motion_do_not_move_in_time(tmp_path: Path) -> None:
    speech = np.concatenate([np.zeros(8000, np.float32), voices.speech(3.0)])
    plain = voice(tmp_path / "voice").animate(speech, seed=4)
    padded = voice(tmp_path / "voice", initial_silence_seconds=0.4).animate(speech, seed=4)
    assert plain.head is not None and plain.head.any()
    np.testing.assert_array_equal(padded.head, plain.head)


def test_several_recordings_in_a_batch_equal_each_alone(tmp_path: Path) -> None:
    padded = voice(tmp_path / "voice", initial_silence_seconds=0.4)
    sounds = [voices.speech(s, seed=k) for k, s in enumerate((0.5, 1.5, 1.5))]
    together = dict(padded.animate_many(sounds))
    for k, sound in enumerate(sounds):
        alone = np.asarray(padded.animate(sound).vertices)
        np.testing.assert_allclose(np.asarray(together[k].vertices), alone, atol=1e-4)


@pytest.mark.parametrize("segment_seconds", [1.5, 100.0])
def test_progress_counts_frames_of_the_recording_only(
    tmp_path: Path, segment_seconds: float
) -> None:
    options = {"whole_frames": 30, "segment_seconds": segment_seconds}
    padded = voice(tmp_path / "voice", initial_silence_seconds=0.52, **options)
    seen: list[tuple[float, float]] = []
    motion = padded.animate(voices.speech(4.0), progress=lambda *x: seen.append(x))
    done = [n for n, _ in seen]
    assert done == sorted(done) and done[0] >= 0
    assert {total for _, total in seen} == {motion.n_frames}
    assert seen[-1] == (motion.n_frames, motion.n_frames)
