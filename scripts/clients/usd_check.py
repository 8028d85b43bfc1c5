"""Check the .usdc, .usda and .usdz files of a folder with USD itself.

    .venv/bin/python scripts/clients/usd_check.py FOLDER MOTION.npz

MOTION.npz is the motion that was exported. Every file must pass all validators of USD. UsdSkel
computes the vertices of five frames from the blend shapes, and they are compared with what the
targets allow: the neutral face plus the weighted units. The names, times and sound are checked too.
Prints one line a check and exits with 1 if one fails.

The script also writes NAME.npy and NAME.json next to each file NAME: the expected vertices, and the
names of the blend shapes. ``blender_geometry.py`` reads them.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from pxr import Ar, Usd, UsdGeom, UsdMedia, UsdSkel, UsdValidation

from codetalker_cli.export.take import Take
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.posing import rotate, rotation_matrices

SUFFIXES = (".usdc", ".usda", ".usdz")
N_FRAMES = 5
TOLERANCE_MM = 0.1

failures = 0


def check(file: str, what: str, good: bool, detail: str = "") -> None:
    global failures
    failures += not good
    print(f"{'ok' if good else 'FAILED'}  {file}: {what}{f' ({detail})' if detail else ''}")


def read_sound(stage: Usd.Stage, sound: UsdMedia.SpatialAudio, folder: Path) -> float:
    """Return the seconds of the sound; 0 if it is missing."""
    path = sound.GetFilePathAttr().Get().resolvedPath
    if not path:
        return 0.0
    asset = Ar.GetResolver().OpenAsset(Ar.ResolvedPath(path))
    copy = folder / "sound-of-usd.wav"
    copy.write_bytes(bytes(asset.GetBuffer()))
    seconds = soundfile.info(copy).duration
    copy.unlink()
    return seconds


def expected_vertices(take: Take, names: list[str], frames: np.ndarray) -> np.ndarray:
    """Return the (5, V, 3) vertices in meters that blend shapes with these names can show."""
    if not names:
        return np.concatenate(list(take.blocks()))[frames]
    is_arkit = set(names) <= set(ARKIT_UNITS) < set(take.units.names)
    units = take.arkit_units if is_arkit else take.units
    curves = (take.arkit_curves if is_arkit else take.curves).select(units.names)
    check_names = tuple(names) == units.names
    if not check_names:
        return np.full((len(frames), 1, 3), np.nan)
    vertices = take.template + np.einsum("tu,uvc->tvc", curves.weights[frames], units.deltas)
    if take.head is None:
        return vertices
    return rotate(vertices, rotation_matrices(take.head[frames]), take.neck_pivot)


def check_file(path: Path, take: Take) -> None:
    name = path.name
    stage = Usd.Stage.Open(str(path))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    detail = errors[0].GetMessage() if errors else f"{len(validators)} validators"
    check(name, "validators", not errors, detail)

    root = stage.GetDefaultPrim()
    rate, start, end = (
        stage.GetTimeCodesPerSecond(),
        stage.GetStartTimeCode(),
        stage.GetEndTimeCode(),
    )
    good = (rate, start, end) == (take.fps, 0, take.n_frames - 1)
    check(name, "duration", good, f"frames {start:g} to {end:g} at {rate:g} fps")
    good = UsdGeom.GetStageMetersPerUnit(stage) == 1 and UsdGeom.GetStageUpAxis(stage) == "Y"
    check(name, "meters, +y up", good)

    sound = UsdMedia.SpatialAudio(root.GetChild("Speech"))
    if sound and take.motion.audio is not None:
        seconds = len(take.motion.audio) / 16000
        found = read_sound(stage, sound, path.parent)
        check(name, "sound", abs(found - seconds) < 1 / take.fps, f"{found:.3f} s")

    face = UsdGeom.Mesh(root.GetChild("Face"))
    shapes = UsdSkel.BindingAPI(face).GetBlendShapesAttr().Get() or []
    frames = np.unique(np.linspace(0, take.n_frames - 1, N_FRAMES).round().astype(int))
    expected = expected_vertices(take, list(shapes), frames).astype(np.float32)
    if shapes:
        assert UsdSkel.BakeSkinning(stage.Traverse())
    points = face.GetPointsAttr()
    found = np.stack([points.Get(float(k)) for k in frames])
    same = found.shape == expected.shape
    worst = np.linalg.norm(found - expected, axis=-1).max() * 1e3 if same else np.inf
    what = f"vertices in {len(frames)} frames, {len(shapes)} blend shapes"
    check(name, what, worst <= TOLERANCE_MM, f"off by {worst:.6f} mm")
    np.save(path.with_name(f"{name}.npy"), expected)
    reference = {"frames": frames.tolist(), "names": list(shapes)}
    path.with_name(f"{name}.json").write_text(json.dumps(reference) + "\n", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the exports")
    parser.add_argument("motion", type=Path, help="the .npz of the motion that was exported")
    arguments = parser.parse_args()
    files = sorted(p for p in arguments.folder.iterdir() if p.suffix in SUFFIXES)
    if not files:
        print(f"{arguments.folder}: no {', '.join(SUFFIXES)} files", file=sys.stderr)
        return 2
    take = Take(Motion.load(arguments.motion))
    for path in files:
        check_file(path, take)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
