"""Animate sound while it arrives, and send each frame to other programs.

``loop`` feeds a stream with the chunks of a source and sends its frames to sinks. ``chunks`` is the
bounded queue between the thread of a source and the loop. ``sources`` are a microphone, raw samples
on stdin, and a recording at its own pace. ``sinks`` send frames by UDP, print them as lines of
JSON, or collect a take for a file. ``playback`` plays the sound together with the face. ``stats``
are what the status line shows. ``packages`` imports the optional packages.
"""
