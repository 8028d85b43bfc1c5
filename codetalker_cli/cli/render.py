"""``codetalker render``: motions in, a video of them side by side out."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.options import AsJson, Assignments, Config, Overwrite
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.workspace import META

if TYPE_CHECKING:
    from codetalker_cli.datasets.face_lookup import FaceCandidate, FaceSource
    from codetalker_cli.motion import Motion
    from codetalker_cli.render import Panel, RenderSettings

PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of --out that mean a contact sheet."""
N_TILES = 8
"""Frames on a contact sheet."""

logger = logging.getLogger(__name__)

Motions = Annotated[
    list[Path],
    typer.Argument(
        help="Motion (.npz, or .npy of (frames, vertices, 3) or (frames, 3 vertices)); several "
        "stand side by side.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Video (.mp4, .mov, .mkv, .webm), or a contact sheet (.png, .jpg); default beside "
        "the first motion.",
    ),
]
Audio = Annotated[
    Path | None, typer.Option(help="Recording to be heard; default the first motion's own.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="Above each motion, in order; default file names."),
]
Heat = Annotated[
    bool, typer.Option("--heat", help="Also show how far each motion is from the first.")
]
View = Annotated[str | None, typer.Option(help="front, three-quarter, profile, mouth.")]
Background = Annotated[
    str | None, typer.Option(help="black, white, transparent (.mov, .webm, .png), #rrggbb.")
]
Size = Annotated[int | None, typer.Option(help="Width and height of a panel in pixels.")]
Fps = Annotated[
    float | None, typer.Option(help="Frames a second of all; also of .npy that tells none.")
]
RendererName = Annotated[str | None, typer.Option(help="auto, software, pyrender.")]
Data = Annotated[Path | None, typer.Option(help="Of .npy: prepared data set.")]
Given = Annotated[
    str | None,
    typer.Option("--mesh", help="Of .npy: a checkpoint, or a neutral face (.ply, .obj)."),
]
Templates = Annotated[Path | None, typer.Option(help="Of .npy, beside --mesh: templates.pkl.")]
Subject = Annotated[
    str | None, typer.Option(help="Of .npy: whose face; default as the name begins.")
]


def render(
    motions: Motions,
    out: Out = None,
    audio: Audio = None,
    labels: Labels = None,
    heat: Heat = False,
    view: View = None,
    background: Background = None,
    size: Size = None,
    fps: Fps = None,
    renderer: RendererName = None,
    data: Data = None,
    mesh: Given = None,
    templates: Templates = None,
    subject: Subject = None,
    config: Config = None,
    assignments: Assignments = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show motions side by side: in a video or on a sheet."""
    from codetalker_cli.presets import resolve_sections

    flags = {"view": view, "background": background, "size": size, "renderer": renderer}
    flags = {f"render.{key}": value for key, value in flags.items()}
    settings = resolve_sections(["render"], config, assignments or (), flags).sections["render"]
    target = _target(out, motions[0], settings, overwrite)
    if fps is not None and not 1 <= fps <= 240:
        raise InputError(f"--fps {fps:g}: expected 1 to 240 frames a second")
    face_lookup = _Faces(data, mesh, templates, subject)
    if any(face_lookup) and not any(path.suffix == ".npy" for path in motions):
        raise InputError("--data, --mesh, --templates, --subject are for .npy: .npz has its face")
    shown = _panels([_read(path, face_lookup, fps) for path in motions], motions, labels, heat)
    if audio is not None:
        if not audio.is_file():
            raise InputError(f"--audio {audio}: no such file")
        shown[0] = replace(shown[0], motion=replace(shown[0].motion, audio_path=audio))
    made = _write(shown, target, settings, overwrite)
    result = {"out": str(target), "motions": [str(path) for path in motions], **made}
    beside = f"{len(shown)} side by side, " * (len(shown) > 1)
    seconds = made["frames"] / made["fps"]
    line = f"{target}: {beside}{made['frames']} frames, {seconds:.1f} s"
    console.give(result, as_json=as_json, line=line)


def _target(out: Path | None, first: Path, settings: "RenderSettings", overwrite: bool) -> Path:
    """Where the result goes; what cannot be written there is told before any work."""
    from codetalker_cli.files import check_output
    from codetalker_cli.render.video import check_target
    from codetalker_cli.settings.render import TRANSPARENT

    transparent = settings.background == TRANSPARENT
    target = first.with_suffix(".mov" if transparent else ".mp4") if out is None else out
    suffix = target.suffix.lower()
    if suffix not in PICTURES:
        check_target(target, settings)
    elif transparent and suffix != ".png":
        raise InputError(f"{target}: a {suffix} picture cannot be transparent; give .png")
    elif target.is_dir():
        raise InputError(f"{target} is a folder; give the name of a picture")
    check_output(target, overwrite=overwrite)
    return target


class _Faces(NamedTuple):
    """What the flags say about the faces of bare vertices."""

    data: Path | None
    mesh: str | None
    templates: Path | None
    subject: str | None

    def of(self, path: Path, n_vertices: int) -> "FaceSource":
        """Faces of a motion's file, as the flags say or from all that are known here."""
        from codetalker_cli.datasets import face_lookup

        if self.data is not None and self.mesh is not None:
            raise InputError("--data and --mesh both give the faces; give one of them")
        if self.templates is not None and self.mesh is None:
            raise InputError(f"--templates {self.templates}: give the triangles beside it, --mesh")
        if self.data is not None:
            return face_lookup.data_set_candidate(self.data).load()
        if self.mesh is not None:
            if Path(self.mesh).suffix.lower() in (".ply", ".obj"):
                found = face_lookup.of_mesh_file(Path(self.mesh))
            else:
                found = _of_checkpoint(self.mesh).load()
            if self.templates is not None:
                found = face_lookup.with_templates(found, self.templates)
            return found
        around = face_lookup.data_set_around(path)
        known = [] if around is None else [around]
        known += [*_checkpoints(bundled=True), *face_lookup.data_set_candidates()]
        if not any(one.n_vertices == n_vertices for one in known):
            known += _checkpoints(bundled=False)
        found = face_lookup.choose(known, path, n_vertices, self.subject)
        logger.info("%s: faces of %s", path, found.origin)
        return found


def _checkpoints(*, bundled: bool) -> "list[FaceCandidate]":
    """Faces of the bundled voice, or of all other checkpoints under runs/."""
    from codetalker_cli.models import checkpoint

    own = checkpoint.bundled()
    names = own if bundled else [name for name in checkpoint.available() if name not in own]
    known = []
    for name in names:
        try:
            known.append(_of_checkpoint(name))
        except CodeTalkerError:
            continue
    return known


def _of_checkpoint(name: str) -> "FaceCandidate":
    """The faces that a checkpoint holds, not read yet."""
    import yaml

    from codetalker_cli.datasets.face_lookup import FaceCandidate, FaceSource
    from codetalker_cli.errors import CheckpointError
    from codetalker_cli.models import checkpoint
    from codetalker_cli.topology import Mesh

    folder = checkpoint.find(name)
    path = folder / checkpoint.MESH
    if not path.is_file():
        raise CheckpointError(f"{folder}: holds no faces; give --data PREPARED, or a mesh file")
    try:
        facts = yaml.safe_load((folder / checkpoint.SETTINGS).read_text("utf-8"))["data"]
        n_vertices, fps = int(facts["n_vertices"]), float(facts["fps"])
        subjects = tuple(json.loads((folder / META).read_text("utf-8"))["subjects"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{folder}: damaged checkpoint ({error!r})") from error
    origin = f"checkpoint {name}"
    return FaceCandidate(
        origin, n_vertices, subjects, lambda: FaceSource(Mesh.load(path), fps, origin)
    )


def _read(path: Path, face_lookup: _Faces, fps: float | None) -> "Motion":
    """A motion at the rate asked for, its vertices still on the disk."""
    from codetalker_cli.datasets.face_lookup import motion_of
    from codetalker_cli.formats.predictions import SUFFIXES, read_vertices
    from codetalker_cli.motion import Motion

    if path.suffix == ".npz":
        motion = Motion.load(path)
    elif path.suffix == ".npy":
        vertices = read_vertices(path)
        found = face_lookup.of(path, vertices.shape[1])
        motion = motion_of(path, vertices, found, face_lookup.subject, fps)
    else:
        raise InputError(f"{path}: a motion is {' or '.join(SUFFIXES)}, not {path.suffix!r}")
    return motion if fps is None else motion.at_fps(fps)


def _panels(
    motions: "list[Motion]", paths: list[Path], labels: list[str] | None, heat: bool
) -> "list[Panel]":
    from codetalker_cli.render import Panel

    if labels and len(labels) != len(paths):
        raise InputError(f"--label: {len(labels)} labels for {len(paths)} motions; give one each")
    if heat and len(paths) < 2:
        raise InputError("--heat shows the distance from the first motion: give two or more")
    names = labels or [path.stem if len(paths) > 1 else "" for path in paths]
    shown = [
        Panel(motion, name, origin=str(path))
        for motion, name, path in zip(motions, names, paths, strict=True)
    ]
    if heat:
        several = len(shown) > 2
        shown += [
            replace(
                panel,
                label=f"{panel.label}: distance" if several else f"distance to {names[0]}",
                against=motions[0],
            )
            for panel in shown[1:]
        ]
    return shown


def _write(
    shown: "list[Panel]", target: Path, settings: "RenderSettings", overwrite: bool
) -> dict[str, Any]:
    """Make the video or the sheet; what was made, for the report."""
    from codetalker_cli.files import atomic_path
    from codetalker_cli.render import contact_sheet, render_video
    from codetalker_cli.render.panels import as_panels, n_frames

    facts: dict[str, Any] = {"panels": len(shown), "fps": shown[0].motion.fps}
    if target.suffix.lower() not in PICTURES:
        with console.bars() as stage:
            made = render_video(shown, target, settings, stage("render"), overwrite=overwrite)
        facts |= {"renderer": made.renderer, "size": list(made.size), "sound": made.has_sound}
        return {**facts, "frames": made.n_frames, "seconds": round(made.seconds, 3)}
    from PIL import Image

    count = n_frames(as_panels(shown))
    n_tiles = min(N_TILES, count)
    tiles = [round(k * (count - 1) / max(1, n_tiles - 1)) for k in range(n_tiles)]
    with atomic_path(target, overwrite) as temporary:
        sheet = contact_sheet(shown, settings, tiles)
        Image.fromarray(sheet).save(temporary)
    size = [sheet.shape[1], sheet.shape[0]]
    return {**facts, "size": size, "tiles": tiles, "frames": count}
