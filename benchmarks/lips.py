"""Do the lips close where they must, and open where they must?

    python benchmarks/lips.py RECORDINGS... [--model demo] [--subject S01] [--json]

RECORDINGS are folders (or files) of audio with NAME.json beside it: {"phones": [{"phone", "start",
"end"}, ...]}, ARPABET, seconds. The gap is the mean distance of the central paired inner-lip
vertices (regions inner_lip_upper, inner_lip_lower).

closure   share of p, b, m with a gap under 1 mm in a frame within ±2 frames of the phone's centre
closure*  the same within the phone's interval widened by 2 frames on both sides
opening   share of aa, ae, aw, ay, ah with a gap over 4 mm at the centre frame
false     share of the other frames of speech (no p, b, m, f, v, silence within 2 frames) under 1 mm
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import codetalker_cli as ct

CLOSED_MM, OPEN_MM, SLACK_FRAMES = 1.0, 4.0, 2
BILABIALS, OPEN_VOWELS = {"P", "B", "M"}, {"AA", "AE", "AW", "AY", "AH"}
MAY_CLOSE = BILABIALS | {"F", "V", "SIL", ""}
AUDIO = {".wav", ".flac", ".ogg", ".mp3"}


def recordings(given: list[Path]) -> list[Path]:
    """Audio files that have their phones beside them."""
    files = [f for g in given for f in (sorted(g.iterdir()) if g.is_dir() else [g])]
    return [f for f in files if f.suffix in AUDIO and f.with_suffix(".json").is_file()]


def score(gap_mm: np.ndarray, fps: float, phones: list[dict]) -> dict[str, list[bool]]:
    """Every phone's verdict; (T,) gaps in millimetres."""
    last = len(gap_mm) - 1
    verdicts: dict[str, list[bool]] = {k: [] for k in ("closure", "closure*", "opening", "false")}
    covered = np.zeros(len(gap_mm), dtype=bool)
    speech = np.zeros(len(gap_mm), dtype=bool)
    for entry in phones:
        label = entry["phone"].upper().rstrip("012")
        first, final = entry["start"] * fps, entry["end"] * fps
        centre = min(last, round((first + final) / 2))
        wide = slice(max(0, int(first) - SLACK_FRAMES), int(final) + 1 + SLACK_FRAMES)
        if label in MAY_CLOSE:
            covered[wide] = True
        else:
            speech[round(first) : round(final)] = True
        if label in BILABIALS:
            near = slice(max(0, centre - SLACK_FRAMES), centre + SLACK_FRAMES + 1)
            verdicts["closure"].append(bool(gap_mm[near].min(initial=np.inf) < CLOSED_MM))
            verdicts["closure*"].append(bool(gap_mm[wide].min(initial=np.inf) < CLOSED_MM))
        if label in OPEN_VOWELS:
            verdicts["opening"].append(bool(gap_mm[centre] > OPEN_MM))
    verdicts["false"] = [bool(v) for v in gap_mm[speech & ~covered] < CLOSED_MM]
    return verdicts


def main() -> None:
    """Print a table, a line for each folder and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--subject", default=None)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    files = recordings(given.recordings)
    if not files:
        sys.exit("no recording with a .json of phones beside it")
    voice = ct.load(given.model)
    table: dict[str, dict[str, list[bool]]] = {}
    for file in files:
        motion = voice.animate(file, subject=given.subject)
        gap_mm = motion.topology.inner_lip_gap(motion.vertices) * 1000
        phones = json.loads(file.with_suffix(".json").read_text())["phones"]
        for key, values in score(gap_mm, motion.fps, phones).items():
            for row in (file.parent.name, "all"):
                table.setdefault(row, {}).setdefault(key, []).extend(values)
    shares = {
        row: {key: (float(np.mean(v)) if v else None, len(v)) for key, v in values.items()}
        for row, values in table.items()
    }
    if given.json:
        print(json.dumps(shares))
        return
    for row, values in shares.items():
        cells = [f"{k} {100 * s:5.1f} % of {n}" for k, (s, n) in values.items() if s is not None]
        print(f"{row:12s} " + " | ".join(cells))


if __name__ == "__main__":
    main()
