"""Convert a raw data set of any layout to a prepared data set."""

import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codetalker_cli import audio
from codetalker_cli.datasets import preflight, splits, timeline
from codetalker_cli.datasets.journal import ClipRecord
from codetalker_cli.datasets.manifest import Manifest
from codetalker_cli.datasets.prepared import Clip
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.datasets.raw_clips import Problem, RawAudio, RawClip, RawDataSet
from codetalker_cli.datasets.regions import Regions, sample_of
from codetalker_cli.datasets.report import Prepared, report_text
from codetalker_cli.datasets.timeline import ClipPart
from codetalker_cli.errors import DataError, InputError, OutputError, verb
from codetalker_cli.face_fit import ClipFit
from codetalker_cli.failures import error_of_item
from codetalker_cli.files import claim
from codetalker_cli.formats.frames import Frames
from codetalker_cli.progress import Progress, Stages, silent_stages
from codetalker_cli.settings import DataSettings, PrepareSettings
from codetalker_cli.workspace import MANIFEST

BLOCK_BYTES = 8 << 20
"""The approximate size of the blocks in which a clip is read."""
ROUNDING_SECONDS = 1e-3
"""Rounding error that is allowed when the lengths of audio and motion are compared."""
MIN_FRAMES = 2
"""The minimum length of a clip; a single frame has no motion."""
SAMPLED_CLIPS = 24
"""The maximum number of clips that the lip region is inferred from."""
_AudioFuture = Future[tuple[RawAudio, list[Problem]]]


@dataclass(frozen=True)
class PreparationJob:
    """The data shared by the preparation of all clips.

    Attributes:
        raw: The raw data set.
        fps: The frame rate of the prepared motion.
        options: The settings for missing frames.
        writer: The writer of the prepared folder.
    """

    raw: RawDataSet
    fps: float
    options: PrepareSettings
    writer: PreparedWriter


def prepare(
    raw: RawDataSet,
    out: Path,
    data: DataSettings,
    options: PrepareSettings,
    regions: Regions,
    *,
    overwrite: bool = False,
    stages: Stages = silent_stages,
) -> Prepared:
    """Convert a raw data set to a prepared one, or resume an interrupted conversion.

    A clip that cannot be used is skipped and reported. If everything is already prepared, nothing
    changes.

    Args:
        raw: The opened raw data set.
        out: The prepared folder.
        data: The name, frame rate, training subjects and splits of the data set.
        options: The settings for missing frames and for the clips to skip.
        regions: The vertex regions, or an instruction to infer them.
        overwrite: Whether to replace a finished data set in ``out``.
        stages: A function that returns the progress callback of a stage.

    Raises:
        InputError: ``out`` contains other files or a different data set, or the disk is too small.
        DataError: No clip could be used.
    """
    raw.mesh.check(data.n_vertices, f"the raw data set {data.name}")
    split_of = splits.assign(raw.clips, data.splits)
    clips = [c for c in raw.clips if options.keep_unused or split_of[c.name] != splits.UNUSED]
    if not clips:
        raise _no_clips_error(raw.problems, "no raw clip matches a split")
    with claim(out / MANIFEST):
        writer = PreparedWriter(
            out, overwrite=overwrite, recipe=_recipe(raw, data, options, regions)
        )
        new_problems = (*preflight.missing_clips(raw, data.splits), *preflight.unlikely_sizes(raw))
        raw = replace(preflight.drop_broken_templates(raw), problems=(*raw.problems, *new_problems))
        pending = [clip for clip in clips if not writer.has(clip.name, clip.stamp)]
        _refuse_changes(writer, clips, pending)
        preflight.check_disk(out, raw, data.fps, pending)
        job = PreparationJob(raw, data.fps, options, writer)
        n_written = _write_all(job, pending, split_of, len(clips), stages("clips"))
        if writer.finished is not None and writer.is_finished and not n_written:
            return Prepared(out, writer.finished, 0)
        if not any(writer.done[clip.name].entries for clip in clips):
            writer.discard()
            raise _no_clips_error([p for c in clips for p in writer.done[c.name].problems], "")
        notes = {
            **raw.notes,
            "frames": _describe_frame_rate(raw.fps, data.fps),
            "holes": f"up to {options.fill_seconds:g} s filled by linear interpolation, longer "
            "ones split the clip",
            "audio": f"resampled once to {audio.SAMPLE_RATE} Hz, mono, 16 bit",
            "left_out_unused": sorted({c.name for c in raw.clips} - {c.name for c in clips}),
        }
        split_table = {clip.name: split_of[clip.name] for clip in clips}
        return Prepared(out, _finish(job, data, regions, split_table, notes), n_written)


