"""Write a prepared folder clip by clip; an interrupted run loses at most one clip.

Every file is written to a temporary name and then renamed. The next run reads from ``journal``
which clips are finished.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio
from codetalker_cli.datasets import journal
from codetalker_cli.datasets.clip_files import is_complete, link_or_copy, write_blocks
from codetalker_cli.datasets.journal import ClipRecord
from codetalker_cli.datasets.manifest import UNFINISHED, ClipEntry, Manifest, read_manifest
from codetalker_cli.datasets.prepared import (
    FILM_SHEET,
    MESH,
    REPORT,
    TRACKS,
    audio_path,
    vertices_path,
)
from codetalker_cli.datasets.raw_clips import Problem
from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.files import atomic_path, check_output, remove_leftovers
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import MANIFEST

_OWN = {"clips", "audio", "speech", MESH, REPORT, MANIFEST, UNFINISHED, "check.png"}
_OWN |= {TRACKS, FILM_SHEET}
"""The entries of a prepared folder; ``speech`` is the speech of a synthetic data set."""
_SAFE_NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]{0,150}")


@dataclass(frozen=True)
class NewClip:
    """A clip to write.

    Attributes:
        name: The name of the clip.
        subject: The subject that moves.
        split: The split that the clip belongs to.
        vertices: (T, V, 3), or blocks (k, V, 3) with ``n_frames`` frames in total.
        samples: (n,) float32 speech at 16 kHz, within ±1.
        text: The spoken text.
        n_frames: T; required if ``vertices`` are blocks.
        sentence: The name of the sentence.
        source: The raw clip that the clip is a part of; ``PreparedWriter.close`` must be called
            after its last part. Empty: the clip is complete by itself.
    """

    name: str
    subject: str
    split: str
    vertices: np.ndarray | Iterable[np.ndarray]
    samples: np.ndarray
    text: str = ""
    n_frames: int | None = None
    sentence: str = ""
    source: str = ""


@dataclass(frozen=True)
class DataSetFacts:
    """The facts about a data set that its manifest contains.

    Attributes:
        name: The name of the data set.
        fps: The frame rate of the motion, in frames per second.
        train_subjects: The training subjects, in the order of the styles.
    """

    name: str
    fps: float
    train_subjects: Sequence[str]


class PreparedWriter:
    """Writes a prepared folder, which becomes a data set with ``finish``.

    An older data set in the folder stays unchanged until the first clip has been written.

    Args:
        folder: The prepared folder; it is created if needed.
        overwrite: Whether to replace a finished data set in the folder.
        recipe: A hash of the settings and faces; a folder with the same recipe is resumed.
            Empty: always start from scratch.

    Attributes:
        finished: The finished data set in the folder, if clips can be added to it; otherwise None.
        done: The record of each finished raw clip, from this run or an earlier one.

    Raises:
        InputError: The folder contains a data set with a different recipe or unrelated files, or is
            not writable.
    """

    def __init__(self, folder: Path, *, overwrite: bool, recipe: str = "") -> None:
        self.folder = folder
        self.recipe = recipe
        self.finished: Manifest | None = None
        self.done: dict[str, ClipRecord] = {}
        self._existed = folder.exists()
        self._replaced = journal.clip_names_of(folder) if overwrite else set[str]()
        if (folder / MANIFEST).exists() and not overwrite:
            self.finished = self._matching_manifest(recipe)
            self.done = journal.records_of(self.finished)
        replaces = (folder / MANIFEST).exists() and overwrite
        if (folder / UNFINISHED).exists() and not replaces:
            state = journal.read(folder)
            self._replaced |= state.replaces
            if recipe and state.recipe == recipe:
                self.done |= state.done
        elif not (folder / MANIFEST).exists() and self._has_files():
            raise InputError(
                f"{folder}: contains clips/*.npy or audio/*.wav, but no prepared data set; "
                "give an empty or a new folder"
            )
        elif not (folder / MANIFEST).exists():
            refuse_foreign(folder)
        check_output(folder / MANIFEST, overwrite=True)
        self._has_begun = False
        self._pending: list[ClipEntry] = []
        self._added: set[str] = set()
        self._source_of_name = {
            entry.name.casefold(): source
            for source, record in self.done.items()
            for entry in record.entries
        }

    def _matching_manifest(self, recipe: str) -> Manifest:
        """Return the manifest of the finished data set, if it has the same recipe."""
        refusal = "give `overwrite` to replace it, or another folder"
        if not recipe:
            raise InputError(f"{self.folder}: already contains a prepared data set; {refusal}")
        manifest = read_manifest(self.folder)
        if manifest.recipe != recipe:
            raise InputError(
                f"{self.folder}: already contains a prepared data set, made with different "
                f"settings, templates or regions; {refusal}"
            )
        return manifest

    def _has_files(self) -> bool:
        paths = [*self.folder.glob("clips/*.npy"), *self.folder.glob("audio/*.wav")]
        return any(not path.name.startswith(".") for path in paths)

    @property
    def is_finished(self) -> bool:
        """Whether the folder contains a finished data set and no clip has been added since."""
        return self.finished is not None and not (self.folder / UNFINISHED).exists()

    def has(self, source: str, stamp: str) -> bool:
        """Return whether a raw clip with this stamp is prepared and its files are complete."""
        record = self.done.get(source)
        return (
            record is not None
            and record.stamp == stamp
            and bool(record.entries)
            and all(is_complete(self.folder, entry) for entry in record.entries)
        )

    def _begin(self) -> None:
        self._has_begun = True
        journal.begin(self.folder, self.recipe, self._replaced, self.done)
        if self.finished is None:  # a growing data set stays readable
            (self.folder / MANIFEST).unlink(missing_ok=True)

    def add(self, clip: NewClip) -> ClipEntry:
        """Write one clip.

        Raises:
            DataError: The name is not a safe file name, or another clip has the same name.
            OutputError: The files cannot be written.
        """
        import soundfile

        name, vertices, n_frames = clip.name, clip.vertices, clip.n_frames
        if not clip.source and name in self._added:
            raise DataError(f"two clips are named {name}; rename one of them")
        self._added.add(name)
        raw_clip = clip.source or name
        self._claim(name, raw_clip)
        if isinstance(vertices, np.ndarray):
            vertices, n_frames = [vertices], len(vertices)
        assert n_frames is not None
        with atomic_path(vertices_path(self.folder, name)) as temporary:
            digest = write_blocks(temporary, vertices, n_frames)
            if not self._has_begun:
                self._begin()
        pcm = np.clip(np.rint(clip.samples * 32768.0), -32768, 32767).astype(np.int16)
        with atomic_path(audio_path(self.folder, name)) as temporary:
            soundfile.write(temporary, pcm, audio.SAMPLE_RATE, subtype="PCM_16")
        pcm_sha256 = hashlib.sha256(pcm.tobytes()).hexdigest()
        entry = ClipEntry(
            name=name,
            subject=clip.subject,
            split=clip.split,
            n_frames=n_frames,
            sha256=digest,
            text=clip.text,
            sentence=clip.sentence,
            n_samples=len(pcm),
            audio_sha256=pcm_sha256,
            source=raw_clip,
        )
        self._pending.append(entry)
        if not clip.source:
            self.close(name, "", ())
        return entry

    def adopt(self, entry: ClipEntry, folder: Path) -> None:
        """Add a clip of another prepared data set: link its files, or copy them.

        Args:
            entry: The row of the clip.
            folder: The other prepared folder.

        Raises:
            DataError: Another clip has the same name, or a file of the clip is missing or too
                short.
            OutputError: The files cannot be written.
        """
        name = entry.name
        if name in self._added:
            raise DataError(f"{folder}: another data set has a clip named {name}; rename one")
        self._added.add(name)
        self._claim(name, name)
        if not is_complete(folder, entry):
            raise DataError(f"{folder}: a file of the clip {name} is missing or too short")
        for path_of in (vertices_path, audio_path):
            with atomic_path(path_of(self.folder, name)) as temporary:
                link_or_copy(path_of(folder, name), temporary)
                if not self._has_begun:
                    self._begin()
        self._pending.append(replace(entry, source=name))
        self.close(name, "", ())

    def _claim(self, name: str, source: str) -> None:
        if not _SAFE_NAME.fullmatch(name):
            raise DataError(
                f"{name!r} is not a valid file name; rename the subject or the sentence"
            )
        # Some file systems ignore case.
        owner = self._source_of_name.setdefault(name.casefold(), source)
        if owner != source:
            raise DataError(
                f"the clip name {name} is already taken by {owner}; rename one of the raw clips"
            )

    def close(self, source: str, stamp: str, problems: Iterable[Problem]) -> None:
        """Record a raw clip as finished, with the parts written so far (none if it is broken)."""
        record = ClipRecord(stamp, tuple(self._pending), tuple(problems))
        self._pending = []
        self.done[source] = record
        if self._has_begun:
            journal.note(self.folder, source, record)

    @property
    def n_pending(self) -> int:
        """The number of parts of the current raw clip written so far."""
        return len(self._pending)

    def abandon(self) -> None:
        """Remove the parts of the current raw clip, because it is broken."""
        for entry in self._pending:
            vertices_path(self.folder, entry.name).unlink(missing_ok=True)
            audio_path(self.folder, entry.name).unlink(missing_ok=True)
        self._pending = []

    def discard(self) -> None:
        """Remove what this run created, because no clip could be written."""
        if self.finished is not None or self._has_files():
            return
        if self._has_begun:
            (self.folder / UNFINISHED).unlink(missing_ok=True)
        if (self.folder / MANIFEST).exists():
            return
        folders = [self.folder / "clips", self.folder / "audio"]
        for folder in [*folders, *([] if self._existed else [self.folder])]:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def finish(
        self,
        facts: DataSetFacts,
        mesh: Mesh,
        notes: Mapping[str, Any],
        *,
        splits: Mapping[str, str] | None = None,
        problems: Iterable[Problem] = (),
        report: Callable[[Manifest], str] | None = None,
    ) -> Manifest:
        """Write the mesh, the report and the manifest, and remove files of replaced clips.

        Args:
            facts: The name, frame rate and training subjects.
            mesh: The topology, templates and colors.
            notes: Facts about how the data set was made.
            splits: The split of each raw clip, in the order of the clip table; other raw clips are
                omitted. None: all clips, in the order and with the splits they were added with.
            problems: The problems of the data set in addition to those of its clips.
            report: A function that returns the text of report.txt; None: no report is written.
        """
        records = {source: self.done[source] for source in splits or self.done}
        entries = tuple(
            entry if splits is None else replace(entry, split=splits[source])
            for source, record in records.items()
            for entry in record.entries
        )
        all_problems = [
            *problems,
            *(problem for record in records.values() for problem in record.problems),
        ]
        with atomic_path(self.folder / MESH) as temporary:
            mesh.save(temporary)
        manifest = Manifest(
            name=facts.name,
            fps=facts.fps,
            train_subjects=tuple(facts.train_subjects),
            clips=entries,
            unit=mesh.topology.unit,
            topology=mesh.topology.summary(),
            subjects=tuple(mesh.templates),
            mesh_sha256=hashlib.sha256((self.folder / MESH).read_bytes()).hexdigest(),
            problems=tuple(asdict(problem) for problem in all_problems),
            sources={source: record.stamp for source, record in records.items() if record.stamp},
            recipe=self.recipe,
            notes=dict(notes),
        )
        self._remove_leftovers({entry.name for entry in entries})
        if report:
            with atomic_path(self.folder / REPORT) as temporary:
                temporary.write_text(report(manifest), encoding="utf-8")
        with atomic_path(self.folder / MANIFEST) as temporary:
            temporary.write_text(manifest.to_json(), encoding="utf-8")
        (self.folder / UNFINISHED).unlink(missing_ok=True)
        return manifest

    def _remove_leftovers(self, names: set[str]) -> None:
        """Remove replaced clips that are not in ``names``, and temporary files of killed runs."""
        for name in self._replaced - names:
            vertices_path(self.folder, name).unlink(missing_ok=True)
            audio_path(self.folder, name).unlink(missing_ok=True)
        for folder in (self.folder, self.folder / "clips", self.folder / "audio"):
            remove_leftovers(folder)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder with entries that a data set does not have, such as a home folder.

    Raises:
        InputError: The folder contains such an entry.
    """
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    others = sorted(name for name in names if name not in _OWN and not name.startswith("."))
    if others:
        raise InputError(
            f"{folder}: contains {printable(others[0])}, which is not part of a prepared data set; "
            "give an empty or a new folder"
        )
