"""Describe a face to the page: its mesh, its look, and where it is looked at."""

import numpy as np

from codetalker_cli.motion import Motion
from codetalker_cli.render.light import Materials, occlusion
from codetalker_cli.render.viewer.packets import pack
from codetalker_cli.rigs.posing import neck_pivot
from codetalker_cli.surface import to_srgb
from codetalker_cli.topology import Topology

_LIPS = {"lips_upper": "inner_lip_upper", "lips_lower": "inner_lip_lower"}


def face_packet(motion: Motion, label: str = "", *, heated: bool = False) -> bytes:
    """Return the packet of kind ``face``, which precedes the packets of its motion.

    Its header contains ``label``, ``fps``, ``millimeters`` (the length of a mesh unit, or null) and
    ``pivot`` (the point about which the head turns). Its arrays are ``template`` (V, 3),
    ``triangles`` (3F,), ``colors`` (V, 3) sRGB, ``occlusion`` (V,) from 0 to 255, ``gloss``
    (V, 2), ``skin`` (V,), and, where the mesh has these regions, the vertices of ``mouth`` and of
    the inner lips, ``lips_upper`` and ``lips_lower``. ``clay`` (V, 3) sRGB are the colors below a
    heat map, if they are not ``colors``.

    Args:
        motion: Only its template, topology, colors and frame rate are used.
        label: The name of the face in the page.
        heated: Whether heat maps of the face are shown.
    """
    topology, template = motion.topology, np.asarray(motion.template, np.float32)
    materials = Materials.of(topology, motion.colors)
    shadow = materials.lift(occlusion(template, topology.triangles))
    arrays = {
        "template": template,
        "triangles": np.asarray(topology.triangles).ravel(),
        "colors": _clay(materials) if motion.colors is None else np.asarray(motion.colors),
        "occlusion": np.rint(255 * np.clip(shadow, 0, 1)).astype(np.uint8),
        "gloss": np.rint(materials.gloss * (255, 1)).astype(np.uint8),
        "skin": materials.is_skin.astype(np.uint8),
    }
    if heated and motion.colors is not None:  # as in videos, see build_scene
        arrays["clay"] = _clay(Materials.of(topology, None))
    mouth = mouth_of(topology)
    if mouth is not None:
        arrays["mouth"] = np.asarray(mouth)
    if all(name in topology.regions for name in _LIPS.values()):
        arrays |= {key: topology.regions[name] for key, name in _LIPS.items()}
    meters = topology.meters_per_unit
    header = {
        "label": label,
        "fps": float(motion.fps),
        "millimeters": None if meters is None else 1000 * meters,
        "pivot": [float(x) for x in neck_pivot(topology, template)],
    }
    return pack("face", header, arrays, deltas=("triangles", "mouth"))


def mouth_of(topology: Topology) -> np.ndarray | None:
    """Return the vertices that the view ``mouth`` shows, or None if they are not known."""
    found = (topology.regions.get(name, ()) for name in ("lips", "mouth"))
    return next((np.asarray(vertices) for vertices in found if len(vertices)), None)


def _clay(materials: Materials) -> np.ndarray:
    """Return (V, 3) uint8 sRGB colors."""
    return np.rint(255 * to_srgb(materials.albedo)).astype(np.uint8)