def _write_all(
    job: PreparationJob,
    todo: list[RawClip],
    split_of: dict[str, str],
    n: int,
    progress: Progress,
) -> int:
    """Write the clips in ``todo``; return how many of them changed the folder.

    ``n`` is the number of all clips, for the progress. The speech of the next clip is decoded in
    a thread while the vertices of the current clip are written.
    """
    n_changed = 0
    with ThreadPoolExecutor(max_workers=1) as pool:
        next_audio = pool.submit(_read_audio, todo[0]) if todo else None
        for index, clip in enumerate(todo):
            progress(n - len(todo) + index, n)
            current_audio = next_audio
            next_audio = (
                pool.submit(_read_audio, todo[index + 1]) if index + 1 < len(todo) else None
            )
            assert current_audio is not None
            n_changed += _prepare_clip(job, clip, split_of[clip.name], current_audio)
    progress(n, n)
    return n_changed


def _recipe(raw: RawDataSet, data: DataSettings, options: PrepareSettings, regions: Regions) -> str:
    """Return a hash of everything that all clips or the whole clip table depend on."""
    digest = hashlib.sha256(data.model_dump_json().encode() + options.model_dump_json().encode())
    digest.update(f"{raw.fps} {raw.first_number} {regions.infer}".encode())
    arrays = [("faces", raw.mesh.topology.triangles), *raw.mesh.templates.items()]
    for name, array in [*arrays, *regions.named.items()]:
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _refuse_changes(writer: PreparedWriter, clips: list[RawClip], pending: list[RawClip]) -> None:
    """Allow a finished data set to grow, but refuse to change or remove its clips."""
    if writer.finished is None:
        return
    existing = {entry.source for entry in writer.finished.clips}
    changed = [clip.name for clip in pending if clip.name in existing]
    removed = sorted(existing - {clip.name for clip in clips})
    for names, what in (
        (
            changed,
            f"{verb(len(changed), 'has', 'have')} changed since, in the raw data or in the folder",
        ),
        (removed, f"{verb(len(removed), 'is', 'are')} no longer in the raw data"),
    ):
        if names:
            raise InputError(
                f"{writer.folder}: already prepared, but {len(names)} of its clips {what} "
                f"({names[0]}{', …' if len(names) > 1 else ''}); give `overwrite` to prepare all "
                "clips again, or give another folder"
            )


def _prepare_clip(
    job: PreparationJob, clip: RawClip, split: str, audio_future: _AudioFuture
) -> bool:
    """Write one raw clip, split at its long holes; return whether the folder changed."""
    problems: list[Problem]
    try:
        if clip.subject not in job.raw.mesh.templates:
            raise DataError(
                f"subject {clip.subject} has no template, or its template contains NaN or only one "
                "point"
            )
        speech, problems = audio_future.result()
        problems = [*clip.problems, *problems]
        with clip.open() as frames:
            _write_parts(job, clip, split, frames, speech, problems)
    except OutputError:
        raise
    except Exception as error:
        job.writer.abandon()
        problems = [Problem(clip.name, "broken", str(error_of_item(error)))]
        if job.writer.done.get(clip.name) == ClipRecord(clip.stamp, (), tuple(problems)):
            return False  # an earlier run recorded the same fault
    job.writer.close(clip.name, clip.stamp, problems)
    return True


