"""Readers: one module a raw layout, each giving a :class:`~.clips.RawDataSet`."""
