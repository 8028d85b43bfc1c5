"""Turn films of talking faces into motion of the bundled head."""

FIT_VERSION = 1
"""The version of the fit; data sets record it. Increase it with every change of the weights."""
