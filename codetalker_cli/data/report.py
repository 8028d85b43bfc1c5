"""report.txt of a prepared data set: what is in it, and everything that was not as expected."""

from collections.abc import Sequence

from codetalker_cli.data.prepared import Manifest
from codetalker_cli.data.raw_clips import Problem

TITLES = {
    "missing": "missing: not in the raw data (public data sets lack some clips)",
    "broken": "broken: in the raw data, but unusable; mend them and run the command again",
    "hole": "holes: frames missing within a clip",
    "length": "length: sound and motion last differently by more than a frame",
    "audio": "audio: mended while it was read",
    "unit": "unit: faces of an unlikely size",
}


def text(manifest: Manifest, problems: Sequence[Problem]) -> str:
    """The report, in lines."""
    topology = manifest.topology
    lines = [
        f"{manifest.name}: {len(manifest.clips)} clips, {manifest.fps:g} frames a second, unit "
        f"{manifest.unit}, {topology['n_vertices']} vertices, {topology['n_faces']} triangles",
        "",
        *(f"{key}: {_shown(value)}" for key, value in manifest.notes.items() if value),
        "",
        "splits:",
    ]
    for name, row in manifest.splits.items():
        subjects = row["subjects"]
        lines.append(
            f"  {name}: {row['clips']} clips, {row['frames']} frames, "
            f"{len(subjects)} subjects ({', '.join(subjects)})"
        )
    for kind, heading in TITLES.items():
        rows = [p for p in problems if p.kind == kind]
        if rows:
            lines += ["", f"{heading} ({len(rows)})", *(f"  {p.clip}: {p.reason}" for p in rows)]
    if not problems:
        lines += ["", "nothing was missing or broken"]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
