"""File formats used by several data sets: meshes, frames, vertex lists, archives and pickles."""
