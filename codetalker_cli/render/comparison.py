"""Motions side by side: which panels they become, and the file that shows them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codetalker_cli.errors import InputError
from codetalker_cli.files import atomic_path, check_output
from codetalker_cli.media import has_stream
from codetalker_cli.motion import Motion
from codetalker_cli.progress import Progress
from codetalker_cli.render.footage import Footage, is_footage
from codetalker_cli.render.panels import Panel, as_panels, n_frames
from codetalker_cli.render.stills import contact_sheet
from codetalker_cli.render.video import check_target, render_video
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import TRANSPARENT

PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of files that receive a contact sheet."""
N_TILES = 8
"""Frames on a contact sheet."""


@dataclass(frozen=True)
class Written:
    """A video or a contact sheet.

    Attributes:
        n_panels: Panels side by side.
        n_frames: Frames of the video, or of the motions that the sheet samples.
        fps: Frames per second of the motions.
        facts: What else is reported: renderer, size, sound and seconds of a video, size and tiles
            of a sheet.
    """

    n_panels: int
    n_frames: int
    fps: float
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "panels": self.n_panels,
            "fps": self.fps,
            **self.facts,
            "frames": self.n_frames,
        }


def choose_target(
    out: Path | None, shown: Sequence[Path], settings: RenderSettings, *, overwrite: bool
) -> Path:
    """Return the file that motions are drawn into, checked before any work is done.

    Args:
        out: The file; None: a video next to the first motion.
        shown: The files of the motions and filmed videos.
        settings: A transparent background needs a container that can store it.
        overwrite: Replace an existing file.

    Raises:
        RenderError: An ending that does not fit.
        InputError: There is no motion, or the file is one of those shown, exists, is a folder, or
            cannot be written.
    """
    motions = [path for path in shown if not is_footage(path)]
    if not motions:
        raise InputError(f"{shown[0]} is a video; give the motions to show beside it, too")
    transparent = settings.background == TRANSPARENT
    target = motions[0].with_suffix(".mov" if transparent else ".mp4") if out is None else out
    suffix = target.suffix.lower()
    if suffix not in PICTURES:
        check_target(target, settings)
    elif transparent and suffix != ".png":
        raise InputError(f"{target}: a {suffix} picture cannot be transparent; give .png")
    elif target.is_dir():
        raise InputError(f"{target} is a folder; give the name of a picture")
    if any(target.exists() and path.exists() and target.samefile(path) for path in shown):
        raise InputError(f"`out` {target}: is one of the files to show; give another name")
    check_output(target, overwrite=overwrite)
    return target


@dataclass(frozen=True)
class Comparison:
    """Motions side by side, and filmed videos between or beside them."""

    panels: list[Panel]
    footage: list[Footage]

    @property
    def n_columns(self) -> int:
        """The number of pictures side by side."""
        return len(self.panels) + len(self.footage)


def compare(
    motions: Sequence[Motion],
    paths: Sequence[Path],
    *,
    labels: Sequence[str] | None = None,
    heat: bool = False,
    audio: Path | None = None,
) -> Comparison:
    """Return the panels that show motions and videos side by side, in the order of their files.

    Args:
        motions: At least one.
        paths: Their files, which name them, and those of filmed videos among them.
        labels: Text above each motion; None: the names of the files, if there are several.
        heat: Also show how far each motion is from the first.
        audio: Recording, or video with one, to be heard; None: that of the first motion that has
            one, else that of the first filmed video.

    Raises:
        InputError: Another number of labels than files, heat of a single motion, a recording
            that does not exist, or a video that cannot be read.
    """
    if labels and len(labels) != len(paths):
        raise InputError(f"`labels`: {len(labels)} labels for {len(paths)} motions; give one each")
    if heat and len(motions) < 2:
        raise InputError("`heat` shows the distance from the first motion: give two motions")
    if audio is not None and not audio.is_file():
        raise InputError(f"`audio` {audio}: no such file")
    if audio is not None and is_footage(audio) and not has_stream(audio, "a"):
        raise InputError(f"`audio` {audio}: the video has no sound")
    names = labels or [path.stem if len(paths) > 1 else "" for path in paths]
    panels, footage, left = [], [], iter(motions)
    for column, (path, name) in enumerate(zip(paths, names, strict=True)):
        if is_footage(path):
            footage.append(Footage.open(path, name, column))
        else:
            panels.append(Panel(next(left), name, origin=str(path)))
    if heat:
        several = len(panels) > 2
        panels += [
            replace(
                panel,
                label=f"{panel.label}: distance" if several else f"distance to {panels[0].label}",
                against=motions[0],
            )
            for panel in panels[1:]
        ]
    filmed = next((one.path for one in footage if one.has_sound), None)
    if audio is None and not any(m.audio_path or m.audio is not None for m in motions):
        audio = filmed
    if audio is not None:
        panels[0] = replace(panels[0], motion=replace(panels[0].motion, audio_path=audio))
    return Comparison(panels, footage)


def write(
    shown: Comparison,
    target: Path,
    settings: RenderSettings,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> Written:
    """Draw a comparison into a video, or into a contact sheet if the target is a picture.

    Raises:
        RenderError: The motions cannot be drawn.
        InputError: The target exists or cannot be written.
    """
    panels, footage = shown.panels, shown.footage
    fps = panels[0].motion.fps
    if target.suffix.lower() not in PICTURES:
        video = render_video(
            panels, target, settings, progress, footage=footage, overwrite=overwrite
        )
        facts = {"renderer": video.renderer, "size": list(video.size), "sound": video.has_sound}
        facts["seconds"] = round(video.seconds, 3)
        return Written(shown.n_columns, video.n_frames, fps, facts)
    from PIL import Image

    count = n_frames(as_panels(panels))
    n_tiles = min(N_TILES, count)
    tiles = [round(k * (count - 1) / max(1, n_tiles - 1)) for k in range(n_tiles)]
    with atomic_path(target, overwrite) as temporary:
        sheet = contact_sheet(panels, settings, tiles, footage=footage)
        Image.fromarray(sheet).save(temporary)
    facts = {"size": [sheet.shape[1], sheet.shape[0]], "tiles": tiles}
    return Written(shown.n_columns, count, fps, facts)