def _read_audio(clip: RawClip) -> tuple[RawAudio, list[Problem]]:
    """Return the speech of a clip at 16 kHz within ±1, and a problem for each repair."""
    speech, problems = clip.read_audio(), []
    peak = float(np.abs(speech.samples).max(initial=0.0))
    samples = audio.resample(speech.samples, speech.rate, audio.SAMPLE_RATE)
    if peak > 1.0:
        reason = f"the peak is {peak:.3g} times full scale; the whole recording was scaled down"
        problems.append(Problem(clip.name, "audio", reason))
    # The low-pass filter of the resampling can overshoot slightly.
    loudest = max(1.0, float(np.abs(samples).max(initial=0.0)))
    return RawAudio(samples / loudest, audio.SAMPLE_RATE), problems


def _write_parts(
    job: PreparationJob,
    clip: RawClip,
    split: str,
    frames: Frames,
    speech: RawAudio,
    problems: list[Problem],
) -> None:
    fps_in = job.raw.fps
    parts = timeline.split_at_holes(frames.numbers, fps_in, job.options.fill_seconds)
    if not parts:
        raise DataError("the clip has no frames")
    start = clip.first_number
    if start is None:
        start = timeline.speech_start(frames.numbers, job.raw.first_number, fps_in, speech.seconds)
    problems += _describe_holes(clip.name, parts, start, fps_in)
    for index, part in enumerate(parts):
        seconds = (part.last - part.first + 1) / fps_in
        name = clip.name if len(parts) == 1 else f"{clip.name}_part{index + 1}"
        if len(parts) > 1 and seconds < job.options.min_seconds:
            reason = f"{name}: the part between two holes is only {seconds:.2f} s long; skipped"
            problems.append(Problem(clip.name, "hole", reason))
            continue
        begin = round((part.first - start) / fps_in * audio.SAMPLE_RATE)
        # The last part also keeps the audio after the end of its motion.
        end = len(speech.samples)
        if index + 1 < len(parts):
            end = min(end, round((part.last + 1 - start) / fps_in * audio.SAMPLE_RATE))
        samples = speech.samples[begin:end]
        if not len(samples):
            reason = f"{name}: no audio for its {seconds:.2f} s of motion; skipped"
            problems.append(Problem(clip.name, "length", reason))
            continue
        n_frames = part.n_frames(fps_in, job.fps)
        if n_frames < MIN_FRAMES:
            reason = (
                f"{name}: the motion has only {n_frames} frame; at least {MIN_FRAMES} are needed"
            )
            problems.append(Problem(clip.name, "length", reason))
            continue
        problems += _check_length(
            clip.name, name, len(samples) / audio.SAMPLE_RATE, n_frames, job.fps
        )
        job.writer.add(
            NewClip(
                name=name,
                subject=clip.subject,
                split=split,
                vertices=_vertex_blocks(frames, part, job, clip.subject),
                samples=samples,
                text=clip.text,
                n_frames=n_frames,
                sentence=clip.sentence,
                source=clip.name,
            )
        )
    if not job.writer.n_pending:
        raise DataError(f"no part of the clip can be used: {problems[-1].reason}")


def _describe_holes(clip: str, parts: list[ClipPart], start: int, fps: float) -> list[Problem]:
    reasons = []
    if parts[0].first > start:
        reasons.append(f"frames {start} to {parts[0].first - 1} are missing at the start")
    for part in parts:
        if part.filled:
            reasons.append(f"frames {_ranges(part.filled)} are missing; filled by interpolation")
    for before, after in itertools.pairwise(parts):
        gap = (after.first - before.last - 1) / fps
        reasons.append(
            f"frames {before.last + 1} to {after.first - 1} are missing ({gap:.2f} s); split"
        )
    return [Problem(clip, "hole", reason) for reason in reasons]


