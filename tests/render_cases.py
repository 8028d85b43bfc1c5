"""The cases of the golden pictures. To draw the pictures again:

    python tests/render_cases.py

This writes tests/golden_pictures/*.png. Look at the pictures before you commit them:
test_render_golden.py compares against them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from codetalker_cli import resources
from codetalker_cli.motion import Motion
from codetalker_cli.render import Panel, RenderSettings, render_frames
from codetalker_cli.topology import Mesh

FOLDER = Path(__file__).parent / "golden_pictures"
SETTINGS = RenderSettings(renderer="software", size=112, workers=1)


def bundled_head(n_frames: int = 2) -> Motion:
    """Return the first head of the bundled voice; from frame 1 on, its chin is 8 mm further out."""
    mesh = Mesh.load(resources.asset("voice") / "mesh.npz")
    subject = next(iter(mesh.templates))
    template = mesh.templates[subject]
    chin = template[mesh.topology.region("lips")].mean(0) - [0, 0.02, 0]
    near = np.exp(-np.square((template - chin) / 0.02).sum(1) / 2)
    pushed = template + 0.008 * near[:, None] * np.array([0, 0, 1])
    frames = np.stack([template, *[pushed] * (n_frames - 1)]).astype(np.float32)
    return Motion(frames, 30.0, mesh.topology, subject, template, mesh.colors[subject])


def picture(shown: Motion | list[Panel], **changes: object) -> np.ndarray:
    """Draw frame 1; ``changes`` are render settings."""
    (made,) = render_frames(shown, SETTINGS.model_copy(update=changes), [1])
    return made


def heat(**changes: object) -> np.ndarray:
    """Draw a heat map of the head's distance from its own neutral face."""
    head = bundled_head()
    still = replace(head, vertices=np.repeat(head.template[None], 2, 0))
    changes = {"background": "white", **changes}
    return picture([Panel(head, "heat", against=still)], **changes)


CASES: dict[str, Callable[[], np.ndarray]] = {
    "front": lambda: picture(bundled_head()),
    "three-quarter": lambda: picture(bundled_head(), view="three-quarter", background="black"),
    "mouth": lambda: picture(bundled_head(), view="mouth"),
    "heat": heat,
}


def main() -> None:
    from PIL import Image

    for name, make in CASES.items():
        Image.fromarray(make()).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
