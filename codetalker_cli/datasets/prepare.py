"""Raw data set → prepared data set: the one way, whatever the raw layout is."""

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
from codetalker_cli.errors import CodeTalkerError, DataError, InputError, OutputError
from codetalker_cli.formats.frames import Frames
from codetalker_cli.progress import Progress, Stages, silent_stages
from codetalker_cli.settings import DataSettings, PrepareSettings

BLOCK_BYTES = 8 << 20
"""About how much of a clip is in memory at a time."""
ROUNDING_SECONDS = 1e-3
MIN_FRAMES = 2
"""Of a clip: a single frame is no motion."""
SAMPLED_CLIPS = 24
"""Clips that the lip region is inferred from."""
_AudioFuture = Future[tuple[RawAudio, list[Problem]]]


@dataclass(frozen=True)
class PreparationJob:
    """What the preparation of all clips of a data set shares.

    Attributes:
        raw: The raw data set.
        fps: Wanted frames a second.
        options: How holes are treated.
        writer: Where clips go.
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
    """Write the prepared data set of a raw one, going on where an earlier run stopped.

    A clip that cannot be used is left out and told; a run that finds all done changes nothing.

    Args:
        raw: The opened raw data set.
        out: The prepared folder.
        data: Name, frame rate, training subjects and splits.
        options: How holes are treated, and what is left out.
        regions: Vertex regions, or the wish to infer them.
        overwrite: Replace an older data set.
        stages: Reports the progress of each stage.

    Raises:
        InputError: ``out`` holds something else, or the disk is too small.
        DataError: Not one clip could be used.
    """
    raw.mesh.check(data.n_vertices, f"the raw data set {data.name}")
    split_of = splits.assign(raw.clips, data.splits)
    clips = [c for c in raw.clips if options.keep_unused or split_of[c.name] != splits.UNUSED]
    if not clips:
        raise _no_clips_error(raw.problems, "no raw clip belongs to a split")
    writer = PreparedWriter(out, overwrite=overwrite, recipe=_recipe(raw, data, options, regions))
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
        "holes": f"up to {options.fill_seconds:g} s filled in a straight line, longer ones split "
        "the clip",
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
    """Write every clip that is not there yet, of ``n``; how many of them changed anything.

    Speech is decoded one clip ahead, while the disk is busy with vertices.
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
    """Stamp of everything that every clip, or the table as a whole, depends on."""
    digest = hashlib.sha256(data.model_dump_json().encode() + options.model_dump_json().encode())
    digest.update(f"{raw.fps} {raw.first_number} {regions.infer}".encode())
    arrays = [("faces", raw.mesh.topology.triangles), *raw.mesh.templates.items()]
    for name, array in [*arrays, *regions.named.items()]:
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _refuse_changes(writer: PreparedWriter, clips: list[RawClip], pending: list[RawClip]) -> None:
    """A finished data set may grow; clips that it has are replaced only when asked for."""
    if writer.finished is None:
        return
    existing = {entry.source for entry in writer.finished.clips}
    changed = [clip.name for clip in pending if clip.name in existing]
    removed = sorted(existing - {clip.name for clip in clips})
    for names, what in ((changed, "have changed in the raw data or here"), (removed, "are gone")):
        if names:
            raise InputError(
                f"{writer.folder} is prepared, but {len(names)} of its clips {what} since "
                f"({names[0]}{', …' if len(names) > 1 else ''}); give `overwrite` to prepare all "
                "again, or another folder"
            )


def _prepare_clip(
    job: PreparationJob, clip: RawClip, split: str, audio_future: _AudioFuture
) -> bool:
    """Write one raw clip, in parts where it has long holes; whether that changed anything."""
    problems: list[Problem]
    try:
        if clip.subject not in job.raw.mesh.templates:
            raise DataError(f"{clip.subject} has no template, or one with NaN")
        speech, problems = audio_future.result()
        with clip.open() as frames:
            _write_parts(job, clip, split, frames, speech, problems)
    except OutputError:
        raise
    except CodeTalkerError as error:
        job.writer.abandon()
        problems = [Problem(clip.name, "broken", str(error))]
        if job.writer.done.get(clip.name) == ClipRecord(clip.stamp, (), tuple(problems)):
            return False  # as broken as before
    job.writer.close(clip.name, clip.stamp, problems)
    return True