def _ranges(numbers: tuple[int, ...]) -> str:
    """Format ascending numbers like ``7, 9-11``."""
    runs = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _check_length(clip: str, name: str, seconds: float, n_frames: int, fps: float) -> list[Problem]:
    motion_seconds = n_frames / fps
    difference = seconds - motion_seconds
    if abs(difference) <= 1 / fps + ROUNDING_SECONDS:
        return []
    reason = (
        f"{name}: {seconds:.3f} s of audio, {motion_seconds:.3f} s of motion ({difference:+.3f} s)"
    )
    return [Problem(clip, "length", reason)]


def _vertex_blocks(
    frames: Frames, part: ClipPart, job: PreparationJob, subject: str
) -> Iterator[np.ndarray]:
    """Yield the vertices of a part at the prepared frame rate, in blocks (n, V, 3).

    Raises:
        DataError: A frame is damaged, or the part as a whole does not fit the template.
    """
    n_vertices = job.raw.mesh.topology.n_vertices
    fit = ClipFit(job.raw.mesh.templates[subject], part.n_frames(job.raw.fps, job.fps))
    size = max(1, BLOCK_BYTES // (n_vertices * 12))
    for samples in timeline.sample_blocks(frames.numbers, part, job.raw.fps, job.fps, size):
        positions = np.union1d(samples.before, samples.after)
        vertices = frames.read(positions)
        if vertices.shape[1:] != (n_vertices, 3):
            raise DataError(f"frames have shape {vertices.shape[1:]}, expected ({n_vertices}, 3)")
        block = vertices[np.searchsorted(positions, samples.before)]
        if samples.share.any():
            share = samples.share[:, None, None]
            after = vertices[np.searchsorted(positions, samples.after)]
            block = block * (1 - share) + after * share
        with np.errstate(over="ignore"):
            block = block.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(block).all(axis=(1, 2)))
        if len(bad):
            number = int(frames.numbers[samples.before[bad[0]]])
            raise DataError(
                f"frame {number} has NaN or infinite vertices; repair or remove the clip"
            )
        fit.add(block)
        yield block
    if fault := fit.fault():
        raise DataError(fault)


def _describe_frame_rate(fps_in: float, fps_out: float) -> str:
    ratio = fps_in / fps_out
    if ratio == 1:
        return f"{fps_out:g} per second, as captured"
    if abs(ratio - round(ratio)) < 1e-9:
        return (
            f"{fps_out:g} per second: one of every {round(ratio)} captured frames "
            f"({fps_in:g} per second), unchanged"
        )
    return f"{fps_out:g} per second, interpolated from {fps_in:g}"


def _finish(
    job: PreparationJob, data: DataSettings, regions: Regions, table: dict[str, str], notes: dict
) -> Manifest:
    writer, raw = job.writer, job.raw
    entries = [entry for source in table for entry in writer.done[source].entries]
    indices = np.linspace(0, len(entries) - 1, min(SAMPLED_CLIPS, len(entries))).astype(int)
    sampled_entries = [entries[i] for i in indices]
    sample = sample_of(
        [(raw.mesh.templates[e.subject], Clip(e, writer.folder).vertices) for e in sampled_entries]
    )
    mesh, notes["regions"] = regions.complete(raw.mesh, sample)
    problems = [*raw.problems, *(p for s in table for p in writer.done[s].problems)]
    return writer.finish(
        DataSetFacts(data.name, data.fps, data.train_subjects),
        mesh,
        notes,
        splits=table,
        problems=raw.problems,
        report=lambda manifest: report_text(manifest, problems),
    )


def _no_clips_error(problems: list[Problem] | tuple[Problem, ...], reason: str) -> DataError:
    first = f"{problems[0].clip}: {problems[0].reason}" if problems else "the folder has no clips"
    return DataError(f"no clip could be prepared ({reason or first})")
