"""CPUs and memory available to this process, within container limits."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """CPUs available to this process, within its affinity and its control groups' quotas."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(cpus, math.ceil(min(_cpu_quotas(), default=cpus))))


def available_memory() -> int | None:
    """Bytes of memory available to this process, or None if unknown."""
    limits = list(_memory_limits())
    with contextlib.suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def _cpu_quotas() -> Iterator[float]:
    """CPUs granted by each control group around this process (Linux, versions 2 and 1)."""
    for folder in _groups(""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        yield from _ratio(quota, period)
    for folder in _groups("cpu"):
        yield from _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _memory_limits() -> Iterator[int]:
    texts = [_read(folder / "memory.max") for folder in _groups("")]
    texts += [_read(folder / "memory.limit_in_bytes") for folder in _groups("memory")]
    # No limit is "max", or in version 1 a number larger than any memory.
    return (int(text) for text in texts if text.isdecimal())


def _ratio(quota: str, period: str) -> Iterator[float]:
    # No limit is "max", or in version 1 a negative number.
    if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
        yield int(quota) / int(period)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and its ancestors, innermost first.

    Args:
        controller: as version 1 names it; empty for version 2, which has one tree for all.
    """
    root = _CGROUPS / controller
    for line in _read(_OWN).splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if controller in names.split(","):
            # Within a container the path may be that outside of it; the root is then the container's own.
            inner = root / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))
            return


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
