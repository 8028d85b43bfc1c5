"""Data sets: raw data → prepared data set, and everything that reads the prepared format.

``prepare`` is the one way from what ``readers`` open to what ``prepared`` reads.
"""
