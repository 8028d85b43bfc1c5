"""Both stages of CodeTalker, their checkpoints, and the official weights."""
