"""Bounds the photographs in flight and their memory; and what memory costs that is not bounded."""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_PIXELS = 1 << 20


@contextmanager
def no_collecting() -> Iterator[None]:
    """Pause the collector of cyclic garbage, which would search the records of a million photographs over and over."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class PixelBudget:
    """Admits photographs while the sum of their pixels stays within a limit; a larger photograph is admitted alone.

    Photographs below one megapixel count as one, which also bounds their number.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = self._count = 0
        self._changed = threading.Condition()

    def acquire(self, pixels: int, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Wait for room; False, without acquiring, if ``stopped`` became true meanwhile."""
        pixels = max(pixels, _LEAST_PIXELS)
        with self._changed:
            while self._count and self._used + pixels > self._limit:
                if stopped():
                    return False
                self._changed.wait(0.1)
            if stopped():
                return False
            self._used += pixels
            self._count += 1
        return True

    def release(self, pixels: int) -> None:
        """Give back what was acquired."""
        with self._changed:
            self._used -= max(pixels, _LEAST_PIXELS)
            self._count -= 1
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        with self._changed:
            return self._count == 0


class Canvases:
    """Reuses arrays for finished images, since the system spends time clearing fresh memory.

    Args:
        keep: the largest number of unused bytes to keep.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._free: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, shape: tuple[int, ...], bits: int) -> Iterator[NDArray[Any]]:
        """An uninitialized array of the given shape, uint8 or uint16 according to ``bits``; reused afterwards."""
        size = math.prod(shape) * bits // 8
        memory = self._found(size)
        if memory is None:
            memory = np.empty(size, np.uint8)
        try:
            yield memory[:size].view(f"u{bits // 8}").reshape(shape)
        finally:
            with self._lock:
                if memory.nbytes + sum(other.nbytes for other in self._free) <= self._keep:
                    self._free.append(memory)

    def _found(self, size: int) -> NDArray[np.uint8] | None:
        with self._lock:
            for place, memory in enumerate(self._free):
                if memory.nbytes >= size:
                    return self._free.pop(place)
            # Drop arrays that are too small in favour of one that fits.
            self._free.clear()
            return None
