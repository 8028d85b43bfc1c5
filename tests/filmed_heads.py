"""Films of the bundled head, which talks with a known motion and turns in a known way.

MediaPipe's face landmarker finds the head in every frame: the whole head from the front fills the
height of the picture, in its own skin colors on a plain background.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.motion import Motion
from codetalker_cli.render import RenderSettings, render_frames
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.posing import motion_of
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.synthetic.articulation import articulate
from codetalker_cli.synthetic.speech.phones import CONSONANTS, VOWELS, Phone

WORDS = "B AA B IY|M EY P AH L|F OW M|W AA P|B UW M IY|S IY T|P AY L|V EH R IY|M OW B|HH AE P IY"
"""Words that shut the lips often, open them wide, round them and spread them."""
BACKGROUND = "#8b96a5"
JITTER = 0.35
"""The share of a frame by which the frames of a film with a variable rate come early or late."""


@cache
def talk(seconds: float = 3.0, seed: int = 0, fps: float = 30.0, style: str = "S01") -> RigCurves:
    """Return the weights of a head that says random words, and a sound that goes with them.

    The lips stay shut for at least two frames in each of p, b and m. The sound is a buzz that is as
    loud as the mouth is open; it starts and ends with 0.3 s of near silence.

    Args:
        seconds: The length.
        seed: The seed of the words; other seeds say other words.
        fps: The frame rate of the weights.
        style: The bundled subject whose speaking style is used.
    """
    rng = np.random.default_rng(seed)
    n_frames, rig = round(seconds * fps), bundled_rig()
    phones = list(_phones(seconds, rng))
    # Twice the rounding and spreading of people, whose width the tracker sees less clearly.
    clear = replace(SpeakingStyle.for_subject(style), rounding=2.0, spread=2.0)
    weights = articulate(phones, n_frames, fps, rig, clear, rng)
    samples = _buzz(phones, seconds, rng)
    return RigCurves(rig.unit_names, fps, weights, "S01", audio=samples)


def frame_times(n_frames: int, fps: float, *, variable: bool = False) -> np.ndarray:
    """Return the (T,) seconds at which ``film_head`` shows its frames."""
    frames = np.arange(n_frames, dtype=float)
    return (frames + JITTER * np.sin(2.1 * frames) * variable) / fps


def sampled(curves: RigCurves, times: np.ndarray) -> RigCurves:
    """Return the curves at the given times, interpolated linearly; ``fps`` is not meaningful."""
    position = np.arange(curves.n_frames) / curves.fps

    def at_times(columns: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(times, position, column) for column in columns.T], axis=1)

    head = None if curves.head is None else at_times(curves.head)
    return replace(curves, weights=at_times(curves.weights), head=head)


def film_head(
    path: Path,
    curves: RigCurves | Sequence[RigCurves],
    fps: float = 25.0,
    size: tuple[int, int] = (320, 240),
    sound: np.ndarray | None = None,
    **options: object,
) -> Path:
    """Film the bundled head and return the file.

    Args:
        path: The video; the suffix selects the container.
        curves: The motion of the head; several: heads side by side. ``head`` turns the head.
        fps: The (mean) frame rate.
        size: The width and height of the picture that a player shows.
        sound: (n,) samples at 16 kHz, e.g. ``curves.audio``; None: a film without sound.
        **options: See ``pictures`` and ``encode``: ``subject``, ``variable``, ``rotation``,
            ``late_seconds``, ``codec``.
    """
    many = [curves] if isinstance(curves, RigCurves) else list(curves)
    drawing = {name: options.pop(name) for name in ("subject",) if name in options}
    variable = bool(options.get("variable", False))
    drawn = pictures(many, fps, size, variable=variable, **drawing)  # type: ignore[arg-type]
    return encode(path, drawn, fps, size, sound=sound, **options)  # type: ignore[arg-type]


def pictures(
    curves: Sequence[RigCurves],
    fps: float,
    size: tuple[int, int],
    *,
    subject: str = "S01",
    variable: bool = False,
) -> Iterator[np.ndarray]:
    """Yield the (height, width, 3) uint8 frames of heads side by side."""
    width, height = size
    seconds = min(one.seconds for one in curves)
    times = frame_times(int(seconds * fps), fps, variable=variable)
    panel = min(height, width // len(curves)) // 2 * 2
    settings = RenderSettings(
        renderer="software", size=panel, samples=2, workers=1, background=BACKGROUND, vignette=0.0
    )
    motions: list[Motion] = [motion_of(sampled(one, times), subject) for one in curves]
    plain = np.array([int(BACKGROUND[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    top, left = (height - panel) // 2, (width - panel * len(curves)) // 2
    drawn = [render_frames(motion, settings, range(len(times))) for motion in motions]
    for panels in zip(*drawn, strict=True):
        picture = np.full((height, width, 3), plain, np.uint8)
        picture[top : top + panel, left : left + panel * len(curves)] = np.concatenate(panels, 1)
        yield picture


def encode(
    path: Path,
    drawn: Iterator[np.ndarray],
    fps: float,
    size: tuple[int, int],
    *,
    sound: np.ndarray | None = None,
    variable: bool = False,
    rotation: int = 0,
    late_seconds: float = 0.0,
    codec: str = "libx264",
) -> Path:
    """Write frames and sound to a video and return the file.

    Args:
        path: The video.
        drawn: (height, width, 3) uint8 frames, upright.
        fps: The (mean) frame rate.
        size: The width and height of the frames.
        sound: (n,) samples at 16 kHz, or None.
        variable: Whether the frames are shown at the times of ``frame_times(…, variable=True)``.
        rotation: A multiple of 90 degrees: the frames are stored turned by this angle, with a flag
            that makes players turn them back.
        late_seconds: The time by which the pictures start after the sound.
        codec: ffmpeg's name of the encoder.
    """
    with tempfile.TemporaryDirectory() as folder:
        straight = Path(folder) / f"film{path.suffix}" if rotation else path
        turned = {0: "null", 90: "transpose=1", 180: "hflip,vflip", 270: "transpose=2"}[rotation]
        move = f"+{JITTER}*sin(2.1*N)" if variable else ""
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}"]
        command += ["-r", f"{fps:.6f}", "-i", "pipe:0"]
        if sound is not None:
            soundfile.write(Path(folder) / "sound.wav", sound, SAMPLE_RATE)
            command += ["-i", str(Path(folder) / "sound.wav"), "-c:a", "aac", "-b:a", "96k"]
        timing = f"settb=1/90000,setpts='((N{move})/{fps:.6f}+{late_seconds})/TB'"
        command += ["-vf", f"{turned},{timing},format=yuv420p", "-fps_mode", "passthrough"]
        command += ["-enc_time_base", "1:90000", "-c:v", codec]
        if codec == "libx264":
            command += ["-crf", "16", "-preset", "veryfast", "-bf", "0"]
        command += ["-avoid_negative_ts", "disabled", str(straight)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert process.stdin is not None
        for picture in drawn:
            process.stdin.write(np.ascontiguousarray(picture).data)
        process.stdin.close()
        assert process.wait() == 0
        if rotation:
            copy = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
            copy += ["-display_rotation", str(rotation), "-i", str(straight), "-c", "copy"]
            subprocess.run([*copy, str(path)], check=True)
    return path


def _phones(seconds: float, rng: np.random.Generator) -> Iterator[Phone]:
    words = [word.split() for word in WORDS.split("|")]
    now, last = 0.3, seconds - 0.3
    while True:
        word = words[rng.integers(len(words))]
        lengths = [rng.uniform(0.08, 0.11) + 0.06 * (label in VOWELS) for label in word]
        if now + sum(lengths) > last:
            return
        for label, length in zip(word, lengths, strict=True):
            yield Phone(label, now, now + length, "".join(word).lower())
            now += length
        now += rng.choice([0.0, 0.0, 0.15])


def _buzz(phones: Sequence[Phone], seconds: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    level = np.full(len(time), 0.002)
    for phone in phones:
        inside = (time >= phone.start_seconds) & (time < phone.end_seconds)
        level[inside] = 0.03 if phone.label in CONSONANTS else 0.3
    window = np.hanning(round(0.03 * SAMPLE_RATE))
    level = np.convolve(level, window / window.sum(), "same")
    voice = np.sign(np.sin(2 * np.pi * 130 * time)) * 0.5 + 0.3 * rng.standard_normal(len(time))
    return np.clip(level * voice, -0.9, 0.9).astype(np.float32)
