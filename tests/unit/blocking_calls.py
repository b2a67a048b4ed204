"""Calls that block the event loop raise an error during asynchronous tests.

A call counts where the coroutine or callback that makes it belongs to the product. A test's own
coroutine may open a file or a store.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from blockbuster import BlockBuster, BlockBusterFunction

PRODUCT = ["embedder", "deployments"]
TESTS = str(Path(__file__).parents[1])
ASYNCHRONOUS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

HEAP_TYPE, IMMUTABLE_TYPE = 1 << 9, 1 << 8
"""Flags of types in CPython."""

MORE = (
    (None, "builtins.open"),
    (None, "io.open"),
    (None, "os.fsync"),
    (None, "sqlite3.connect"),
    (threading.Condition, "wait"),
    (threading.Thread, "join"),
    (subprocess.Popen, "wait"),
)
"""Functions beside those of blockbuster: they open files, and wait for threads and processes."""

ALLOWED: dict[str, set[str]] = {
    # An executor starts its thread at the first call, and waits until it runs.
    "/threading.py": {"start"},
    "/concurrent/futures/thread.py": {"submit"},
    # Finalizers run wherever the garbage collector does, and remove folders of other tests.
    "/weakref.py": {"__call__"},
    # A line of the log is written where it arises; a traceback reads the lines of source files.
    "/logging/__init__.py": {"handle"},
}
"""The functions that may block, by the end of their file's path."""


@contextmanager
def no_blocking_calls() -> Iterator[None]:
    """Raise `blockbuster.BlockingError` for calls that block the event loop."""
    functions = _functions()
    for function in functions:
        function.activate()
    try:
        yield
    finally:
        for function in functions:
            function.deactivate()


@cache
def _functions() -> list[BlockBusterFunction]:
    """Return what is replaced: only functions of Python, since threads run while it is done."""
    known = BlockBuster(PRODUCT).functions.values()
    functions = [
        *(one for one in known if isinstance(one.module, ModuleType) or _is_of_python(one.module)),
        *(BlockBusterFunction(owner, name, scanned_modules=PRODUCT) for owner, name in MORE),
    ]
    for function in functions:
        function.can_block_predicate = _unless_of_a_test(function.can_block_predicate)
        for path, names in ALLOWED.items():
            function.can_block_in(path, names)
    return functions


def _is_of_python(kind: type) -> bool:
    return bool(kind.__flags__ & HEAP_TYPE) and not kind.__flags__ & IMMUTABLE_TYPE


def _unless_of_a_test(may_block: Callable[..., bool]) -> Callable[..., bool]:
    def may_block_or_of_a_test(*given: Any, **named: Any) -> bool:
        return may_block(*given, **named) or _of_a_test()

    return may_block_or_of_a_test


def _of_a_test() -> bool:
    """Return whether the innermost coroutine is one of the tests."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_flags & ASYNCHRONOUS:
            return frame.f_code.co_filename.startswith(TESTS)
        frame = frame.f_back
    return False
