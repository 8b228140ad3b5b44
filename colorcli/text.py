"""What may be printed: names from disks and files on one line, sizes for people."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))


def printable(text: str) -> str:
    """``text`` on one line, in characters that XML and terminals can hold; others as backslash escapes."""
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c) in _UNPRINTABLE or c in "\ufffe\uffff" else c for c in text
    )


def human_bytes(count: float) -> str:
    """A number of bytes for people, such as ``1.4 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
