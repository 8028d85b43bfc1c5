"""Check the opcodes of a pickle before Python's unpickler runs it.

A few bytes can make the unpickler allocate gigabytes, or hash tuples nested so deeply that the
process crashes. Reading the opcodes with ``pickletools`` does not execute them.
"""

import pickletools
from typing import Any, BinaryIO

_LATIN1 = "latin1"
_MAX_DIGITS = 64  # longest line with a decimal number


class RefusedError(Exception):
    """An error for content that is not allowed in a pickle."""


class ForeignError(RefusedError):
    """An error for content of another library; the message says what to save instead."""


class Budget:
    """A limit on the bytes and values that a pickle can build or hash."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def spend(self, n: int) -> None:
        """Subtract ``n`` bytes or values from the budget before they are built.

        Raises:
            RefusedError: Less than ``n`` is left.
        """
        self._left -= n
        if self._left < 0:
            raise RefusedError(
                "it refers to the same content so often that it would expand to a huge size"
            )


def quote(text: Any) -> str:
    """Shorten and escape a name from the file, so that a message stays on one line."""
    return ascii(text[:80])[1:-1] if isinstance(text, str) else f"a {type(text).__name__}"


def refused_name(module: Any, name: Any) -> RefusedError:
    """Return the error for an import that is not allowed."""
    if isinstance(module, str) and module.split(".")[0] == "torch":
        return ForeignError(
            "the pickle contains torch tensors; save NumPy arrays instead, such as tensor.numpy()"
        )
    return RefusedError(f"it imports {quote(module)}.{quote(name)}")


_REFUSED = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "OBJ", "NEWOBJ", "NEWOBJ_EX"}
_REFUSED |= {"NEXT_BUFFER", "READONLY_BUFFER"}
"""Opcodes that a pickle of arrays never contains: extensions, external objects and new instances of
classes."""
_HASHED = {"SETITEM", "SETITEMS", "DICT", "ADDITEMS", "FROZENSET"}
"""Opcodes that hash some of their operands."""
_NAME, _TUPLE_WITH_NAME, _OTHER = object(), object(), object()


class _CheckedFile:
    """A file for ``pickletools`` that refuses lengths beyond its end and very long numbers."""

    def __init__(self, file: BinaryIO, n_bytes: int) -> None:
        self._file, self._n_bytes = file, n_bytes
        self._opcode = b""

    def read(self, n_bytes: int) -> bytes:
        self.check_follows(n_bytes)
        content = self._file.read(n_bytes)
        if n_bytes == 1:  # possibly a one-byte length, but those are not followed by a line
            self._opcode = content
        return content

    def readline(self) -> bytes:
        line = self._file.readline(_MAX_DIGITS if self._opcode in b"ILFgp" else -1)
        if not line.endswith(b"\n"):
            raise RefusedError("a line is not terminated")
        # pickletools accepts only ASCII in strings and names. The unpickler checks them later.
        return b"''\n" if self._opcode in b"Sci" else line

    def check_follows(self, n_bytes: int) -> None:
        """Refuse a length beyond the end of the file before memory is allocated for it."""
        if n_bytes > 1 and n_bytes > self._n_bytes - self._file.tell():
            raise RefusedError(f"it ends before the {n_bytes} bytes that it declares")


def check_opcodes(pickled: BinaryIO, n_bytes: int) -> int:
    """Check the opcodes of a pickle without running them, and return its largest memo index.

    The stack is simulated with the actual text and tuples, and a placeholder for anything else.

    Args:
        pickled: The pickle, positioned at its start.
        n_bytes: The size of the pickle.

    Raises:
        RefusedError: The pickle declares more bytes than it has, hashes nested tuples, or has an
            opcode that a pickle of arrays does not need.
        Exception: The pickle is damaged. Almost any exception is possible.
    """
    file: Any = _CheckedFile(pickled, n_bytes)
    budget = Budget(16 * n_bytes + (1 << 20))
    stack: list[Any] = []
    marks: list[list[Any]] = []
    memo: dict[int, Any] = {}
    largest_index = 0
    argument: Any
    for opcode, argument, _position in pickletools.genops(file):
        _check_opcode(file, opcode, argument)
        if opcode.name == "MARK":
            marks.append(stack)
            stack = []
            continue
        needed, above = list(opcode.stack_before), []
        if pickletools.markobject in needed or (opcode.name == "POP" and not stack):
            above, stack = stack, marks.pop()
            needed = needed[:-2]  # the mark and the items above it are in `above`
        taken = [stack.pop() for _ in needed][::-1]
        _check_operands(opcode.name, taken, above, budget)
        if "PUT" in opcode.name or opcode.name == "MEMOIZE":
            index = len(memo) if argument is None else argument
            largest_index = max(largest_index, index)
            memo[index] = (taken or stack)[-1]
        if "GET" in opcode.name:
            stack.append(memo[argument])
        else:
            stack += _follow(opcode, argument, taken + above)
    return largest_index


def _check_opcode(file: _CheckedFile, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
    if opcode.name in _REFUSED:
        raise RefusedError(f"the opcode {opcode.code.encode(_LATIN1)!r} is not allowed")
    if opcode.name == "FRAME":
        file.check_follows(argument)
    if isinstance(argument, int) and not -(2**63) <= argument < 2**63:
        raise RefusedError("an integer has more than 64 bits")
    if isinstance(argument, str) and not argument.isascii():
        argument.encode("utf-8")  # fails for unpaired surrogates


def _check_operands(name: str, taken: list[Any], above: list[Any], budget: Budget) -> None:
    """Check the operands of an opcode from below the last mark and from above it."""
    if name == "STACK_GLOBAL" and not all(isinstance(part, str) for part in taken):
        raise refused_name(*taken)
    elif name == "REDUCE" and taken[0] is not _NAME:
        raise RefusedError("it calls something that it did not import")
    elif name in _HASHED:
        keys = {"SETITEM": taken[1:2], "SETITEMS": above[::2], "DICT": above[::2]}.get(name, above)
        for key in keys:
            budget.spend(len(key) if isinstance(key, tuple) else 1)
            check_hashable(key)
    elif name == "STOP" and taken[0] is _TUPLE_WITH_NAME:
        raise RefusedError("it contains an imported name in place of data")


def check_hashable(key: Any) -> Any:
    """Return a key that can be hashed safely.

    Raises:
        RefusedError: The key is a tuple that contains a tuple or an imported name. Hashing deeply
            nested tuples overflows the C stack.
    """
    parts = key if isinstance(key, tuple) else ()
    if key is _TUPLE_WITH_NAME or any(isinstance(part, tuple) for part in parts):
        raise RefusedError("a key is a tuple of tuples or of imported names")
    return key


def _follow(opcode: pickletools.OpcodeInfo, argument: Any, taken: list[Any]) -> list[Any]:
    """Return what an opcode pushes onto the simulated stack of ``check_opcodes``."""
    if "GLOBAL" in opcode.name:
        return [_NAME]
    if "TUPLE" in opcode.name:
        names = any(part is _NAME or part is _TUPLE_WITH_NAME for part in taken)
        return [_TUPLE_WITH_NAME if names else tuple(taken)]
    if opcode.name in ("MEMOIZE", "DUP"):
        return taken * len(opcode.stack_after)
    return [argument if type(argument) is str else _OTHER for _ in opcode.stack_after]
