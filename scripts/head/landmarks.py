"""Measure how MediaPipe's landmarks follow the bundled head, and write assets/landmarks.npz.

    python scripts/head/landmarks.py face_landmarker.task assets/landmarks.npz

The script renders the 12 subjects from the front in about 230 poses each, tracks the pictures, and
solves for the movement of each landmark per unit (ridge regression over all poses and subjects).
Each landmark also gets the vertex that follows it best in the picture. It needs codetalker-cli with
its extra [video], and takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import mediapipe as mp
import numpy as np
from build import write_npz
from mediapipe.tasks.python import BaseOptions, vision

from codetalker_cli.capture.alignment import align
from codetalker_cli.capture.landmarker import LANDMARK_IDS, NO_NETWORK
from codetalker_cli.motion import Motion
from codetalker_cli.render.scene import build_scene
from codetalker_cli.render.software import SoftwareRenderer
from codetalker_cli.rigs.landmarks import RIGID
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.settings import RenderSettings
from codetalker_cli.surface import vertex_normals

SIZE = 480
"""Height and width of the pictures in pixels."""
AMOUNTS = (0.25, 0.5, 1.0)
"""The weights at which each unit is measured alone."""
N_MIXES = 40
"""Random mixtures of two visemes."""
N_REPEATS = 3
"""How often each picture is tracked. The tracker crops a picture around the face of the one before,
so only the last result belongs to the picture alone."""
RIDGE = 0.05
SPEECH_WEIGHT = 1.5
"""The weight of visemes and their mixtures relative to single units."""
POSES_FOR_VERTICES = (
    "neutral", "jawOpen 0.5", "jawOpen 1.0", "mouthFunnel 1.0", "mouthPucker 1.0",
    "mouthSmileLeft 1.0", "mouthSmileRight 1.0", "eyeBlinkLeft 1.0", "eyeBlinkRight 1.0",
    "browInnerUp 1.0", "aa", "O", "I", "U",
)  # fmt: skip
"""The poses in which a vertex has to be where the tracker sees the landmark."""
ORIGIN = (168, 6, 195, 10)
"""Landmarks in the middle of the face, whose mean height and depth are the origin."""


def poses() -> dict[str, np.ndarray]:
    """Return the (U,) unit weights of each pose by its name."""
    rig = bundled_rig()
    result = {"neutral": np.zeros(rig.n_units)}
    for name in rig.unit_names:
        # mouthClose shuts the lips of an open jaw.
        with_jaw = {"jawOpen": 1.0} if name == "mouthClose" else {}
        for amount in () if name.startswith("tongue") else AMOUNTS:
            weights = rig.unit_weights({name: 1.0, **with_jaw})
            result[f"{name} {amount}"] = amount * weights
    result |= rig.visemes
    rng, visemes = np.random.default_rng(0), list(rig.visemes.values())
    for k in range(N_MIXES):
        one, other = rng.choice(len(visemes), 2, replace=False)
        share, amount = rng.uniform(), rng.uniform(0.3, 1)
        result[f"mix {k}"] = amount * (share * visemes[one] + (1 - share) * visemes[other])
    return result


def observe(subject: str, weights: np.ndarray, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the (P, 478, 3) landmarks in pixels and the (P, V, 2) vertices in the pictures."""
    rig = bundled_rig()
    template = rig.template(subject)
    motion = Motion(
        template[None], 25.0, rig.topology, subject, template, colors=rig.colors(subject)
    )
    scene = build_scene(motion, RenderSettings(size=SIZE, renderer="software"))
    renderer = SoftwareRenderer(scene)
    # With more than one face, the tracker does not smooth landmarks over time.
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=2,
    )
    landmarks, projected = [], []
    with vision.FaceLandmarker.create_from_options(options) as tracker:
        for index, pose in enumerate(weights):
            vertices = rig.pose(subject, pose[None])[0]
            picture = np.ascontiguousarray(renderer.render(vertices))
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)
            first = 40 * N_REPEATS * index
            for milliseconds in range(first, first + 40 * N_REPEATS, 40):
                found = tracker.detect_for_video(image, milliseconds).face_landmarks
            if not found:
                raise SystemExit(f"{subject}, pose {index}: the tracker finds no face")
            landmarks.append([[SIZE * p.x, SIZE * p.y, SIZE * p.z] for p in found[0]])
            projected.append(scene.camera.project(vertices)[:, :2])
    return np.array(landmarks), np.stack(projected)


