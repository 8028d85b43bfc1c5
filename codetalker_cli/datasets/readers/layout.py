"""The layout that the reference's own preparation leaves: NAME.npy, NAME.wav, templates.pkl.

- ``vertices_npy/SUBJECT_SENTENCE.npy``   (T, 3V) or (T, V, 3), in the data set's own unit and rate
- ``wav/SUBJECT_SENTENCE.wav``
- ``templates.pkl``                       [subject] → (V, 3)
- a mesh file of the topology
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from codetalker_cli.datasets.raw_clips import RawDataSet
from codetalker_cli.datasets.readers.custom import read_custom
from codetalker_cli.errors import InputError
from codetalker_cli.formats.templates import read_mesh
from codetalker_cli.settings import CustomSettings, DataSettings

MOTION, SPEECH, TEMPLATES = "vertices_npy", "wav", "templates.pkl"


def is_layout(root: Path) -> bool:
    """Whether a folder has been prepared by the reference's scripts."""
    return (root / MOTION).is_dir()


def read_layout(
    root: Path,
    data: DataSettings,
    fps: float,
    mesh_names: Sequence[str],
    given: Path | None,
    source: str,
) -> RawDataSet:
    """Open such a folder.

    Args:
        root: The folder.
        data: Facts of the data set.
        fps: Frame rate of the files.
        mesh_names: Possible names of the mesh file.
        given: A mesh file that was given instead.
        source: Where the mesh file comes from.

    Raises:
        InputError: A file or folder is missing.
        DataError: A file is damaged, hostile, or of another topology.
    """
    mesh_file = find_file(root, mesh_names, given)
    origin = "the reference's preparation"
    refuse_missing(
        root,
        {
            SPEECH: ((root / SPEECH).is_dir(), origin),
            TEMPLATES: ((root / TEMPLATES).is_file(), origin),
            str(given or mesh_names[0]): (mesh_file is not None, source),
        },
    )
    assert mesh_file is not None
    mesh = read_mesh(root / TEMPLATES, mesh_file, data)
    # Numbers are kept as they are: unit and axes need no change.
    settings = CustomSettings(
        name=data.name,
        fps=fps,
        unit="m",
        motion=f"{MOTION}/*.npy",
        audio=SPEECH,
        templates=TEMPLATES,
        triangles=str(mesh_file.absolute()),
    )
    raw = read_custom(settings, root.absolute())
    notes = {
        "layout": f"{data.name}, prepared by the reference's scripts",
        "captured": f"{fps:g} frames a second",
    }
    return replace(raw, mesh=mesh, notes=notes)


def find_file(root: Path, names: Sequence[str], given: Path | None = None) -> Path | None:
    """The first of some files in a raw folder, in its ``templates`` folder or beside it.

    Args:
        root: The raw folder.
        names: Its possible names.
        given: A path that was given instead; it is taken as it is.
    """
    if given is not None:
        return given if given.is_file() else None
    for folder in (root, root / "templates", root.parent):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None


def refuse_missing(root: Path, wanted: Mapping[str, tuple[bool, str]]) -> None:
    """Refuse a raw folder that lacks something: everything that is missing, in one line.

    Args:
        root: The raw folder.
        wanted: What → whether it is there, and where it comes from.

    Raises:
        InputError: Something is not there.
    """
    missing: dict[str, list[str]] = {}
    for what, (is_there, source) in wanted.items():
        if not is_there:
            missing.setdefault(source, []).append(what)
    if missing:
        listing = "; ".join(
            f"{', '.join(what)} (from {source})" for source, what in missing.items()
        )
        where = "lacks" if root.is_dir() else "does not exist; it should hold"
        raise InputError(f"{root} {where}: {listing}")
