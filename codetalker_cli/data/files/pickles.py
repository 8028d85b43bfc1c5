"""Pickles of the public data sets, read without ever running code from them.

Only NumPy arrays, their dtypes and scalars, and plain containers come out; any other name in the
file is refused and told.
"""

import pickle
from pathlib import Path
from typing import Any

from codetalker_cli.errors import DataError, InputError

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        # The names of NumPy 1 lead to NumPy 2's own.
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def read_pickle(path: Path | str) -> Any:
    """The content of a pickle of arrays and plain containers; Python 2's too (latin1).

    Raises:
        InputError: Missing file.
        DataError: Not a pickle, or it names anything else; nothing of it was run.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(
            f"{path}: not a pickle of arrays alone, nothing in it was run ({error}); "
            "take the file from its original source"
        ) from error
