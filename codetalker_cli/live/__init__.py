"""Animate sound while it arrives, and send each frame to other programs.

``choices`` opens the source and the sinks that a command names. ``sources`` are raw samples
(``pcm``) and recordings at their own pace; ``devices`` are microphones, and the player of the
sound. ``chunks``
is the bounded queue between the thread of a source and ``loop``, which feeds a stream and sends its
frames. ``frames`` describes what sinks get: ``network`` sends it by UDP, ``sinks`` prints lines of
JSON, and ``take`` collects it for a file. ``stats`` are what the status line shows. ``packages``
imports the optional packages. ``server`` serves streams over WebSocket and HTTP.
"""
