"""Text for people: printable names, sizes, suggestions."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable

Notify = Callable[[str], None]
"""Called with a few words for a person on what takes long."""

_MOST_NAMES = 12
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
# what turns the direction of writing makes a name look like another one
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """``text`` on one line, in characters that XML and terminals can hold; others as backslash escapes."""
    if text.isascii() and text.isprintable():  # nearly every text
        return text
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c) in _UNPRINTABLE or c in _TURNING or c in "\ufffe\uffff" else c
        for c in text
    )


def printable_lines(text: str) -> str:
    """``text`` with each of its lines ``printable``."""
    return "\n".join(map(printable, text.split("\n")))


def reason(error: Exception) -> str:
    """Why a file could not be read, for a sentence that names the file already."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    return getattr(error, "strerror", None) or str(error)


def human_bytes(count: float) -> str:
    """A number of bytes for people, such as ``1.4 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def near(name: str, known: Iterable[str], listing: str = "") -> str:
    """The end of a sentence that begins "There is no X": what the user may have meant, or what there is.

    Args:
        name: that was asked for.
        known: valid names.
        listing: a command that lists them, named if no name is near and there are too many for a sentence.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 3) or [entry for entry in known if name and name in entry][:3]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if listing and len(known) > _MOST_NAMES:
        return f"; see: {listing}"
    return f"; there are: {', '.join(known)}." if known else "."
