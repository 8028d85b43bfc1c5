"""Compare OpenGL rendering through EGL with the software renderer, and measure both speeds."""

import time

import numpy as np
import render_cases

from codetalker_cli.motion import Motion
from codetalker_cli.render import RenderSettings, render_frames
from codetalker_cli.render.gl import probe
from gpu_parts.report import Report, Setup

VIEWS = ("front", "three-quarter", "mouth")


def rendering(report: Report, setup: Setup) -> None:
    """Report the mean pixel difference (of 0 to 255) and the frames per second without encoding."""
    found = probe()
    if found.platform is None:
        if setup.on_gpu:
            report.fail("OpenGL", found.reason)
        else:
            report.skip("OpenGL", found.reason)
    elif setup.on_gpu:
        name = f"{found.platform}, {found.device}"
        by_software = "osmesa" in name or "llvmpipe" in name
        report.at_most(f"OpenGL ({name}) renders without the GPU", by_software, 0)
    renderers = ["software"] + ["pyrender"] * (found.platform is not None)
    head = render_cases.bundled_head()
    size = 256 if setup.small else 512
    if len(renderers) == 2:
        for view in VIEWS:
            pictures = [_draw(head, size, name, view=view)[1] for name in renderers]
            apart = float(np.abs(np.subtract(*(p.astype(float) for p in pictures))).mean())
            report.at_most(f"OpenGL and software, {view}: mean difference", apart, 0.5)
    speeds: dict[tuple[int, str], float] = {}
    for size in (32,) if setup.small else (512, 1080):
        for name in renderers:
            n_frames = 4 if setup.small else (640 if name == "pyrender" else 320)
            speeds[size, name] = _speed(head, size, name, n_frames)
            cells = {"size": size, "renderer": name, "frames/s": round(speeds[size, name], 1)}
            ratio = speeds[size, name] / speeds[size, "software"]
            report.row("rendering", **cells, times_software=round(ratio, 2))


def _settings(size: int, renderer: str, **changes: object) -> RenderSettings:
    return RenderSettings.model_validate({"size": size, "renderer": renderer, **changes})


def _draw(head: Motion, size: int, renderer: str, **changes: object) -> list[np.ndarray]:
    return list(render_frames(head, _settings(size, renderer, workers=1, **changes), [0, 1]))


def _speed(head: Motion, size: int, renderer: str, n_frames: int) -> float:
    """Measure frames per second in the second half, when all rendering processes are running."""
    frames = render_frames(head, _settings(size, renderer), [k % 2 for k in range(n_frames)])
    for _ in range(n_frames // 2):
        next(frames)
    start = time.perf_counter()
    n = sum(1 for _ in frames)
    return n / (time.perf_counter() - start)
