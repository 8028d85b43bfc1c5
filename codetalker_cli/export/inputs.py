"""Read the motions to export from files."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from codetalker_cli.datasets.motion_files import FaceOptions, check_fps, read_motions
from codetalker_cli.errors import InputError
from codetalker_cli.export.take import Take, make_take
from codetalker_cli.formats import predictions, rig_files
from codetalker_cli.outputs import check_inputs_kept
from codetalker_cli.rigs.posing import subject_of
from codetalker_cli.rigs.unit_files import check_path
from codetalker_cli.settings import SolveSettings
from codetalker_cli.text_files import check_file

SUFFIXES = (*predictions.SUFFIXES, *rig_files.SUFFIXES)
"""The suffixes of files that can be exported."""


@dataclass(frozen=True)
class TakeOptions:
    """The options that apply to all takes of a command.

    Attributes:
        faces: The faces of .npy files.
        fps: The frame rate that motions are converted to; None: their own.
        audio: The recording of a single motion, or None.
        units: The file or folder with the units of the faces, or None.
        solve: How unit weights are found.
    """

    faces: FaceOptions = field(default_factory=FaceOptions)
    fps: float | None = None
    audio: Path | None = None
    units: Path | None = None
    solve: SolveSettings | None = None

    def check(
        self, paths: Sequence[Path], outputs: Sequence[Path], others: Sequence[Path | None] = ()
    ) -> None:
        """Refuse options that do not apply to the files.

        Args:
            paths: The motion files.
            outputs: The outputs.
            others: Further inputs, which outputs must not replace.

        Raises:
            InputError: There is a recording, but several motions; an output would replace the
                recording or the units; or the units do not exist.
        """
        if self.fps is not None:
            check_fps(self.fps)
        faces = self.faces
        given = [self.audio, self.units, faces.data, faces.templates, *others]
        given += [] if faces.mesh is None else [Path(faces.mesh)]
        for out in outputs:
            check_inputs_kept(out, given)
        if self.audio is not None and len(paths) > 1:
            raise InputError(
                f"`audio` {self.audio}: one recording was given for {len(paths)} motions; export "
                "them one by one"
            )
        if self.audio is not None:
            check_file(self.audio)
        if self.units is not None:
            check_path(self.units)


def read_take(path: Path, options: TakeOptions) -> Take:
    """Read a motion file as a take.

    Raises:
        InputError: The file is missing or has an unknown type, or an option does not fit it.
        DataError: The file is damaged, or the units do not fit the face.
    """
    if path.suffix.lower() in rig_files.SUFFIXES:
        curves = rig_files.read_curves(path, options.fps)
        curves = curves if options.fps is None else curves.at_fps(options.fps)
        subject = options.faces.subject or subject_of(path.stem)
        sound = curves.audio_path if options.audio is None else options.audio
        return make_take(replace(curves, subject=subject, audio_path=sound), options.units)
    (motion,) = read_motions([path], options.faces, options.fps)
    if options.audio is not None:
        motion = replace(motion, audio_path=options.audio, audio=None)
    return make_take(motion, options.units, options.solve)
