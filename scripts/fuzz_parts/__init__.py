"""The families of scripts/fuzz.py: what is damaged, and what reads it."""
