"""Evaluate a checkpoint on a split against speech-independent baselines (``codetalker eval``).

The model is compared with the template (no motion), the mean motion of the training clips and, for
stage 2, stage 1's reconstruction of the truth.
"""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codetalker_cli import resources
from codetalker_cli.datasets.prepared import Clip, PreparedDataSet, mean_offset
from codetalker_cli.devices import (
    barrier,
    gather,
    is_main_process,
    join_processes,
    pick_device,
    shard,
)
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.evaluate.diagnostics import diagnose, motion_energy
from codetalker_cli.evaluate.folder import Evaluation, EvaluationFolder, default_folder, write_csv
from codetalker_cli.evaluate.pairs import Pair, select_styles
from codetalker_cli.evaluate.predict import PredictionJob, Predictor
from codetalker_cli.evaluate.report import write_report
from codetalker_cli.evaluate.score import (
    MEAN,
    MODEL,
    ORACLE,
    TEMPLATE,
    Scores,
    csv_rows,
    describe,
    record_failure,
    score_pairs,
)
from codetalker_cli.evaluate.truth import Truth, of_data_set
from codetalker_cli.failures import error_of_item
from codetalker_cli.metrics import METRICS
from codetalker_cli.models import checkpoint as checkpoints
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.motion import VertexFrames
from codetalker_cli.progress import Progress, Stages, silent_stages
from codetalker_cli.settings import EvaluateSettings, RenderSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationRequest:
    """The data and the settings of an evaluation.

    Attributes:
        data: The prepared data set.
        split: A split of the data set that has clips.
        settings: The evaluation settings.
        render: The render settings of the report's pictures.
        decode: Settings of the section ``decode`` that replace those of the checkpoint.
    """

    data: PreparedDataSet
    split: str
    settings: EvaluateSettings
    render: RenderSettings
    decode: dict[str, Any] | None = None

    @classmethod
    def from_sections(
        cls, data: PreparedDataSet, split: str, sections: Mapping[str, Any]
    ) -> "EvaluationRequest":
        """Build a request from settings; only changed keys of ``decode`` are used.

        Args:
            data: The prepared data set.
            split: A split of the data set that has clips.
            sections: The sections ``evaluate``, ``render`` and ``decode``.
        """
        decode = sections["decode"]
        changes = decode.model_dump(include=decode.model_fields_set)
        return cls(data, split, sections["evaluate"], sections["render"], changes)


def evaluate_checkpoint(
    name: str,
    request: EvaluationRequest,
    *,
    out: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    stages: Stages = silent_stages,
) -> Evaluation:
    """Load a checkpoint by name or path and evaluate it; see ``evaluate``.

    Args:
        name: Name or folder of the checkpoint.
        request: The data and the settings.
        out: Output folder; None: ``runs/DATA_SET/CHECKPOINT-eval/SPLIT``.
        device: ``auto`` or the name of a device; several processes share the devices.
        overwrite: Whether to replace an existing evaluation.
        stages: Reports the progress of each stage.
    """
    chosen = pick_device(join_processes(device))
    loaded = checkpoints.load(name)
    assert loaded.path is not None
    out = out or default_folder(request.data.manifest.name, loaded.path, request.split)
    return evaluate(loaded, request, out, device=chosen, overwrite=overwrite, stages=stages)


def evaluate(
    checkpoint: Checkpoint,
    request: EvaluationRequest,
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
    stages: Stages = silent_stages,
) -> Evaluation:
    """Predict the clips of a split, measure the predictions, and write the report.

    Existing predictions are reused. With several processes (``accelerate launch``), each process
    evaluates a shard of the clips.

    Args:
        checkpoint: A checkpoint of stage 1, or of both stages.
        request: The data and the settings.
        out: Output folder; an evaluation in it is resumed. If this one fails, only its finished
            predictions are kept, and an evaluation in the folder stays as it was.
        device: Device of this process.
        overwrite: Whether to discard existing predictions.
        stages: Reports the progress of each stage.

    Raises:
        DataError: The split does not exist or has no clips.
        CheckpointError: The checkpoint does not fit the data set.
        InputError: A style is unknown, or no clip could be evaluated.
        OutputError: ``out`` contains a different evaluation or other files.
    """
    data, split, settings = request.data, request.split, request.settings
    truth = of_data_set(data, split)
    predictor = Predictor(checkpoint, data, device, request.decode)
    own_shard = _EvaluationShard(predictor, truth, settings)
    protocol = _protocol(checkpoint, data, split, settings, own_shard)
    folder = EvaluationFolder(out)
    main = is_main_process()
    with folder.begin(protocol, overwrite=overwrite) if main else nullcontext():
        barrier()
        evaluation, scores = _evaluate_clips(folder.draft, protocol, own_shard, stages)
        if main:
            _write(evaluation, scores, truth, settings, request.render, stages("report"))
    return replace(evaluation, folder=folder)


