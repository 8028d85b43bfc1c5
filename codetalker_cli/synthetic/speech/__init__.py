"""Provide speech with phone times for the synthetic talking heads.

`corpus.synthesize` generates speech with a text-to-speech engine, and `recordings.read_recordings`
reads existing recordings. Both return a `SpeechSet`.
"""
