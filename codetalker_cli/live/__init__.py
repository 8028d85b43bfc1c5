"""Live animation: sources of sound, sinks of frames, and the server of streams."""
