"""Export visemes: the 15 of Oculus as JSON, or mouth shapes as Rhubarb Lip Sync writes them.

The JSON contains the lists ``visemes``, ``vtimes`` and ``vdurations`` (milliseconds) that the
function ``speakAudio`` of the web client TalkingHead takes, the same as ``cues`` in seconds, and
the weight of each of ``names`` in each frame.
"""

import json
from dataclasses import replace
from xml.sax.saxutils import escape

import numpy as np

from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.posing import motion_of
from codetalker_cli.rigs.units import is_bundled_head
from codetalker_cli.rigs.visemes import REST, Cue, cues_of, solve_visemes
from codetalker_cli.settings import ExportSettings

MOUTH_SHAPES = {
    REST: "X", "PP": "A", "FF": "G", "TH": "H", "DD": "B", "kk": "B", "CH": "B", "SS": "B",
    "nn": "B", "RR": "E", "aa": "D", "E": "C", "I": "B", "O": "E", "U": "F",
}  # fmt: skip
"""The mouth shape of each viseme: A is shut, B to D open further, E and F are rounded, G has the
teeth on the lip, H shows the tongue, and X is at rest."""
WIDE = 0.5
"""The mean weight of ``aa`` from which the mouth is wide open (D); below it, the shape is C."""
_DIGITS = 4


def viseme_curves(take: Take) -> RigCurves:
    """Return the weights of the visemes of a take.

    Another face is replaced by the bundled head with the same weights of ARKit's units.

    Raises:
        InputError: The units of the face are unknown.
    """
    if take.native is None and is_bundled_head(take.motion.topology):
        return solve_visemes(take.motion)
    curves = take.arkit_curves if take.native is None else take.native
    return solve_visemes(motion_of(curves, rotate_head=False), {*ARKIT_UNITS, *curves.names})


def write_visemes(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write the visemes as JSON."""
    curves = viseme_curves(take)
    cues = cues_of(curves)
    borders = [round(1000 * frame / curves.fps) for frame in [c.start for c in cues] + [_end(cues)]]
    head = {
        "fps": curves.fps,
        "duration": round(take.seconds, 3),
        "sound": target.sound_name,
        "visemes": [cue.viseme for cue in cues],
        "vtimes": borders[:-1],
        "vdurations": np.diff(borders).tolist(),
        "cues": [
            {"time": start / 1000, "duration": (stop - start) / 1000, "viseme": cue.viseme}
            for cue, start, stop in zip(cues, borders[:-1], borders[1:], strict=True)
        ],
        "names": curves.names,
    }
    weights = np.round(curves.weights.astype(np.float64), _DIGITS) + 0.0
    with target.path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "weights": [\n')
        for k, row in enumerate(weights):
            file.write(",\n" * (k > 0) + json.dumps(row.tolist()))
        file.write("\n]}\n")


# Mouth shapes ------------------------------------------------------------------------------------


def mouth_cues(curves: RigCurves) -> list[Cue]:
    """Return the cues with mouth shapes A to H and X in place of visemes."""
    wide = curves.weights[:, curves.names.index("aa")]
    cues: list[Cue] = []
    for cue in cues_of(curves):
        shape = MOUTH_SHAPES[cue.viseme]
        if shape == "D" and wide[cue.start : cue.stop].mean() < WIDE:
            shape = "C"
        if cues and cues[-1].viseme == shape:
            cues[-1] = replace(cues[-1], stop=cue.stop)
        else:
            cues.append(Cue(shape, cue.start, cue.stop))
    return cues


def write_tsv(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write a line for each mouth shape with its start; the last line is the end."""
    cues = mouth_cues(viseme_curves(take))
    lines = [f"{cue.start / take.fps:.2f}\t{cue.viseme}\n" for cue in cues]
    lines.append(f"{take.seconds:.2f}\tX\n")
    target.path.write_text("".join(lines), "utf-8", newline="\n")


def write_xml(take: Take, target: Target, settings: ExportSettings) -> None:
    """Write an element for each mouth shape with its start and its end."""
    sound = escape("".join(c for c in target.sound_name or "" if c.isprintable()))
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<rhubarbResult>",
        "  <metadata>",
        f"    <soundFile>{sound}</soundFile>",
        f"    <duration>{take.seconds:.2f}</duration>",
        "  </metadata>",
        "  <mouthCues>",
        *(
            f'    <mouthCue start="{cue.start / take.fps:.2f}" end="{cue.stop / take.fps:.2f}">'
            f"{cue.viseme}</mouthCue>"
            for cue in mouth_cues(viseme_curves(take))
        ),
        "  </mouthCues>",
        "</rhubarbResult>",
    ]
    text = "".join(f"{line}\n" for line in lines)
    target.path.write_text(text, "utf-8", newline="\n")


def _end(cues: list[Cue]) -> int:
    return cues[-1].stop


EXPORTERS = (
    Exporter(
        "visemes",
        ".json",
        write_visemes,
        "weights and times of the 15 Oculus visemes",
        "Load {name} in a web page and pass its visemes, vtimes and vdurations with the sound to "
        "speakAudio of TalkingHead, or apply its weights to the morph targets viseme_NAME.",
    ),
    Exporter(
        "tsv",
        ".tsv",
        write_tsv,
        "mouth shapes A to H and X with their times, as Rhubarb Lip Sync writes them",
        "Import {name} in a program that reads Rhubarb Lip Sync, such as a 2D animation tool.",
    ),
    Exporter(
        "xml",
        ".xml",
        write_xml,
        "mouth shapes A to H and X with their times, as Rhubarb Lip Sync writes them",
        "Import {name} in a program that reads Rhubarb Lip Sync, such as a 2D animation tool.",
    ),
)
