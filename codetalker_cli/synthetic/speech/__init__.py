"""Speech with phone times, for the synthetic talking heads: spoken by an engine, or recorded.

`corpus.synthesize` makes it, `recordings.read_recordings` takes what is there; both give a
`SpeechSet`.
"""