def pixels_per_mm(subject: str, projected: np.ndarray) -> float:
    """Return the scale of a picture at the depth of the eyes."""
    rig = bundled_rig()
    centers = [
        np.arange(*rig.topology.parts[part]).astype(int) for part in ("eye_left", "eye_right")
    ]
    template = rig.template(subject)
    apart = template[centers[0], 0].mean() - template[centers[1], 0].mean()
    seen = projected[0, centers[0], 0].mean() - projected[0, centers[1], 0].mean()
    return float(seen / apart / 1000)


def mirror(neutral: np.ndarray) -> np.ndarray:
    """Return the (478,) landmark on the other side of the face for each landmark."""
    mirrored = neutral * [-1, 1, 1]
    return np.square(mirrored[:, None] - neutral[None]).sum(-1).argmin(1)


def solve(weights: np.ndarray, moved: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Return the (U, L, 3) movement per unit, the same on both sides of the face.

    Args:
        weights: (P, U) unit weights.
        moved: (P, L, 3) movements.
        importance: (P,) weight of each pose.
    """
    used = np.flatnonzero(weights.any(0))
    # The constant absorbs the error of the tracker on the neutral head.
    rows = np.column_stack([weights[:, used], np.ones(len(weights))])
    factors, penalty = importance[:, None], np.append(np.full(len(used), RIDGE), 0.0)
    gram = rows.T @ (factors * rows) + np.diag(penalty)
    solved = np.linalg.solve(gram, rows.T @ (factors * moved.reshape(len(moved), -1)))
    result = np.zeros((weights.shape[1], *moved.shape[1:]))
    result[used] = solved[:-1].reshape(len(used), *moved.shape[1:])
    return result


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure the landmarks of the bundled head.")
    parser.add_argument("model", type=Path, help="path of face_landmarker.task")
    parser.add_argument("output", type=Path, help="path of the output, assets/landmarks.npz")
    options = parser.parse_args()
    os.environ.update(NO_NETWORK)
    rig, all_poses = bundled_rig(), poses()
    names, weights = list(all_poses), np.stack(list(all_poses.values()))
    chosen = [names.index(name) for name in POSES_FOR_VERTICES]
    shapes, moves, misses = [], [], 0.0
    skin = slice(*rig.topology.parts["skin"])
    for subject in rig.subject_names:
        print(subject, flush=True)
        landmarks, projected = observe(subject, weights, options.model)
        for index in chosen:
            offsets = projected[index, skin][:, None] - landmarks[index][None, :, :2]
            misses = misses + np.square(offsets).sum(-1)
        points = landmarks * [1, -1, -1]
        rigid = points[:, list(RIGID)]
        aligned = align(rigid, rigid[0]).apply(points) / pixels_per_mm(subject, projected)
        shapes.append((points[0] - rigid[0].mean(0)) / pixels_per_mm(subject, projected))
        moves.append(aligned[1:] - aligned[0])
    shape = np.mean(shapes, axis=0)
    shape -= shape[list(ORIGIN)].mean(0)
    other = mirror(shape)
    shape = (shape + shape[other] * [-1, 1, 1]) / 2
    moved = np.mean(moves, axis=0)
    swapped = [
        rig.unit_names.index(n.replace("Left", "?").replace("Right", "Left").replace("?", "Right"))
        for n in rig.unit_names
    ]
    importance = np.array(
        [SPEECH_WEIGHT if " 0." not in n and " 1." not in n else 1.0 for n in names]
    )
    deltas = solve(
        np.concatenate([weights[1:], weights[1:, swapped]]),
        np.concatenate([moved, moved[:, other] * [-1, 1, 1]]),
        np.tile(importance[1:], 2),
    )
    facing = vertex_normals(rig.neutral, rig.topology.triangles)[skin, 2] > 0
    vertices = np.where(facing[:, None], misses, np.inf).argmin(0)
    numbers = np.array(LANDMARK_IDS)
    arrays = {
        "numbers": numbers.astype(np.int16),
        "vertices": vertices[numbers].astype(np.int16),
        "neutral": shape[numbers].astype(np.float32),
        "deltas": deltas[:, numbers].astype(np.float16),
        "unit_names": np.array(rig.unit_names),
    }
    write_npz(arrays, options.output)


if __name__ == "__main__":
    main()
