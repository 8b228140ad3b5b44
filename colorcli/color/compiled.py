"""Compiling loops with numba once per machine. Importing this module imports numba."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numba
from numba import types as numba_types
from numba.core import event

from colorcli.environment import cache_dir

Loop = TypeVar("Loop", bound=Callable[..., Any])

types: Any = numba_types
_numba: Any = numba

# Not-a-number never gets into the loops, so comparisons may assume its absence and be vectorised.
_OPTIONS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "nsz", "arcp", "nnan", "ninf"},
    "error_model": "numpy",
    "nogil": True,
}


def jit(loop: Loop) -> Loop:
    """Make a function callable from compiled ones; it is compiled together with its caller."""
    return cast(Loop, _numba.njit(**_OPTIONS)(loop))


def inlined(expression: Loop) -> Loop:
    """``jit`` for a large expression within a loop, which is only vectorised if no call is left in it."""
    return cast(Loop, _numba.njit(inline="always", **_OPTIONS)(expression))


def compiled(loop: Loop, signature: Any) -> Loop:
    """Compile a function in one specialisation, or take it from the cache.

    The machine code is kept where ``NUMBA_CACHE_DIR`` says, else in the colorcli cache folder. Where that cannot be
    written, the first call of each process compiles again.
    """
    users_choice = _numba.config.CACHE_DIR
    # Numba reads the setting when a function is decorated; other libraries' functions keep theirs.
    _numba.config.CACHE_DIR = users_choice or str(cache_dir() / "numba")
    try:
        return cast(Loop, _numba.njit([signature], cache=True, **_OPTIONS)(loop))
    except Exception:
        # A read-only or full disk, or a damaged cache file: whatever a cache does, it must not stop the work. A fault
        # of the loops themselves is raised again here.
        return cast(Loop, _numba.njit([signature], **_OPTIONS)(loop))
    finally:
        _numba.config.CACHE_DIR = users_choice


def array(dtype: Any, ndim: int, *, readonly: bool = True) -> Any:
    """The numba type of a C-contiguous array."""
    return types.Array(dtype, ndim, "C", readonly=readonly)


@contextmanager
def announcing(announce: Callable[[], None]) -> Iterator[None]:
    """Call ``announce`` once if anything is compiled meanwhile, rather than taken from the cache."""
    said = False

    class Listener(event.Listener):
        def on_start(self, _: Any) -> None:
            nonlocal said
            if not said:
                said = True
                announce()

        def on_end(self, _: Any) -> None:
            return

    with event.install_listener("numba:compile", Listener()):
        yield
