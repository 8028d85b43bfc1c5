"""File formats that no data set defines: meshes, frames, vertex lists, archives and pickles."""