def _read_audio(clip: RawClip) -> tuple[RawAudio, list[Problem]]:
    """A clip's speech at 16 kHz within ±1, and what had to be done to it."""
    speech, problems = clip.read_audio(), []
    peak = float(np.abs(speech.samples).max(initial=0.0))
    samples = audio.resample(speech.samples, speech.rate, audio.SAMPLE_RATE)
    if peak > 1.0:
        reason = f"its loudest sample is {peak:.3g} of full scale; made quieter as a whole"
        problems.append(Problem(clip.name, "audio", reason))
    # Band-limiting may overshoot by a little.
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
        raise DataError("it has no frame")
    start = timeline.speech_start(frames.numbers, job.raw.first_number, fps_in, speech.seconds)
    problems += _describe_holes(clip.name, parts, start, fps_in)
    for index, part in enumerate(parts):
        seconds = (part.last - part.first + 1) / fps_in
        name = clip.name if len(parts) == 1 else f"{clip.name}_part{index + 1}"
        if len(parts) > 1 and seconds < job.options.min_seconds:
            reason = f"{name}: {seconds:.2f} s between two holes are too short, left out"
            problems.append(Problem(clip.name, "hole", reason))
            continue
        begin = round((part.first - start) / fps_in * audio.SAMPLE_RATE)
        # The last part, or the whole clip, keeps whatever follows its motion.
        end = len(speech.samples)
        if index + 1 < len(parts):
            end = min(end, round((part.last + 1 - start) / fps_in * audio.SAMPLE_RATE))
        samples = speech.samples[begin:end]
        if not len(samples):
            reason = f"{name}: there is no sound for its {seconds:.2f} s of motion, left out"
            problems.append(Problem(clip.name, "length", reason))
            continue
        n_frames = part.n_frames(fps_in, job.fps)
        if n_frames < MIN_FRAMES:
            problems.append(Problem(clip.name, "length", f"{name}: {n_frames} frame is no motion"))
            continue
        problems += _check_length(
            clip.name, name, len(samples) / audio.SAMPLE_RATE, n_frames, job.fps
        )
        job.writer.add(
            NewClip(
                name=name,
                subject=clip.subject,
                split=split,
                vertices=_vertex_blocks(frames, part, job),
                samples=samples,
                text=clip.text,
                n_frames=n_frames,
                sentence=clip.sentence,
                source=clip.name,
            )
        )
    if not job.writer.n_pending:
        raise DataError(f"no piece of it can be used: {problems[-1].reason}")


def _describe_holes(clip: str, parts: list[ClipPart], start: int, fps: float) -> list[Problem]:
    reasons = []
    if parts[0].first > start:
        reasons.append(f"frames {start} to {parts[0].first - 1} are missing at its start")
    for part in parts:
        if part.filled:
            reasons.append(f"frames {_ranges(part.filled)} are missing, filled")
    for before, after in itertools.pairwise(parts):
        gap = (after.first - before.last - 1) / fps
        reasons.append(
            f"frames {before.last + 1} to {after.first - 1} are missing ({gap:.2f} s): split there"
        )
    return [Problem(clip, "hole", reason) for reason in reasons]


def _ranges(numbers: tuple[int, ...]) -> str:
    """``7, 9-11`` for people."""
    runs = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _check_length(clip: str, name: str, seconds: float, n_frames: int, fps: float) -> list[Problem]:
    motion_seconds = n_frames / fps
    difference = seconds - motion_seconds
    if abs(difference) <= 1 / fps + ROUNDING_SECONDS:
        return []
    reason = (
        f"{name}: {seconds:.3f} s of sound, {motion_seconds:.3f} s of motion ({difference:+.3f} s)"
    )
    return [Problem(clip, "length", reason)]


def _vertex_blocks(frames: Frames, part: ClipPart, job: PreparationJob) -> Iterator[np.ndarray]:
    """The part's vertices at the wanted rate, some at a time."""
    n_vertices = job.raw.mesh.topology.n_vertices
    size = max(1, BLOCK_BYTES // (n_vertices * 12))
    for samples in timeline.sample_blocks(frames.numbers, part, job.raw.fps, job.fps, size):
        positions = np.union1d(samples.before, samples.after)
        vertices = frames.read(positions)
        if vertices.shape[1:] != (n_vertices, 3):
            raise DataError(f"a frame is {vertices.shape[1:]}, expected ({n_vertices}, 3)")
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
            raise DataError(f"frame {number} has NaN or infinite vertices; mend or remove the clip")
        yield block


def _describe_frame_rate(fps_in: float, fps_out: float) -> str:
    ratio = fps_in / fps_out
    if ratio == 1:
        return f"{fps_out:g} a second, as captured"
    if abs(ratio - round(ratio)) < 1e-9:
        return (
            f"{fps_out:g} a second: one of every {round(ratio)} of the captured {fps_in:g}, "
            "untouched"
        )
    return f"{fps_out:g} a second, blended from {fps_in:g}"


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
    first = f"{problems[0].clip}: {problems[0].reason}" if problems else "the folder holds none"
    return DataError(f"not one clip could be prepared ({reason or first})")
