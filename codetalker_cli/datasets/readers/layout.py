"""Read the folder layout that the reference's preparation scripts produce.

- ``vertices_npy/SUBJECT_SENTENCE.npy``   (T, 3V) or (T, V, 3), in the unit and at the frame rate
  of the data set
- ``wav/SUBJECT_SENTENCE.wav``            speech
- ``templates.pkl``                       [subject] → (V, 3)
- a mesh file with the triangles
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
    """Return whether a folder was prepared by the reference's scripts."""
    return (root / MOTION).is_dir()


def read_layout(
    root: Path,
    data: DataSettings,
    fps: float,
    mesh_names: Sequence[str],
    given: Path | None,
    source: str,
) -> RawDataSet:
    """Open a folder that was prepared by the reference's scripts.

    Args:
        root: The folder.
        data: The settings of the data set.
        fps: The frame rate of the files.
        mesh_names: The possible names of the mesh file.
        given: A path to use instead of searching for the mesh file, or None.
        source: Where users can get the mesh file, for the error message.

    Returns:
        The clips and the templates, in the unit and axes of the files.

    Raises:
        InputError: A file or folder is missing.
        DataError: A file is damaged or unsafe, or has a different topology.
    """
    mesh_file = find_file(root, mesh_names, given)
    origin = "the reference's preparation"
    refuse_missing(
        root,
        {
            SPEECH: ((root / SPEECH).is_dir(), origin),
            TEMPLATES: ((root / TEMPLATES).exists(), origin),
            str(given or mesh_names[0]): (mesh_file is not None, source),
        },
    )
    assert mesh_file is not None
    mesh = read_mesh(root / TEMPLATES, mesh_file, data)
    # The unit "m" and the default axes leave the numbers unchanged.
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
        "captured": f"{fps:g} frames per second",
    }
    return replace(raw, mesh=mesh, notes=notes)


def find_file(root: Path, names: Sequence[str], given: Path | None = None) -> Path | None:
    """Find a file in a raw folder, its ``templates`` folder or its parent folder.

    Args:
        root: The raw folder.
        names: The possible names of the file.
        given: A path to use instead of searching, or None.

    Returns:
        The path of the first match, or None if there is none.
    """
    if given is not None:
        return given if given.is_file() else None
    for folder in (root, root / "templates", root.parent):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None


def refuse_missing(root: Path, wanted: Mapping[str, tuple[bool, str]]) -> None:
    """Raise an error that lists everything that a raw folder lacks.

    Args:
        root: The raw folder.
        wanted: For each required part, whether it exists and where users can get it.

    Raises:
        InputError: A part is missing.
    """
    missing: dict[str, list[str]] = {}
    for what, (is_there, source) in wanted.items():
        if not is_there:
            missing.setdefault(source, []).append(what)
    if missing:
        listing = "; ".join(
            f"{', '.join(what)} (from {source})" for source, what in missing.items()
        )
        status = "missing" if root.is_dir() else "no such folder; it must contain"
        raise InputError(f"{root}: {status} {listing}")
