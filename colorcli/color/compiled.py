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

# NaN never reaches the loops, so that comparisons may assume its absence and be vectorized.
_OPTIONS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "nsz", "arcp", "nnan", "ninf"},
    "error_model": "numpy",
    "nogil": True,
}


def jit(loop: Loop) -> Loop:
    """Make a function callable from compiled ones; it is compiled together with its caller."""
    return cast(Loop, _numba.njit(**_OPTIONS)(loop))


def inlined(expression: Loop) -> Loop:
    """``jit`` for a large expression inside a loop, which is vectorized only if it contains no calls."""
    return cast(Loop, _numba.njit(inline="always", **_OPTIONS)(expression))


def compiled(loop: Loop, signature: Any) -> Loop:
    """Compile a function in one specialization, or load it from the cache.

    The machine code is kept in ``NUMBA_CACHE_DIR`` if set, else in colorcli's cache folder. If that cannot be written,
    every process compiles again.
    """
    users_choice = _numba.config.CACHE_DIR
    # Numba reads the setting when a function is decorated, so other libraries' functions keep their own.
    _numba.config.CACHE_DIR = users_choice or str(cache_dir() / "numba")
    try:
        return cast(Loop, _numba.njit([signature], cache=True, **_OPTIONS)(loop))
    except Exception:
        # A read-only or full disk, or a damaged cache file, must not stop the work. A fault in the loop itself is
        # raised again here.
        return cast(Loop, _numba.njit([signature], **_OPTIONS)(loop))
    finally:
        _numba.config.CACHE_DIR = users_choice


def array(dtype: Any, ndim: int, *, readonly: bool = True) -> Any:
    """The numba type of a C-contiguous array."""
    return types.Array(dtype, ndim, "C", readonly=readonly)


@contextmanager
def announcing(announce: Callable[[], None]) -> Iterator[None]:
    """Call ``announce`` once if anything is compiled inside the context rather than loaded from the cache."""
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
