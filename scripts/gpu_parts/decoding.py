"""Check golden cases, full-size decoding and evaluation against the CPU."""

from collections.abc import Sequence
from typing import Any

import decode as benchmark
import golden_cases
import numpy as np
import tiny
import tiny_data
import torch
import voices
from torch import Tensor

from codetalker_cli.evaluate.run import EvaluationRequest, evaluate
from codetalker_cli.models import checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder, Method
from codetalker_cli.settings import DecodeSettings, EvaluateSettings, RenderSettings
from gpu_parts.codes import count_differences, recorded
from gpu_parts.report import Report, Setup

GOLDEN = ("biwi_tiny_14", "vocaset_tiny_13")
INPUTS = ("audio", "template", "vertices")
SECONDS = (5.0, 3.3, 1.1)
"""The lengths of the clips that are decoded on both devices."""


def golden(report: Report, setup: Setup) -> None:
    """Compare with outputs of the official code: codes must be equal, floats within 1e-4."""
    for name in GOLDEN:
        with report.guarded(f"golden case {name}"):
            meta, arrays = golden_cases.load(name)
            model = golden_cases.build(meta).to(setup.device)
            made = golden_cases.outputs(model, arrays, meta)
            wrong, worst = 0, 0.0
            for key, expected in arrays.items():
                if key in INPUTS:
                    continue
                if "codes" in key:
                    wrong += int((made[key] != expected).sum())
                else:
                    error = np.abs(made[key] - expected).max() / np.abs(expected).max()
                    worst = float(np.maximum(worst, error))  # keeps NaN
            report.at_most(f"golden case {name}: codes that differ", wrong, 0)
            report.at_most(f"golden case {name}: largest relative error", worst, 1e-4)


# Decoding at full size ---------------------------------------------------------------------------


def build(small: bool) -> CodeTalker:
    """Return both stages with fixed random weights, at VOCASET size or tiny."""
    return tiny.codetalker(0) if small else benchmark.build("vocaset")


