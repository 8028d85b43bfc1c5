"""Return memory to the system after long jobs."""

import ctypes
import gc
import sys


def keep_loaded() -> None:
    """Let later collections of garbage skip what is loaded by now, which stays.

    The modules and the voice are more than 200,000 objects. A collection that looks at all of them
    takes 0.1 to 0.2 s, in which no live stream can be computed.
    """
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Return what finished jobs have freed, which the C library keeps for each thread otherwise.

    Only Linux with glibc needs this; elsewhere, nothing happens.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
