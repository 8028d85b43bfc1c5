"""The viewer: faces that move and speak in a web page, without a server.

- ``packets`` defines how data reaches the page; ``face`` and ``basis`` write a face and its frames.
- ``web/`` contains the modules of the page: ``packets.js`` and ``motion.js`` decode, ``face.js``
  (with ``skin.js``, ``normals.js`` and ``framing.js``) draws, ``playback.js`` is the clock, and
  ``curves.js`` draws the waveform and the lip gaps.
- ``content`` collects what a page shows, ``sound`` and ``film`` encode, ``bundle`` links the
  modules, and ``page`` writes the file.
"""

from codetalker_cli.render.viewer.page import (
    Exhibit,
    PageReport,
    embedded,
    viewer_parts,
    write_motion,
    write_page,
)

__all__ = [
    "Exhibit",
    "PageReport",
    "embedded",
    "viewer_parts",
    "write_motion",
    "write_page",
]
