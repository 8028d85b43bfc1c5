"""Check the unit, axes, winding and lip region of the faces; report only clear cases."""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.datasets.inspect.findings import Findings, join_names
from codetalker_cli.datasets.inspect.statistics import Sample, Statistics
from codetalker_cli.datasets.lip_region import surfaces, vertex_areas
from codetalker_cli.datasets.prepared import MESH
from codetalker_cli.topology import Topology

_SIZES = (0.1, 0.6)
"""The plausible sizes in meters, from a part of a face to a head with neck and shoulders."""
_UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
_AREA = 0.02
"""The tolerance for the surface area of an ``area1`` face."""
# The value is 0.8 for a head and 0.6 for a patch of a face.
_OUTWARDS = 0.4
"""The winding is inferred only above this mean cosine of normals and outward direction."""
_ALONG = 0.95
"""The minimum cosine between the long axis of the lips and a coordinate axis."""
_AXES = "xyz"


def check_units(statistics: Statistics, findings: Findings) -> None:
    """Compare the declared unit with the size of the templates."""
    topology = statistics.topology
    if topology is None:
        return
    used = np.unique(topology.triangles)
    messages: dict[str, tuple[str, list[str]]] = {}  # keyed by advice, because sizes differ
    for name, template in statistics.templates.items():
        reach = float(np.ptp(template[used], axis=0).max())
        area = float(vertex_areas(template, topology.triangles).sum())
        if message := _unit_message(topology.unit, reach, area):
            advice, fact = message
            messages.setdefault(advice, (fact, []))[1].append(name)
    for advice, (fact, names) in messages.items():
        is_global = len(names) == len(statistics.templates)
        findings.problem("unit", MESH if is_global else join_names(names), f"{fact}{advice}")


def _unit_message(unit: str, reach: float, area: float) -> tuple[str, str] | None:
    """Return advice about the unit and the reason for it, or None if the unit is plausible."""
    has_unit_area = abs(area - 1) < _AREA
    if unit == "area1":
        advice = "; declare the true unit (data.unit), or scale each face to area 1"
        return (
            None
            if has_unit_area
            else (advice, f"the unit is area1, but the face has surface area {area:.4g}")
        )
    if has_unit_area:
        advice = "; declare area1 (data.unit), or scale the faces back"
        return advice, f"the unit is {unit}, but the face has surface area 1, like area1 faces"
    low, high = _SIZES
    if low <= reach * _UNITS[unit] <= high:
        return None
    fact = f"the unit is {unit}, but the face measures {reach:.4g} {unit}"
    fits = [name for name, meters in _UNITS.items() if low <= reach * meters <= high]
    if not fits:
        return ", which is not plausible in m, cm or mm; scale the faces", fact
    advice = f", so the unit may be {fits[0]}; scale by {_UNITS[fits[0]] / _UNITS[unit]:g}"
    if fits[0] in ("m", "mm"):
        advice += f", or declare {fits[0]} (data.unit)"
    return advice, fact


@dataclass(frozen=True)
class Pose:
    """The orientation of a head, as signed axes: 2 is +y, -3 is -z, and 0 is unclear."""

    up: int
    forward: int
    inside_out: bool


def check_axes(statistics: Statistics, findings: Findings) -> None:
    """Report faces that are not +y up and +z forward, and faces that are inside out."""
    sample, topology = statistics.sample, statistics.topology
    lips = statistics.moving_lips()
    if sample is None or topology is None or lips is None:
        return
    pose = head_pose(sample, topology, lips)
    if pose is None:
        return
    if pose.inside_out:
        findings.problem(
            "winding",
            MESH,
            "the mesh is inside out: the normals point into the head; reverse the vertex order of "
            "each triangle, or undo the mirroring of an axis",
        )
    if pose.up and pose.forward and (pose.up, pose.forward) != (2, 3):
        findings.problem("axes", MESH, _axes_message(pose.up, pose.forward))


def _axes_message(up: int, forward: int) -> str:
    causes = {
        (3, -2): "z is up, as in Blender",
        (3, 2): "z is up",
        (2, -3): "the face looks to -z",
        (-2, -3): "upside down like the raw BIWI scans, with y and z negated",
        (-2, 3): "upside down",
        (2, 1): "the face looks to +x",
        (2, -1): "the face looks to -x",
    }
    cause = causes.get((up, forward), "the axes are swapped")
    basis = np.zeros((3, 3))
    for row, axis in ((1, up), (2, forward)):
        basis[row, abs(axis) - 1] = np.sign(axis)
    basis[0] = np.cross(basis[1], basis[2])
    new = [
        ("" if row[k] > 0 else "-") + _AXES[k]
        for row, k in zip(basis, np.abs(basis).argmax(1), strict=True)
    ]
    return (
        f"{cause}: the position of the mouth shows that {_axis_name(up)} is up and the face looks "
        f"to {_axis_name(forward)}, expected +y up and +z forward; replace (x, y, z) with "
        f"({', '.join(new)})"
    )


