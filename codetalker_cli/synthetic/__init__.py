"""Synthetic talking heads: speech with phone times → motion of the bundled head."""
