"""Test that Whisper's encoder continues from earlier hops of a stream."""

import numpy as np
import pytest
import torch
import voices

from codetalker_cli.models.speech_encoders.whisper import WhisperConfig, WhisperEncoder, log_mel
from codetalker_cli.models.speech_encoders.whisper_stream import (
    RECOMPUTED,
    Encoded,
    SoundWindow,
    encode_windows,
)

HOP, LEFT = 1600, 48_000  # samples


def encoder(n_layers: int = 1, n_positions: int = 400) -> WhisperEncoder:
    torch.manual_seed(0)
    config = WhisperConfig(16, 24, n_layers, 2, 48, n_positions)
    model = WhisperEncoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # so that attention is not uniform
    return model


def sound(seconds: float, seed: int = 0) -> torch.Tensor:
    samples = torch.from_numpy(voices.speech(seconds, seed=seed))
    samples[100] = 1.0  # the loudest sample, which every window that starts at 0 contains
    return samples


def stream(
    model: WhisperEncoder, samples: torch.Tensor, stops: list[int], first: int = 0
) -> list[Encoded]:
    results: list[Encoded] = []
    for stop in stops:
        start = max(first, stop - LEFT)
        state = results[-1].state if results else None
        results += encode_windows(model, [SoundWindow(samples[start:stop], start, state)])
    return results


def whole(model: WhisperEncoder, samples: torch.Tensor) -> torch.Tensor:
    """Return the features of all sound; half a feature at the end is left out."""
    with torch.no_grad():
        mel = log_mel(samples[None], model.config.num_mel_bins)
        return model(mel[:, : len(samples) // 320 * 2])[0]


def test_a_new_stream_equals_the_encoder() -> None:
    model, samples = encoder(3), sound(1.3)
    result = stream(model, samples, [len(samples) // 320 * 320])[0]
    torch.testing.assert_close(result.features, whole(model, samples), rtol=1e-4, atol=1e-5)
    assert result.start == 0
    assert result.state.n_done == len(result.features) - RECOMPUTED


@pytest.mark.parametrize("hop", [HOP, 1280, 1333, 500])
def test_one_layer_gives_the_features_of_the_whole_sound(hop: int) -> None:
    """Keys and values of the first layer depend on near sound only, so nothing is approximated."""
    model, samples = encoder(1), sound(2.5)
    stops = list(range(16_000, 40_000, hop))
    for stop, result in zip(stops, stream(model, samples, stops), strict=True):
        expected = whole(model, samples[:stop])
        assert len(result.features) == len(expected)
        # Kept features attended to less sound; the new ones attended to all of it.
        new = result.features[-RECOMPUTED:]
        torch.testing.assert_close(new, expected[-RECOMPUTED:], rtol=1e-3, atol=1e-4)


def test_kept_features_had_0_4_seconds_after_them() -> None:
    model, samples = encoder(1), sound(2.5)
    results = stream(model, samples, [24_000, 25_600, 27_200])
    done = results[1].state.n_done
    torch.testing.assert_close(results[2].features[:done], results[1].features[:done])
    assert done == 25_600 // 320 - RECOMPUTED


def test_windows_keep_their_length() -> None:
    model, samples = encoder(2), sound(8)
    results = stream(model, samples, list(range(16_000, 120_000, HOP)))
    lengths = [len(result.features) for result in results]
    assert max(lengths) == LEFT // 320
    for stop, result in zip(range(16_000, 120_000, HOP), results, strict=True):
        assert result.start + len(result.features) * 320 == stop
    sizes = [result.state.keys[1].shape[1] for result in results]
    assert sizes[-1] == sizes[-2] == LEFT // 320 - RECOMPUTED


def test_after_a_gap_or_the_end_of_the_position_table_the_encoder_starts_over() -> None:
    model, samples = encoder(2, n_positions=160), sound(8)
    results = stream(model, samples, [48_000, 49_600, 51_200, 52_800])
    assert results[1].state.n_done > results[0].state.n_done
    assert [result.state.origin for result in results][:2] == [0, 0]
    assert results[3].state.origin == 52_800 - LEFT
    gap = SoundWindow(samples[80_000:], 80_000, results[1].state)
    alone = SoundWindow(samples[80_000:], 80_000)
    after, expected = encode_windows(model, [gap, alone])
    torch.testing.assert_close(after.features, expected.features)
    assert after.start == expected.start == 80_000


def test_streams_in_a_batch_equal_each_alone() -> None:
    model = encoder(3)
    sounds = [sound(2.5, seed) for seed in range(3)]
    stops = [[24_000, 25_600], [32_000, 33_600], [24_000, 30_000]]
    alone = [stream(model, s, given)[1] for s, given in zip(sounds, stops, strict=True)]
    windows = []
    for samples, given in zip(sounds, stops, strict=True):
        state = stream(model, samples, given[:1])[0].state
        windows.append(SoundWindow(samples[: given[1]], 0, state))
    for result, expected in zip(encode_windows(model, windows), alone, strict=True):
        torch.testing.assert_close(result.features, expected.features, rtol=1e-4, atol=1e-5)
        assert result.start == expected.start
        np.testing.assert_array_equal(result.state.loudest, expected.state.loudest)
