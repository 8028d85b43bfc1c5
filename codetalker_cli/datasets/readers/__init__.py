"""Readers: one module a raw layout, each giving a :class:`~..raw_clips.RawDataSet`."""
