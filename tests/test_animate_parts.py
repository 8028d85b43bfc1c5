"""Animation in parts: the frames that are known first, and the whole motion at the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import voices

from codetalker_cli.animate import Request, Voice, load_voice
from codetalker_cli.errors import CheckpointError, InputError

LONG = voices.speech(6.0)
CUT = {"batch_size": 2, "whole_frames": 45, "segment_seconds": 1.2}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.save(tmp_path_factory.mktemp("parts") / "voice", "A", "B", family="whisper")


@pytest.fixture(params=["whole", "segments"])
def voice(stored: Path, request: pytest.FixtureRequest) -> Voice:
    return load_voice(stored, device="cpu", decode={**CUT, "encoder_context": request.param})


@pytest.mark.parametrize("fps", [None, 60.0, 10.0])
def test_known_frames_and_the_last_part_equal_the_whole_animation(
    voice: Voice, fps: float | None
) -> None:
    request = Request(LONG, "B", "A:0.5,C:0.5", seed=4, fps=fps)
    whole = voice.animate(LONG, "B", "A:0.5,C:0.5", seed=4, fps=fps)
    counts = []
    for part in voice.animate_in_parts(request):
        counts.append(part.n_known)
        assert part.motion.n_frames == whole.n_frames and part.motion.fps == whole.fps
        np.testing.assert_array_equal(
            part.motion.vertices[: part.n_known], whole.vertices[: part.n_known]
        )
        np.testing.assert_array_equal(part.motion.head, whole.head)
    assert len(counts) > 2 and counts == sorted(set(counts))
    assert part.is_whole and counts[0] < whole.n_frames / 2
    if fps is None:
        np.testing.assert_array_equal(part.motion.codes, whole.codes)


def test_short_and_silent_recordings_have_one_part(voice: Voice) -> None:
    for samples in (voices.speech(0.5), np.zeros(8000, np.float32)):
        (part,) = voice.animate_in_parts(Request(samples))
        whole = voice.animate(samples)
        assert part.is_whole
        np.testing.assert_array_equal(np.asarray(part.motion.vertices), whole.vertices)


def test_bad_options_and_damaged_weights_are_refused(voice: Voice) -> None:
    with pytest.raises(InputError, match="'Z' is unknown"):
        next(voice.animate_in_parts(Request(LONG, "Z")))
    damaged = load_voice(voice.checkpoint.path, device="cpu", decode=CUT)
    with torch.no_grad():
        for weight in damaged.checkpoint.model.vq.decoder.parameters():
            weight.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="weights may be damaged"):
        next(damaged.animate_in_parts(replace(Request(LONG), idle=False)))