def inputs(model: CodeTalker, n_clips: int, n_frames: int) -> tuple[Tensor, Tensor]:
    """Return slowly changing (B, T·F, size) encoder features and (B, D) styles."""
    speech = model.speech
    assert speech is not None
    n_features = n_frames * speech.settings.features_per_frame
    shape = (n_clips, n_features, speech.encoder.size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    hidden = noise.cumsum(1) / torch.arange(1, n_features + 1)[:, None].sqrt()
    return hidden, speech.style_embedding.weight[:1].detach().expand(n_clips, -1)


class Reference:
    """The free-running decodes of the CPU, clip by clip.

    Attributes:
        codes: (B, T, q) int64 codes, zero after the end of each clip.
        latents: (T, q, Z) pre-quantization latents of each clip.
    """

    def __init__(self, model: CodeTalker, method: Method, n_frames: Sequence[int]) -> None:
        assert model.speech is not None
        self.hidden, self.style = inputs(model, len(n_frames), max(n_frames))
        decoder = Decoder(model.speech, model.vq)
        q = model.vq.settings.codes_per_frame
        self.codes = torch.zeros(len(n_frames), max(n_frames), q, dtype=torch.int64)
        self.latents = []
        for k, n in enumerate(n_frames):
            hidden = self.hidden[k : k + 1, : n * model.speech.settings.features_per_frame]
            with recorded(model.vq) as made:
                codes = decoder.decode(hidden, self.style[k : k + 1], method=method)
            self.codes[k, :n] = codes[0]
            self.latents.append(torch.cat(made.latents, dim=1)[0].unflatten(0, (n, q)))


def decoding(report: Report, setup: Setup) -> None:
    """Check that each decoding step, given the CPU's previous codes, chooses the CPU's code."""
    model = build(setup.small)
    fps = model.settings.data.fps
    n_frames = [max(2, round(s * fps * (0.2 if setup.small else 1))) for s in SECONDS]
    methods: tuple[Method, ...] = ("exact", "window")
    references = {method: Reference(model, method, n_frames) for method in methods}
    codebook = model.vq.quantizer.codebook.detach().clone()
    model.to(setup.device)
    assert model.speech is not None
    for method, reference in references.items():
        for graphs in (False, True) if setup.on_gpu else (False,):
            name = f"{method}, CUDA graphs" if graphs else method
            with report.guarded(name):
                decoder = Decoder(model.speech, model.vq, DecodeSettings(cuda_graphs=graphs))
                _compare(report, name, decoder, method, reference, n_frames, codebook)
        with report.guarded(f"{method}, bf16"):
            decoder = Decoder(model.speech, model.vq, DecodeSettings(precision="bf16"))
            _deviation(report, decoder, method, reference, n_frames)


def _compare(
    report: Report,
    name: str,
    decoder: Decoder,
    method: Method,
    reference: Reference,
    n_frames: Sequence[int],
    codebook: Tensor,
) -> None:
    single = _forced(decoder, method, reference, n_frames[:1])
    batch = _forced(decoder, method, reference, n_frames)
    for kind, codes in (("single", single), ("padded batch", batch)):
        wrong, tied, total = 0, 0, 0
        for k, clip in enumerate(codes):
            expected = reference.codes[k, : len(clip)]
            counts = count_differences(codebook, reference.latents[k], expected, clip)
            wrong, tied, total = wrong + counts[0], tied + counts[1], total + clip.numel()
        report.at_most(f"{name}, {kind}: codes that differ from the CPU's", wrong, 0)
        report.row("ties", decoding=name, clips=kind, codes=total, ties=tied)


def _forced(
    decoder: Decoder, method: Method, reference: Reference, n_frames: Sequence[int]
) -> list[Tensor]:
    """Decode each clip given the reference's previous codes, and return the codes on the CPU."""
    n, device = len(n_frames), decoder.vq.quantizer.codebook.device
    per_frame = reference.hidden.shape[1] // reference.codes.shape[1]
    longest = max(n_frames)
    codes = decoder.decode(
        reference.hidden[:n, : longest * per_frame].to(device),
        reference.style[:n].to(device),
        method=method,
        lengths=n_frames,
        past_codes=reference.codes[:n, :longest].to(device),
    )
    return [codes[k, :length].cpu() for k, length in enumerate(n_frames)]


def _deviation(
    report: Report,
    decoder: Decoder,
    method: Method,
    reference: Reference,
    n_frames: Sequence[int],
) -> None:
    """Report the share of codes that bf16 leaves unchanged, teacher-forced and free-running."""
    device = decoder.vq.quantizer.codebook.device
    forced = _forced(decoder, method, reference, n_frames)
    free = decoder.decode(
        reference.hidden.to(device), reference.style.to(device), method=method, lengths=n_frames
    ).cpu()
    shares = {}
    for kind, codes in (("teacher-forced", forced), ("free-running", list(free))):
        pairs = zip(codes, reference.codes, n_frames, strict=True)
        equal = torch.cat([(a[:n] == b[:n]).flatten() for a, b, n in pairs])
        shares[kind] = float(equal.float().mean())
    cells: dict[str, Any] = {k: round(100 * v, 2) for k, v in shares.items()}
    report.row("bf16: codes equal to float32, %", method=method, **cells)


# Evaluation --------------------------------------------------------------------------------------


def evaluation(report: Report, setup: Setup) -> None:
    """Check that the metrics of a tiny model equal those of the CPU."""
    data = tiny_data.prepared(setup.folder / "data")
    loaded = voices.save(setup.folder / "voice", "A", "B", "C")
    values = {}
    for device in ("cpu", setup.device):
        made = evaluate(
            checkpoint.load(loaded),
            EvaluationRequest(
                data,
                "val",
                EvaluateSettings(shown_clips=0, resamples=50),
                RenderSettings(size=64, renderer="software", workers=1),
            ),
            setup.folder / f"out-{len(values)}",
            device=torch.device(device),
        )
        values[f"{device}-{len(values)}"] = made.values
    expected, got = values.values()
    worst = 0.0
    for model, metrics in expected.items():
        for name, metric in metrics.items():
            a, b = metric["value"], got[model][name]["value"]
            if a is not None:
                worst = float(np.maximum(worst, abs(a - b) / max(abs(a), 1e-12)))
    report.at_most("evaluation: largest relative error of a metric", worst, 1e-4)