def _axis_name(axis: int) -> str:
    return ("+" if axis > 0 else "-") + _AXES[abs(axis) - 1]


def head_pose(sample: Sample, topology: Topology, lips: np.ndarray) -> Pose | None:
    """Infer the orientation of the head from the lips and the skin; None if it is unclear."""
    # Use the mean of the frames, because the mouth may be wide open in the templates.
    face = (sample.mean_face + sample.offsets.mean(0)).astype(np.float64)
    triangles = np.asarray(topology.triangles)
    surface = surfaces(face, triangles)
    skin = np.zeros(len(face), bool)
    skin[triangles[surface[triangles[:, 0]] == surface[lips[0]]]] = True
    triangles = triangles[skin[triangles[:, 0]]]
    low, high = face[skin].min(0), face[skin].max(0)
    center, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-12)
    a, b, c = (face[triangles[:, k]] for k in range(3))
    normals, triangle_centers = np.cross(b - a, c - a), (a + b + c) / 3
    outward_parts = normals * (triangle_centers - center)
    outwardness = float(outward_parts.sum() / max(np.abs(outward_parts.sum(1)).sum(), 1e-30))
    if abs(outwardness) < _OUTWARDS:
        return None
    normals *= np.sign(outwardness)
    mouth = face[lips].mean(0)
    lip_offsets = face[lips] - mouth
    along = np.linalg.svd(lip_offsets, full_matrices=False)[2][0]
    sideways = int(np.abs(along).argmax())
    if abs(along[sideways]) < _ALONG:
        return Pose(0, 0, outwardness < 0)
    near = (
        np.linalg.norm(triangle_centers - mouth, axis=1)
        < 2 * np.linalg.norm(lip_offsets, axis=1).max()
    )
    facing = _front(normals, triangle_centers - center, near)
    facing[sideways] = 0
    forward, other = (int(k) for k in np.argsort(-np.abs(facing))[:2])
    if abs(facing[forward]) < 1.5 * abs(facing[other]) or other == sideways:
        return Pose(0, 0, outwardness < 0)
    # The jaw is below the lips, and the lips are in the lower half of a face (but not of a bust).
    moving = sample.variance * skin * (sample.variance > 0.06 * sample.variance[skin].max())
    moving *= vertex_areas(face, np.asarray(topology.triangles))
    jaw = float(((moving @ face / moving.sum() - mouth) / half)[other])
    place = float(((mouth - center) / half)[other])
    is_consistent = np.sign(jaw) == np.sign(place) and abs(jaw) > 0.03 and abs(place) > 0.1
    up = 0
    if is_consistent or (abs(jaw) < 0.03 and abs(place) > 0.3):
        up = (other + 1) * int(-np.sign(place))
    return Pose(up, (forward + 1) * int(np.sign(facing[forward])), outwardness < 0)


def _front(normals: np.ndarray, outwards: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the (3,) mean outer normal around the mouth, without the inside of the mouth.

    The outward direction combines the direction away from the center, for a closed head, and the
    mean normal, for an open patch.
    """
    area = np.linalg.norm(normals, axis=1)
    patch = normals.sum(0) / area.sum()
    directions = (
        outwards / np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-12) + 2 * patch
    )
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    front = near & ((normals * directions).sum(1) > 0.3 * area)
    return normals[front].sum(0) / max(area[front].sum(), 1e-30)


def check_lips(statistics: Statistics, findings: Findings) -> None:
    """Report missing regions, and a region ``lips`` that is not where the lips move."""
    topology, sample = statistics.topology, statistics.sample
    if topology is None:
        return
    missing = [name for name in ("lips", "upper_face") if not len(topology.regions.get(name, ()))]
    if missing:
        findings.note(
            "region",
            MESH,
            f"the topology has no region {' and no region '.join(missing)}; LVE (lips), FDD (upper "
            "face) and region_weights need them; set prepare.regions",
        )
    lips = statistics.moving_lips()
    if sample is None or lips is None or "lips" in missing:
        return
    face = sample.mean_face
    declared = face[topology.regions["lips"]]
    middle = face[lips].mean(0)
    reach = float(np.linalg.norm(face[lips] - middle, axis=1).max())
    share = float(np.mean(np.linalg.norm(declared - middle, axis=1) < 1.5 * reach))
    if share < 0.5:
        findings.problem(
            "region",
            MESH,
            f"only {100 * share:.0f} % of the region lips are where the lips move, so its indices "
            "may belong to another topology; set prepare.regions to regions of this topology or "
            "to infer",
        )
