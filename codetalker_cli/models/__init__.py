"""The two stages of CodeTalker, checkpoints, and the import of official weights."""
