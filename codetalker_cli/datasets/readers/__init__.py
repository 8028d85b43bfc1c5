"""Readers: one module for each raw layout. Each returns a ``RawDataSet``."""
