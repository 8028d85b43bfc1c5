"""A filmed video for a page: small, without sound, and with the frame rate of the motions."""

import tempfile
from pathlib import Path

from codetalker_cli.render.footage import Footage

SIZE = 480
"""The largest width and height of a film in a page, in pixels."""
MAX_BYTES = 16_000_000
"""The bit rate is limited so that a film takes at most about this much."""
_CRF = 26
_KEYFRAME_SECONDS = 1.0
"""A shorter distance of key frames makes stepping faster, and the film larger."""


def encode_film(film: Footage, fps: float, seconds: float) -> bytes:
    """Return a film as an MP4 file (H.264, no sound).

    Args:
        film: The video.
        fps: The frame rate of the motions, which the film gets.
        seconds: The length to which the film is cut.

    Raises:
        InputError: The video cannot be decoded or is cut short.
    """
    most = int(8 * MAX_BYTES / max(seconds, 1.0))
    quality = ["-preset", "veryfast", "-crf", str(_CRF), "-map_metadata", "-1"]
    quality += ["-maxrate", str(most), "-bufsize", str(most)]
    # Without B-frames, the first picture is at time 0 in every player.
    quality += ["-bf", "0", "-g", str(max(1, round(_KEYFRAME_SECONDS * fps)))]
    quality += ["-movflags", "+faststart"]
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        path = Path(folder) / "film.mp4"
        film.write_even(path, SIZE, fps, seconds, quality)
        return path.read_bytes()