def _evaluate_clips(
    folder: EvaluationFolder,
    protocol: dict[str, Any],
    own_shard: "_EvaluationShard",
    stages: Stages,
) -> tuple[Evaluation, dict[str, Scores]]:
    """Predict and measure the clips; return the values, and the scores of each model."""
    data, settings = own_shard.data, own_shard.settings
    failed: list[dict[str, str]] = []
    clips = shard(
        data.clips(protocol["split"]), lambda clip: (-clip.entry.n_frames, clip.entry.name)
    )
    own_shard.predict(clips, folder.predictions, failed, stages("predict"))
    scores = own_shard.score(clips, folder.predictions, failed, stages("measure"))
    merged, failed = _gather_results(scores, failed)
    compared = {"frames_compared": merged[MODEL].n_frames, "frames_cut": merged[MODEL].n_cut}
    protocol |= {"failed": failed, **compared}
    topology = data.mesh.topology
    values = {
        model: {
            name: describe(model_scores.value(name, settings), name, topology) for name in METRICS
        }
        for model, model_scores in merged.items()
    }
    energy = motion_energy(merged[MODEL], settings)
    found = diagnose(values, energy, protocol)
    return Evaluation(folder, protocol, values, failed, energy, found), merged


def _write(
    evaluation: Evaluation,
    scores: Mapping[str, Scores],
    truth: Truth,
    settings: EvaluateSettings,
    render: RenderSettings,
    progress: Progress,
) -> None:
    folder = evaluation.folder
    folder.write_json(folder.protocol, evaluation.protocol)
    names = ("protocol", "values", "motion_energy", "diagnostics")
    folder.write_json(folder.metrics, {name: getattr(evaluation, name) for name in names})
    write_csv(folder.clips, *csv_rows(scores, list(METRICS)))
    write_report(evaluation, scores, truth, settings, render, progress)


class _EvaluationShard:
    """The part of an evaluation that one process computes."""

    def __init__(self, predictor: Predictor, truth: Truth, settings: EvaluateSettings) -> None:
        self.predictor, self.truth, self.settings = predictor, truth, settings
        assert truth.data is not None
        self.data = truth.data
        self.styles = predictor.styles
        self.diversity_clips = self._choose_diversity_clips()
        # Check the style names before any work is done.
        for subject in dict.fromkeys(truth.subjects.values()):
            self.styles_of(subject)

    def _choose_diversity_clips(self) -> set[str]:
        """Choose the clips that are predicted in every style to measure diversity."""
        names = list(self.truth.clips)
        n = min(self.settings.diversity_clips, len(names))
        if len(self.styles) < 2 or not n:
            return set()
        return {names[i] for i in np.linspace(0, len(names) - 1, n).round().astype(int)}

    def styles_of(self, subject: str) -> list[str]:
        """Return the styles in which a subject's clips are scored."""
        return select_styles(self.settings.style, subject, self.styles)

    def jobs(self, clip: Clip) -> list[PredictionJob]:
        """Return the predictions to compute for a clip."""
        if self.predictor.voice is None:
            return [PredictionJob(clip, None)]
        scored = self.styles_of(clip.entry.subject)
        all_styles = self.styles if clip.entry.name in self.diversity_clips else []
        return [PredictionJob(clip, style) for style in dict.fromkeys([*scored, *all_styles])]

    def predict(
        self,
        clips: list[Clip],
        folder: Path,
        failed: list[dict[str, str]],
        progress: Progress,
    ) -> None:
        """Compute the predictions that do not exist yet."""
        jobs = [job for clip in clips for job in self.jobs(clip)]
        missing = [job for job in jobs if not (folder / f"{job.name}.npy").exists()]
        if len(missing) < len(jobs):
            logger.info("%d of %d predictions already exist", len(jobs) - len(missing), len(jobs))
        for job, error in self.predictor.write(missing, folder, progress):
            record_failure(job.name, failed, error)

    def score(
        self,
        clips: list[Clip],
        folder: Path,
        failed: list[dict[str, str]],
        progress: Progress,
    ) -> dict[str, Scores]:
        """Measure the predictions and the baselines of clips; models have the same clips."""
        has_stage2 = self.predictor.voice is not None
        training = self.data.clips("train")
        mean = self._mean_motion(training) if training else None
        baselines = {ORACLE: has_stage2, MEAN: mean is not None, TEMPLATE: True}
        models = [MODEL, *(model for model, is_known in baselines.items() if is_known)]
        parts: list[dict[str, Scores]] = []
        for done, clip in enumerate(clips, 1):
            name = clip.entry.name
            pairs = [
                Pair(name, job.style, path)
                for job in self.jobs(clip)
                if (path := folder / f"{job.name}.npy").exists()
            ]
            try:
                if pairs:
                    scores = {model: Scores() for model in models}
                    scores[MODEL] = score_pairs(pairs, self.truth, self.settings)
                    self._score_baselines(scores, clip, mean)
                    parts.append(scores)
            except Exception as error:
                record_failure(name, failed, error_of_item(error))
            progress(done, len(clips))
        return {model: Scores().join([part[model] for part in parts]) for model in models}

    def _mean_motion(self, training: list[Clip]) -> np.ndarray | None:
        """Return the mean offset of the training clips, or None if one of them is damaged."""
        try:
            mean = mean_offset(training, self.data.mesh.templates)
            if np.isfinite(mean).all():
                return mean
            reason = "a training clip contains NaN or infinite values"
        except CodeTalkerError as error:
            reason = str(error)
        logger.warning("%s; the mean motion is not compared", reason)
        return None

    def _score_baselines(
        self, scores: dict[str, Scores], clip: Clip, mean: np.ndarray | None
    ) -> None:
        name, n_frames = clip.entry.name, clip.entry.n_frames
        template = self.truth.template(name).astype(np.float32)
        self._add(scores[TEMPLATE], _static_motion(template, n_frames), name)
        if mean is not None:
            self._add(scores[MEAN], _static_motion(template + mean, n_frames), name)
        if ORACLE in scores:
            self._add(scores[ORACLE], self.predictor.reconstruct(clip), name)

    def _add(self, scores: Scores, vertices: Any, name: str) -> None:
        scores.add(vertices, name, None, self.truth, self.settings)


