"""Packages that can be called like a function."""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(package: str, function: Callable[..., Any]) -> None:
    """Make a package call a function, with its signature.

    Importing any module of a subpackage stores the subpackage as an attribute of its package. The
    name ``codetalker_cli.render``, for example, therefore always refers to the package, so the call
    must work on it.

    Args:
        package: The name of the package, ``__name__`` in its ``__init__``.
        function: The function.
    """
    module = sys.modules[package]

    def call(self: ModuleType, *args: Any, **options: Any) -> Any:
        return function(*args, **options)

    call.__doc__ = function.__doc__
    module.__class__ = type("CallablePackage", (ModuleType,), {"__call__": call})
    module.__doc__ = f"{inspect.getdoc(function)}\n\n{module.__doc__}"
    module.__dict__["__signature__"] = inspect.signature(function)
