"""Readers of raw data sets, one module per layout. Each reader returns a ``RawDataSet``."""