def _static_motion(face: np.ndarray, n_frames: int) -> VertexFrames:
    """Return (T, V, 3) vertices of a face without motion."""
    return VertexFrames(
        n_frames, len(face), lambda frames: np.broadcast_to(face, (len(frames), *face.shape))
    )


def _gather_results(
    scores: dict[str, Scores], failed: list[dict[str, str]]
) -> tuple[dict[str, Scores], list[dict[str, str]]]:
    """Merge the results and the failures of all processes."""
    parts, failures = gather([scores]), gather([failed])
    merged = {model: Scores().join([part[model] for part in parts]) for model in parts[0]}
    if not merged[MODEL].results():
        reason = f": {failures[0][0]['reason']}" if failures[0] else ""
        raise InputError(f"no clip could be evaluated{reason}")
    return merged, [failure for part in failures for failure in part]


def _protocol(
    checkpoint: Checkpoint,
    data: PreparedDataSet,
    split: str,
    settings: EvaluateSettings,
    own_shard: _EvaluationShard,
) -> dict[str, Any]:
    """Return the protocol: a full description of the checkpoint, the data and the settings."""
    entries = [clip.entry for clip in data.clips(split)]
    voice, topology = own_shard.predictor.voice, data.mesh.topology
    subjects: dict[str, list[str]] = {}
    for entry in entries:
        subjects.setdefault(entry.subject, []).append(entry.name)
    decode_settings = voice.decode.model_dump(mode="json") if voice is not None else None
    return {
        "checkpoint": str(checkpoint.path),
        "weights": str(checkpoint.meta.get("weights", "")),
        "stage": "reconstruction (stage 1)" if voice is None else "speech to motion (stage 2)",
        "step": checkpoint.meta.get("step"),
        "trained_on": checkpoint.meta.get("data_id"),
        "data": str(data.folder),
        "data_set": data.manifest.name,
        "data_id": data.manifest.data_id,
        "split": split,
        "fps": data.manifest.fps,
        "unit": topology.unit,
        "n_vertices": topology.n_vertices,
        "n_clips": len(entries),
        "n_frames": sum(entry.n_frames for entry in entries),
        "subjects": {
            subject: {
                "clips": len(clips),
                "trained_on": subject in own_shard.styles,
                "styles": own_shard.styles_of(subject) if voice is not None else [],
            }
            for subject, clips in subjects.items()
        },
        "style_rule": settings.style if voice is not None else None,
        "diversity_clips": sorted(own_shard.diversity_clips),
        "regions": {name: len(indices) for name, indices in topology.regions.items()},
        "regions_from": data.manifest.notes.get("regions", ""),
        "decode": decode_settings,
        "evaluate": settings.model_dump(mode="json"),
        "package_version": resources.package_version(),
    }
