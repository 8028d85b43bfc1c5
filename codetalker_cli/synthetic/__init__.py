"""Synthetic talking heads: animate the bundled head from speech with phone times."""
