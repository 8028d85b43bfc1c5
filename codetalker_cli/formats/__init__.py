"""File formats: meshes, frame sequences, vertex lists, archives, pickles; no data set by name."""
