"""Convert raw data to prepared data sets, and read prepared data sets.

``readers`` open the raw data, ``prepare`` converts it, and ``prepared`` reads the result.
"""
